//! A bot of contract 0.1.0, made without any SDK: it greets each commit.

#![allow(missing_docs, reason = "generated")]

wit_bindgen::generate!({
    path: "../../../wit/released/0.1.0",
    world: "bot",
    generate_all,
});

use foundry::bot::publish::{self, Event};
use foundry::bot::types::{Input, Output};

struct Greeter;

impl Guest for Greeter {
    fn describe() -> Description {
        Description {
            name: "greeter".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "greets every commit".to_owned(),
            options: Vec::new(),
            inputs: vec![Input {
                option: "watch".to_owned(),
                topic: "commits".to_owned(),
                endpoint: "greeter".to_owned(),
            }],
            outputs: vec![Output {
                option: "publish-to".to_owned(),
                topic: "greetings".to_owned(),
            }],
            timers: Vec::new(),
            message_timeout: None,
        }
    }

    fn configure() -> Result<(), String> {
        Ok(())
    }

    fn handle(message: Message) -> Outcome {
        let sent = publish::send(&Event {
            topic: "greetings".to_owned(),
            event_type: "greeter.greeting.v1".to_owned(),
            subject: message.subject,
            data: r#"{"text":"hello, main","count":1}"#.to_owned(),
            key: None,
        });
        match sent {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Reject(format!("{error:?}")),
        }
    }

    fn tick(_: String) -> Outcome {
        Outcome::Done
    }
}

export!(Greeter);
