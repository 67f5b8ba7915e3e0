//! Dead letters, as they are listed: the host's, and then those of the embedded broker's groups.

use super::desk::not_found;
use super::protocol::{Answer, Failure, MAX_LETTERS};
use crate::event::group_of;
use crate::ledger::{DeadLetter, LetterNumber};
use crate::supervisor::Host;

/// Dead letters without their payloads, at most `limit`: those that are listed after one, and those of a bot or a group.
pub(super) async fn page(
    host: &Host,
    limit: u32,
    after: Option<LetterNumber>,
    of: Option<&str>,
) -> Result<Answer, Failure> {
    let limit = limit.clamp(1, MAX_LETTERS);
    // One more tells whether there are more.
    let wanted = limit.saturating_add(1);
    let mut letters = match after {
        Some(LetterNumber::Group(_)) => Vec::new(),
        Some(LetterNumber::Host(after)) => {
            let of = of.map(ToOwned::to_owned);
            host.ledger().dead_letter_page(Some(after), of, wanted).await?
        }
        None => {
            host.ledger()
                .dead_letter_page(None, of.map(ToOwned::to_owned), wanted)
                .await?
        }
    };
    let (wanted, limit) = (usize_of(wanted), usize_of(limit));
    if letters.len() < wanted {
        letters.extend(of_groups(host, after, of).await);
    }
    let more = letters.len() > limit;
    letters.truncate(limit);
    Ok(Answer::DeadLetters { letters, more })
}

/// Those of groups, which have numbers of their own.
async fn of_groups(host: &Host, after: Option<LetterNumber>, of: Option<&str>) -> Vec<DeadLetter> {
    // An endpoint such as pub/buildbot may be written as its share name has it.
    let is_of = |letter: &DeadLetter| of.is_none_or(|of| letter.bot == of || letter.bot == group_of(of));
    let is_after = |letter: &DeadLetter| !matches!(after, Some(LetterNumber::Group(after)) if letter.seq <= after);
    let mut letters = host.group_dead_letters().await;
    letters.retain(|letter| is_of(letter) && is_after(letter));
    letters.sort_by_key(|letter| letter.seq);
    letters.iter_mut().for_each(|letter| letter.payload.clear());
    letters
}

/// One dead letter, with its payload.
pub(super) async fn one(host: &Host, number: LetterNumber) -> Result<Answer, Failure> {
    let found = match number {
        LetterNumber::Host(number) => host.ledger().dead_letter(number).await?,
        LetterNumber::Group(number) => {
            let letters = host.group_dead_letters().await;
            letters.into_iter().find(|letter| letter.seq == number)
        }
    };
    let missing = || {
        not_found(format!(
            "there is no dead letter {number} (see `foundry-host dead-letters list`)"
        ))
    };
    found
        .map(|letter| Answer::DeadLetter(Box::new(letter)))
        .ok_or_else(missing)
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
