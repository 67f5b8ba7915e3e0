//! Misbehaves as each message says.

#![allow(clippy::panic, reason = "that is what it is for")]

use foundry_sdk::{
    Bot, Description, Event, Message, Outcome, artifacts, export, log, publish, retry_after, retry_now, state,
};

struct Hostile;

impl Bot for Hostile {
    fn describe() -> Description {
        Description::new("hostile", env!("CARGO_PKG_VERSION"), "misbehaves")
            .reads("watch", "hostile-in", "hostile")
            .publishes("publish-to", "hostile-out")
    }

    fn handle(message: Message) -> Outcome {
        let data: serde_json::Value = serde_json::from_str(&message.data).unwrap_or_default();
        match data.get("do").and_then(|value| value.as_str()).unwrap_or_default() {
            "panic" => panic!("told to panic"),
            "loop" => spin(),
            "memory" => eat(),
            "recurse" => Outcome::Reject(recurse(1).to_string()),
            "flood" => {
                for n in 0..100_000 {
                    log::info(format!("line {n}"));
                }
                Outcome::Done
            }
            "other topic" => said(publish(event("builds", "test.hostile.v1", &data))),
            "bad build" => said(publish(event("hostile-out", "foundry.build.v1", &data))),
            "publish" => said(publish(wanted(&data))),
            "big event" => {
                let data = serde_json::json!({ "text": "x".repeat(1024 * 1024) });
                said(publish(event("hostile-out", "test.hostile.v1", &data)))
            }
            "big state" => {
                let written = state::set("big", &vec![0; 64 * 1024 * 1024]);
                said(written.map_err(|error| format!("{error:?}")))
            }
            "delete for ever" => said(for_ever(|key| state::delete(key).map_err(|error| format!("{error:?}")))),
            "read for ever" => said(for_ever(|key| {
                state::get(key).map(drop).map_err(|error| format!("{error:?}"))
            })),
            "publish for ever" => said(for_ever(|_| {
                publish(event("hostile-out", "test.hostile.v1", &data)).map(drop)
            })),
            // The same bytes, so that no disk is filled by them.
            "store for ever" => {
                let bytes = vec![1; 32 * 1024 * 1024];
                said(for_ever(|_| {
                    let stored = artifacts::store("x", "text/plain", &bytes);
                    stored.map(drop).map_err(|error| format!("{error:?}"))
                }))
            }
            "artifact name" => {
                let stored = artifacts::store("../../etc/passwd", "text/plain", b"x");
                said(stored.map_err(|error| format!("{error:?}")))
            }
            "write, then panic" => {
                let _ = state::set("half", b"done");
                let _ = publish(event("hostile-out", "test.hostile.v1", &data));
                panic!("after its effects");
            }
            "write, then retry" => {
                let _ = publish(event("hostile-out", "test.hostile.v1", &data));
                if message.attempt == 0 {
                    retry_now("not yet")
                } else {
                    Outcome::Done
                }
            }
            "wait an hour" => retry_after(std::time::Duration::from_secs(3600), "not now"),
            "work" => {
                work();
                said(publish(event("hostile-out", "test.hostile.v1", &data)))
            }
            "done" => said(publish(event("hostile-out", "test.hostile.v1", &data))),
            other => Outcome::Reject(format!("don't know how to {other:?}")),
        }
    }
}

/// Again and again with another key, until the host has had enough.
fn for_ever(effect: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    (0_u64..).try_for_each(|number| effect(&format!("{number:0>1000}")))
}

/// What the host answered becomes the reason of a dead letter, where a test can read it.
fn said<T: std::fmt::Debug, E: std::fmt::Display>(answer: Result<T, E>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Reject(format!("the host said: {error}")),
    }
}

fn event<'a>(topic: &'a str, event_type: &'a str, data: &'a serde_json::Value) -> Event<'a, serde_json::Value> {
    Event {
        topic,
        event_type,
        subject: None,
        data,
        key: None,
    }
}

/// An event as the order has it.
fn wanted(order: &serde_json::Value) -> Event<'_, serde_json::Value> {
    let text = |name: &str| order.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    event(text("topic"), text("type"), order.get("data").unwrap_or(order))
}

fn spin() -> Outcome {
    let mut n = 0u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

fn eat() -> Outcome {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(vec![1; 16 * 1024 * 1024]);
        std::hint::black_box(&eaten);
    }
}

/// Takes a while, and comes to an end.
fn work() {
    let mut sum = 0u64;
    for n in 0..400_000_000u64 {
        sum = std::hint::black_box(sum.wrapping_add(n));
    }
}

#[allow(unconditional_recursion, reason = "it is to overflow the stack")]
fn recurse(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    let [first, ..] = room;
    recurse(first + 1) + 1
}

export!(Hostile);
