//! What other hosts' bots have done and have in hand, as their hosts count it: asked when somebody wants to know, since a word for each job
//! would cost more than the job. A host that does not answer in time, or is older than the question, is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::peers::{Peers, locked};
use crate::event::{Origin, OutgoingEvent};

/// Type of the question.
const QUESTION: &str = "foundry.peer-jobs-question.v1";

/// Type of the answer.
const ANSWER: &str = "foundry.peer-jobs-answer.v1";

/// How long hosts have to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bots that an answer is about: as many as a host presents.
const MOST: usize = 256;

/// What a host counts of a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    /// Messages and ticks that came to an end since the bot was loaded.
    pub handled: u64,
    /// Messages and ticks whose attempts failed since the bot was loaded.
    pub failed: u64,
    /// Messages in its hands.
    pub in_hand: u64,
}

/// The counters of a host's bots, by name.
pub type Counts = BTreeMap<String, Counters>;

/// Counts this host's own bots.
type Count = Box<dyn Fn() -> Counts + Send + Sync>;

/// What an answer says.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    bots: Counts,
}

/// An answer, and whose it is.
type Heard = (String, Counts);

/// The questions that are open, and what this host answers itself.
#[derive(Default)]
pub(super) struct Jobs {
    own: OnceLock<Count>,
    /// Who waits for the answer to which question, of which host.
    askers: Mutex<HashMap<String, (String, mpsc::Sender<Heard>)>>,
}

impl Jobs {
    /// What there is to say to a host about an event of its, if the event is about jobs at all.
    pub(super) fn hear(&self, peer: &str, event_type: &str, cause: Option<&str>, data: &Map<String, Value>) -> Heed {
        match event_type {
            QUESTION => Heed::Answer(self.answer()),
            ANSWER => {
                let asker = cause.and_then(|cause| locked(&self.askers).get(cause).cloned());
                let answer = serde_json::from_value::<Answer>(Value::Object(data.clone()));
                // Only the host that was asked is heard.
                if let (Some((asked, asker)), Ok(answer)) = (asker, answer)
                    && asked == peer
                {
                    let _ = asker.try_send((asked, answer.bots));
                }
                Heed::Heard
            }
            _ => Heed::Other,
        }
    }

    fn answer(&self) -> Map<String, Value> {
        let bots = self.own.get().map(|count| count()).unwrap_or_default();
        let bots = bots.into_iter().take(MOST).collect();
        match serde_json::to_value(Answer { bots }) {
            Ok(Value::Object(data)) => data,
            _ => Map::new(),
        }
    }
}

/// What to do about an event.
#[derive(Debug, PartialEq)]
pub(super) enum Heed {
    /// Send this answer.
    Answer(Map<String, Value>),
    /// Nothing more.
    Heard,
    /// It is about something else.
    Other,
}

/// Questions that nobody waits for any more once this is dropped.
struct Open<'a> {
    jobs: &'a Jobs,
    questions: Vec<String>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut askers = locked(&self.jobs.askers);
        self.questions.iter().for_each(|question| {
            askers.remove(question);
        });
    }
}

impl Peers {
    /// From now on others are told this of this host's bots. The first one counts.
    pub fn count_by(&self, count: impl Fn() -> Counts + Send + Sync + 'static) {
        let _ = self.inner.jobs.own.set(Box::new(count));
    }

    /// What these hosts count of their bots. Those that do not answer within two seconds are left out.
    pub async fn jobs(&self, hosts: BTreeSet<String>) -> BTreeMap<String, Counts> {
        let (sender, mut answers) = mpsc::channel(hosts.len().max(1));
        let questions = hosts.iter().map(|host| (host, self.inner.jobs_question(host)));
        let mut open = Open {
            jobs: &self.inner.jobs,
            questions: Vec::new(),
        };
        for (host, question) in questions {
            open.questions.push(question.id.clone());
            locked(&self.inner.jobs.askers).insert(question.id.clone(), (host.clone(), sender.clone()));
            self.inner.send_to(host, question);
        }
        let mut heard = BTreeMap::new();
        let all = async {
            while heard.len() < hosts.len() {
                let Some((host, counts)) = answers.recv().await else {
                    break;
                };
                heard.insert(host, counts);
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all).await;
        heard
    }
}

/// The question to a host.
pub(super) fn question(own: &str, to: &str) -> OutgoingEvent {
    OutgoingEvent::own(
        Origin::of_its_own(own),
        &format!("peers/{to}"),
        QUESTION,
        "peers",
        Map::new(),
    )
}

/// The answer to a host's question.
pub(super) fn answer(own: &str, to: &str, question: &str, data: Map<String, Value>) -> OutgoingEvent {
    OutgoingEvent {
        cause: Some(question.to_owned()),
        ..OutgoingEvent::own(Origin::of_its_own(own), &format!("peers/{to}"), ANSWER, "peers", data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Map<String, Value> {
        let jobs = Jobs::default();
        let counters = Counters {
            handled: 3,
            failed: 1,
            in_hand: 2,
        };
        let _ = jobs
            .own
            .set(Box::new(move || BTreeMap::from([("build".to_owned(), counters)])));
        match jobs.hear("b2", QUESTION, None, &Map::new()) {
            Heed::Answer(data) => data,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_heard_from_the_host_that_was_asked_and_from_no_other() {
        let data = counted();
        assert_eq!(
            Value::Object(data.clone()),
            serde_json::json!({ "bots": { "build": { "handled": 3, "failed": 1, "in-hand": 2 } } })
        );
        let jobs = Jobs::default();
        let (sender, mut answers) = mpsc::channel(4);
        locked(&jobs.askers).insert("q1".to_owned(), ("b1".to_owned(), sender));
        for (peer, cause) in [("b2", Some("q1")), ("b1", Some("q2")), ("b1", None)] {
            assert_eq!(jobs.hear(peer, ANSWER, cause, &data), Heed::Heard);
        }
        assert!(answers.try_recv().is_err());
        jobs.hear("b1", ANSWER, Some("q1"), &data);
        let (host, counts) = answers.try_recv().unwrap();
        assert_eq!((host.as_str(), counts["build"].in_hand), ("b1", 2));
    }

    #[test]
    fn what_is_about_messages_is_not_about_jobs() {
        let jobs = Jobs::default();
        assert_eq!(
            jobs.hear("b1", "foundry.peer-question.v1", None, &Map::new()),
            Heed::Other
        );
    }
}
