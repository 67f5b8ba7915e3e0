//! Does nothing with each message: what is left is the cost of the host.

use foundry_sdk::{Bot, Description, Message, Outcome, export};

struct Noop;

impl Bot for Noop {
    fn describe() -> Description {
        Description::new("noop", env!("CARGO_PKG_VERSION"), "does nothing").reads("watch", "noop-in", "noop")
    }

    fn handle(_: Message) -> Outcome {
        Outcome::Done
    }
}

export!(Noop);
