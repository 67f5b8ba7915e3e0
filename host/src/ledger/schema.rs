//! The ledger's tables, and how older files get them.

use std::path::Path;

use rusqlite::Connection;
use time::OffsetDateTime;

use super::LedgerError;

/// Each entry brings a file from version `index` to `index + 1`. Released entries never change.
const MIGRATIONS: [&str; 7] = [
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
    "
    -- When a file was brought to a state, in seconds since 1970. Events that are older than `topic-in-events` name no topic.
    CREATE TABLE since (what TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO since VALUES ('topic-in-events', CAST(strftime('%s', 'now') AS INTEGER) + 1);

    -- When the host itself tries a refused message again: when whom it trusts has changed, or at a time in seconds since 1970.
    ALTER TABLE dead_letters ADD COLUMN retry_on_trust INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE dead_letters ADD COLUMN retry_at INTEGER;

    -- Whether the operator wants it handled once more whatever became of it; else only if it was not settled meanwhile.
    ALTER TABLE dead_letters ADD COLUMN anew INTEGER NOT NULL DEFAULT 1;
",
    "
    -- Events that are older do not say what their ids derive from.
    INSERT INTO since VALUES ('origin-in-events', CAST(strftime('%s', 'now') AS INTEGER) + 1);

    -- The group whose work an event is; NULL if it is no work of a message, or older.
    ALTER TABLE events ADD COLUMN grp TEXT;

    -- A settled message that is tried again is settled once for each attempt.
    CREATE TABLE settled (
        grp TEXT NOT NULL, id TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, at INTEGER NOT NULL,
        PRIMARY KEY (grp, id, attempt)
    ) WITHOUT ROWID;
    INSERT INTO settled (grp, id, at) SELECT grp, id, at FROM processed;
    DROP TABLE processed;
    ALTER TABLE settled RENAME TO processed;
    CREATE INDEX processed_at ON processed (at);

    -- Which bound a dead letter counts for: messages that were refused may be anybody's, and have one of their own.
    ALTER TABLE dead_letters ADD COLUMN class TEXT NOT NULL DEFAULT 'message';
    UPDATE dead_letters SET class = CASE WHEN kind = 'outbox' THEN 'outbox' WHEN id IS NULL THEN 'refused' ELSE 'message' END;
    CREATE INDEX dead_letters_class ON dead_letters (class, seq);

    -- How many there are of each class, and the bytes of their payloads.
    CREATE TABLE dead_letter_totals (class TEXT PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO dead_letter_totals SELECT class, count(*), sum(length(payload)) FROM dead_letters GROUP BY class;
    CREATE TRIGGER dead_letter_comes AFTER INSERT ON dead_letters BEGIN
        INSERT INTO dead_letter_totals VALUES (new.class, 1, length(new.payload))
        ON CONFLICT DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER dead_letter_goes AFTER DELETE ON dead_letters BEGIN
        UPDATE dead_letter_totals SET count = count - 1, bytes = bytes - length(old.payload) WHERE class = old.class;
    END;

    -- Builds that are older carry no announcement of their commit.
    INSERT INTO since VALUES ('announcement-in-events', CAST(strftime('%s', 'now') AS INTEGER) + 1);

    -- Events of others that were refused for a reason that may pass, for `runs`, and when to try them again, as for dead letters.
    CREATE TABLE unrecorded (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL,
        retry_on_trust INTEGER NOT NULL, retry_at INTEGER
    );
",
    RETENTION,
    COMMITS,
];

/// Bytes that SQLite's log keeps on disk once what is in it is in the file.
const LARGEST_LOG: i64 = 16 * 1024 * 1024;

/// What the housekeeping goes by.
const RETENTION: &str = "
    -- When this host saw an event of a run last, in seconds since 1970, and how much it has of it: the data, and 512 bytes for the rest of a row
    -- and its indices.
    CREATE TABLE runs (run TEXT PRIMARY KEY, seen INTEGER NOT NULL, events INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO runs SELECT run,
        min(coalesce(max(CAST(strftime('%s', time) AS INTEGER)), CAST(strftime('%s', 'now') AS INTEGER)), CAST(strftime('%s', 'now') AS INTEGER)),
        count(*), sum(length(CAST(data AS BLOB)) + 512) FROM events GROUP BY run;
    CREATE INDEX runs_seen ON runs (seen, run);
    CREATE TRIGGER event_comes AFTER INSERT ON events BEGIN
        -- Not earlier than the housekeeping's time: what a clock that is back dates would be old once it is right again.
        INSERT INTO runs VALUES (new.run,
            max(CAST(strftime('%s', 'now') AS INTEGER), coalesce((SELECT at FROM since WHERE what = 'housekeeping'), 0)),
            1, length(CAST(new.data AS BLOB)) + 512)
        ON CONFLICT DO UPDATE SET seen = excluded.seen, events = events + 1, bytes = bytes + excluded.bytes;
    END;

    -- When an attempt failed last, in seconds since 1970.
    ALTER TABLE attempts ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
    UPDATE attempts SET at = CAST(strftime('%s', 'now') AS INTEGER);

    -- Bots that have a state or a log, and are not loaded: since when, in seconds since 1970.
    CREATE TABLE absent (bot TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
";

/// `runs COMMIT` looks for the beginning of a commit's id: without this it reads every commit on record.
const COMMITS: &str = "
    CREATE INDEX events_commit ON events (CASE WHEN json_valid(data) THEN json_extract(data, '$.ref') END)
        WHERE type = 'foundry.commit.v1';
";

/// Set a connection up and bring its file to the newest version.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let open = |source| LedgerError::Open {
        path: path.to_owned(),
        source,
    };
    // Before the first page is written: a file that has pages already is as it is until all of it is written anew (`space`).
    connection
        .pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .map_err(open)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
    // The log of one large transaction does not stay for ever.
    connection
        .pragma_update(None, "journal_size_limit", LARGEST_LOG)
        .map_err(open)?;
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

/// When a file was brought to a state.
pub(super) fn since(connection: &Connection, what: &str) -> rusqlite::Result<OffsetDateTime> {
    let at = connection.query_row("SELECT at FROM since WHERE what = ?", [what], |row| row.get(0))?;
    Ok(OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    /// A ledger of an earlier version, with what that one had in it.
    fn make_old(path: &Path, version: u8, filled: &[&str]) {
        let old = Connection::open(path).unwrap();
        for migration in MIGRATIONS.into_iter().take(version.into()) {
            old.execute_batch(migration).unwrap();
        }
        for batch in filled {
            old.execute_batch(batch).unwrap();
        }
        old.pragma_update(None, "user_version", version).unwrap();
    }

    use super::super::Ledger;
    use super::*;

    /// What a ledger of version 4 had of two messages that were settled, and of an event.
    const OLD_RECORD: &str = "
        INSERT INTO processed VALUES ('pub/signbot', 'b1', 1764500000), ('pub/distbot', 'b1', 1764500001);
        INSERT INTO events VALUES ('b1', 'r1', 'foundry.build.v1', 'builds', 'head/build', 'hello 1.0',
            '2026-11-30T12:00:00Z', 'c1', '{}');
        INSERT INTO since VALUES ('topic-in-events', 1764490000);";

    #[tokio::test]
    async fn an_older_ledger_keeps_what_was_settled_and_notes_since_when_events_say_what_their_ids_derive_from() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        make_old(&path, 4, &["DELETE FROM since", OLD_RECORD]);

        let before = OffsetDateTime::now_utc();
        let ledger = Ledger::open(&path).unwrap();
        let upgraded = ledger.upgraded();
        assert_eq!(upgraded.topics.unix_timestamp(), 1_764_490_000, "that was earlier");
        assert!(
            upgraded.origins >= before - time::Duration::SECOND,
            "{}",
            upgraded.origins
        );
        for group in ["pub/signbot", "pub/distbot"] {
            assert!(ledger.known(group, "b1").await.unwrap().settled, "{group}");
        }
        assert!(!ledger.known("pub/signbot", "b2").await.unwrap().settled);
        let run = ledger.run("r1").await.unwrap().unwrap();
        assert_eq!((run.events[0].id.as_str(), &run.events[0].group), ("b1", &None));
        drop(ledger);
        assert_eq!(Ledger::open(&path).unwrap().upgraded(), upgraded, "it stays");
    }

    /// What a ledger of version 5 had of two runs, one of which was dated by a clock that was wrong, and of a failed attempt.
    const OLD_RUNS: &str = "
        INSERT INTO events (id, run, type, topic, source, time, data) VALUES
            ('c1', 'r1', 'foundry.commit.v1', 'commits', 'head/watch', '2026-10-20T12:00:00Z', '{}'),
            ('b1', 'r1', 'foundry.build.v1', 'builds', 'head/build', '2026-10-21T12:00:00.5Z', '{\"a\":1}'),
            ('c2', 'r2', 'foundry.commit.v1', 'commits', 'head/watch', '2999-01-01T00:00:00Z', '{}'),
            ('c3', 'r3', 'foundry.commit.v1', 'commits', 'head/watch', 'yesterday', '{}');
        INSERT INTO attempts VALUES ('pub/buildbot', 'c1', 2);";

    #[tokio::test]
    async fn a_ledger_of_version_5_learns_when_it_saw_its_runs_last_and_how_large_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        make_old(&path, 5, &[OLD_RUNS]);

        let before = OffsetDateTime::now_utc().unix_timestamp();
        let ledger = Ledger::open(&path).unwrap();
        let runs = ledger.work(|c| {
            c.prepare("SELECT run, seen, events, bytes FROM runs ORDER BY run")?
                .query_map([], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, i64>(1)?,
                        row.get::<_, i64>(2)?,
                        row.get::<_, i64>(3)?,
                    ))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        });
        let runs = runs.await.unwrap();
        assert_eq!(runs[0], ("r1".to_owned(), 1_792_584_000, 2, 2 + 7 + 1024));
        for run in &runs[1..] {
            assert!(run.1 >= before, "{run:?}: no later than the upgrade, and no earlier");
        }
        assert_eq!(ledger.attempts("pub/buildbot", "c1").await.unwrap(), 2);
        assert_eq!(ledger.count_attempt("pub/buildbot", "c1").await.unwrap(), 3);
    }

    /// What a ledger of version 6 had of two commits, one of which nobody can read.
    const OLD_COMMITS: &str = "
        INSERT INTO events (id, run, type, topic, source, time, data) VALUES
            ('c1', 'r1', 'foundry.commit.v1', 'commits', 'head/watch', '2026-10-20T12:00:00Z', '{\"ref\":\"0123456789abcdef\"}'),
            ('c2', 'r2', 'foundry.commit.v1', 'commits', 'head/watch', '2026-10-20T12:00:01Z', '{\"ref\":'),
            ('b1', 'r1', 'foundry.build.v1', 'builds', 'head/build', '2026-10-20T12:00:02Z', '{\"ref\":\"0123456789abcdef\"}');";

    #[tokio::test]
    async fn a_ledger_of_version_6_finds_its_commits_and_gives_room_back_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        make_old(&path, 6, &[OLD_COMMITS]);

        let ledger = Ledger::open(&path).unwrap();
        let found = ledger.run("0123456").await.unwrap().unwrap();
        assert_eq!((found.id.as_str(), found.events.len()), ("r1", 2));
        assert_eq!(ledger.run("r2").await.unwrap().unwrap().events.len(), 1);
        let kind = |c: &Connection| c.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0));
        assert_eq!(ledger.work(kind).await.unwrap(), 2, "incremental");
    }

    /// What a ledger of version 3 had of a refused message, and of one that the operator had requeued.
    const OLD_LETTERS: &str = "
        INSERT INTO dead_letters (at, bot, topic, id, reason, attempts, payload, kind, requeued) VALUES
            ('2026-11-01T12:00:00Z', 'sign', 'foundry/builds', NULL, 'no such key', 0, x'7b7d', 'message', 0),
            ('2026-11-02T12:00:00Z', 'sign', 'foundry/builds', 'i2', 'gave up', 3, x'7b7d', 'message', 1);";

    /// What a ledger of version 4 had of an upgrade, of a commit, and of a refused build that waits for a key.
    const OLD_RUN: &str = "
        UPDATE since SET at = 1764000000 WHERE what = 'topic-in-events';
        INSERT INTO events VALUES ('c1', 'r1', 'foundry.commit.v1', 'commits', 'head/watch', NULL, '2026-11-20T12:00:00Z', NULL, '{}');
        INSERT INTO dead_letters (at, bot, topic, reason, attempts, payload, kind, retry_on_trust) VALUES
            ('2026-11-21T12:00:00Z', 'sign', 'foundry/builds', 'no such key', 0, x'7b7d', 'message', 1);";

    #[tokio::test]
    async fn a_ledger_of_version_4_notes_since_when_events_carry_announcements_and_keeps_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        make_old(&path, 4, &[OLD_RUN]);

        let before = OffsetDateTime::now_utc();
        let ledger = Ledger::open(&path).unwrap();
        let since = ledger.upgraded().announcements;
        assert!(since >= before - time::Duration::SECOND, "{since}");
        assert_eq!(ledger.upgraded().topics.unix_timestamp(), 1_764_000_000);
        assert!(ledger.is_announced("r1").await.unwrap() && !ledger.is_announced("r2").await.unwrap());
        let now = OffsetDateTime::now_utc();
        assert_eq!(ledger.curable(0, (true, false), now).await.unwrap().len(), 1);
        assert_eq!(ledger.recordable(0, true, now).await.unwrap(), []);
        drop(ledger);
        let again = Ledger::open(&path).unwrap();
        assert_eq!(again.upgraded().announcements, since, "it stays at every later start");
    }

    #[tokio::test]
    async fn an_older_ledger_keeps_its_dead_letters_and_notes_when_it_was_upgraded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        make_old(&path, 3, &[OLD_LETTERS]);

        let before = OffsetDateTime::now_utc();
        let ledger = Ledger::open(&path).unwrap();
        let since = ledger.upgraded().topics;
        assert!(since >= before - time::Duration::SECOND, "{since}");
        let letters = ledger.dead_letters().await.unwrap();
        let cures: Vec<_> = letters.iter().map(|letter| (letter.requeued, letter.cure)).collect();
        assert_eq!(cures, [(false, None), (true, None)]);
        assert!(
            ledger.requeued("sign").await.unwrap()[0].anew,
            "the operator asked for it"
        );
        let totals = ledger.work(|c| {
            let of = |class: &str| {
                c.query_row(
                    "SELECT count, bytes FROM dead_letter_totals WHERE class = ?",
                    [class],
                    |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
                )
            };
            Ok((of("message")?, of("refused")?))
        });
        assert_eq!(totals.await.unwrap(), ((1, 2), (1, 2)), "what was there is counted");
        drop(ledger);
        assert_eq!(
            Ledger::open(&path).unwrap().upgraded().topics,
            since,
            "it stays at every later start"
        );
    }
}
