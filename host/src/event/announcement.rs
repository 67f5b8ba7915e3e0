//! The announcement that a run's events carry: the event that announced the run's commit, as its host signed it
//! (`docs/adr/0029-a-run-carries-its-announcement.md`).

use serde::Deserialize;
use time::OffsetDateTime;

use super::envelope::Event;
use super::policy::{self, fits_topic};
use super::verifier::{Refusal, Verifier};

/// The type of what announces a commit.
pub const COMMIT: &str = "foundry.commit.v1";

/// Largest event that announces a commit, in bytes. All later events of its run carry it, so it takes from what they may have.
pub const MAX_ANNOUNCEMENT: usize = 32 * 1024;

/// The topic (without prefix) that commits are announced on, unless an operator names others; and that of an announcement that names
/// none, as those of older versions.
pub const COMMITS: &str = "commits";

/// What a build and the announcement of its commit have to agree in: the data's member, and what a person calls it.
const SAME: [(&str, &str); 3] = [("repository", "repository"), ("branch", "branch"), ("ref", "commit")];

/// Why an event is not believed to be of an announced commit.
#[derive(Debug, thiserror::Error)]
pub enum Unannounced {
    /// It carries no announcement.
    #[error(
        "it carries no announcement of its commit (if host {host} has an older version, upgrade it and have the commit built \
         again; a bot between builder and commit has to publish while it handles the message)"
    )]
    Missing {
        /// The host that says the event.
        host: String,
    },
    /// The announcement is refused, as it would be if it came by itself.
    #[error("the announcement of its commit that it carries is refused: {0}")]
    Refused(#[source] Box<Refusal>),
    /// It is from before announcements were carried, and what led to it is on no record.
    #[error("it carries no announcement of its commit, and what is on record does not lead to one: {0}")]
    OffRecord(String),
    /// It was announced on a topic that is for something else here.
    #[error(
        "its commit was announced on {topic}, and what counts here are announcements on {} (if the commits of these builds are \
         announced there, load signbot with `--announced-on` and that topic, and requeue the dead letter)",
        .count.join(", ")
    )]
    Elsewhere {
        /// The topic that the announcement was signed for, without prefix.
        topic: String,
        /// The topics that count.
        count: Vec<String>,
    },
    /// What it carries is another event.
    #[error("it carries an event of the type {0}, which announces no commit")]
    AnotherType(String),
    /// The announcement is of something else.
    #[error("it is of the {what} {said:?}, and the announcement is of {announced:?}")]
    Differs {
        /// What differs: run, repository, branch or commit.
        what: &'static str,
        /// What the event says.
        said: String,
        /// What the announcement says.
        announced: String,
    },
}

impl Unannounced {
    /// A short name that stays the same, as [`policy::Rule::name`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refused(_) => "announcement",
            Self::Missing { .. }
            | Self::OffRecord(_)
            | Self::Elsewhere { .. }
            | Self::AnotherType(_)
            | Self::Differs { .. } => "unannounced",
        }
    }
}

/// As much of an announcement as says where to verify it.
#[derive(Deserialize)]
struct Addressed {
    topic: Option<String>,
}

impl Event {
    /// Every event of a run carries the same announcement, which therefore carries none itself and has a bound of its own.
    pub(super) fn check_announcement(&self) -> Result<(), String> {
        let Some(announcement) = &self.announcement else {
            return Ok(());
        };
        if self.event_type == COMMIT {
            return Err("it announces a commit, and carries another announcement".to_owned());
        }
        if announcement.len() > MAX_ANNOUNCEMENT {
            return Err(format!(
                "the announcement that it carries has {} bytes, and may have {MAX_ANNOUNCEMENT}",
                announcement.len()
            ));
        }
        Ok(())
    }

    /// The announcement that everything that comes of this event carries: its own, or the event itself, `payload` as it came, if it
    /// announces a commit.
    #[must_use]
    pub fn passes_on(&self, payload: &[u8]) -> Option<String> {
        if self.event_type == COMMIT {
            return std::str::from_utf8(payload).ok().map(ToOwned::to_owned);
        }
        self.announcement.clone()
    }

    /// The event with the announcement of what led to it. An announcement carries none.
    #[must_use]
    pub fn carrying(mut self, announcement: Option<&str>) -> Self {
        self.announcement = announcement
            .filter(|_| self.event_type != COMMIT)
            .map(ToOwned::to_owned);
        self
    }
}

impl Verifier {
    /// The announcement that an event carries: verified, of the same run, and made on one of the topics (without prefix) `on` which
    /// announcements count. The event itself may be one that is not verified.
    ///
    /// The topic matters although its signer may speak there: commits that are announced to another pipeline, for a test, are none
    /// of this one. `TYPE@TOPIC` lets a host announce there and nowhere else.
    ///
    /// # Errors
    /// [`Unannounced`] if it carries none, one that is refused, one of another topic or of another run.
    pub fn announcement(&self, of: &Event, on: &[String], now: OffsetDateTime) -> Result<Event, Unannounced> {
        let Some(text) = of.announcement.as_deref() else {
            return Err(Unannounced::Missing {
                host: policy::presentable(of.host()),
            });
        };
        let announced = self
            .carried(text, of, now)
            .map_err(|refusal| Unannounced::Refused(Box::new(refusal)))?;
        if announced.event_type != COMMIT {
            return Err(Unannounced::AnotherType(announced.event_type));
        }
        self.is_announced_on(&announced, on)?;
        if announced.run != of.run {
            return Err(Unannounced::Differs {
                what: "run",
                said: of.run.clone(),
                announced: announced.run,
            });
        }
        Ok(announced)
    }

    /// The same, and the event is of the commit that was announced: repository, branch and commit agree.
    ///
    /// # Errors
    /// [`Unannounced`]
    pub fn announced(&self, event: &Event, on: &[String], now: OffsetDateTime) -> Result<Event, Unannounced> {
        let announced = self.announcement(event, on, now)?;
        let difference = differing(
            |member| event.data.get(member)?.as_str(),
            |member| announced.data.get(member)?.as_str(),
        );
        match difference {
            Some(difference) => Err(difference),
            None => Ok(announced),
        }
    }

    /// The topic is in the signature: a verified event was made for it.
    fn is_announced_on(&self, announced: &Event, on: &[String]) -> Result<(), Unannounced> {
        let topic = announced
            .topic
            .as_deref()
            .map_or(COMMITS, |topic| self.topics.short(topic));
        counts(topic, on)
    }

    /// An announcement may have become too old since the event was made, which waited somewhere. It must not have been then.
    fn carried(&self, text: &str, of: &Event, now: OffsetDateTime) -> Result<Event, Refusal> {
        let addressed: Addressed = serde_json::from_str(text).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let topic = addressed.topic.unwrap_or_else(|| self.topics.full(COMMITS));
        match self.verify(text.as_bytes(), &topic, now) {
            Err(Refusal::Stale(_)) => {
                let made = of.moment().map_err(Refusal::Malformed)?;
                self.verify(text.as_bytes(), &topic, made.min(now))
            }
            judged => judged,
        }
    }
}

/// Whether what is announced on a topic counts. `on` are topics without prefix, and may be filters with the wildcards of MQTT 5,
/// section 4.7.1.
///
/// # Errors
/// [`Unannounced::Elsewhere`]
pub(crate) fn counts(topic: &str, on: &[String]) -> Result<(), Unannounced> {
    match on.iter().any(|counts| fits_topic(counts, topic)) {
        true => Ok(()),
        false => Err(Unannounced::Elsewhere {
            topic: topic.to_owned(),
            count: on.to_vec(),
        }),
    }
}

/// What two events say differently of their commit, by what each has under a member of its data.
pub(crate) fn differing<'a, 'b>(
    said: impl Fn(&str) -> Option<&'a str>,
    announced: impl Fn(&str) -> Option<&'b str>,
) -> Option<Unannounced> {
    SAME.into_iter().find_map(|(member, what)| {
        let (said, announced) = (said(member), announced(member));
        (said.is_none() || said != announced).then(|| Unannounced::Differs {
            what,
            said: said.unwrap_or_default().to_owned(),
            announced: announced.unwrap_or_default().to_owned(),
        })
    })
}

#[cfg(test)]
mod tests;
