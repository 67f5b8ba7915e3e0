//! Room that a ledger gives back to the disk.
//!
//! SQLite keeps pages that became free for what is written next. A file that was made with `auto_vacuum = incremental` can be made shorter in small
//! steps, between which messages are settled. One that was made without (before version 7) has to be written anew as a whole for that, once: at
//! the start as long as it is small, since nothing else can be done meanwhile; else by `foundry-host gc` while the host does not run.

use std::path::Path;

use rusqlite::Connection;

use super::{Ledger, LedgerError};

/// Bytes of a file that a start may write anew: a second or two.
pub(super) const QUICK: u64 = 32 * 1024 * 1024;

/// Pages that are given back in one piece of work: a MiB is moved at most.
const STEP: i64 = 256;

/// Free pages that stay whatever there is: what is written next needs them.
const SPARE: i64 = 2048;

/// Of the pages in use one in so many may be free besides.
const SPARE_PART: i64 = 8;

/// `PRAGMA auto_vacuum`, when it is incremental.
const INCREMENTAL: i64 = 2;

/// How many pages a file has.
#[derive(Debug, Clone, Copy)]
struct Pages {
    all: i64,
    free: i64,
}

impl Pages {
    fn of(c: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            all: number(c, "page_count")?,
            free: number(c, "freelist_count")?,
        })
    }

    /// More than is kept for what comes.
    fn excess(self) -> i64 {
        let spare = SPARE.max((self.all - self.free) / SPARE_PART);
        (self.free - spare).max(0)
    }
}

fn number(c: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    c.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
}

/// Write a file anew that gives no room back, if it has at most so many bytes. One that can't be stays as it is, and works.
pub(super) fn rewrite(c: &Connection, path: &Path, most: u64) {
    match needs_rewriting(c, most).and_then(|needs| if needs { c.execute_batch("VACUUM") } else { Ok(()) }) {
        Ok(()) => {}
        Err(why) => tracing::warn!(
            path = %path.display(), %why,
            "the ledger can't be written anew, and stays as large as it is (run `foundry-host gc` without a host, once there is room for a copy)"
        ),
    }
}

fn needs_rewriting(c: &Connection, most: u64) -> rusqlite::Result<bool> {
    if number(c, "auto_vacuum")? == INCREMENTAL {
        return Ok(false);
    }
    let bytes = number(c, "page_count")?.saturating_mul(number(c, "page_size")?);
    Ok(bytes.unsigned_abs() <= most)
}

impl Ledger {
    /// Give what is free back to the disk, but for a part that is needed again soon, in small pieces of work between which others are done. Returns the
    /// bytes by which the file becomes shorter, once SQLite has brought its log into it; none of a file that gives no room back.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails. What was given back by then stays so.
    pub async fn give_room_back(&self) -> Result<u64, LedgerError> {
        let mut given = 0;
        loop {
            let step = self.work(give_step_back).await?;
            if step == 0 {
                return Ok(given);
            }
            given += step;
        }
    }
}

/// Returns the bytes.
fn give_step_back(c: &Connection) -> rusqlite::Result<u64> {
    let pages = Pages::of(c)?;
    let step = pages.excess().min(STEP);
    if step == 0 || number(c, "auto_vacuum")? != INCREMENTAL {
        return Ok(0);
    }
    // Each row of it, of which none has a column, gives one page back.
    let mut vacuum = c.prepare(&format!("PRAGMA incremental_vacuum({step})"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    let less = pages.all - number(c, "page_count")?;
    Ok(less.saturating_mul(number(c, "page_size")?).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1024 * 1024;

    async fn fill(ledger: &Ledger, mebibytes: i64) {
        for number in 0..mebibytes {
            let write = move |c: &Connection| {
                c.execute(
                    "INSERT INTO state VALUES ('b', ?, randomblob(?))",
                    rusqlite::params![number.to_string(), MIB],
                )
            };
            ledger.work(write).await.unwrap();
        }
    }

    async fn pages(ledger: &Ledger) -> Pages {
        ledger.work(Pages::of).await.unwrap()
    }

    fn length(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().len()
    }

    #[tokio::test]
    async fn a_ledger_from_which_much_was_removed_becomes_small_again_and_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        let ledger = Ledger::open(&path).unwrap();
        fill(&ledger, 40).await;
        assert_eq!(ledger.give_room_back().await.unwrap(), 0, "nothing is free");
        ledger
            .work(|c| c.execute("DELETE FROM state WHERE key >= '1'", []))
            .await
            .unwrap();
        let before = pages(&ledger).await;
        assert!(before.free > 8000, "{before:?}");
        // Others get their turn between two steps.
        let (given, settled) = tokio::join!(ledger.give_room_back(), async {
            let mut settled = 0;
            while pages(&ledger).await.excess() > 0 {
                settled += 1;
            }
            settled
        });
        assert!(given.unwrap() > 25 * MIB.unsigned_abs());
        assert!(settled > 1, "{settled}");
        let after = pages(&ledger).await;
        assert!(after.free <= SPARE && after.all < before.all - 6000, "{after:?}");
        assert_eq!(ledger.state("b", "0").await.unwrap().unwrap().len(), 1024 * 1024);
        drop(ledger);
        // The last connection that is closed brings the log into the file.
        let c = Connection::open(&path).unwrap();
        let whole: String = c.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
        drop(c);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while length(&path) > 16 * MIB.unsigned_abs() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(50));
            drop(Connection::open(&path).and_then(|c| c.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")));
        }
        assert!(length(&path) <= 16 * MIB.unsigned_abs(), "{}", length(&path));
    }

    /// As hosts before version 7 made it.
    fn old(path: &Path, mebibytes: i64) {
        let c = Connection::open(path).unwrap();
        c.execute_batch("PRAGMA auto_vacuum = NONE; CREATE TABLE filler (x BLOB)")
            .unwrap();
        for _ in 0..mebibytes {
            c.execute("INSERT INTO filler VALUES (zeroblob(?))", [MIB]).unwrap();
        }
    }

    #[tokio::test]
    async fn an_old_file_is_written_anew_at_the_start_if_it_is_small_and_else_only_when_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        let gives_back =
            async |ledger: &Ledger| ledger.work(|c| number(c, "auto_vacuum")).await.unwrap() == INCREMENTAL;
        old(&path, 1);
        assert!(gives_back(&Ledger::open(&path).unwrap()).await);
        let path = directory.path().join("large.sqlite");
        old(&path, 33);
        let ledger = Ledger::open(&path).unwrap();
        assert!(!gives_back(&ledger).await);
        assert_eq!(ledger.give_room_back().await.unwrap(), 0);
        drop(ledger);
        // The writer closes the file a moment after the last handle is gone.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while !gives_back(&Ledger::open_rewritten(&path).unwrap()).await {
            assert!(std::time::Instant::now() < deadline, "it is not written anew");
        }
    }
}
