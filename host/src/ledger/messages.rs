//! A message's way through a host: attempts, settlement, and the outbox of what it led to.

use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};
use time::OffsetDateTime;

use super::dead_letters::{self, DeadLetter, Revived};
use super::outbox;
use super::{Ledger, LedgerError};
use super::{retention, runs, state};
use crate::event::ATTEMPT;
use crate::run::EventRow;
use crate::runtime::{Seen, Sight, StateWrite};

/// What a ledger knows of an event that came for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its effects are here.
    pub settled: bool,
    /// Another host was promised that it isn't settled here without asking.
    pub promised: bool,
}

/// Everything that takes effect when a message, or a timer's tick, is over: in one transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settlement {
    /// The bot.
    pub bot: String,
    /// Group and event id of the message; none for a tick.
    pub message: Option<(String, String)>,
    /// What it saw of the bot's state, and what that was.
    pub sights: Vec<(Sight, Seen)>,
    /// State writes.
    pub writes: Vec<StateWrite>,
    /// Full topic and signed payload of each event to publish.
    pub publish: Vec<(String, Vec<u8>)>,
    /// The same events, for `runs`.
    pub events: Vec<EventRow>,
    /// The message itself, if it was given up.
    pub dead: Option<DeadLetter>,
    /// Whether another host may publish the same events, since it may have had the same message.
    pub again: bool,
    /// The dead letter that the message was, if it was tried again from there.
    pub revived: Option<Revived>,
}

/// Whether a settlement took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It did, or somebody else had settled the message before.
    Done,
    /// The bot's state is not what it was when this was worked out: the work has to be done again. Nothing took effect.
    Stale,
}

impl Ledger {
    /// Make a settlement's effects true, all of them or none.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing took effect then.
    pub async fn settle(&self, settlement: Settlement) -> Result<Settled, LedgerError> {
        self.settle_then(settlement, ()).await
    }

    /// The same, and drop something as soon as whoever looks at the state from then on sees what this made of it. That is before it
    /// is on the disk; if it does not get there, who looked is told that it is [`Settled::Stale`].
    ///
    /// # Errors
    /// [`LedgerError`]; nothing took effect then.
    pub async fn settle_then<T: Send + 'static>(
        &self,
        settlement: Settlement,
        turn: T,
    ) -> Result<Settled, LedgerError> {
        let turn = Mutex::new(Some(turn));
        let added = self
            .work(move |c| {
                let added = settle(c, &settlement);
                drop(turn.lock().unwrap_or_else(PoisonError::into_inner).take());
                added
            })
            .await?;
        let Some(added) = added else {
            return Ok(Settled::Stale);
        };
        self.outbox_grew(added);
        Ok(Settled::Done)
    }

    /// What is known of an event before it is handled for a group.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn known(&self, group: &str, id: &str) -> Result<Known, LedgerError> {
        let (group, id) = (group.to_owned(), id.to_owned());
        self.work(move |c| {
            Ok(Known {
                settled: is_settled(c, &group, &id)?,
                promised: c
                    .prepare_cached("SELECT 1 FROM promises WHERE grp = ? AND id = ?")?
                    .exists(params![group, id])?,
            })
        })
        .await
    }

    /// Promise another host not to settle an event without asking. Returns whether that is possible: it isn't when the
    /// event is settled.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn promise(&self, group: &str, id: &str) -> Result<bool, LedgerError> {
        let (group, id) = (group.to_owned(), id.to_owned());
        self.work(move |c| {
            if is_settled(c, &group, &id)? {
                return Ok(false);
            }
            c.prepare_cached("INSERT OR IGNORE INTO promises VALUES (?, ?, ?)")?
                .execute(params![group, id, noted_at(c)?])?;
            Ok(true)
        })
        .await
    }

    /// How many attempts at an event have failed.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn attempts(&self, group: &str, id: &str) -> Result<u32, LedgerError> {
        let (group, id) = (group.to_owned(), id.to_owned());
        self.work(move |c| {
            c.prepare_cached("SELECT count FROM attempts WHERE grp = ? AND id = ?")?
                .query_row(params![group, id], |row| row.get(0))
                .optional()
                .map(Option::unwrap_or_default)
        })
        .await
    }

    /// Count a failed attempt; returns how many there are now.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn count_attempt(&self, group: &str, id: &str) -> Result<u32, LedgerError> {
        let (group, id) = (group.to_owned(), id.to_owned());
        self.work(move |c| {
            c.prepare_cached(
                "INSERT INTO attempts VALUES (?, ?, 1, ?)
                 ON CONFLICT DO UPDATE SET count = count + 1, at = excluded.at RETURNING count",
            )?
            .query_row(params![group, id, noted_at(c)?], |row| row.get(0))
        })
        .await
    }

    /// Remember that another host has settled an event.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn settled_elsewhere(&self, group: &str, id: &str) -> Result<(), LedgerError> {
        let (group, id) = (group.to_owned(), id.to_owned());
        self.work(move |c| {
            note_settled(c, &group, &id)?;
            c.prepare_cached("DELETE FROM attempts WHERE grp = ? AND id = ?")?
                .execute(params![group, id])?;
            Ok(())
        })
        .await
    }
}

fn is_settled(c: &Connection, group: &str, id: &str) -> rusqlite::Result<bool> {
    c.prepare_cached("SELECT 1 FROM processed WHERE grp = ? AND id = ? AND attempt = ?")?
        .exists(params![group, id, ATTEMPT])
}

/// When something is noted of a message, in seconds since 1970: by the clock, and not earlier than the housekeeping's time. What a clock that is back dates
/// would be forgotten once it is right again.
fn noted_at(c: &Connection) -> rusqlite::Result<i64> {
    let clock = OffsetDateTime::now_utc().unix_timestamp();
    Ok(clock.max(retention::noted_time(c)?.unwrap_or(clock)))
}

/// Returns whether it was not settled before.
fn note_settled(c: &Connection, group: &str, id: &str) -> rusqlite::Result<bool> {
    let noted = c
        .prepare_cached("INSERT OR IGNORE INTO processed (grp, id, attempt, at) VALUES (?, ?, ?, ?)")?
        .execute(params![group, id, ATTEMPT, noted_at(c)?])?;
    Ok(noted > 0)
}

/// Before anything is changed. A message that is settled already is not stale: nothing of it is to take effect.
fn is_stale(c: &Connection, settlement: &Settlement) -> rusqlite::Result<bool> {
    for (sight, seen) in &settlement.sights {
        let now = match sight {
            Sight::Value(key) => Seen::value(state::value(c, &settlement.bot, key)?.as_deref()),
            Sight::Keys(prefix) => Seen::keys(&state::keys(c, &settlement.bot, prefix)?),
        };
        if now != *seen {
            let is_over = match &settlement.message {
                Some((group, id)) => {
                    is_settled(c, group, id)? && !settlement.revived.is_some_and(|revived| revived.anew)
                }
                None => false,
            };
            return Ok(!is_over);
        }
    }
    Ok(false)
}

/// Returns what came into the outbox; none if the state is not what was seen any more.
fn settle(c: &Connection, settlement: &Settlement) -> rusqlite::Result<Option<outbox::Size>> {
    if is_stale(c, settlement)? {
        return Ok(None);
    }
    if let Some(Revived { number, anew }) = settlement.revived {
        let found = c
            .prepare_cached("DELETE FROM dead_letters WHERE seq = ?")?
            .execute([number])?;
        if found == 0 {
            return Ok(Some(outbox::Size::default()));
        }
        // It was settled when it was given up.
        if let Some((group, id)) = settlement.message.as_ref().filter(|_| anew) {
            c.prepare_cached("DELETE FROM processed WHERE grp = ? AND id = ? AND attempt = ?")?
                .execute(params![group, id, ATTEMPT])?;
        }
    }
    if let Some((group, id)) = &settlement.message {
        if !note_settled(c, group, id)? {
            // Somebody else of the group on this host had the same message in hand, and was faster.
            return Ok(Some(outbox::Size::default()));
        }
        c.prepare_cached("DELETE FROM attempts WHERE grp = ? AND id = ?")?
            .execute(params![group, id])?;
    }
    for write in &settlement.writes {
        match &write.value {
            Some(value) => c
                .prepare_cached("INSERT INTO state VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")?
                .execute(params![settlement.bot, write.key, value])?,
            None => c
                .prepare_cached("DELETE FROM state WHERE bot = ? AND key = ?")?
                .execute(params![settlement.bot, write.key])?,
        };
    }
    let mut added = outbox::Size::default();
    for (topic, payload) in &settlement.publish {
        added += outbox::insert(c, topic, payload, settlement.again)?;
    }
    for event in &settlement.events {
        runs::insert(c, event)?;
    }
    if let Some(dead) = &settlement.dead {
        dead_letters::insert(c, dead)?;
    }
    Ok(Some(added))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        (directory, ledger)
    }

    fn settlement() -> Settlement {
        Settlement {
            bot: "b".into(),
            message: Some(("g".into(), "m1".into())),
            writes: vec![StateWrite {
                key: "k".into(),
                value: Some(b"v".to_vec()),
            }],
            publish: vec![("foundry/builds".into(), b"{}".to_vec())],
            ..Settlement::default()
        }
    }

    #[tokio::test]
    async fn a_settlement_is_all_there() {
        let (_directory, ledger) = ledger();
        assert!(!ledger.known("g", "m1").await.unwrap().settled);
        assert_eq!(ledger.count_attempt("g", "m1").await.unwrap(), 1);
        assert_eq!(ledger.count_attempt("g", "m1").await.unwrap(), 2);
        ledger.settle(settlement()).await.unwrap();
        assert!(ledger.known("g", "m1").await.unwrap().settled);
        assert!(!ledger.known("other", "m1").await.unwrap().settled);
        assert_eq!(ledger.attempts("g", "m1").await.unwrap(), 0);
        assert_eq!(ledger.state("b", "k").await.unwrap().unwrap(), b"v");
        assert_eq!(ledger.outbox(0, 10, Vec::new()).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_message_that_two_members_had_in_hand_takes_effect_once() {
        let (_directory, ledger) = ledger();
        let second = Settlement {
            writes: vec![StateWrite {
                key: "k".into(),
                value: Some(b"second".to_vec()),
            }],
            ..settlement()
        };
        ledger.settle(settlement()).await.unwrap();
        ledger.settle(second).await.unwrap();
        assert_eq!(ledger.state("b", "k").await.unwrap().unwrap(), b"v");
        assert_eq!(ledger.outbox(0, 10, Vec::new()).await.unwrap().len(), 1);
    }

    /// What a message saw of `k` and of all keys.
    async fn seen(ledger: &Ledger) -> Vec<(Sight, Seen)> {
        let value = ledger.state("b", "k").await.unwrap();
        let keys = ledger.state_keys("b", "").await.unwrap();
        vec![
            (Sight::Value("k".into()), Seen::value(value.as_deref())),
            (Sight::Keys(String::new()), Seen::keys(&keys)),
        ]
    }

    #[tokio::test]
    async fn what_was_worked_out_from_a_state_that_has_changed_takes_no_effect() {
        let (_directory, ledger) = ledger();
        let message = |id: &str, sights, value: &[u8]| Settlement {
            message: Some(("g".into(), id.to_owned())),
            sights,
            writes: vec![StateWrite {
                key: "k".into(),
                value: Some(value.to_vec()),
            }],
            ..settlement()
        };
        let before = seen(&ledger).await;
        let first = message("m1", before.clone(), b"1");
        assert_eq!(ledger.settle(first.clone()).await.unwrap(), Settled::Done);
        assert_eq!(
            ledger.settle(message("m2", before.clone(), b"1")).await.unwrap(),
            Settled::Stale
        );
        assert!(!ledger.known("g", "m2").await.unwrap().settled);
        assert_eq!(ledger.outbox(0, 10, Vec::new()).await.unwrap().len(), 1);
        assert_eq!(
            ledger.settle(first).await.unwrap(),
            Settled::Done,
            "it was settled before"
        );
        let now = seen(&ledger).await;
        assert_eq!(ledger.settle(message("m2", now, b"2")).await.unwrap(), Settled::Done);
        assert_eq!(ledger.state("b", "k").await.unwrap().unwrap(), b"2");
        let other = vec![(Sight::Value("l".into()), Seen::value(None))];
        assert_eq!(
            ledger.settle(message("m3", other, b"3")).await.unwrap(),
            Settled::Done,
            "it saw another key"
        );
        let keys = before
            .into_iter()
            .filter(|(sight, _)| matches!(sight, Sight::Keys(_)))
            .collect();
        assert_eq!(ledger.settle(message("m4", keys, b"4")).await.unwrap(), Settled::Stale);
    }

    #[tokio::test]
    async fn a_dead_letter_that_the_host_tries_again_has_no_effect_if_it_was_settled_meanwhile() {
        let (_directory, ledger) = ledger();
        ledger.settle(settlement()).await.unwrap();
        for (anew, expected) in [(false, b"v".as_slice()), (true, b"second")] {
            let dead = DeadLetter::now("b", "foundry/commits", None, "unknown key".into(), 0, b"{}");
            ledger.bury(dead).await.unwrap();
            let number = ledger.dead_letters().await.unwrap()[0].seq;
            let again = Settlement {
                writes: vec![StateWrite {
                    key: "k".into(),
                    value: Some(b"second".to_vec()),
                }],
                revived: Some(Revived { number, anew }),
                ..settlement()
            };
            ledger.settle(again).await.unwrap();
            assert_eq!(
                ledger.state("b", "k").await.unwrap().unwrap(),
                expected,
                "asked for: {anew}"
            );
            assert_eq!(ledger.dead_letters().await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn what_is_settled_cannot_be_promised_and_a_promise_survives_a_reopening() {
        let (directory, ledger) = ledger();
        assert!(ledger.promise("g", "m0").await.unwrap());
        ledger.settle(settlement()).await.unwrap();
        assert!(!ledger.promise("g", "m1").await.unwrap());
        drop(ledger);
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        assert!(ledger.known("g", "m0").await.unwrap().promised);
    }

    #[tokio::test]
    async fn what_was_settled_is_there_after_a_reopening() {
        let (directory, ledger) = ledger();
        ledger.settle(settlement()).await.unwrap();
        drop(ledger);
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        assert!(ledger.known("g", "m1").await.unwrap().settled);
        let rows = ledger.outbox(0, 10, Vec::new()).await.unwrap();
        ledger
            .published(rows.iter().map(|row| row.seq).collect())
            .await
            .unwrap();
        assert_eq!(ledger.outbox(0, 10, Vec::new()).await.unwrap(), []);
    }
}
