//! Runs that wait for a bot which nobody has loaded yet.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use foundry_broker::BacklogStatus;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event::Topics;
use crate::run::{EventRow, Run};

/// An event is written before it comes to the broker, in seconds at most.
const ON_ITS_WAY: u64 = 30;

/// A run as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownRun {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// What it waits for, if no bot reads the topic of an event that something is to follow on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<Unread>,
}

impl ShownRun {
    pub(super) fn of(run: Run, backlog: &BacklogStatus, topics: &Topics) -> Self {
        let unread = Unread::of(&run, backlog, topics, OffsetDateTime::now_utc());
        Self { run, unread }
    }
}

impl Deref for ShownRun {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

/// A topic with messages that no group reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unread {
    /// Without prefix.
    pub topic: String,
    /// For how many seconds the broker still keeps the message for a bot that comes; none if it does not keep it any
    /// more.
    pub left: Option<u64>,
}

impl Unread {
    /// What a run waits for.
    fn of(run: &Run, backlog: &BacklogStatus, topics: &Topics, now: OffsetDateTime) -> Option<Self> {
        let pending: BTreeSet<_> = run.state.pending().map(|chain| chain.event.as_str()).collect();
        let mut waiting = run.events.iter().filter(|event| pending.contains(event.id.as_str()));
        // A run of other bots alone has no chains.
        let is_others = run.state.chains.is_empty() && !run.state.finished;
        let last = run.events.last().filter(|_| is_others);
        let at = |event| Self::at(event, backlog, topics, now);
        waiting.find_map(at).or_else(|| last.and_then(at))
    }

    /// What an event that something is to follow on waits for.
    fn at(event: &EventRow, backlog: &BacklogStatus, topics: &Topics, now: OffsetDateTime) -> Option<Self> {
        let full = topics.full(&event.topic);
        let nobody = |topic: &&foundry_broker::BacklogTopic| topic.topic == full && topic.readers == 0;
        let topic = backlog.topics.iter().find(nobody)?;
        let sent = OffsetDateTime::parse(&event.time, &Rfc3339).ok()?;
        let age = u64::try_from((now - sent).whole_seconds()).unwrap_or(0);
        // What is older than the oldest that is kept had no place any more. Without an oldest one, what is new has not come there yet.
        let is_kept = age <= topic.age.unwrap_or(0).saturating_add(ON_ITS_WAY);
        let left = backlog.keep.checked_sub(age).filter(|left| is_kept && *left > 0);
        Some(Self {
            topic: event.topic.clone(),
            left,
        })
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, left } = self;
        let load = match reader_of(topic) {
            Some(bot) => format!("load {bot}"),
            None => "load a bot that does".to_owned(),
        };
        match left {
            Some(left) => write!(f, "no bot reads `{topic}`: kept for {}; {load}", span(*left)),
            None => write!(
                f,
                "no bot reads `{topic}`, and the message is kept no longer; {load} before the next commit"
            ),
        }
    }
}

/// The stock bot that reads a topic of the pipeline.
#[must_use]
pub fn reader_of(topic: &str) -> Option<&'static str> {
    match topic {
        "commits" => Some("buildbot"),
        "builds" => Some("signbot"),
        "signs" => Some("distbot"),
        _ => None,
    }
}

/// A length of time in one unit, rounded down: `58 min`.
#[must_use]
pub fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use foundry_broker::BacklogTopic;
    use serde_json::json;

    use super::*;

    fn event(topic: &str, event_type: &str, time: &str) -> EventRow {
        EventRow {
            id: format!("{topic}-{time}"),
            run: "run".to_owned(),
            event_type: event_type.to_owned(),
            topic: topic.to_owned(),
            source: "here/bot".to_owned(),
            subject: None,
            time: time.to_owned(),
            cause: None,
            group: None,
            data: json!({}),
        }
    }

    fn backlog(readers: usize, age: Option<u64>) -> BacklogStatus {
        let topic = |topic: &str, readers| BacklogTopic {
            topic: format!("foundry/{topic}"),
            readers,
            messages: usize::from(age.is_some()),
            bytes: 0,
            age,
        };
        BacklogStatus {
            keep: 3600,
            topics: vec![topic("builds", 0), topic("commits", readers)],
        }
    }

    fn unread(events: Vec<EventRow>, backlog: &BacklogStatus) -> Option<String> {
        let run = Run::of(events).unwrap();
        let now = OffsetDateTime::parse("2026-11-30T12:02:00Z", &Rfc3339).unwrap();
        Unread::of(&run, backlog, &Topics::new("foundry"), now).map(|unread| unread.to_string())
    }

    #[test]
    fn an_announced_run_without_a_reader_says_for_how_long_it_is_kept() {
        let announced = || vec![event("commits", "foundry.commit.v1", "2026-11-30T12:00:00Z")];
        assert_eq!(
            unread(announced(), &backlog(0, Some(119))).unwrap(),
            "no bot reads `commits`: kept for 58 min; load buildbot"
        );
        assert_eq!(unread(announced(), &backlog(1, Some(119))), None);
        // Displaced by newer ones, or older than messages are kept.
        for backlog in [
            backlog(0, Some(10)),
            backlog(0, None),
            BacklogStatus {
                keep: 60,
                ..backlog(0, Some(119))
            },
        ] {
            assert_eq!(
                unread(announced(), &backlog).unwrap(),
                "no bot reads `commits`, and the message is kept no longer; load buildbot before the next commit"
            );
        }
        // It is on record, and not yet at the broker.
        let sent_just_now = vec![event("commits", "foundry.commit.v1", "2026-11-30T12:01:59Z")];
        assert_eq!(
            unread(sent_just_now, &backlog(0, None)).unwrap(),
            "no bot reads `commits`: kept for 59 min; load buildbot"
        );
        // Without a backlog nothing is known.
        assert_eq!(unread(announced(), &BacklogStatus::default()), None);
    }

    #[test]
    fn what_nothing_follows_on_counts_and_an_end_waits_for_nobody() {
        let commit = event("commits", "foundry.commit.v1", "2026-11-30T12:00:00Z");
        let build = EventRow {
            cause: Some(commit.id.clone()),
            ..event("builds", "foundry.build.v1", "2026-11-30T12:01:50Z")
        };
        let built = vec![commit, build.clone()];
        assert_eq!(
            unread(built.clone(), &backlog(1, Some(119))).unwrap(),
            "no bot reads `builds`: kept for 59 min; load signbot"
        );
        // What another bot says of the build is nothing that the pipeline goes on with.
        let report = EventRow {
            cause: Some(build.id.clone()),
            ..event("commits", "test.report.v1", "2026-11-30T12:01:55Z")
        };
        let reported = [built.clone(), vec![report]].concat();
        assert!(unread(reported, &backlog(0, Some(119))).unwrap().contains("`builds`"));
        let failure = EventRow {
            cause: Some(build.id),
            data: json!({ "stage": "sign", "reason": "no key" }),
            ..event("failures", "foundry.failure.v1", "2026-11-30T12:01:55Z")
        };
        assert_eq!(unread([built, vec![failure]].concat(), &backlog(0, Some(119))), None);
    }
}
