//! notifybot: tells a chat what was published and what failed.
//!
//! It posts to an incoming webhook as Slack defined it; Mattermost, Rocket.Chat and Zulip take the same.

mod text;

use std::time::Duration;

use foundry_sdk::events::{Dist, EventData as _, Failure};
use foundry_sdk::http::{self, Error, Request};
use foundry_sdk::{Bot, Description, Message, OptionBuilder, OptionKind, Outcome, export, log, options, retry_after};
use serde_json::json;

/// How long to wait before another attempt when the server has a bad moment.
const LATER: Duration = Duration::from_secs(30);

struct Notifybot;

impl Bot for Notifybot {
    fn describe() -> Description {
        Description::new(
            "notifybot",
            env!("CARGO_PKG_VERSION"),
            "tells a chat what was published and what failed",
        )
        .reads("watch", "dists", "pub/notifybot")
        .reads("watch-failures", "failures", "pub/notifybot")
        .option(
            OptionBuilder::new(
                "webhook",
                OptionKind::Text,
                "post to this incoming webhook, as Slack and others have them",
            )
            .placeholder("URL")
            .required(),
        )
        .option(
            OptionBuilder::new("failure-webhook", OptionKind::Text, "post failures there instead").placeholder("URL"),
        )
        .option(
            OptionBuilder::new(
                "notify-branch",
                OptionKind::Text,
                "tell only of this branch (`*` stands for any text)",
            )
            .placeholder("BRANCH")
            .repeatable(),
        )
    }

    fn handle(message: Message) -> Outcome {
        let said = match message.event_type.as_str() {
            Dist::TYPE => Dist::of(&message).map(|dist| (dist.commit.branch.clone(), "webhook", text::of_dist(&dist))),
            Failure::TYPE => Failure::of(&message).map(|failure| {
                let branch = failure.commit.as_ref().map(|commit| commit.branch.clone());
                (
                    branch.unwrap_or_default(),
                    "failure-webhook",
                    text::of_failure(&failure),
                )
            }),
            other => Err(format!("nothing to tell of a message of type {other}")),
        };
        match said {
            Ok((branch, _, _)) if !options::allows("notify-branch", &branch) => Outcome::Done,
            Ok((_, webhook, text)) => tell(webhook, &text),
            Err(why) => Outcome::Reject(why),
        }
    }
}

/// Post a text to the webhook that an option names, or to the usual one.
fn tell(webhook: &str, text: &str) -> Outcome {
    let Some(url) = options::one(webhook).or_else(|| options::one("webhook")) else {
        return Outcome::Reject("there is no webhook".to_owned());
    };
    let request = Request {
        method: "POST".to_owned(),
        url,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: json!({ "text": text }).to_string().into_bytes(),
        timeout: None,
    };
    match http::send(&request) {
        Ok(answer) if (200..300).contains(&answer.status) => {
            log::info(format!("told: {text}"));
            Outcome::Done
        }
        // Too many requests, or the server's own fault.
        Ok(answer) if answer.status == 429 || answer.status >= 500 => {
            retry_after(LATER, format!("the webhook answered {}", answer.status))
        }
        Ok(answer) => {
            let body = String::from_utf8_lossy(&answer.body);
            let line: String = body.lines().next().unwrap_or_default().chars().take(200).collect();
            Outcome::Reject(format!("the webhook answered {}: {line}", answer.status))
        }
        Err(Error::NotGranted(url)) => Outcome::Reject(format!("may not ask {url} (grant it with --allow-http)")),
        Err(Error::BadRequest(why)) => Outcome::Reject(why),
        Err(Error::TooLarge(limit)) => Outcome::Reject(format!("larger than {limit} bytes")),
        Err(Error::TimedOut) => retry_after(LATER, "the webhook did not answer in time"),
        Err(Error::Unavailable(why)) => retry_after(LATER, why),
    }
}

export!(Notifybot);
