//! notifybot: tells people what was published and what failed, in a chat or by e-mail.
//!
//! It posts to an incoming webhook as Slack defined it; Mattermost, Rocket.Chat and Zulip take the same. Mail goes through
//! the host's server. Either way people are told at least once: what fails for now is tried again.

mod mail;
mod text;

use std::time::Duration;

use foundry_sdk::events::{Dist, EventData as _, Failure};
use foundry_sdk::http::{self, Error, Request};
use foundry_sdk::{Bot, Description, Message, OptionBuilder, OptionKind, Outcome, export, log, options, retry_after};
use serde_json::json;

use mail::Letter;

/// How long to wait before another attempt when the server has a bad moment.
const LATER: Duration = Duration::from_secs(30);

struct Notifybot;

impl Bot for Notifybot {
    fn describe() -> Description {
        Description::new(
            "notifybot",
            env!("CARGO_PKG_VERSION"),
            "tells people what was published and what failed",
        )
        .reads("watch", "dists", "notifybot")
        .reads("watch-failures", "failures", "notifybot")
        .option(
            OptionBuilder::new(
                "webhook",
                OptionKind::Text,
                "post to this incoming webhook, as Slack and others have them",
            )
            .placeholder("URL"),
        )
        .option(
            OptionBuilder::new("failure-webhook", OptionKind::Text, "post failures there instead").placeholder("URL"),
        )
        .option(
            OptionBuilder::new("mail-to", OptionKind::Text, "send mail to this address")
                .placeholder("ADDRESS")
                .repeatable(),
        )
        .option(
            OptionBuilder::new(
                "failure-mail-to",
                OptionKind::Text,
                "send mail about failures there instead",
            )
            .placeholder("ADDRESS")
            .repeatable(),
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

    fn configure() -> Result<(), String> {
        let ways = ["webhook", "failure-webhook", "mail-to", "failure-mail-to"];
        match ways.iter().any(|way| !options::all(way).is_empty()) {
            true => Ok(()),
            false => Err("nobody is told: give --webhook URL or --mail-to ADDRESS".to_owned()),
        }
    }

    fn handle(message: Message) -> Outcome {
        match News::of(&message) {
            Ok(news) if !options::allows("notify-branch", &news.branch) => Outcome::Done,
            Ok(news) => news.tell(),
            Err(why) => Outcome::Reject(why),
        }
    }
}

/// What there is to tell.
struct News {
    branch: String,
    is_failure: bool,
    chat: String,
    letter: Letter,
}

impl News {
    fn of(message: &Message) -> Result<Self, String> {
        match message.event_type.as_str() {
            Dist::TYPE => Dist::of(message).map(|dist| Self {
                chat: text::of_dist(&dist),
                letter: Letter::of_dist(&dist),
                branch: dist.commit.branch,
                is_failure: false,
            }),
            Failure::TYPE => Failure::of(message).map(|failure| Self {
                chat: text::of_failure(&failure),
                letter: Letter::of_failure(&failure),
                branch: failure.commit.map(|commit| commit.branch).unwrap_or_default(),
                is_failure: true,
            }),
            other => Err(format!("nothing to tell of a message of type {other}")),
        }
    }

    /// Mail first: should the chat have to be told again, mail systems know the double by its `Message-ID`.
    fn tell(self) -> Outcome {
        let to = self.addressees("mail-to", "failure-mail-to");
        let hooks = self.addressees("webhook", "failure-webhook");
        if !to.is_empty() {
            match mail::tell(to, self.letter) {
                Outcome::Done => {}
                failed => return failed,
            }
        }
        match hooks.first() {
            Some(url) => post(url, &self.chat),
            None => Outcome::Done,
        }
    }

    /// Those whom an option names; of a failure, those whom its own option names, if it names any.
    fn addressees(&self, usual: &str, of_failures: &str) -> Vec<String> {
        let own = match self.is_failure {
            true => options::all(of_failures),
            false => Vec::new(),
        };
        if own.is_empty() { options::all(usual) } else { own }
    }
}

/// Post a text to a webhook.
fn post(url: &str, text: &str) -> Outcome {
    let request = Request {
        method: "POST".to_owned(),
        url: url.to_owned(),
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
