//! distbot: publishes signed packages in an APT repository.
//!
//! ```text
//! options    -> [usage]            what people are told of them
//!            -> [config, values]   what they say
//! sign event -> [mapping]          which suites its packages go to
//!            -> [statement]        whether the packages key signed them, as they are
//!            -> [build]            what the packages are
//!            -> [names]            whether their names are this repository's
//!            -> [pool]             which of their files are new, and which stay as they were published first
//!            -> [vouch]            whether those that stay are still what was published
//!            -> [publish]          one transaction for all files and suites
//!            -> [announcement]     what of it an event can say
//! time       -> [warnings]         what runs out
//! ```
//!
//! What a repository is, and how it changes, is in the crate `apt-repository`.

pub mod announcement;
pub mod build;
mod bytes;
pub mod config;
pub mod guest;
pub mod mapping;
mod names;
mod pool;
pub mod publish;
mod statement;
mod suites;
pub mod usage;
mod values;
mod vouch;
pub mod warnings;

use std::time::Duration;

use apt_repository::failure::Failure;
use foundry_sdk::events::{EventData, Failure as FailureEvent, Sign};
use foundry_sdk::{Bot, Description, Event, Message, Outcome, export, log, options, retry_after};

use config::Config;
use publish::{InSuite, Published};

/// How long to wait when the disk is full or a store doesn't answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of the log about files that were kept; the event on `dists` has more of them.
const MOST_KEPT_LINES: usize = 50;

/// The same about packages that came too late.
const MOST_SUPERSEDED_LINES: usize = 50;

struct Distbot;

impl Bot for Distbot {
    fn describe() -> Description {
        usage::description()
    }

    fn configure() -> Result<(), String> {
        let config = Config::parse(options::all)?;
        if config.accepted.unstated {
            log::warn("--allow-unstated: packages are published that no packages key states to have signed");
        }
        publish::check(&config).map_err(|failure| failure.to_string())
    }

    fn tick(_refresh: &str) -> Outcome {
        let config = match Config::parse(options::all) {
            Ok(config) => config,
            Err(why) => return Outcome::Reject(why),
        };
        let refreshed = publish::prepare(&config);
        // Also of what could not be refreshed: it runs out all the more.
        let told = warnings::tell(&config);
        match refreshed.and(told) {
            Ok(()) => Outcome::Done,
            // The next tick is the next attempt.
            Err(why) => Outcome::Reject(format!("cannot refresh the repository: {why}")),
        }
    }

    fn handle(message: Message) -> Outcome {
        let sign = match Sign::of(&message) {
            Ok(sign) => sign,
            Err(why) => return Outcome::Reject(why),
        };
        let config = match Config::parse(options::all) {
            Ok(config) => config,
            Err(why) => return Outcome::Reject(why),
        };
        let said = match publish::publish(&config, &sign) {
            Ok(published) if published.suites.is_empty() => {
                log::info(format!(
                    "{} is on {}, which no --codename publishes",
                    subject(&sign),
                    sign.commit.branch
                ));
                Ok(())
            }
            Ok(published) => announce(&message, &sign, &published),
            Err(Failure::Later(why)) => return retry_after(PATIENCE, why),
            // Once the operator allows it, the same event is published: it is kept as a dead letter.
            Err(failure @ (Failure::Statement(_) | Failure::Names(_))) => {
                return Outcome::Reject(format!("cannot publish {}: {failure}", subject(&sign)));
            }
            Err(failure) => report(&sign, &failure),
        };
        match said {
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Reject(why),
        }
    }
}

fn subject(sign: &Sign) -> String {
    format!("{} {}", sign.source, sign.version)
}

fn announce(message: &Message, sign: &Sign, published: &Published) -> Result<(), String> {
    for kept in published.kept.iter().take(MOST_KEPT_LINES) {
        log::info(format!(
            "kept {} as it was published first, with SHA-256 {}; this build of the same source has {}",
            kept.name, kept.published, kept.offered
        ));
    }
    if published.kept.len() > MOST_KEPT_LINES {
        let more = published.kept.len() - MOST_KEPT_LINES;
        log::info(format!("kept {more} more files as they were published first"));
    }
    if published.new_files == 0 {
        let architecture = &sign.architecture;
        log::info(format!("no file of {} ({architecture}) was left to add", subject(sign)));
    }
    published.suites.iter().try_for_each(|suite| {
        tell(sign, suite);
        let dist = &suite.dist;
        let key = Some(format!("{}/{}/{}", message.id, dist.name, dist.distribution));
        foundry_sdk::publish(Event {
            key,
            ..dist.event(subject(sign))
        })
        .map(drop)
    })
}

fn tell(sign: &Sign, suite: &InSuite) {
    let codename = &suite.dist.distribution;
    if suite.is_too_late {
        log::info(format!(
            "{} came too late for {codename}: newer versions have superseded it (--keep)",
            subject(sign)
        ));
        return;
    }
    log::info(format!("published {} in {codename}", subject(sign)));
    for key in suite.superseded.iter().take(MOST_SUPERSEDED_LINES) {
        log::info(format!(
            "{} {} ({}) came too late for {codename}: newer versions have superseded it (--keep)",
            key.package, key.version, key.architecture
        ));
    }
}

fn report(sign: &Sign, failure: &Failure) -> Result<(), String> {
    log::error(format!("cannot publish {}: {failure}", subject(sign)));
    let event = FailureEvent {
        commit: Some(sign.commit.clone()),
        stage: "dist".to_owned(),
        phase: Some(failure.phase().to_owned()),
        reason: failure.to_string(),
        log_tail: Vec::new(),
        log: None,
    };
    foundry_sdk::publish(event.event(subject(sign))).map(drop)
}

export!(Distbot);
