//! The leave to handle a message that another host of its group may have settled: who is asked, and what the answers come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::claims::{Key, Meaning};
use super::peers::{Askers, Heard, Inner, locked, now};
use crate::event::Origin;
use crate::keys::Duty;
use crate::ledger::LedgerError;

/// First and longest pause before a question is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// A host that hasn't answered for so long is taken to be away.
const SILENCE: Duration = Duration::from_secs(1);

/// Pause before the question is asked all over again.
const AGAIN: Duration = Duration::from_secs(5);

/// What is known of a message by now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// These hosts have not let it go ahead, and some of them are there.
    Asking(BTreeSet<String>),
    /// Only these have not, which seem to be away.
    Awaiting(BTreeSet<String>),
    /// It is this host's.
    Clear,
    /// It has had its effects on another host.
    Settled,
}

/// Whom the leave to handle a message waits for, as it changes.
#[derive(Clone)]
pub struct Awaited(watch::Receiver<Verdict>);

impl Awaited {
    /// The names of the hosts.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<String> {
        match &*self.0.borrow() {
            Verdict::Asking(hosts) | Verdict::Awaiting(hosts) => hosts.clone(),
            Verdict::Clear | Verdict::Settled => BTreeSet::new(),
        }
    }
}

/// The leave to handle a message, once it is there. Dropped, the message is nobody's again.
pub struct Clearance {
    inner: Arc<Inner>,
    key: Key,
    verdict: watch::Receiver<Verdict>,
    had_to_ask: bool,
    /// Whether the claim is still one that asks; changes under the lock of the claims.
    asking: Arc<Mutex<bool>>,
    task: Option<JoinHandle<()>>,
}

impl Clearance {
    /// The leave for a message that came to a group; `again` if it may have been elsewhere before.
    /// Only hosts that have the duty `work`, if one is named, may have handled the message.
    pub(super) fn of(inner: &Arc<Inner>, key: Key, again: bool, work: Option<Duty>) -> Self {
        let inner = Arc::clone(inner);
        let had_to_ask = locked(&inner.claims).take(&key, again, now());
        let (sender, verdict) = watch::channel(match had_to_ask {
            true => Verdict::Asking(BTreeSet::new()),
            false => Verdict::Clear,
        });
        let asking = Arc::new(Mutex::new(had_to_ask));
        let task = had_to_ask.then(|| {
            let question = Question {
                inner: Arc::clone(&inner),
                key: key.clone(),
                work,
                verdict: sender,
                asking: Arc::clone(&asking),
            };
            tokio::spawn(question.ask())
        });
        Self {
            inner,
            key,
            verdict,
            had_to_ask,
            asking,
            task,
        }
    }

    /// Whether another host may publish the same events as this one.
    #[must_use]
    pub fn had_to_ask(&self) -> bool {
        self.had_to_ask
    }

    /// Whether work may begin, as far as the hosts know that are there. `false` if the message has had its effects.
    pub async fn to_begin(&mut self) -> bool {
        self.verdict_that(|verdict| !matches!(verdict, Verdict::Asking(_)))
            .await
    }

    /// Whether [`Self::to_settle`] waits for nobody.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        is_decision(&self.verdict.borrow())
    }

    /// Whom it waits for.
    #[must_use]
    pub fn awaited(&self) -> Awaited {
        Awaited(self.verdict.clone())
    }

    /// Whether the work may take effect. `false` if the message has had its effects.
    pub async fn to_settle(&mut self) -> bool {
        self.verdict_that(is_decision).await
    }

    async fn verdict_that(&mut self, fits: impl Fn(&Verdict) -> bool) -> bool {
        let verdict = self.verdict.wait_for(fits).await;
        // The task ends with a verdict, or with its host.
        verdict.map_or(true, |verdict| *verdict != Verdict::Settled)
    }
}

impl Drop for Clearance {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        let mut claims = locked(&self.inner.claims);
        let mut asking = locked(&self.asking);
        claims.let_go(&self.key, *asking);
        // A task that ends just now finds the claim gone.
        *asking = false;
    }
}

fn is_decision(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Clear | Verdict::Settled)
}

/// Answers to a question come here. Whoever drops it, also with the task that asks, is told of none any more.
struct Asker<'a> {
    askers: &'a Askers,
    id: String,
}

impl<'a> Asker<'a> {
    fn of(askers: &'a Askers, id: String) -> (Self, mpsc::UnboundedReceiver<Heard>) {
        let (sender, answers) = mpsc::unbounded_channel();
        locked(askers).insert(id.clone(), sender);
        (Self { askers, id }, answers)
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        locked(self.askers).remove(&self.id);
    }
}

struct Question {
    inner: Arc<Inner>,
    key: Key,
    work: Option<Duty>,
    verdict: watch::Sender<Verdict>,
    asking: Arc<Mutex<bool>>,
}

impl Question {
    /// Ask until all have answered, or been waited for long enough.
    async fn ask(self) {
        let question = Origin::of_its_own(&self.inner.own.host);
        let (asker, mut answers) = Asker::of(&self.inner.askers, question.id(&[]));
        let verdict = self.verdict_of(&question, &mut answers).await;
        drop(asker);
        if verdict == Verdict::Clear {
            let mut claims = locked(&self.inner.claims);
            let mut asking = locked(&self.asking);
            if std::mem::take(&mut *asking) {
                claims.cleared(&self.key);
            }
        }
        self.verdict.send_replace(verdict);
    }

    async fn verdict_of(&self, question: &Origin, answers: &mut mpsc::UnboundedReceiver<Heard>) -> Verdict {
        let begun = Instant::now();
        let mut granted = BTreeSet::new();
        let mut open: BTreeMap<String, Instant> = loop {
            match self.others().await {
                Ok(peers) => break peers.into_iter().map(|peer| (peer, begun)).collect(),
                Err(error) => tracing::warn!(%error, "cannot look up the other hosts of a group"),
            }
            tokio::time::sleep(PAUSE.1).await;
        };
        let mut pause = PAUSE.0;
        let mut since = begun;
        loop {
            if since.elapsed() >= AGAIN {
                since = Instant::now();
                locked(&self.inner.claims).ask_anew(&self.key, now());
                let granted = std::mem::take(&mut granted);
                open.extend(granted.into_iter().map(|peer| (peer, since)));
                // One that took its leave a while ago is waited for no longer.
                if let Ok(peers) = self.others().await {
                    open.retain(|peer, _| peers.contains(peer));
                }
            }
            let asked = locked(&self.inner.claims).since(&self.key);
            for peer in open.keys() {
                self.inner.ask(peer, question, &self.key, asked);
            }
            let next = Instant::now() + pause;
            pause = (pause * 2).min(PAUSE.1);
            while !open.is_empty() {
                let Ok(Some((peer, asked, standing))) = tokio::time::timeout_at(next, answers.recv()).await else {
                    break;
                };
                // What nobody asked is no answer.
                if !open.contains_key(&peer) && !granted.contains(&peer) {
                    continue;
                }
                match locked(&self.inner.claims).weigh(&self.key, &peer, asked, standing) {
                    Meaning::Settled => return Verdict::Settled,
                    Meaning::GoAhead => {
                        open.remove(&peer);
                        granted.insert(peer);
                    }
                    Meaning::Wait => {
                        open.entry(peer).and_modify(|heard| *heard = Instant::now());
                    }
                }
            }
            self.give_up_on_the_absent(&mut open);
            if open.is_empty() {
                return Verdict::Clear;
            }
            let hosts = open.keys().cloned().collect();
            let verdict = match open.values().all(|heard| heard.elapsed() >= SILENCE) {
                true => Verdict::Awaiting(hosts),
                false => Verdict::Asking(hosts),
            };
            self.verdict
                .send_if_modified(|known| verdict != std::mem::replace(known, verdict.clone()));
        }
    }

    /// The other hosts of the group that may do its work. Each host says itself in which groups it is.
    async fn others(&self) -> Result<Vec<String>, LedgerError> {
        let mut peers = self.inner.ledger.peers(&self.key.0, OffsetDateTime::now_utc()).await?;
        peers.retain(|peer| self.inner.may_have_done(peer, &self.key.0, self.work.as_ref()));
        Ok(peers)
    }

    fn give_up_on_the_absent(&self, open: &mut BTreeMap<String, Instant>) {
        let mut absent = locked(&self.inner.absent);
        open.retain(|peer, heard| {
            let patience = if absent.contains(peer) {
                SILENCE
            } else {
                self.inner.patience
            };
            if heard.elapsed() < patience {
                return true;
            }
            if absent.insert(peer.clone()) {
                tracing::warn!(
                    host = peer,
                    "is away for too long; what it settled in the moment of its death is done again"
                );
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_left_of_a_question_whose_task_is_aborted() {
        let askers = Arc::new(Askers::default());
        let (begun, wait) = tokio::sync::oneshot::channel();
        let theirs = Arc::clone(&askers);
        let task = tokio::spawn(async move {
            let (_asker, mut answers) = Asker::of(&theirs, "q".to_owned());
            let _ = begun.send(());
            answers.recv().await
        });
        wait.await.unwrap();
        assert!(locked(&askers).contains_key("q"));
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(locked(&askers).is_empty());
    }
}
