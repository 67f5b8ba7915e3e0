//! What can go wrong with keys and with signing. Errors of checking a signature are in [`super::verify`].

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fingerprint::Fingerprint;
use super::passphrase::PassphraseError;
use super::role::Role;

/// For error messages: a time that can't be formatted (beyond the year 9999) prints in the crate's own way.
pub(super) fn rfc3339(at: &OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

/// Why a key can't be used for what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnusableKey {
    /// The key has expired.
    #[error("key {key} expired at {} (extend it with `foundry-host key extend --expires-in 730d {fingerprint}`, or make a new key and rotate)", rfc3339(.at))]
    Expired {
        /// The key, as a person knows it.
        key: String,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// When it expired.
        at: OffsetDateTime,
    },
    /// The key was revoked.
    #[error("key {key} was revoked at {} (make a new key and rotate: a revocation can't be undone)", rfc3339(.at))]
    Revoked {
        /// The key, as a person knows it.
        key: String,
        /// When it was revoked.
        at: OffsetDateTime,
    },
    /// Neither the primary key nor a subkey is meant for signing.
    #[error("key {key} has no part that may sign data (its key flags allow other uses only)")]
    NotForSigning {
        /// The key, as a person knows it.
        key: String,
    },
    /// Only the public part is in the store.
    #[error("key {key} is here without its secret part (import the secret key to sign with it)")]
    PublicOnly {
        /// The key, as a person knows it.
        key: String,
    },
    /// The secret part was left out of the file, or is on a smartcard.
    #[error("the secret part of key {key} is not in the store: it was exported as a stub, or is on a smartcard")]
    Stub {
        /// The key, as a person knows it.
        key: String,
    },
}

/// Why the key store refused.
#[derive(Debug, Error)]
pub enum KeyError {
    /// A file or directory could not be read or written.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Others can read the secrets.
    #[error("{} has mode {mode:03o}: others than its owner have access to secret keys (run `chmod {wanted:03o} {}`)", .path.display(), .path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// The permission bits it has.
        mode: u32,
        /// The permission bits it should have.
        wanted: u32,
    },
    /// A file of the store does not hold what it should.
    #[error("key file {} is damaged: {reason} (restore it from a backup, or remove it and import the key again)", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The metadata was written by a newer version.
    #[error("key file {} has format {found}, this version knows up to {known} (use a newer foundry-host)", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it declares.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// No key matches.
    #[error("no key matches {query:?} (see `foundry-host key list`, or add it with `foundry-host key import`)")]
    NotFound {
        /// What was looked for.
        query: String,
    },
    /// The key is there, but not for this.
    #[error("key {key} does not have the role {role} (give it that role with `{command}`)")]
    WrongRole {
        /// The key that matches.
        key: String,
        /// The role asked for.
        role: Role,
        /// What would give it that role and leave it the others.
        command: String,
    },
    /// Several keys match.
    #[error("{query:?} means several keys; name one by its fingerprint:{}", list(.candidates))]
    Ambiguous {
        /// What was looked for.
        query: String,
        /// The keys that match.
        candidates: Vec<String>,
    },
    /// The data to import is not OpenPGP keys.
    #[error("cannot import keys: {reason}")]
    Import {
        /// What is wrong.
        reason: String,
    },
    /// A role is needed.
    #[error("cannot store key {key} without a role (give one or more of messages, packages, repository, commits)")]
    NoRole {
        /// The key.
        key: String,
    },
    /// The key can't be used.
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
    /// There is no passphrase, or it can't be read.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The passphrase does not open the key.
    #[error("the passphrase from {origin} does not unlock key {key}")]
    WrongPassphrase {
        /// The key.
        key: String,
        /// Where the passphrase came from.
        origin: String,
    },
    /// The user id can't be put into a key.
    #[error("cannot make a key for the user id {user_id:?}: {reason}")]
    UserId {
        /// The user id.
        user_id: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The expiry can't be put into a key.
    #[error(
        "cannot make a key that expires after {seconds} s: the longest lifetime is {} s (136 years)",
        u32::MAX
    )]
    Expiry {
        /// The lifetime asked for.
        seconds: u64,
    },
    /// Only GnuPG can do this.
    #[error(
        "cannot extend key {key}: it has subkeys (extend it with `gpg --quick-set-expire {fingerprint} 1y` and again with `'*'` for the subkeys, then import it again)"
    )]
    HasSubkeys {
        /// The key.
        key: String,
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// gpg refused or is missing.
    #[error("cannot export {query:?} from GnuPG: {reason}")]
    Gnupg {
        /// The key asked for.
        query: String,
        /// What gpg said.
        reason: String,
    },
    /// The secret is with GnuPG, which does not sign.
    #[error(
        "the secret part of key {key} is not in the store but with GnuPG (it was exported as a stub, or is on a smartcard), and that failed: {reason}"
    )]
    KeptByGnupg {
        /// The key.
        key: String,
        /// What gpg said.
        reason: String,
    },
    /// The OpenPGP implementation refused.
    #[error("cannot {what}: {reason}")]
    OpenPgp {
        /// What was tried.
        what: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Why nothing was signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// The key expired after it was unlocked.
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
    /// The data could not be read.
    #[error("cannot read the data to sign: {0}")]
    Read(#[source] io::Error),
    /// The OpenPGP implementation refused, or gpg where it keeps the secret.
    #[error("cannot sign with key {key}: {reason}")]
    Refused {
        /// The key.
        key: Fingerprint,
        /// What it said.
        reason: String,
    },
    /// The text already carries a signature.
    #[error(
        "cannot clear-sign a text that is already clear-signed (sign its content: `strip_clear_signature` takes the old signature off)"
    )]
    AlreadySigned,
    /// The event can't be put into canonical form.
    #[error("cannot sign the event: {0}")]
    Event(#[from] super::event_signature::NotCanonical),
}

/// One candidate to a line.
fn list(candidates: &[String]) -> String {
    candidates.iter().map(|candidate| format!("\n  {candidate}")).collect()
}
