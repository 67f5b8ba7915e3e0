//! Whether a build is of a commit that was announced: signbot signs no other.
//!
//! A builder says which commit it built. That the commit was announced, the announcement itself says, which the build carries: an
//! event that another host's key signed (`docs/adr/0029-a-run-carries-its-announcement.md`). Builds from before that carry none,
//! and are judged by what this host has on record.

use time::OffsetDateTime;

use super::message::Handler;
use crate::bus::Delivery;
use crate::event::{COMMIT, COMMITS, Event, Refusal, Unannounced, counts, differing};
use crate::ledger::{EventRow, MOST_CAUSES};

/// signbot's option that names the topics of announcements.
const ANNOUNCED_ON: &str = "announced-on";

impl Handler {
    /// The event of a delivery, if it may be handled: verified, and if it is a build for signbot, of a commit that was announced.
    pub(super) async fn believed(&self, delivery: &Delivery) -> Result<Event, Refusal> {
        let now = OffsetDateTime::now_utc();
        let event = self.link.verifier.verify(&delivery.payload, &delivery.topic, now)?;
        if self.instances.bot().stock.as_deref() == Some("signbot") && event.event_type == "foundry.build.v1" {
            self.announced(&event, now).await?;
        }
        Ok(event)
    }

    async fn announced(&self, build: &Event, now: OffsetDateTime) -> Result<(), Unannounced> {
        let on = self.announced_on();
        match self.link.verifier.announced(build, &on, now) {
            Err(Unannounced::Missing { .. }) if self.is_from_before(build) => {
                let ledger = &self.link.ledger;
                let causes = self.until_written(|| ledger.causes(build.cause.clone())).await;
                led_to(&EventRow::of(build, ""), &causes, &on)
            }
            judged => judged.map(drop),
        }
    }

    /// The topics on which the commits of this signbot's builds are announced, as its operator says.
    fn announced_on(&self) -> Vec<String> {
        let named = self.instances.bot().options.get(ANNOUNCED_ON);
        let named = named.filter(|topics| !topics.is_empty());
        named.cloned().unwrap_or_else(|| vec![COMMITS.to_owned()])
    }

    /// Whether a build may have been made before its host could know that it has to carry an announcement.
    fn is_from_before(&self, build: &Event) -> bool {
        let since = self.link.ledger.upgraded().announcements;
        build.moment().is_ok_and(|made| made < since)
    }
}

/// Judge a build by its causes: the event that led to it, then the one that led to that, as far as this host knows them. Other
/// bots may stand between builder and commit.
///
/// # Errors
/// What keeps it from being of a commit on record.
fn led_to(build: &EventRow, causes: &[EventRow], on: &[String]) -> Result<(), Unannounced> {
    let mut last = build;
    for cause in causes {
        if cause.run != build.run {
            return Err(Unannounced::Differs {
                what: "run",
                said: build.run.clone(),
                announced: cause.run.clone(),
            });
        }
        if cause.event_type == COMMIT {
            counts(&cause.topic, on)?;
            let difference = differing(
                |member| build.data.get(member)?.as_str(),
                |member| cause.data.get(member)?.as_str(),
            );
            return difference.map_or(Ok(()), Err);
        }
        last = cause;
    }
    Err(Unannounced::OffRecord(match &last.cause {
        _ if causes.len() >= MOST_CAUSES => format!("none of the {MOST_CAUSES} events that led to it is a commit"),
        Some(missing) => format!("this host has no event {missing} that led to it"),
        None => format!("no commit led to it: {} has no cause", last.id),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(build: &EventRow, causes: &[EventRow]) -> Result<(), Unannounced> {
        led_to(build, causes, &[COMMITS.to_owned()])
    }

    fn event(id: &str, event_type: &str, cause: Option<&str>) -> EventRow {
        EventRow {
            id: id.to_owned(),
            run: "run".to_owned(),
            event_type: event_type.to_owned(),
            topic: COMMITS.to_owned(),
            source: "host/bot".to_owned(),
            subject: None,
            time: String::new(),
            cause: cause.map(ToOwned::to_owned),
            group: None,
            data: json!({ "repository": "https://example.org/hello.git", "branch": "main", "ref": "a".repeat(40) }),
        }
    }

    fn build() -> EventRow {
        event("build", "foundry.build.v1", Some("commit"))
    }

    fn commit() -> EventRow {
        event("commit", COMMIT, None)
    }

    #[test]
    fn a_build_of_a_commit_on_record_is_signed_whoever_stands_between() {
        judged(&build(), &[commit()]).unwrap();
        let linted = event("linted", "foundry.build.v1", Some("build"));
        judged(&linted, &[build(), commit()]).unwrap();
        let by_hand = event("checked", "org.example.check.v1", Some("commit"));
        let late = event("build", "foundry.build.v1", Some("checked"));
        judged(&late, &[by_hand, commit()]).unwrap();
    }

    #[test]
    fn a_build_whose_cause_is_on_no_record_is_refused_and_the_cause_named() {
        for (build, causes) in [
            (build(), vec![]),
            (event("linted", "foundry.build.v1", Some("build")), vec![build()]),
        ] {
            let missing = causes.last().unwrap_or(&build).cause.clone().unwrap();
            let why = judged(&build, &causes).unwrap_err().to_string();
            assert!(why.contains(&missing), "{why}");
        }
    }

    #[test]
    fn a_build_that_no_commit_led_to_is_refused() {
        let alone = event("build", "foundry.build.v1", None);
        assert!(judged(&alone, &[]).is_err());
        let circle = event("dist", "foundry.dist.v1", None);
        assert!(judged(&build(), &[circle]).is_err());
        let long: Vec<_> = (0..MOST_CAUSES)
            .map(|_| event("build", "foundry.build.v1", Some("build")))
            .collect();
        assert!(judged(&build(), &long).is_err());
    }

    #[test]
    fn a_build_of_another_commit_than_its_cause_is_refused() {
        for field in ["repository", "branch", "ref"] {
            let mut other = commit();
            other.data[field] = json!("other");
            let why = judged(&build(), &[other]).unwrap_err().to_string();
            assert!(why.contains("\"other\""), "{why}");
        }
        let mut other = commit();
        other.run = "another".to_owned();
        assert!(judged(&build(), &[other]).is_err());
        let mut elsewhere = commit();
        elsewhere.topic = "commits-2".to_owned();
        assert!(judged(&build(), &[elsewhere]).is_err());
        let mut silent = commit();
        silent.data = json!({});
        let mut built = build();
        built.data = json!({});
        assert!(judged(&built, &[silent]).is_err());
    }
}
