//! watchbot: watches any number of git repositories, and announces the commits that appear on their branches.
//!
//! What it knows of a repository is in [`memory`], what a poll means in [`poll`]; both are pure. Here they meet the host.

mod backoff;
mod interval;
mod memory;
mod poll;
mod watched;

use std::time::Duration;

use foundry_sdk::events::{Commit, EventData};
use foundry_sdk::git::Error;
use foundry_sdk::{
    Bot, Description, OptionBuilder, OptionKind, Outcome, clock, export, git, log, options, publish, retry_now, state,
};

use memory::Memory;
use poll::{Announcement, Note, Policy};
use watched::{Watched, group};

struct Watchbot;

impl Bot for Watchbot {
    fn describe() -> Description {
        Description::new(
            "watchbot",
            env!("CARGO_PKG_VERSION"),
            "watches git repositories and announces new commits",
        )
        .option(
            OptionBuilder::new(
                "repository",
                OptionKind::GitUrl,
                "Repository to watch, with a branch, a pattern of branches (release/*) or of refs (refs/tags/*); \
                     without one, its branch master.",
            )
            .repeatable()
            .required(),
        )
        .option(
            OptionBuilder::new(
                "interval",
                OptionKind::Duration,
                "Time between two looks at the repositories.",
            )
            .default("30"),
        )
        .option(OptionBuilder::new(
            "from-now",
            OptionKind::Flag,
            "Announce only what changes from now on, not the commits that are there at first sight.",
        ))
        .publishes("publish-to", Commit::TOPIC)
        .timer("poll", "interval")
        // Each repository has its own, shorter time limit; many that hang wait for each other's turns.
        .message_timeout(600)
    }

    fn configure() -> Result<(), String> {
        for watched in watched()? {
            if watched.has_password {
                log::warn(format!(
                    "the password in the URL of {} is used for watching, but is no part of what is announced: put it into \
                     ~/.netrc or a git credential helper of each host's user, so that builds can fetch",
                    watched.name
                ));
            }
        }
        interval::parse(&options::one("interval").unwrap_or_default()).map(drop)
    }

    fn tick(_timer: &str) -> Outcome {
        match look() {
            Ok(()) => Outcome::Done,
            Err(why) => retry_now(why),
        }
    }
}

/// The repositories to watch, each once.
fn watched() -> Result<Vec<Watched>, String> {
    group(options::all("repository").iter().map(String::as_str))
}

/// Look at all repositories whose time has come.
fn look() -> Result<(), String> {
    let now = clock::now();
    let policy = Policy {
        from_now: options::flag("from-now"),
        interval: interval::parse(&options::one("interval").unwrap_or_default()).unwrap_or(Duration::from_secs(30)),
        now,
    };
    let mut due = Vec::new();
    for watched in watched()? {
        let memory = recall(&watched)?;
        if memory.is_due(now) {
            due.push((watched, memory));
        }
    }
    let urls: Vec<String> = due.iter().map(|(watched, _)| watched.url.clone()).collect();
    for ((watched, memory), answer) in due.into_iter().zip(git::refs(&urls)) {
        let answer = answer.map_err(|error| explain(&error));
        let refs = answer.map(|refs| refs.into_iter().map(|r| (r.name, r.commit)).collect());
        let polled = poll::poll(&watched, memory.clone(), refs, &policy);
        for note in &polled.notes {
            match note {
                Note::Info(text) => log::info(text),
                Note::Warning(text) => log::warn(text),
            }
        }
        for announcement in &polled.announcements {
            announce(&watched, announcement)?;
        }
        if polled.memory != memory {
            remember(&watched, &polled.memory)?;
        }
    }
    Ok(())
}

fn announce(watched: &Watched, announcement: &Announcement) -> Result<(), String> {
    let commit = Commit {
        repository: watched.name.clone(),
        branch: announcement.branch.clone(),
        commit: announcement.commit.clone(),
    };
    let short = announcement.commit.get(..12).unwrap_or(&announcement.commit);
    log::info(format!("{}#{} is at {short}", watched.name, announcement.branch));
    let mut event = commit.event(format!("{} {} {short}", watched.title(), announcement.branch));
    // However many watchbots see it, it is one event.
    event.key = Some(format!(
        "{}#{}@{}",
        watched.name, announcement.branch, announcement.commit
    ));
    publish(event).map(drop)
}

fn recall(watched: &Watched) -> Result<Memory, String> {
    let stored = state::get(&watched.state_key()).map_err(|error| format!("cannot read the state: {error:?}"))?;
    match stored {
        None => Ok(Memory::default()),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            format!(
                "the state of {} is damaged ({error}); remove it to begin anew",
                watched.name
            )
        }),
    }
}

fn remember(watched: &Watched, memory: &Memory) -> Result<(), String> {
    let bytes = serde_json::to_vec(memory).map_err(|error| format!("cannot write the state: {error}"))?;
    state::set(&watched.state_key(), &bytes).map_err(|error| match error {
        state::Error::TooLarge(limit) => format!("the state of {} does not fit into {limit} bytes", watched.name),
        other => format!("cannot write the state of {}: {other:?}", watched.name),
    })
}

/// The host's words name the repository, the reason and the remedy.
fn explain(error: &Error) -> String {
    match error {
        Error::NotGranted(why)
        | Error::NotFound(why)
        | Error::NoSuchRef(why)
        | Error::TimedOut(why)
        | Error::BadRequest(why)
        | Error::Unavailable(why) => why.clone(),
    }
}

export!(Watchbot);
