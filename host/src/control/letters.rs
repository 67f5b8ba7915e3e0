//! Dead letters, as they are listed: the host's, and then those of the embedded broker's groups.

use super::desk::not_found;
use super::protocol::{Answer, Failure, MAX_LETTERS};
use crate::ledger::LetterNumber;
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
        let after = match after {
            Some(LetterNumber::Group(after)) => Some(after),
            Some(LetterNumber::Host(_)) | None => None,
        };
        letters.extend(host.group_dead_letters(of, after, wanted - letters.len()).await);
    }
    let more = letters.len() > limit;
    letters.truncate(limit);
    Ok(Answer::DeadLetters { letters, more })
}

/// One dead letter, with its payload.
pub(super) async fn one(host: &Host, number: LetterNumber) -> Result<Answer, Failure> {
    let found = match number {
        LetterNumber::Host(number) => host.ledger().dead_letter(number).await?,
        LetterNumber::Group(number) => host.group_dead_letter(number).await,
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
