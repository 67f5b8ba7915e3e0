//! Asks for a right that nobody gave it, and for an hour.

use foundry_sdk::{Bot, Description, Message, Outcome, export, signing};

struct Greedy;

impl Bot for Greedy {
    fn describe() -> Description {
        Description::new("greedy", env!("CARGO_PKG_VERSION"), "wants to sign")
            .reads("watch", "greedy-in", "greedy")
            .message_timeout(3600)
    }

    fn handle(_: Message) -> Outcome {
        match signing::clear_sign("any", b"text") {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Reject(format!("the host said: {error}")),
        }
    }
}

export!(Greedy);
