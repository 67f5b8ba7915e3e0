//! The archive's database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Row, params};

use super::change::{Archived, ArchivedSession, Change, Mail};
use crate::database::{self, Database, StoreError, encode_properties, parse_properties};
use crate::message::{Message, QoS, SessionId, Timestamp};
use crate::routing::SubscriptionOptions;
use crate::session::{Kept, Ordinary};
use crate::topic::{Subscribable, TopicName};

// Times are milliseconds since 1970; properties are as MQTT 5 encodes them.
const SCHEMA: &str = "
    CREATE TABLE sessions (
        id          INTEGER PRIMARY KEY,
        client_id   TEXT NOT NULL UNIQUE,
        user        TEXT,
        expiry      INTEGER NOT NULL,     -- seconds that it outlives its connection; 4294967295 is for ever
        ends        INTEGER               -- NULL while its client is connected, or if it never ends
    ) STRICT;
    CREATE TABLE subscriptions (
        session     INTEGER NOT NULL,
        filter      TEXT NOT NULL,        -- $share/GROUP/FILTER for a group
        qos         INTEGER NOT NULL,
        flags       INTEGER NOT NULL,     -- 1: no local, 2: retain as published
        identifier  INTEGER,
        PRIMARY KEY (session, filter)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE mail (
        id          INTEGER PRIMARY KEY,
        session     INTEGER NOT NULL,
        packet_id   INTEGER NOT NULL,
        received    INTEGER NOT NULL DEFAULT 0,  -- the client has it; only the packet id is in use
        topic       TEXT NOT NULL,
        payload     BLOB NOT NULL,
        qos         INTEGER NOT NULL,     -- of the delivery
        retain      INTEGER NOT NULL,
        identifier  INTEGER,
        expires     INTEGER,
        properties  BLOB NOT NULL
    ) STRICT;
    CREATE INDEX mail_by_session ON mail (session);
    CREATE TABLE inbound (
        session     INTEGER NOT NULL,
        packet_id   INTEGER NOT NULL,
        PRIMARY KEY (session, packet_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE wills (
        session     INTEGER PRIMARY KEY,
        topic       TEXT NOT NULL,
        payload     BLOB NOT NULL,
        qos         INTEGER NOT NULL,
        retain      INTEGER NOT NULL,
        interval    INTEGER,              -- of its expiry, in milliseconds
        properties  BLOB NOT NULL,
        delay       INTEGER NOT NULL      -- seconds
    ) STRICT;
    CREATE TABLE retained (
        topic       TEXT PRIMARY KEY,
        payload     BLOB NOT NULL,
        qos         INTEGER NOT NULL,
        expires     INTEGER,
        properties  BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// The tables whose rows belong to a session.
const OF_SESSIONS: [&str; 3] = ["subscriptions", "mail", "inbound"];

const NO_LOCAL: u8 = 1;
const RETAIN_AS_PUBLISHED: u8 = 2;

/// The database.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) database: Database,
}

fn milliseconds(time: Option<Timestamp>) -> Option<i64> {
    time.and_then(|at| i64::try_from(at.0).ok())
}

fn timestamp(milliseconds: Option<i64>) -> Option<Timestamp> {
    milliseconds.and_then(|at| u64::try_from(at).ok()).map(Timestamp)
}

fn number(session: SessionId) -> i64 {
    i64::try_from(session.0).unwrap_or(i64::MAX)
}

fn session(number: i64) -> SessionId {
    SessionId(u64::try_from(number).unwrap_or_default())
}

impl Store {
    /// Opens the database at `path`, or creates it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::open(path, &[SCHEMA])?;
        Ok(Self { database })
    }

    /// Writes a change into the open transaction.
    pub(super) fn apply(&self, change: &Change) -> Result<(), StoreError> {
        let write = |sql: &str, params: &[&dyn rusqlite::ToSql]| self.database.execute("write to", sql, params);
        match change {
            Change::Open {
                session,
                client_id,
                user,
                expiry,
            } => write(
                "INSERT OR REPLACE INTO sessions (id, client_id, user, expiry) VALUES (?1, ?2, ?3, ?4)",
                params![number(*session), client_id, user, expiry],
            ),
            Change::Resume(session, expiry) => write(
                "UPDATE sessions SET expiry = ?2, ends = NULL WHERE id = ?1",
                params![number(*session), expiry],
            ),
            Change::Park(session, expiry, ends) => write(
                "UPDATE sessions SET expiry = ?2, ends = ?3 WHERE id = ?1",
                params![number(*session), expiry, milliseconds(*ends)],
            ),
            Change::End(session) => {
                for table in OF_SESSIONS {
                    let sql = format!("DELETE FROM {table} WHERE session = ?1");
                    write(&sql, params![number(*session)])?;
                }
                write("DELETE FROM sessions WHERE id = ?1", params![number(*session)])
            }
            Change::Subscribe(session, filter, options) => {
                let flags = if options.no_local { NO_LOCAL } else { 0 }
                    | if options.retain_as_published {
                        RETAIN_AS_PUBLISHED
                    } else {
                        0
                    };
                self.subscribe(*session, filter.as_str(), options.qos, flags, options.identifier)
            }
            Change::Join(session, key, qos, identifier) => {
                self.subscribe(*session, &key.to_string(), *qos, 0, *identifier)
            }
            Change::Unsubscribe(session, filter) => self.unsubscribe(*session, filter.as_str()),
            Change::Quit(session, key) => self.unsubscribe(*session, &key.to_string()),
            Change::Mail(session, mail) => self.insert(*session, mail),
            Change::Done(row) => write("DELETE FROM mail WHERE id = ?1", params![row]),
            Change::Received(row) => write(
                "UPDATE mail SET received = 1, payload = x'' WHERE id = ?1",
                params![row],
            ),
            Change::Renumber(row, id) => write("UPDATE mail SET packet_id = ?2 WHERE id = ?1", params![row, id]),
            Change::Took(session, id) => write(
                "INSERT OR IGNORE INTO inbound (session, packet_id) VALUES (?1, ?2)",
                params![number(*session), id],
            ),
            Change::Forgot(session, id) => write(
                "DELETE FROM inbound WHERE session = ?1 AND packet_id = ?2",
                params![number(*session), id],
            ),
            Change::Will(session, message, delay) => write(
                "INSERT OR REPLACE INTO wills (session, topic, payload, qos, retain, interval, properties, delay)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    number(*session),
                    message.topic.as_str(),
                    message.payload.as_slice(),
                    message.qos as u8,
                    message.retain,
                    milliseconds(message.expires),
                    encode_properties(&message.properties),
                    delay
                ],
            ),
            Change::NoWill(session) => write("DELETE FROM wills WHERE session = ?1", params![number(*session)]),
            Change::Retain(message) => write(
                "INSERT OR REPLACE INTO retained (topic, payload, qos, expires, properties) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    message.topic.as_str(),
                    message.payload.as_slice(),
                    message.qos as u8,
                    milliseconds(message.expires),
                    encode_properties(&message.properties),
                ],
            ),
            Change::Unretain(topic) => write("DELETE FROM retained WHERE topic = ?1", params![topic.as_str()]),
        }
    }

    fn subscribe(
        &self,
        session: SessionId,
        filter: &str,
        qos: QoS,
        flags: u8,
        identifier: Option<u32>,
    ) -> Result<(), StoreError> {
        self.database.execute(
            "write to",
            "INSERT OR REPLACE INTO subscriptions (session, filter, qos, flags, identifier) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![number(session), filter, qos as u8, flags, identifier],
        )
    }

    fn unsubscribe(&self, session: SessionId, filter: &str) -> Result<(), StoreError> {
        self.database.execute(
            "write to",
            "DELETE FROM subscriptions WHERE session = ?1 AND filter = ?2",
            params![number(session), filter],
        )
    }

    fn insert(&self, session: SessionId, mail: &Ordinary) -> Result<(), StoreError> {
        let Some(kept) = mail.kept else { return Ok(()) };
        let message = &mail.message;
        self.database.execute(
            "write to",
            "INSERT INTO mail (id, session, packet_id, topic, payload, qos, retain, identifier, expires, properties)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                kept.row,
                number(session),
                kept.packet_id,
                message.topic.as_str(),
                message.payload.as_slice(),
                mail.qos as u8,
                mail.retain,
                mail.subscription,
                milliseconds(message.expires),
                encode_properties(&message.properties),
            ],
        )
    }

    /// Everything that has not ended by `now`; what has is deleted.
    pub(super) fn load(&self, now: Timestamp) -> Result<Archived, StoreError> {
        self.tidy(now)?;
        let mut archived = Archived::default();
        self.rows(
            "SELECT id, client_id, user, expiry, ends FROM sessions ORDER BY id",
            |row| {
                let id = session(row.get(0)?);
                let expiry: u32 = row.get(3)?;
                // Those that were connected when the broker died are away from now on.
                let ends = timestamp(row.get(4)?).or((expiry != u32::MAX).then(|| now.plus_seconds(expiry)));
                archived.last_session = archived.last_session.max(id.0);
                archived.sessions.push(ArchivedSession {
                    id,
                    client_id: row.get(1)?,
                    user: row.get(2)?,
                    expiry,
                    ends,
                    subscriptions: BTreeMap::new(),
                    groups: BTreeMap::new(),
                    mail: Vec::new(),
                    inbound: BTreeSet::new(),
                });
                Ok(Ok(()))
            },
        )?;
        let mut sessions: HashMap<SessionId, &mut ArchivedSession> = archived
            .sessions
            .iter_mut()
            .map(|session| (session.id, session))
            .collect();
        self.rows(
            "SELECT session, filter, qos, flags, identifier FROM subscriptions",
            |row| {
                let filter: String = row.get(1)?;
                let Some(qos) = QoS::from_bits(row.get(2)?) else {
                    return Ok(Err(format!("the subscription to {filter:?} has no such QoS")));
                };
                let (flags, identifier): (u8, _) = (row.get(3)?, row.get(4)?);
                let Some(session) = sessions.get_mut(&session(row.get(0)?)) else {
                    return Ok(Ok(()));
                };
                match Subscribable::parse(&filter) {
                    Ok(Subscribable::Shared(key)) => drop(session.groups.insert(key, (qos, identifier))),
                    Ok(Subscribable::Plain(filter)) => {
                        let options = SubscriptionOptions {
                            qos,
                            no_local: flags & NO_LOCAL != 0,
                            retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
                            identifier,
                        };
                        session.subscriptions.insert(filter, options);
                    }
                    Err(error) => return Ok(Err(format!("the filter {filter:?} {error}"))),
                }
                Ok(Ok(()))
            },
        )?;
        self.rows("SELECT session, packet_id FROM inbound", |row| {
            if let Some(session) = sessions.get_mut(&session(row.get(0)?)) {
                session.inbound.insert(row.get(1)?);
            }
            Ok(Ok(()))
        })?;
        let sql =
            "SELECT topic, payload, qos, retain, expires, properties, id, session, packet_id, received, identifier
                   FROM mail ORDER BY id";
        self.rows(sql, |row| {
            let (row_id, packet_id): (i64, u16) = (row.get(6)?, row.get(8)?);
            archived.last_row = row_id;
            let Some(session) = sessions.get_mut(&session(row.get(7)?)) else {
                return Ok(Ok(()));
            };
            let ordinary = match (row.get(9)?, message(row)?) {
                (true, _) => None,
                (false, Err(what)) => return Ok(Err(what)),
                (false, Ok(message)) => Some(Ordinary {
                    qos: message.qos,
                    retain: message.retain,
                    subscription: row.get(10)?,
                    kept: Some(Kept {
                        row: row_id,
                        packet_id,
                        restored: true,
                    }),
                    message: Arc::new(message),
                }),
            };
            session.mail.push(Mail {
                row: row_id,
                packet_id,
                ordinary,
            });
            Ok(Ok(()))
        })?;
        self.rows(
            "SELECT topic, payload, qos, 1, expires, properties FROM retained",
            |row| Ok(message(row)?.map(|message| archived.retained.push(Arc::new(message)))),
        )?;
        let sql =
            "SELECT topic, payload, qos, retain, interval, properties, session, delay FROM wills ORDER BY session";
        self.rows(sql, |row| {
            let (session, delay) = (session(row.get(6)?), row.get(7)?);
            archived.last_session = archived.last_session.max(session.0);
            Ok(message(row)?.map(|message| archived.wills.push((session, message, delay))))
        })?;
        Ok(archived)
    }

    /// Deletes what has ended by `now`, and what a crash left of sessions that had.
    fn tidy(&self, now: Timestamp) -> Result<(), StoreError> {
        let now = milliseconds(Some(now));
        let tidy = |sql: &str| self.database.execute("clean up", sql, []);
        self.database.execute(
            "clean up",
            "DELETE FROM sessions WHERE expiry = 0 OR ends <= ?1",
            params![now],
        )?;
        self.database
            .execute("clean up", "DELETE FROM retained WHERE expires <= ?1", params![now])?;
        for table in OF_SESSIONS {
            tidy(&format!(
                "DELETE FROM {table} WHERE session NOT IN (SELECT id FROM sessions)"
            ))?;
        }
        Ok(())
    }

    /// Reads rows; what is wrong with one is damage.
    fn rows(
        &self,
        sql: &str,
        mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<Result<(), String>>,
    ) -> Result<(), StoreError> {
        let failed = self.database.failed("read");
        let mut statement = self.database.connection.prepare(sql).map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            each(row)
                .map_err(&failed)?
                .map_err(|what| self.database.damaged(what))?;
        }
        Ok(())
    }
}

/// A message from the columns topic, payload, QoS, retain, expiry and properties, or what is wrong with it.
fn message(row: &Row<'_>) -> rusqlite::Result<Result<Message, String>> {
    let topic: String = row.get(0)?;
    let payload: Vec<u8> = row.get(1)?;
    let properties: Vec<u8> = row.get(5)?;
    let topic = match TopicName::new(&topic) {
        Ok(topic) => topic,
        Err(error) => return Ok(Err(format!("the topic {topic:?} {error}"))),
    };
    let Some(qos) = QoS::from_bits(row.get(2)?) else {
        return Ok(Err(format!("a message on {topic} has no such QoS")));
    };
    let Some(properties) = parse_properties(&properties) else {
        return Ok(Err(format!("the properties of a message on {topic} cannot be read")));
    };
    Ok(Ok(Message {
        topic,
        payload: database::payload(&payload),
        qos,
        retain: row.get(3)?,
        expires: timestamp(row.get(4)?),
        properties,
        publisher: SessionId(0),
    }))
}
