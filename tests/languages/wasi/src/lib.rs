//! Does what an author does without reading a page first, by the standard library alone.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use foundry_sdk::{Bot, Description, Event, Message, Outcome, export, publish};
use serde_json::json;

struct Ordinary;

impl Bot for Ordinary {
    fn describe() -> Description {
        println!("describing at {}", now());
        Description::new("ordinary", "0.1.0", "uses the standard library")
            .reads("watch", "orders", "ordinary")
            .publishes("publish-to", "answers")
    }

    fn handle(message: Message) -> Outcome {
        if message.data.contains("fail") {
            panic!("told to fail");
        }
        println!("printed: {}", "ünïcödé");
        eprintln!("a warning");
        let begun = Instant::now();
        std::thread::sleep(Duration::from_millis(60));
        let data = json!({
            "now": now(), "slept": begun.elapsed().as_secs_f64(), "number": RandomState::new().build_hasher().finish().to_string(),
            "read": std::fs::read("/etc/passwd").err().map(|error| error.to_string()),
            "environment": std::env::vars().count(), "arguments": std::env::args().count(),
        });
        let event = Event {
            topic: "answers",
            event_type: "test.answer.v1",
            subject: None,
            data: &data,
            key: None,
        };
        print!("no end");
        match publish(event) {
            Ok(_) => Outcome::Done,
            Err(why) => Outcome::Reject(why),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

export!(Ordinary);
