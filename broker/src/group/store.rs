//! The groups on disk.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Params, params};

use super::backlog_store;
use super::types::{EntryId, GroupId};
use crate::database::{self, Database, StoreError, encode_properties, parse_properties};
use crate::message::{Message, QoS, SessionId, Timestamp};
use crate::topic::{GroupKey, Subscribable, TopicName};

const SCHEMA: &str = "
    CREATE TABLE groups (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again
        filter  TEXT NOT NULL UNIQUE      -- as subscribed: $share/GROUP/FILTER
    ) STRICT;
    CREATE TABLE entries (
        id          INTEGER PRIMARY KEY,
        group_id    INTEGER NOT NULL,
        topic       TEXT NOT NULL,
        payload     BLOB NOT NULL,
        qos         INTEGER NOT NULL,
        expires     INTEGER,              -- milliseconds since 1970
        properties  BLOB NOT NULL,        -- as MQTT 5 encodes them, without their length
        attempts    INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE dead (
        id          INTEGER PRIMARY KEY,
        group_id    INTEGER NOT NULL,
        topic       TEXT NOT NULL,
        payload     BLOB NOT NULL,
        qos         INTEGER NOT NULL,
        properties  BLOB NOT NULL,
        attempts    INTEGER NOT NULL,
        reason      TEXT NOT NULL,
        died        INTEGER NOT NULL      -- milliseconds since 1970
    ) STRICT;
    CREATE INDEX dead_by_group ON dead (group_id);
";

/// When messages came, in milliseconds since 1970.
const SINCE: &str = "
    ALTER TABLE entries ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
";

/// A queued message as stored.
#[derive(Debug)]
pub(super) struct StoredEntry {
    pub(super) id: EntryId,
    pub(super) group: GroupId,
    pub(super) message: Arc<Message>,
    pub(super) attempts: u32,
    pub(super) since: Timestamp,
}

/// A group as stored.
#[derive(Debug)]
pub(super) struct StoredGroup {
    pub(super) id: GroupId,
    pub(super) key: GroupKey,
    pub(super) dead: usize,
}

/// The database.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) database: Database,
}

impl Store {
    /// Opens the database at `path`, or creates it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::open(path, &[SCHEMA, SINCE, backlog_store::SCHEMA])?;
        // A crash can leave messages of a group that was just removed.
        database.run(
            "clean up",
            "DELETE FROM entries WHERE group_id NOT IN (SELECT id FROM groups)",
        )?;
        Ok(Self { database })
    }

    /// All groups.
    pub(super) fn groups(&self) -> Result<Vec<StoredGroup>, StoreError> {
        let failed = self.database.failed("read the groups of");
        let mut statement = self
            .database
            .connection
            .prepare(
                "SELECT id, filter, (SELECT count(*) FROM dead WHERE group_id = groups.id) FROM groups ORDER BY id",
            )
            .map_err(&failed)?;
        let rows = statement
            .query_map([], |row| {
                Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
            })
            .map_err(&failed)?;
        let mut groups = Vec::new();
        for row in rows {
            let (id, filter, dead) = row.map_err(&failed)?;
            let Ok(Subscribable::Shared(key)) = Subscribable::parse(&filter) else {
                return Err(self.database.damaged(format!("group {id} has the filter {filter:?}")));
            };
            let dead = usize::try_from(dead).unwrap_or(0);
            groups.push(StoredGroup {
                id: GroupId(id),
                key,
                dead,
            });
        }
        Ok(groups)
    }

    /// All queued messages, oldest first, one by one; returns the highest id ever in use.
    pub(super) fn for_each_entry(&self, each: impl FnMut(StoredEntry)) -> Result<i64, StoreError> {
        self.read(
            "SELECT id, group_id, topic, payload, qos, expires, properties, attempts, since FROM entries ORDER BY id",
            [],
            each,
        )?;
        let sql = "SELECT max(coalesce((SELECT max(id) FROM entries), 0), coalesce((SELECT max(id) FROM dead), 0))";
        self.database
            .connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(self.database.failed("read the messages of"))
    }

    /// Reads rows of messages: id, group, topic, payload, QoS, expiry, properties, attempts and since when.
    pub(super) fn read(
        &self,
        sql: &str,
        params: impl Params,
        mut each: impl FnMut(StoredEntry),
    ) -> Result<(), StoreError> {
        let failed = self.database.failed("read the messages of");
        let mut statement = self.database.connection.prepare(sql).map_err(&failed)?;
        let mut rows = statement.query(params).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let id: i64 = row.get(0).map_err(&failed)?;
            let topic: String = row.get(2).map_err(&failed)?;
            let payload: Vec<u8> = row.get(3).map_err(&failed)?;
            let qos: u8 = row.get(4).map_err(&failed)?;
            let expires: Option<i64> = row.get(5).map_err(&failed)?;
            let properties: Vec<u8> = row.get(6).map_err(&failed)?;
            let topic = TopicName::new(&topic)
                .map_err(|error| self.database.damaged(format!("the topic of message {id} {error}")))?;
            let qos =
                QoS::from_bits(qos).ok_or_else(|| self.database.damaged(format!("message {id} has QoS {qos}")))?;
            let properties = parse_properties(&properties).ok_or_else(|| {
                self.database
                    .damaged(format!("the properties of message {id} cannot be read"))
            })?;
            each(StoredEntry {
                id: EntryId(id),
                group: GroupId(row.get(1).map_err(&failed)?),
                message: Arc::new(Message {
                    topic,
                    payload: database::payload(&payload),
                    qos,
                    retain: false,
                    expires: expires.and_then(|at| u64::try_from(at).ok()).map(Timestamp),
                    properties,
                    publisher: SessionId(0),
                }),
                attempts: row.get(7).map_err(&failed)?,
                since: Timestamp(row.get(8).map_err(&failed)?),
            });
        }
        Ok(())
    }

    /// Deletes a group with all that is in it.
    pub(super) fn delete_group(&self, id: GroupId) -> Result<(), StoreError> {
        for sql in [
            "DELETE FROM entries WHERE group_id = ?1",
            "DELETE FROM dead WHERE group_id = ?1",
            "DELETE FROM groups WHERE id = ?1",
        ] {
            self.database
                .connection
                .execute(sql, [id.0])
                .map_err(self.database.failed("delete a group from"))?;
        }
        Ok(())
    }

    /// Stores a message for a group.
    pub(super) fn insert(
        &self,
        id: EntryId,
        group: GroupId,
        message: &Message,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let failed = self.database.failed("write a message to");
        let mut statement = self
            .database
            .connection
            .prepare_cached(
                "INSERT INTO entries (id, group_id, topic, payload, qos, expires, properties, since)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )
            .map_err(&failed)?;
        statement
            .execute(params![
                id.0,
                group.0,
                message.topic.as_str(),
                message.payload.as_slice(),
                message.qos as u8,
                message.expires.and_then(|at| i64::try_from(at.0).ok()),
                encode_properties(&message.properties),
                i64::try_from(since.0).unwrap_or(i64::MAX),
            ])
            .map(drop)
            .map_err(&failed)
    }

    /// Deletes a message.
    pub(super) fn remove(&self, id: EntryId) -> Result<(), StoreError> {
        let failed = self.database.failed("delete a message from");
        let mut statement = self
            .database
            .connection
            .prepare_cached("DELETE FROM entries WHERE id = ?1")
            .map_err(&failed)?;
        statement.execute([id.0]).map(drop).map_err(&failed)
    }

    /// Notes how often a message was tried.
    pub(super) fn set_attempts(&self, id: EntryId, attempts: u32) -> Result<(), StoreError> {
        let failed = self.database.failed("update a message in");
        let mut statement = self
            .database
            .connection
            .prepare_cached("UPDATE entries SET attempts = ?2 WHERE id = ?1")
            .map_err(&failed)?;
        statement.execute(params![id.0, attempts]).map(drop).map_err(&failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_before_the_backlog_keeps_its_groups_and_gets_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("groups.sqlite");
        let old = Database::open(&path, &[SCHEMA, SINCE]).unwrap();
        let rows = "INSERT INTO groups (filter) VALUES ('$share/g/a/#');
            INSERT INTO entries (id, group_id, topic, payload, qos, properties, since)
            VALUES (7, 1, 'a/b', x'00', 1, x'', 5);";
        old.connection.execute_batch(rows).unwrap();
        drop(old);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.groups().unwrap().len(), 1);
        let mut topics = Vec::new();
        let last = store.for_each_entry(|entry| topics.push(entry.message.topic.to_string()));
        assert_eq!((topics, last.unwrap()), (vec!["a/b".to_owned()], 7));
        assert!(store.backlog().unwrap().is_empty() && store.steady_clock().unwrap().is_none());
    }
}
