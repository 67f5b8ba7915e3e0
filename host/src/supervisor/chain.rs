//! Whether a build is of a commit that was announced: signbot signs no other.
//!
//! A builder says which commit it built. That the commit was announced, the announcement itself says, an event of another
//! host's key, which this host has on record.

use crate::ledger::{EventRow, MOST_CAUSES};

/// The type of what announces a commit.
const COMMIT: &str = "foundry.commit.v1";

/// What has to agree, as the data of both events name it.
const SAME: [(&str, &str); 3] = [("repository", "repository"), ("branch", "branch"), ("ref", "commit")];

/// What follows from a build's causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is of an announced commit.
    Announced,
    /// An event between the two is not here yet: events may overtake each other.
    NotYet(String),
    /// It never will be.
    Refused(String),
}

/// Judge a build by its causes: the event that led to it, then the one that led to that, as far as this host knows them. Other
/// bots may stand between builder and commit.
pub(super) fn judge(build: &EventRow, causes: &[EventRow]) -> Standing {
    let mut last = build;
    for cause in causes {
        if cause.run != build.run {
            let why = format!(
                "its cause {} is of the run {}, and it is of {}",
                cause.id, cause.run, build.run
            );
            return Standing::Refused(why);
        }
        if cause.event_type == COMMIT {
            return differs(build, cause).map_or(Standing::Announced, Standing::Refused);
        }
        last = cause;
    }
    if causes.len() >= MOST_CAUSES {
        return Standing::Refused(format!("none of the {MOST_CAUSES} events that led to it is a commit"));
    }
    match &last.cause {
        Some(missing) => Standing::NotYet(format!(
            "this host has no event {missing} that led to it (if the topic of commits is not `commits` here, list it in \
             messages.observe)"
        )),
        None => Standing::Refused(format!("no commit led to it: {} has no cause", last.id)),
    }
}

/// What a build says of its commit that the announcement doesn't.
fn differs(build: &EventRow, commit: &EventRow) -> Option<String> {
    SAME.iter().find_map(|(field, name)| {
        let (built, announced) = (build.data.get(field), commit.data.get(field));
        let text =
            |value: Option<&serde_json::Value>| value.and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        (built != announced || built.is_none()).then(|| {
            format!(
                "it is of the {name} {:?}, and the announced one is {:?}",
                text(built),
                text(announced)
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: &str, event_type: &str, cause: Option<&str>) -> EventRow {
        EventRow {
            id: id.to_owned(),
            run: "run".to_owned(),
            event_type: event_type.to_owned(),
            topic: String::new(),
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
    fn a_build_of_an_announced_commit_is_signed_whoever_stands_between() {
        assert_eq!(judge(&build(), &[commit()]), Standing::Announced);
        let linted = event("linted", "foundry.build.v1", Some("build"));
        assert_eq!(judge(&linted, &[build(), commit()]), Standing::Announced);
        let by_hand = event("checked", "org.example.check.v1", Some("commit"));
        let late = event("build", "foundry.build.v1", Some("checked"));
        assert_eq!(judge(&late, &[by_hand, commit()]), Standing::Announced);
    }

    #[test]
    fn a_cause_that_is_missing_may_still_come() {
        for (build, causes) in [
            (build(), vec![]),
            (event("linted", "foundry.build.v1", Some("build")), vec![build()]),
        ] {
            let missing = causes.last().unwrap_or(&build).cause.clone().unwrap();
            let Standing::NotYet(why) = judge(&build, &causes) else {
                panic!("{build:?}")
            };
            assert!(why.contains(&missing), "{why}");
        }
    }

    #[test]
    fn a_build_that_no_commit_led_to_is_refused() {
        let alone = event("build", "foundry.build.v1", None);
        assert!(matches!(judge(&alone, &[]), Standing::Refused(_)));
        let circle = event("dist", "foundry.dist.v1", None);
        assert!(matches!(judge(&build(), &[circle]), Standing::Refused(_)));
    }

    #[test]
    fn a_build_of_another_commit_than_its_cause_is_refused() {
        for field in ["repository", "branch", "ref"] {
            let mut other = commit();
            other.data[field] = json!("other");
            let Standing::Refused(why) = judge(&build(), &[other]) else {
                panic!("{field}")
            };
            assert!(why.contains("\"other\""), "{why}");
        }
        let mut other = commit();
        other.run = "another".to_owned();
        assert!(matches!(judge(&build(), &[other]), Standing::Refused(_)));
        let mut silent = commit();
        silent.data = json!({});
        let mut built = build();
        built.data = json!({});
        assert!(matches!(judge(&built, &[silent]), Standing::Refused(_)));
    }
}
