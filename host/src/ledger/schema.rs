//! The ledger's tables, and how older files get them.

use std::path::Path;

use rusqlite::Connection;

use super::LedgerError;

/// Each entry brings a file from version `index` to `index + 1`. Released entries never change.
const MIGRATIONS: [&str; 3] = [
    "
    -- What bots keep.
    CREATE TABLE state (
        bot TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (bot, key)
    ) WITHOUT ROWID;

    -- Events that are decided, and not yet acknowledged by the broker.
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL
    );

    -- Events whose effects are in this ledger, by the group that handled them.
    CREATE TABLE processed (
        grp TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (grp, id)
    ) WITHOUT ROWID;
    CREATE INDEX processed_at ON processed (at);

    -- Attempts that failed, of messages that are not settled yet.
    CREATE TABLE attempts (
        grp TEXT NOT NULL, id TEXT NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (grp, id)
    ) WITHOUT ROWID;

    -- Every event that this host has published or seen, for `runs`.
    CREATE TABLE events (
        id TEXT PRIMARY KEY, run TEXT NOT NULL, type TEXT NOT NULL, topic TEXT NOT NULL,
        source TEXT NOT NULL, subject TEXT, time TEXT NOT NULL, cause TEXT, data TEXT NOT NULL
    );
    CREATE INDEX events_run ON events (run, time);
    CREATE INDEX events_time ON events (time);

    -- Messages that were given up.
    CREATE TABLE dead_letters (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, bot TEXT NOT NULL, topic TEXT NOT NULL,
        id TEXT, reason TEXT NOT NULL, attempts INTEGER NOT NULL, payload BLOB NOT NULL
    );
",
    "
    -- Whether another host may have published the same event.
    ALTER TABLE outbox ADD COLUMN again INTEGER NOT NULL DEFAULT 0;

    -- Whether the message came in ('message') or the broker refuses to take it ('outbox'), and whether its bot is to
    -- try it again.
    ALTER TABLE dead_letters ADD COLUMN kind TEXT NOT NULL DEFAULT 'message';
    ALTER TABLE dead_letters ADD COLUMN requeued INTEGER NOT NULL DEFAULT 0;

    -- Events that another host was promised: they are not settled here without asking.
    CREATE TABLE promises (
        grp TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (grp, id)
    ) WITHOUT ROWID;

    -- Other hosts with a member of a group. They may have settled what comes here a second time.
    CREATE TABLE peers (
        grp TEXT NOT NULL, host TEXT NOT NULL,
        PRIMARY KEY (grp, host)
    ) WITHOUT ROWID;
",
    "
    -- When a host took its leave of a group; NULL while it is a member.
    ALTER TABLE peers ADD COLUMN gone INTEGER;
",
];

/// Set a connection up and bring its file to the newest version.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let open = |source| LedgerError::Open {
        path: path.to_owned(),
        source,
    };
    connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(open)?;
    connection
        .busy_timeout(std::time::Duration::from_secs(10))
        .map_err(open)?;
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(open)?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(LedgerError::TooNew {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (version, migration) in (1i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction().map_err(open)?;
        transaction.execute_batch(migration).map_err(open)?;
        transaction.pragma_update(None, "user_version", version).map_err(open)?;
        transaction.commit().map_err(open)?;
    }
    Ok(())
}
