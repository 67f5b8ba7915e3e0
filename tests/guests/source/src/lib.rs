//! Publishes a number of events, a few at each tick, each of them once.

use foundry_sdk::{
    Bot, Description, Event, Message, OptionBuilder, OptionKind, Outcome, export, options, publish, state,
};

struct Source;

impl Bot for Source {
    fn describe() -> Description {
        Description::new("source", env!("CARGO_PKG_VERSION"), "publishes events that count up")
            .option(OptionBuilder::new("every", OptionKind::Duration, "pause between two batches").default("100ms"))
            .option(OptionBuilder::new("batch", OptionKind::Number, "events at a time").default("10"))
            .option(OptionBuilder::new("total", OptionKind::Number, "events in all").default("0"))
            .option(
                OptionBuilder::new(
                    "pad",
                    OptionKind::Number,
                    "bytes that each event has more than it needs",
                )
                .default("0"),
            )
            .publishes("publish-to", "source-out")
            .timer("count", "every")
    }

    fn handle(_: Message) -> Outcome {
        Outcome::Reject("a source reads nothing".to_owned())
    }

    fn tick(_: &str) -> Outcome {
        match count() {
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Reject(why),
        }
    }
}

/// Publish the next batch. Where it ends is written together with it, so that no number comes twice.
fn count() -> Result<(), String> {
    let number = |name| {
        options::one(name)
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let published = state::get("published").map_err(|error| error.to_string())?;
    let published = published
        .and_then(|value| String::from_utf8(value).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let end = number("total").min(published + number("batch"));
    let pad = "x".repeat(usize::try_from(number("pad")).unwrap_or(0));
    for n in published..end {
        publish(Event {
            topic: "source-out",
            event_type: "test.relay.v1",
            subject: None,
            data: &serde_json::json!({ "n": n, "pad": pad }),
            key: Some(n.to_string()),
        })?;
    }
    if end > published {
        state::set("published", end.to_string().as_bytes()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

export!(Source);
