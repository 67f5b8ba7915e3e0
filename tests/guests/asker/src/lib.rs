//! Asks a URL over HTTP, as each message says, and publishes the answer.

use foundry_sdk::http::{self, Error, Request};
use foundry_sdk::{Bot, Description, Event, Message, Outcome, export, publish, retry_now};
use serde_json::{Value, json};

struct Asker;

impl Bot for Asker {
    fn describe() -> Description {
        Description::new("asker", env!("CARGO_PKG_VERSION"), "asks what it is told to ask")
            .reads("watch", "asker-in", "asker")
            .publishes("publish-to", "asker-out")
    }

    fn handle(message: Message) -> Outcome {
        let data: Value = serde_json::from_str(&message.data).unwrap_or_default();
        let request = Request {
            method: "GET".to_owned(),
            url: data.get("url").and_then(Value::as_str).unwrap_or_default().to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Some(5),
        };
        let answer = match http::send(&request) {
            Ok(answer) => answer,
            Err(Error::Unavailable(why)) => return retry_now(why),
            Err(error) => return Outcome::Reject(format!("{error:?}")),
        };
        let sent = publish(Event {
            topic: "asker-out",
            event_type: "test.answer.v1",
            subject: None,
            data: &json!({ "status": answer.status, "body": String::from_utf8_lossy(&answer.body) }),
            key: None,
        });
        match sent {
            Ok(_) => Outcome::Done,
            Err(why) => Outcome::Reject(why),
        }
    }
}

export!(Asker);
