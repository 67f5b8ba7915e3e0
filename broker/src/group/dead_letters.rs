//! Dead letters on disk.

use rusqlite::params;

use super::store::{Store, StoredEntry};
use super::types::{Death, EntryId, GroupId};
use crate::database::StoreError;
use crate::message::Timestamp;

/// A message that nobody could be brought to take.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeadLetter {
    /// What to requeue or discard it by.
    pub id: i64,
    /// The topic that it was published on.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why: `attempts` or `refused`.
    pub reason: String,
    /// When it was given up, in milliseconds since 1970.
    pub died: i64,
}

impl Store {
    /// Sets a message aside as a dead letter.
    pub(super) fn bury(&self, id: EntryId, attempts: u32, death: Death, now: Timestamp) -> Result<(), StoreError> {
        let failed = self.database.failed("set a dead letter aside in");
        let died = i64::try_from(now.0).unwrap_or(i64::MAX);
        self.database
            .connection
            .execute(
                "INSERT INTO dead (id, group_id, topic, payload, qos, properties, attempts, reason, died)
                 SELECT id, group_id, topic, payload, qos, properties, ?2, ?3, ?4 FROM entries WHERE id = ?1",
                params![id.0, attempts, death.as_str(), died],
            )
            .map_err(&failed)?;
        self.remove(id)
    }

    /// The oldest dead letters of a group, of those after one.
    pub(super) fn dead_letters(
        &self,
        group: GroupId,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let failed = self.database.failed("read the dead letters of");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self
            .database
            .connection
            .prepare(
                "SELECT id, topic, payload, attempts, reason, died FROM dead
                 WHERE group_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            )
            .map_err(&failed)?;
        let rows = statement
            .query_map(params![group.0, after.unwrap_or(i64::MIN), limit], |row| {
                Ok(DeadLetter {
                    id: row.get(0)?,
                    topic: row.get(1)?,
                    payload: row.get(2)?,
                    attempts: row.get(3)?,
                    reason: row.get(4)?,
                    died: row.get(5)?,
                })
            })
            .map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    /// Puts dead letters of a group back among its messages, as if they had never been tried.
    pub(super) fn revive(&self, group: GroupId, ids: Option<&[i64]>) -> Result<Vec<StoredEntry>, StoreError> {
        self.database.begin()?;
        let revived = self.revive_all(group, ids);
        if revived.is_err() {
            self.database.rollback();
        }
        revived
    }

    fn revive_all(&self, group: GroupId, ids: Option<&[i64]>) -> Result<Vec<StoredEntry>, StoreError> {
        let mut revived = Vec::new();
        for id in self.dead_ids(group, ids)? {
            self.read(
                "SELECT id, group_id, topic, payload, qos, NULL, properties, 0, died FROM dead WHERE id = ?1",
                [id],
                |entry| revived.push(entry),
            )?;
            self.database
                .connection
                .execute("DELETE FROM dead WHERE id = ?1", [id])
                .map_err(self.database.failed("requeue a dead letter in"))?;
        }
        for entry in &revived {
            self.insert(entry.id, entry.group, &entry.message, entry.since)?;
        }
        self.database.commit()?;
        Ok(revived)
    }

    /// Deletes dead letters of a group.
    pub(super) fn discard_dead(&self, group: GroupId, ids: Option<&[i64]>) -> Result<usize, StoreError> {
        let failed = self.database.failed("discard a dead letter in");
        let mut count = 0;
        for id in self.dead_ids(group, ids)? {
            count += self
                .database
                .connection
                .execute("DELETE FROM dead WHERE id = ?1", [id])
                .map_err(&failed)?;
        }
        Ok(count)
    }

    /// Those of `ids` that are dead letters of the group; all of them without ids.
    fn dead_ids(&self, group: GroupId, ids: Option<&[i64]>) -> Result<Vec<i64>, StoreError> {
        let failed = self.database.failed("read the dead letters of");
        let all = |from: i64, to: i64| {
            let mut statement = self
                .database
                .connection
                .prepare_cached("SELECT id FROM dead WHERE group_id = ?1 AND id BETWEEN ?2 AND ?3 ORDER BY id")?;
            let rows = statement.query_map([group.0, from, to], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<i64>>>()
        };
        let Some(ids) = ids else {
            return all(i64::MIN, i64::MAX).map_err(&failed);
        };
        // One of ten thousand is asked for at a time: the others are not looked at.
        let mut found = Vec::new();
        for id in ids {
            found.extend(all(*id, *id).map_err(&failed)?);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}
