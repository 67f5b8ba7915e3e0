//! Messages that were given up, with the reason.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Ledger, LedgerError, outbox};
use crate::event::Cure;

/// Dead letters of a class that are kept, and bytes of their payloads; the oldest go first. Whoever may publish can have any number of messages refused: so
/// these have a bound of their own, and push out nothing that a bot gave up.
const MOST: [(Class, i64, i64); 4] = [
    (Class::Message, 10_000, 256 * 1024 * 1024),
    (Class::Known, 10_000, 64 * 1024 * 1024),
    (Class::Refused, 10_000, 64 * 1024 * 1024),
    (Class::Outbox, 10_000, 256 * 1024 * 1024),
];

/// Bytes of one that are kept: all of it, if it can be an event.
const MAX_PAYLOAD: usize = 512 * 1024;

/// Dead letters that are looked at together: their payloads are in memory meanwhile.
const PAGE: i64 = 20;

/// Which way a dead letter was going.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterKind {
    /// To a bot of this host, which gave it up or had to refuse it.
    #[default]
    Message,
    /// From a bot of this host to the broker, which will not take it.
    Outbox,
    /// To any member of a group: the embedded broker gave it up.
    Group,
}

/// Which bound a dead letter counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A bot gave it up.
    Message,
    /// A known key signed it, and no bot got it.
    Known,
    /// It is a stranger's, and no bot got it.
    Refused,
    /// The broker will not take it.
    Outbox,
}

impl Class {
    fn of(letter: &DeadLetter) -> Self {
        match (letter.kind, &letter.id) {
            (DeadLetterKind::Outbox, _) => Self::Outbox,
            (_, None) if letter.is_known => Self::Known,
            (_, None) => Self::Refused,
            (_, Some(_)) => Self::Message,
        }
    }

    /// As the table has it.
    fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Known => "known",
            Self::Refused => "refused",
            Self::Outbox => "outbox",
        }
    }
}

impl DeadLetterKind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Outbox => "outbox",
            Self::Group => "group",
        }
    }
}

/// What an operator calls a dead letter by: `12`, or `g12` for one that a group of the embedded broker has set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterNumber {
    /// One in this host's ledger.
    Host(i64),
    /// One of a group.
    Group(i64),
}

impl std::fmt::Display for LetterNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(number) => write!(f, "{number}"),
            Self::Group(number) => write!(f, "g{number}"),
        }
    }
}

impl std::str::FromStr for LetterNumber {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = match text.strip_prefix('g') {
            Some(number) => number.parse().map(Self::Group),
            None => text.parse().map(Self::Host),
        };
        number.map_err(|_| "write a number as `foundry-host dead-letters list` shows it, such as 12 or g12")
    }
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number.
    pub seq: i64,
    /// When it was given up, RFC 3339.
    pub at: String,
    /// The bot that it was for.
    pub bot: String,
    /// Full topic.
    pub topic: String,
    /// The event's id, if it has a valid one.
    pub id: Option<String>,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The message as it came, at most as much of it as an event may have; empty in lists.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "as_text",
        deserialize_with = "from_text"
    )]
    pub payload: Vec<u8>,
    /// Which way it was going.
    #[serde(default)]
    pub kind: DeadLetterKind,
    /// Whether its bot is to try it again.
    #[serde(default)]
    pub requeued: bool,
    /// When the host itself tries it again, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<Cure>,
    /// Whether the operator wants it handled, whatever became of it; else only if it was not settled meanwhile.
    #[serde(skip)]
    pub anew: bool,
    /// Whether a key that this host knows signed it.
    #[serde(skip)]
    pub is_known: bool,
}

/// A dead letter that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revived {
    /// Its number.
    pub number: i64,
    /// Whether the operator wants it handled, whatever became of it; else only if nobody has settled it.
    pub anew: bool,
}

fn as_text<S: serde::Serializer>(payload: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(payload))
}

fn from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    String::deserialize(deserializer).map(String::into_bytes)
}

impl DeadLetter {
    /// What to call it by.
    #[must_use]
    pub fn number(&self) -> LetterNumber {
        match self.kind {
            DeadLetterKind::Group => LetterNumber::Group(self.seq),
            DeadLetterKind::Message | DeadLetterKind::Outbox => LetterNumber::Host(self.seq),
        }
    }

    /// A message that is given up now.
    #[must_use]
    pub fn now(bot: &str, topic: &str, id: Option<String>, reason: String, attempts: u32, payload: &[u8]) -> Self {
        Self {
            seq: 0,
            at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            bot: bot.to_owned(),
            topic: topic.to_owned(),
            id,
            reason,
            attempts,
            payload: payload.get(..MAX_PAYLOAD).unwrap_or(payload).to_owned(),
            kind: DeadLetterKind::Message,
            requeued: false,
            cure: None,
            anew: false,
            is_known: false,
        }
    }
}

/// Returns its number.
pub(super) fn insert(c: &Connection, dead: &DeadLetter) -> rusqlite::Result<i64> {
    c.prepare_cached(
        "INSERT INTO dead_letters (at, bot, topic, id, reason, attempts, payload, kind, retry_on_trust, retry_at, class)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        dead.at,
        dead.bot,
        dead.topic,
        dead.id,
        dead.reason,
        dead.attempts,
        dead.payload,
        dead.kind.name(),
        on_trust(dead.cure),
        moment(dead.cure),
        Class::of(dead).name(),
    ])?;
    let number = c.last_insert_rowid();
    make_room(c, Class::of(dead))?;
    Ok(number)
}

/// Remove the oldest of a class until the others are within its bounds. The one that came last stays.
fn make_room(c: &Connection, class: Class) -> rusqlite::Result<()> {
    let bounds = MOST.iter().find(|(of, ..)| *of == class);
    let Some((_, most, most_bytes)) = bounds else {
        return Ok(());
    };
    let mut totals = c.prepare_cached("SELECT count, bytes FROM dead_letter_totals WHERE class = ?")?;
    let mut oldest = c.prepare_cached(
        "DELETE FROM dead_letters WHERE seq = (SELECT min(seq) FROM dead_letters WHERE class = ? AND NOT requeued)",
    )?;
    loop {
        let (count, bytes): (i64, i64) = totals.query_row([class.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if count <= 1 || (count <= *most && bytes <= *most_bytes) {
            return Ok(());
        }
        if oldest.execute([class.name()])? == 0 {
            // All of them are being tried again.
            return Ok(());
        }
    }
}

/// The packages keys, in the column that tells which keys have to change.
const PACKAGES: i64 = 2;

/// From when on, in seconds since 1970: a second that has begun is not over.
pub(super) fn moment(cure: Option<Cure>) -> Option<i64> {
    match cure {
        Some(Cure::At(at)) => Some(at.unix_timestamp() + 1),
        Some(Cure::Trust | Cure::Packages) | None => None,
    }
}

fn cure(on_trust: i64, at: Option<i64>) -> Option<Cure> {
    let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    match on_trust {
        0 => at.map(Cure::At),
        PACKAGES => Some(Cure::Packages),
        _ => Some(Cure::Trust),
    }
}

/// As the table has it: which keys have to change.
fn on_trust(cure: Option<Cure>) -> i64 {
    match cure {
        Some(Cure::Trust) => 1,
        Some(Cure::Packages) => PACKAGES,
        Some(Cure::At(_)) | None => 0,
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        seq: row.get(0)?,
        at: row.get(1)?,
        bot: row.get(2)?,
        topic: row.get(3)?,
        id: row.get(4)?,
        reason: row.get(5)?,
        attempts: row.get(6)?,
        payload: row.get(7)?,
        kind: match row.get_ref(8)?.as_str()? {
            "outbox" => DeadLetterKind::Outbox,
            _ => DeadLetterKind::Message,
        },
        requeued: row.get(9)?,
        cure: cure(row.get(10)?, row.get(11)?),
        anew: row.get(12)?,
        is_known: false,
    })
}

impl Ledger {
    /// Keep a message that was refused before it became anybody's.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn bury(&self, dead: DeadLetter) -> Result<(), LedgerError> {
        self.work(move |c| insert(c, &dead).map(drop)).await
    }

    /// All dead letters with their payloads, oldest first: as much memory as they take.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, LedgerError> {
        self.read(|c| {
            c.prepare_cached(
                "SELECT seq, at, bot, topic, id, reason, attempts, payload, kind, requeued, retry_on_trust,
                        retry_at, anew FROM dead_letters ORDER BY seq",
            )?
            .query_map([], row)?
            .collect()
        })
        .await
    }

    /// Dead letters without their payloads, oldest first, at most `limit`: those after a number, if one is given, and those of a bot.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn dead_letter_page(
        &self,
        after: Option<i64>,
        bot: Option<String>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, LedgerError> {
        self.read(move |c| {
            c.prepare_cached(
                "SELECT seq, at, bot, topic, id, reason, attempts, x'', kind, requeued, retry_on_trust,
                        retry_at, anew FROM dead_letters
                 WHERE seq > ?1 AND (?2 IS NULL OR bot = ?2) ORDER BY seq LIMIT ?3",
            )?
            .query_map(params![after.unwrap_or(i64::MIN), bot, limit], row)?
            .collect()
        })
        .await
    }

    /// A dead letter with its payload.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn dead_letter(&self, seq: i64) -> Result<Option<DeadLetter>, LedgerError> {
        self.read(move |c| {
            c.prepare_cached(
                "SELECT seq, at, bot, topic, id, reason, attempts, payload, kind, requeued, retry_on_trust,
                        retry_at, anew FROM dead_letters WHERE seq = ?",
            )?
            .query_row([seq], row)
            .optional()
        })
        .await
    }

    /// Take a dead letter out, to publish it again or to forget it.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn take_dead_letter(&self, seq: i64) -> Result<Option<DeadLetter>, LedgerError> {
        self.work(move |c| {
            c.prepare_cached(
                "DELETE FROM dead_letters WHERE seq = ?
                 RETURNING seq, at, bot, topic, id, reason, attempts, payload, kind, requeued, retry_on_trust, retry_at,
                           anew",
            )?
            .query_row([seq], row)
            .optional()
        })
        .await
    }

    /// Try a dead letter again, whatever became of it: one of the outbox goes back there, and one that was for a bot waits for it, until it is
    /// settled. Returns whether there is such a dead letter.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn requeue_dead_letter(&self, seq: i64) -> Result<bool, LedgerError> {
        let requeued = self.work(move |c| requeue(c, seq)).await?;
        if let Some(added) = requeued {
            self.outbox_grew(added);
            self.dead_letters_requeued.notify_waiters();
        }
        Ok(requeued.is_some())
    }

    /// Wait until a dead letter is requeued.
    pub fn dead_letter_requeued(&self) -> impl Future<Output = ()> + use<> {
        std::sync::Arc::clone(&self.dead_letters_requeued).notified_owned()
    }

    /// The dead letters that a bot is to try again, oldest first.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn requeued(&self, bot: &str) -> Result<Vec<DeadLetter>, LedgerError> {
        let bot = bot.to_owned();
        self.work(move |c| {
            c.prepare_cached(
                "SELECT seq, at, bot, topic, id, reason, attempts, payload, kind, requeued, retry_on_trust,
                        retry_at, anew FROM dead_letters
                 WHERE requeued AND bot = ? ORDER BY seq",
            )?
            .query_map([&bot], row)?
            .collect()
        })
        .await
    }

    /// Marks a dead letter as refused again, for a new reason.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn refused_again(&self, seq: i64, reason: String, cure: Option<Cure>) -> Result<(), LedgerError> {
        self.work(move |c| {
            c.prepare_cached(
                "UPDATE dead_letters SET requeued = 0, reason = ?, retry_on_trust = ?, retry_at = ? WHERE seq = ?",
            )?
            .execute(params![reason, on_trust(cure), moment(cure), seq])?;
            Ok(())
        })
        .await
    }

    /// Refused messages after a number that may have become acceptable, oldest first, at most [`PAGE`]: those whose time has
    /// come, and with `trust_changed` those that other keys, or other duties of their hosts, would help.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn curable(
        &self,
        after: i64,
        (trust_changed, packages_changed): (bool, bool),
        now: OffsetDateTime,
    ) -> Result<Vec<DeadLetter>, LedgerError> {
        self.work(move |c| {
            c.prepare_cached(
                "SELECT seq, at, bot, topic, id, reason, attempts, payload, kind, requeued, retry_on_trust,
                        retry_at, anew FROM dead_letters
                 WHERE seq > ? AND NOT requeued
                       AND (retry_at <= ? OR (? AND retry_on_trust = 1) OR (? AND retry_on_trust = 2))
                 ORDER BY seq LIMIT ?",
            )?
            .query_map(
                params![after, now.unix_timestamp(), trust_changed, packages_changed, PAGE],
                row,
            )?
            .collect()
        })
        .await
    }

    /// Lets a refused message's bot try it again, as if it had come just now: if it was settled meanwhile, that is all.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger fails.
    pub async fn retry_dead_letter(&self, seq: i64) -> Result<(), LedgerError> {
        self.work(move |c| {
            c.prepare_cached("UPDATE dead_letters SET requeued = 1, anew = 0 WHERE seq = ?")?
                .execute([seq])
        })
        .await?;
        self.dead_letters_requeued.notify_waiters();
        Ok(())
    }
}

/// Returns what came into the outbox; none if there is no such dead letter.
fn requeue(c: &Connection, seq: i64) -> rusqlite::Result<Option<outbox::Size>> {
    let found = c
        .prepare_cached("UPDATE dead_letters SET requeued = 1, anew = 1 WHERE seq = ? RETURNING kind = 'outbox'")?
        .query_row([seq], |row| row.get::<_, bool>(0))
        .optional()?;
    if found != Some(true) {
        return Ok(found.map(|_| outbox::Size::default()));
    }
    let (topic, payload): (String, Vec<u8>) = c.query_row(
        "DELETE FROM dead_letters WHERE seq = ? RETURNING topic, payload",
        [seq],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    outbox::insert(c, &topic, &payload, false).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: Option<&str>, size: usize) -> DeadLetter {
        let id = id.map(ToOwned::to_owned);
        DeadLetter::now("b", "foundry/builds", id, "no".to_owned(), 0, &vec![b'x'; size])
    }

    #[tokio::test]
    async fn lists_come_in_pages_and_without_payloads() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        for (bot, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")] {
            let letter = DeadLetter::now(bot, "t", None, text.to_owned(), 0, text.as_bytes());
            ledger.bury(letter).await.unwrap();
        }
        let page = async |after, bot: Option<&str>, limit| {
            let letters = ledger
                .dead_letter_page(after, bot.map(ToOwned::to_owned), limit)
                .await
                .unwrap();
            assert!(letters.iter().all(|letter| letter.payload.is_empty()));
            letters
                .into_iter()
                .map(|letter| (letter.seq, letter.reason))
                .collect::<Vec<_>>()
        };
        let first = page(None, None, 2).await;
        assert_eq!(
            first.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>(),
            ["1", "2"]
        );
        let rest = page(Some(first[1].0), None, 10).await;
        assert_eq!(
            rest.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>(),
            ["3", "4"]
        );
        assert_eq!(page(Some(first[0].0), Some("a"), 1).await[0].1, "3");
        assert_eq!(page(Some(rest[1].0), None, 10).await, []);
        let one = ledger.dead_letter(rest[0].0).await.unwrap().unwrap();
        assert_eq!(one.payload, b"3");
        assert_eq!(ledger.dead_letter(rest[1].0 + 1).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_flood_of_refused_messages_pushes_out_none_that_a_bot_gave_up() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
        ledger.bury(letter(Some("given-up"), 10)).await.unwrap();
        let flood = ledger.work(|c| (0..10_100).try_for_each(|_| insert(c, &letter(None, 1)).map(drop)));
        flood.await.unwrap();
        let large = ledger.work(|c| (0..140).try_for_each(|_| insert(c, &letter(None, MAX_PAYLOAD)).map(drop)));
        large.await.unwrap();
        let letters = ledger.dead_letters().await.unwrap();
        let (refused, given_up): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| letter.id.is_none());
        assert_eq!(given_up.len(), 1);
        assert_eq!(
            refused.len(),
            64 * 1024 * 1024 / MAX_PAYLOAD,
            "the newest, as many as fit"
        );
        for letter in refused {
            ledger.take_dead_letter(letter.seq).await.unwrap();
        }
        let left = ledger.work(|c| {
            c.query_row("SELECT sum(count), sum(bytes) FROM dead_letter_totals", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
        });
        assert_eq!(left.await.unwrap(), (1, 10));
    }
}
