//! Does what every SDK's bot must be able to do, and misbehaves in every way that a bot can: as each message says.

#![allow(clippy::panic, reason = "that is what it is for")]

use std::time::Duration;

use foundry_sdk::http::{self, Request};
use foundry_sdk::{
    Bot, Description, Event, Message, OptionBuilder, OptionKind, Outcome, clock, eprintln, export, log, mail, options,
    print, println, publish, retry_after, state,
};
use serde_json::{Value, json};

struct Conformer;

impl Bot for Conformer {
    fn describe() -> Description {
        Description::new("conformer", "1.2.3", "does as it is told")
            .option(OptionBuilder::new("text", OptionKind::Text, "A text.").default("default"))
            .option(OptionBuilder::new("many", OptionKind::Text, "Texts.").repeatable())
            .option(OptionBuilder::new("flag", OptionKind::Flag, "A flag."))
            .option(OptionBuilder::new("interval", OptionKind::Duration, "Of the timer.").default("365d"))
            .reads("watch", "orders", "conformer")
            .publishes("publish-to", "answers")
            .timer("beat", "interval")
            .message_timeout(77)
    }

    fn configure() -> Result<(), String> {
        match options::one("text").as_deref() {
            Some("unacceptable") => Err("that text is unacceptable".to_owned()),
            _ => Ok(()),
        }
    }

    fn handle(message: Message) -> Outcome {
        let data: Value = serde_json::from_str(&message.data).unwrap_or_default();
        match obey(&message, &data) {
            Ok(outcome) => outcome,
            Err(why) => Outcome::Reject(why),
        }
    }

    fn tick(timer: &str) -> Outcome {
        match answer(&json!({ "timer": timer }), Some("beat 1")) {
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Reject(why),
        }
    }
}

fn obey(message: &Message, data: &Value) -> Result<Outcome, String> {
    match data["do"].as_str().unwrap_or_default() {
        "echo" => answer(&json!({ "text": data["text"] }), None)?,
        "message" => answer(
            &json!({
                "id": message.id, "topic": message.topic, "type": message.event_type, "source": message.source,
                "subject": message.subject, "run": message.run, "attempt": message.attempt,
            }),
            None,
        )?,
        "options" => answer(
            &json!({ "text": options::one("text"), "many": options::all("many"), "flag": options::flag("flag") }),
            None,
        )?,
        "log" => {
            log::trace("a trace");
            log::debug("a debug");
            log::info("an info");
            log::warn("a warning: ünïcödé");
            log::error("an error");
        }
        "state" => {
            let before = state::get("text").map_err(said)?;
            let text = String::from_utf8_lossy(&before.unwrap_or_default()).into_owned();
            state::set("text", "ünïcödé".as_bytes()).map_err(said)?;
            state::set("bytes", &[0, 255, 0]).map_err(said)?;
            state::set("gone", b"x").map_err(said)?;
            state::delete("gone").map_err(said)?;
            let none = state::get("gone").map_err(said)?.is_none();
            answer(&json!({ "before": text, "none": none }), None)?;
        }
        "write, then retry" => {
            effects()?;
            return Ok(retry_after(Duration::from_millis(1500), "not yet"));
        }
        "write, then reject" => {
            effects()?;
            return Ok(Outcome::Reject("never".to_owned()));
        }
        "write, then fail" => {
            effects()?;
            panic!("told to fail");
        }
        "other topic" => publish(event("builds", data, None)).map(drop)?,
        "big state" => state::set("big", &vec![0; 32 * 1024 * 1024]).map_err(said)?,
        "loop" => {
            let mut n = 0u64;
            loop {
                n = std::hint::black_box(n.wrapping_add(1));
            }
        }
        "memory" => {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                eaten.push(vec![1; 16 * 1024 * 1024]);
                std::hint::black_box(&eaten);
            }
        }
        "recurse" => return Ok(Outcome::Reject(recurse(1).to_string())),
        "ask" => ask(data["text"].as_str().unwrap_or_default())?,
        "mail" => return send_mail(data["text"].as_str().unwrap_or_default()),
        "flood" => {
            for n in 0..20_000 {
                log::info(format!("line {n}"));
            }
        }
        "print" => {
            println!("printed: {}", "ünïcödé");
            eprintln!("a warning");
            print!("no end");
        }
        "print 100 MB" => {
            let line = "x".repeat(1023);
            for _ in 0..100 * 1024 {
                println!("{line}");
            }
        }
        "clock" => {
            let now = clock::now() as f64 / 1000.0;
            answer(&json!({ "now": now, "host": clock::now() as f64 / 1000.0 }), None)?;
        }
        "random" => answer(&json!({ "numbers": [] }), None)?,
        "files" => {
            let read = std::fs::read("/etc/passwd").err().map(|error| error.to_string());
            let write = std::fs::write("new.txt", "x").err().map(|error| error.to_string());
            answer(&json!({ "read": read, "write": write }), None)?;
        }
        other => return Ok(Outcome::Reject(format!("don't know how to {other}"))),
    }
    Ok(Outcome::Done)
}

fn ask(url: &str) -> Result<(), String> {
    let request = Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: Some(5),
    };
    let response = http::send(&request).map_err(|error| match error {
        http::Error::NotGranted(what) => format!("not granted: {what}"),
        other => format!("{other:?}"),
    })?;
    let text = String::from_utf8_lossy(&response.body);
    answer(&json!({ "status": response.status, "text": text }), None)
}

fn send_mail(to: &str) -> Result<Outcome, String> {
    let sent = mail::send(&mail::Message {
        to: vec![to.to_owned()],
        subject: "a subject".to_owned(),
        text: "ünïcödé".to_owned(),
        key: None,
    });
    match sent {
        Ok(id) => answer(&json!({ "id": id }), None).map(|()| Outcome::Done),
        Err(error) if error.is_temporary() => Ok(retry_after(Duration::from_millis(1500), error.why())),
        Err(error) => Err(error.why()),
    }
}

/// What must not be seen unless the outcome is done.
fn effects() -> Result<(), String> {
    state::set("half", b"done").map_err(said)?;
    answer(&json!({}), None)
}

fn answer(data: &Value, key: Option<&str>) -> Result<(), String> {
    publish(event("answers", data, key)).map(drop)
}

fn event<'a>(topic: &'a str, data: &'a Value, key: Option<&str>) -> Event<'a, Value> {
    Event {
        topic,
        event_type: "test.answer.v1",
        subject: Some("an answer".to_owned()),
        data,
        key: key.map(ToOwned::to_owned),
    }
}

fn said(error: state::Error) -> String {
    match error {
        state::Error::TooLarge(limit) => format!("the state would become larger than {limit} bytes"),
        other => format!("{other:?}"),
    }
}

#[allow(unconditional_recursion, reason = "it is to overflow the stack")]
fn recurse(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    let [first, ..] = room;
    recurse(first + 1) + 1
}

export!(Conformer);
