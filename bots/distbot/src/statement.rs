//! Whether a packages key states what an event has: a key for messages alone publishes nothing.

use apt_repository::failure::Failure;
use foundry_sdk::events::Sign;
use foundry_sdk::signing::{self, Error};
use foundry_sdk::{log, statement};

use crate::config::Accepted;

/// What to do about an event of an earlier release.
const UNSTATED: &str = "the event has no statement of what was signed, as signbot of this release adds it: push a new commit, or \
                        start distbot with --allow-unstated and requeue the dead letter";

/// See that an accepted key has signed a statement of the event's files, all of them and no others, and that an accepted
/// host built them.
///
/// # Errors
/// [`Failure::Statement`] if not; [`Failure::Later`] if that can't be known now.
pub(crate) fn check(accepted: &Accepted, sign: &Sign) -> Result<(), Failure> {
    let Some(document) = &sign.statement else {
        return unstated(accepted);
    };
    let (signer, text) = signing::verify_clear_signed(&accepted.keys, document.as_bytes()).map_err(refused)?;
    if signer != sign.key {
        let why = format!(
            "the event names the key {}, and {signer} signed its statement",
            sign.key
        );
        return Err(Failure::Statement(why));
    }
    let text = String::from_utf8(text).map_err(|_| Failure::Statement("its statement is not UTF-8".to_owned()))?;
    let origin = statement::check(&text, sign)
        .map_err(|difference| Failure::Statement(format!("its statement does not fit: {difference}")))?;
    built_by(accepted, &origin.builder)
}

/// See that the keys that are named are there.
///
/// # Errors
/// [`Failure::Statement`] if one is not.
pub(crate) fn check_keys(accepted: &Accepted) -> Result<(), Failure> {
    if accepted.keys.is_empty() {
        return Ok(());
    }
    match signing::verify_clear_signed(&accepted.keys, b"") {
        Err(Error::NoKey(why) | Error::Unavailable(why)) => Err(Failure::Statement(format!("--packages-key: {why}"))),
        // Nothing is signed by anybody.
        _ => Ok(()),
    }
}

fn unstated(accepted: &Accepted) -> Result<(), Failure> {
    if accepted.unstated {
        log::warn("published without a statement of what was signed (--allow-unstated)");
        return Ok(());
    }
    Err(Failure::Statement(UNSTATED.to_owned()))
}

fn built_by(accepted: &Accepted, builder: &str) -> Result<(), Failure> {
    if accepted.builders.is_empty() || accepted.builders.iter().any(|host| host == builder) {
        return Ok(());
    }
    Err(Failure::Statement(format!(
        "the host {builder} built it, and only those of {} are published (add --builder {builder} to publish it)",
        accepted.builders.join(", ")
    )))
}

/// Only a signature that is there and does not count is final. That keys can't be asked says nothing of it.
fn refused(error: Error) -> Failure {
    match error {
        Error::NotGranted(why) => Failure::Statement(why),
        Error::NoKey(why) => Failure::Later(format!("its statement can't be checked now: --packages-key: {why}")),
        Error::Unavailable(why) => Failure::Later(format!("its statement can't be checked now: {why}")),
        Error::BadInput(why) => Failure::Statement(format!(
            "its statement counts for nothing: {why} (keys of packages are those that --packages-key names; without it those \
             with the role `packages`, and those of this host's signbots)"
        )),
    }
}
