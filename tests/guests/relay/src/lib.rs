//! Publishes each message again, on another topic, and counts them, if it is not told to keep no state.

use foundry_sdk::{
    Bot, Description, Event, Message, OptionBuilder, OptionKind, Outcome, export, options, publish, state,
};

struct Relay;

impl Bot for Relay {
    fn describe() -> Description {
        Description::new("relay", env!("CARGO_PKG_VERSION"), "publishes each message again")
            .option(
                OptionBuilder::new(
                    "start",
                    OptionKind::Duration,
                    "publish a first message at this interval",
                )
                .default("365d"),
            )
            .option(OptionBuilder::new("first", OptionKind::Number, "how many first messages to publish").default("0"))
            .option(OptionBuilder::new(
                "stateless",
                OptionKind::Flag,
                "do not count the messages",
            ))
            .reads("watch", "relay-in", "relay")
            .publishes("publish-to", "relay-out")
            .timer("start", "start")
    }

    fn handle(message: Message) -> Outcome {
        if !options::flag("stateless")
            && let Err(why) = count_one()
        {
            return Outcome::Reject(why);
        }
        let data: serde_json::Value = serde_json::from_str(&message.data).unwrap_or_default();
        match publish(event(&data, None)) {
            Ok(_) => Outcome::Done,
            Err(why) => Outcome::Reject(why),
        }
    }

    fn tick(_: &str) -> Outcome {
        let first: u64 = options::one("first").and_then(|n| n.parse().ok()).unwrap_or(0);
        for n in 0..first {
            if let Err(why) = publish(event(&serde_json::json!({ "n": n }), Some(format!("first {n}")))) {
                return Outcome::Reject(why);
            }
        }
        Outcome::Done
    }
}

fn event(data: &serde_json::Value, key: Option<String>) -> Event<'_, serde_json::Value> {
    Event {
        topic: "relay-out",
        event_type: "test.relay.v1",
        subject: None,
        data,
        key,
    }
}

fn count_one() -> Result<(), String> {
    let seen = count()? + 1;
    state::set("seen", seen.to_string().as_bytes()).map_err(|error| error.to_string())
}

fn count() -> Result<u64, String> {
    let value = state::get("seen").map_err(|error| error.to_string())?;
    Ok(value
        .and_then(|value| String::from_utf8(value).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0))
}

export!(Relay);
