//! Which artifacts a ledger refers to.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::params;

use super::{Ledger, LedgerError};
use crate::retention::Digests;

/// Events that are read together.
const EVENTS: usize = 64;

/// Messages that are read together: each may have 512 KiB.
const MESSAGES: usize = 8;

/// The artifacts that something refers to.
#[derive(Debug, Default)]
pub struct References {
    /// What messages refer to that somebody has yet to handle, or may want to have handled again, and the states of bots.
    pub needed: Digests,
    /// What the other runs on record refer to, for whoever looks at them.
    pub recorded: Digests,
}

impl Ledger {
    /// What refers to artifacts besides the events of runs and the states of bots: what waits to be published, what was given up, and what was
    /// refused and may become acceptable.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn references_of_messages(&self) -> Result<Digests, LedgerError> {
        let mut digests = Digests::default();
        for table in ["outbox", "dead_letters", "unrecorded"] {
            let page = format!("SELECT seq, payload FROM {table} WHERE seq > ? ORDER BY seq LIMIT {MESSAGES}");
            let mut after = Some(0);
            while let Some(last) = after {
                let page = page.clone();
                let found = self.read(move |c| {
                    let (mut found, mut last_seq) = (Digests::default(), None);
                    let mut rows = c.prepare_cached(&page)?;
                    let mut rows = rows.query([last])?;
                    while let Some(row) = rows.next()? {
                        last_seq = Some(row.get::<_, i64>(0)?);
                        found.add(row.get_ref(1)?.as_bytes()?);
                    }
                    Ok((found, last_seq))
                });
                let (found, last_seq) = found.await?;
                digests.extend(found);
                after = last_seq;
            }
        }
        Ok(digests)
    }

    /// What the runs on record refer to, without some of them. Those that were seen at a time or later, in seconds since 1970, are needed.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn references_of_runs(&self, seen: i64, without: HashSet<String>) -> Result<References, LedgerError> {
        let without = Arc::new(without);
        let mut references = References::default();
        let mut after = Some(0);
        while let Some(last) = after {
            let without = Arc::clone(&without);
            let found = self.read(move |c| {
                let (mut found, mut last_row) = (References::default(), None);
                let mut rows = c.prepare_cached(
                    "SELECT events.rowid, run, data, runs.seen FROM events JOIN runs USING (run)
                     WHERE events.rowid > ? ORDER BY events.rowid LIMIT ?",
                )?;
                let mut rows = rows.query(params![last, EVENTS])?;
                while let Some(row) = rows.next()? {
                    last_row = Some(row.get::<_, i64>(0)?);
                    if without.contains(row.get_ref(1)?.as_str()?) {
                        continue;
                    }
                    let digests = match row.get::<_, i64>(3)? >= seen {
                        true => &mut found.needed,
                        false => &mut found.recorded,
                    };
                    digests.add(row.get_ref(2)?.as_bytes()?);
                }
                Ok((found, last_row))
            });
            let (found, last_row) = found.await?;
            references.needed.extend(found.needed);
            references.recorded.extend(found.recorded);
            after = last_row;
        }
        Ok(references)
    }

    /// What bots keep in their states.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn references_of_states(&self) -> Result<Digests, LedgerError> {
        let mut digests = Digests::default();
        let mut after = Some((String::new(), String::new()));
        while let Some((bot, key)) = after {
            let found = self.read(move |c| {
                let (mut found, mut last) = (Digests::default(), None);
                let mut rows = c.prepare_cached(
                    "SELECT bot, key, value FROM state WHERE (bot, key) > (?, ?) ORDER BY bot, key LIMIT ?",
                )?;
                let mut rows = rows.query(params![bot, key, MESSAGES])?;
                while let Some(row) = rows.next()? {
                    let key: String = row.get(1)?;
                    found.add(key.as_bytes());
                    found.add(row.get_ref(2)?.as_bytes()?);
                    last = Some((row.get(0)?, key));
                }
                Ok((found, last))
            });
            let (found, last) = found.await?;
            digests.extend(found);
            after = last;
        }
        Ok(digests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{DeadLetter, Settlement};
    use crate::runtime::StateWrite;

    fn digest(number: u32) -> String {
        format!("{number:064x}")
    }

    #[tokio::test]
    async fn whatever_waits_was_given_up_or_is_kept_by_a_bot_refers_to_its_artifacts() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        let settlement = Settlement {
            bot: "b".to_owned(),
            publish: (0..30)
                .map(|number| ("foundry/builds".to_owned(), digest(number).into_bytes()))
                .collect(),
            writes: (100..130)
                .map(|number| StateWrite {
                    key: number.to_string(),
                    value: Some(digest(number).into_bytes()),
                })
                .collect(),
            ..Settlement::default()
        };
        ledger.settle(settlement).await.unwrap();
        let dead = DeadLetter::now("b", "foundry/builds", None, "no".into(), 0, digest(200).as_bytes());
        ledger.bury(dead).await.unwrap();
        let cure = crate::event::Cure::Trust;
        ledger
            .keep_unrecorded("foundry/builds", digest(300).as_bytes(), cure)
            .await
            .unwrap();
        let messages = ledger.references_of_messages().await.unwrap();
        let states = ledger.references_of_states().await.unwrap();
        for number in (0..30).chain([200, 300]) {
            assert!(messages.contain(&digest(number)), "{number}");
        }
        for number in 100..130 {
            assert!(states.contain(&digest(number)), "{number}");
            assert!(!messages.contain(&digest(number)), "{number}");
        }
    }
}
