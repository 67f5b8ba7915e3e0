//! The backlog on disk.

use rusqlite::{OptionalExtension, params};

use super::backlog::Kept;
use super::steady::{MachineTime, SavedReading, SteadyTime};
use super::store::{Store, StoredEntry};
use super::types::{BacklogId, EntryId, GroupId};
use crate::database::{StoreError, encode_properties};
use crate::killpoint;
use crate::message::{Message, Timestamp};
use crate::topic::{GroupKey, TopicName};

/// A message is stored once for the backlog and once for each group: a group deletes what it has handled without asking
/// who else refers to it. The bounds of the backlog are those of the second copy.
pub(super) const SCHEMA: &str = "
    CREATE TABLE backlog (
        id          INTEGER PRIMARY KEY,
        topic       TEXT NOT NULL,
        payload     BLOB NOT NULL,
        qos         INTEGER NOT NULL,
        expires     INTEGER,              -- milliseconds since 1970
        properties  BLOB NOT NULL,        -- as MQTT 5 encodes them, without their length
        since       INTEGER NOT NULL,     -- when it came, in milliseconds since 1970
        came        INTEGER NOT NULL,     -- the same on the steady clock
        size        INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE steady_clock (
        id          INTEGER PRIMARY KEY CHECK (id = 1),
        reading     INTEGER NOT NULL,     -- milliseconds, at the time of the other columns
        boot        TEXT NOT NULL,        -- which start of the machine
        since_boot  INTEGER NOT NULL,     -- milliseconds
        wall        INTEGER NOT NULL      -- milliseconds since 1970
    ) STRICT;
";

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Store {
    /// Stores a message in the backlog.
    pub(super) fn keep(
        &self,
        id: BacklogId,
        message: &Message,
        since: Timestamp,
        came: SteadyTime,
    ) -> Result<(), StoreError> {
        self.database.execute(
            "write a message to",
            "INSERT INTO backlog (id, topic, payload, qos, expires, properties, since, came, size)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                id.0,
                message.topic.as_str(),
                message.payload.as_slice(),
                message.qos as u8,
                message.expires.map(|at| signed(at.0)),
                encode_properties(&message.properties),
                signed(since.0),
                signed(came.0),
                signed(message.size() as u64),
            ],
        )
    }

    /// Deletes a message from the backlog.
    pub(super) fn let_go(&self, id: BacklogId) -> Result<(), StoreError> {
        let sql = "DELETE FROM backlog WHERE id = ?1";
        self.database.execute("delete a message from", sql, [id.0])
    }

    /// The backlog without payloads, oldest first.
    pub(super) fn backlog(&self) -> Result<Vec<(BacklogId, Kept)>, StoreError> {
        let failed = self.database.failed("read the backlog of");
        let mut statement = self
            .database
            .connection
            .prepare("SELECT id, topic, size, came, expires FROM backlog ORDER BY id")
            .map_err(&failed)?;
        let rows = statement
            .query_map([], |row| {
                let (id, topic): (i64, String) = (row.get(0)?, row.get(1)?);
                let (size, came): (i64, i64) = (row.get(2)?, row.get(3)?);
                Ok((id, topic, size, came, row.get::<_, Option<i64>>(4)?))
            })
            .map_err(&failed)?;
        let mut backlog = Vec::new();
        for row in rows {
            let (id, topic, size, came, expires) = row.map_err(&failed)?;
            let topic = TopicName::new(&topic)
                .map_err(|error| self.database.damaged(format!("the topic of kept message {id} {error}")))?;
            let kept = Kept {
                topic,
                size: usize::try_from(size).unwrap_or(0),
                came: SteadyTime(unsigned(came)),
                expires: expires.map(|at| Timestamp(unsigned(at))),
            };
            backlog.push((BacklogId(id), kept));
        }
        Ok(backlog)
    }

    /// Creates a group with messages of the backlog in it, all of it or nothing. Those that are not there, since their
    /// write failed, are left out.
    pub(super) fn create_group(
        &self,
        key: &GroupKey,
        begin: &[(BacklogId, EntryId)],
    ) -> Result<(GroupId, Vec<StoredEntry>), StoreError> {
        self.database.begin()?;
        let created = self.create_filled(key, begin);
        if created.is_err() {
            self.database.rollback();
        }
        created
    }

    fn create_filled(
        &self,
        key: &GroupKey,
        begin: &[(BacklogId, EntryId)],
    ) -> Result<(GroupId, Vec<StoredEntry>), StoreError> {
        let filter = key.to_string();
        self.database
            .execute("create a group in", "INSERT INTO groups (filter) VALUES (?1)", [filter])?;
        let group = GroupId(self.database.connection.last_insert_rowid());
        let mut entries = Vec::with_capacity(begin.len());
        for (kept, entry) in begin {
            self.database.execute(
                "copy a message in",
                "INSERT INTO entries (id, group_id, topic, payload, qos, expires, properties, since)
                 SELECT ?1, ?2, topic, payload, qos, expires, properties, since FROM backlog WHERE id = ?3",
                params![entry.0, group.0, kept.0],
            )?;
            self.read(
                "SELECT id, group_id, topic, payload, qos, expires, properties, attempts, since
                 FROM entries WHERE id = ?1",
                [entry.0],
                |entry| entries.push(entry),
            )?;
        }
        killpoint::pass("broker-group-filled");
        self.database.commit()?;
        Ok((group, entries))
    }

    /// What the steady clock stood at when it was last stored.
    pub(super) fn steady_clock(&self) -> Result<Option<SavedReading>, StoreError> {
        let sql = "SELECT reading, boot, since_boot, wall FROM steady_clock";
        self.database
            .connection
            .query_row(sql, [], |row| {
                Ok(SavedReading {
                    reading: SteadyTime(unsigned(row.get(0)?)),
                    machine: MachineTime {
                        boot: row.get(1)?,
                        since_boot: unsigned(row.get(2)?),
                        wall: Timestamp(unsigned(row.get(3)?)),
                    },
                })
            })
            .optional()
            .map_err(self.database.failed("read the clock of"))
    }

    /// Stores what the steady clock stands at.
    pub(super) fn save_steady_clock(&self, saved: &SavedReading) -> Result<(), StoreError> {
        let SavedReading { reading, machine } = saved;
        self.database.execute(
            "write the clock of",
            "INSERT OR REPLACE INTO steady_clock (id, reading, boot, since_boot, wall) VALUES (1, ?1, ?2, ?3, ?4)",
            params![
                signed(reading.0),
                machine.boot,
                signed(machine.since_boot),
                signed(machine.wall.0)
            ],
        )
    }
}
