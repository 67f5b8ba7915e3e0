//! {{name}} greets every commit, and counts the greetings of each branch.

use foundry_sdk::events::{Commit, EventData};
use foundry_sdk::{Bot, Description, Event, Message, OptionBuilder, OptionKind, Outcome};
use foundry_sdk::{export, log, options, publish, state};
use serde::Serialize;

struct Greeter;

#[derive(Serialize)]
struct Greeting {
    text: String,
    count: u64,
}

impl Bot for Greeter {
    fn describe() -> Description {
        Description::new("{{name}}", env!("CARGO_PKG_VERSION"), "greets every commit")
            .option(OptionBuilder::new("greeting", OptionKind::Text, "What it says.").default("hello"))
            .reads("watch", "commits", "{{name}}")
            .publishes("publish-to", "greetings")
    }

    fn handle(message: Message) -> Outcome {
        match Commit::of(&message).and_then(|commit| greet(&commit, message.subject)) {
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Reject(why),
        }
    }
}

fn greet(commit: &Commit, subject: Option<String>) -> Result<(), String> {
    let count = 1 + greetings_so_far(&commit.branch)?;
    let written = state::set(&commit.branch, count.to_string().as_bytes());
    written.map_err(|error| format!("cannot count: {error:?}"))?;
    let greeting = options::one("greeting").unwrap_or_default();
    let text = format!("{greeting}, {}", commit.branch);
    log::info(format!("{text} (number {count})"));
    publish(Event {
        topic: "greetings",
        event_type: "{{name}}.greeting.v1",
        subject,
        data: &Greeting { text, count },
        key: None,
    })?;
    Ok(())
}

fn greetings_so_far(branch: &str) -> Result<u64, String> {
    match state::get(branch) {
        Ok(None) => Ok(0),
        Ok(Some(count)) => String::from_utf8_lossy(&count).parse().map_err(|error| format!("{branch}: {error}")),
        Err(error) => Err(format!("cannot read the state: {error:?}")),
    }
}

export!(Greeter);
