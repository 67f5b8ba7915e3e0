//! When this host's starts began, as other hosts are told (each later than the one before, whatever the clock says), and which
//! bots have left nothing from before there were identities.

use time::OffsetDateTime;

use super::{Ledger, LedgerError};

/// How far ahead of this machine's time a start's beginning may be, in seconds. Clocks differ by less, and whoever has this host's key
/// can name any beginning.
pub const MOST_AHEAD: u64 = 24 * 3600;

/// The row of `since` with the beginning of the last start.
const LAST_START: &str = "last-start";

/// How the rows of `since` begin that tell when a bot's session of an older version was found to be gone; its name follows.
const OLD_SESSION_ENDED: &str = "old-session-ended ";

impl Ledger {
    /// Note that a start begins, at a time in seconds since 1970. Returns that time, or the second after the last start began,
    /// if that is later: a clock that was set back makes no start older than the one before. What is further ahead of `now` than
    /// [`MOST_AHEAD`], also from before, counts as `now`.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn begin_start(&self, at: u64, now: u64) -> Result<u64, LedgerError> {
        // One that has to be later than the last that is believed.
        let latest = now.saturating_add(MOST_AHEAD + 1);
        let at = if at > latest { now } else { at };
        let [at, latest] = [at, latest].map(|time| i64::try_from(time).unwrap_or_default());
        let began = self
            .work(move |c| {
                // A sum that is no integer any more is none of these times.
                let later = "INSERT INTO since VALUES (?1, ?2) ON CONFLICT (what) DO UPDATE
                    SET at = CASE WHEN typeof(at) = 'integer' AND at <= ?3 THEN max(?2, at + 1) ELSE ?2 END";
                c.prepare_cached(later)?.execute((LAST_START, at, latest))?;
                c.prepare_cached("SELECT at FROM since WHERE what = ?")?
                    .query_row([LAST_START], |row| row.get::<_, i64>(0))
            })
            .await?;
        Ok(u64::try_from(began).unwrap_or_default())
    }

    /// Note that a bot has no session of an older version at the broker any more.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn old_session_ended(&self, bot: &str) -> Result<(), LedgerError> {
        let (what, at) = (format!("{OLD_SESSION_ENDED}{bot}"), OffsetDateTime::now_utc());
        self.work(move |c| {
            c.prepare_cached("INSERT OR IGNORE INTO since VALUES (?, ?)")?
                .execute((&what, at.unix_timestamp()))?;
            Ok(())
        })
        .await
    }

    /// Whether that was noted.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn has_old_session_ended(&self, bot: &str) -> Result<bool, LedgerError> {
        let what = format!("{OLD_SESSION_ENDED}{bot}");
        self.work(move |c| {
            c.prepare_cached("SELECT count(*) > 0 FROM since WHERE what = ?")?
                .query_row([&what], |row| row.get(0))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_start_is_later_than_the_one_before_also_after_the_clock_was_set_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        let mut began = Vec::new();
        for at in [1_796_000_000, 1_796_000_500, 1_795_990_000, 1_796_000_501] {
            // A ledger that is opened again, as by each start.
            let ledger = Ledger::open(&path).unwrap();
            began.push(ledger.begin_start(at, at).await.unwrap());
        }
        assert_eq!(began, [1_796_000_000, 1_796_000_500, 1_796_000_501, 1_796_000_502]);
    }

    #[tokio::test]
    async fn a_beginning_that_can_be_none_keeps_no_later_start_from_beginning() {
        const NOW: u64 = 1_796_000_000;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        let ledger = Ledger::open(&path).unwrap();
        for absurd in [i64::MAX.unsigned_abs(), u64::MAX, NOW + MOST_AHEAD + 2] {
            let began = ledger.begin_start(absurd, NOW).await.unwrap();
            assert!((NOW..NOW + MOST_AHEAD).contains(&began), "{absurd}: {began}");
        }
        // What earlier versions have noted, and what became of it at the next start.
        for stored in ["9223372036854775807", "9223372036854775807 + 1", "1897000000"] {
            let other = rusqlite::Connection::open(&path).unwrap();
            other
                .execute_batch(&format!("UPDATE since SET at = {stored} WHERE what = 'last-start'"))
                .unwrap();
            assert_eq!(ledger.begin_start(NOW, NOW).await.unwrap(), NOW, "{stored}");
            assert_eq!(ledger.begin_start(NOW, NOW).await.unwrap(), NOW + 1, "{stored}");
        }
    }

    /// What a ledger has once a start has begun and a bot's old session was found to be gone.
    const NOTED: &str = "
        INSERT INTO since VALUES ('last-start', 1796000000), ('old-session-ended build', 1796000010);";

    #[tokio::test]
    async fn what_was_noted_is_known_to_later_starts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        drop(Ledger::open(&path).unwrap());
        rusqlite::Connection::open(&path).unwrap().execute_batch(NOTED).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(
            ledger.begin_start(1_795_999_000, 1_795_999_000).await.unwrap(),
            1_796_000_001
        );
        assert!(ledger.has_old_session_ended("build").await.unwrap());
        assert!(!ledger.has_old_session_ended("sign").await.unwrap());
        ledger.old_session_ended("sign").await.unwrap();
        ledger.old_session_ended("sign").await.unwrap();
        assert!(ledger.has_old_session_ended("sign").await.unwrap());
    }
}
