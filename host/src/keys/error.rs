//! What can go wrong with keys and with signing. Errors of checking a signature are in [`super::verify`].

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fingerprint::Fingerprint;
use super::gnupg::GnupgError;
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
    /// A key of the user's GnuPG ring has expired.
    #[error("key {key} of the GnuPG ring expired at {} (extend it with `gpg --quick-set-expire {fingerprint} 2y`, and its subkeys with the same and `'*'` behind it; or make a new key and rotate)", rfc3339(.at))]
    ExpiredInGnupg {
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
    #[error(
        "key {key} is in the host's store without its secret part (import that with `foundry-host key import --role packages FILE`, or into the GnuPG ring of the host's user with `gpg --import FILE`)"
    )]
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

impl UnusableKey {
    /// The same of a key of the user's GnuPG ring, which only gpg extends.
    pub(super) fn in_gnupg(self) -> Self {
        match self {
            Self::Expired { key, fingerprint, at } => Self::ExpiredInGnupg { key, fingerprint, at },
            other => other,
        }
    }
}

/// Where a key was looked for.
#[derive(Debug)]
pub enum Looked {
    /// In the host's own store alone: what is done to keys there can't be done in the GnuPG ring.
    Store(PathBuf),
    /// In the GnuPG ring of the host's user as well.
    Everywhere {
        /// The store's directory.
        store: PathBuf,
        /// The ring's.
        ring: PathBuf,
        /// Why the ring could not be read.
        problem: Option<GnupgError>,
    },
}

impl std::fmt::Display for Looked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(store) => write!(
                f,
                "looked in the host's store {} (`foundry-host key list` shows its keys, `foundry-host key import` adds one; \
                 the GnuPG ring does not count here: its keys are changed with gpg, and sign no messages)",
                store.display()
            ),
            Self::Everywhere { store, ring, problem } => {
                let store = store.display();
                match problem {
                    Some(problem) => write!(f, "the host's store {store} has none, and {problem}")?,
                    None => write!(
                        f,
                        "neither the host's store {store} nor the GnuPG ring {} has one",
                        ring.display()
                    )?,
                }
                write!(
                    f,
                    " (`foundry-host key list` shows the keys of both; make a key with `gpg --quick-generate-key` or \
                     `foundry-host key generate --role ROLE`, or bring one in with `gpg --import FILE` or `foundry-host key \
                     import --role ROLE FILE`; ROLE is packages for signbot, repository for distbot)"
                )
            }
        }
    }
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
    #[error("no key matches {query:?}: {looked}")]
    NotFound {
        /// What was looked for.
        query: String,
        /// Where.
        looked: Box<Looked>,
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
    /// Another host's messages key is nobody's.
    #[error(
        "cannot trust key {key} for messages without knowing whose it is (add `--host NAME --may DUTY`: the name in that host's \
         configuration, and watch, build, sign, publish, operate, head, builder or TYPE@TOPIC)"
    )]
    Unbound {
        /// The key.
        key: String,
    },
    /// A secret messages key is some host's, and it isn't said which one's.
    #[error(
        "cannot have key {key} with its secret part for messages without knowing whose it is: a secret messages key in this \
         store signs for this host, and whoever else has it speaks in this host's name (import it with `--own` if it is this \
         host's: `{command}`; or with `--host NAME --may DUTY` if it is another's, of which only the public part is taken)"
    )]
    WhoseSecret {
        /// The key.
        key: String,
        /// What would make it this host's own.
        command: String,
    },
    /// A key cannot be two hosts'.
    #[error(
        "key {key} is bound to host {host} already, and a key has one host (each host has a key of its own; if the host was \
         renamed, or is this one, run `{command}` first)"
    )]
    OtherHost {
        /// The key.
        key: String,
        /// Its host.
        host: String,
        /// What would bind it to the other host, or to none.
        command: String,
    },
    /// The others could not tell whose this host's own key is.
    #[error(
        "cannot write the farm's keys: this host's own key {key} is bound to no host, which the others need to know (run \
         `foundry-host key allow {fingerprint} --host NAME --may DUTY` with this host's name first)"
    )]
    OwnUnbound {
        /// The key.
        key: String,
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// There is nothing to write into a farm's file.
    #[error(
        "cannot write the farm's keys: no messages key here is bound to a host (`foundry-host key generate` makes this host's \
         own, `foundry-host key allow KEY --host NAME --may DUTY` binds one)"
    )]
    NoFarm,
    /// A farm's file holds what it should not.
    #[error("cannot read the farm's keys: {reason} (write the file anew with `foundry-host key export --farm`)")]
    Farm {
        /// What is wrong.
        reason: String,
    },
    /// A farm's file was written by a newer version.
    #[error("the farm's keys have format {found}, this version knows up to {known} (use a newer foundry-host)")]
    FarmFormat {
        /// The format that the file declares.
        found: u64,
        /// The newest format known.
        known: u32,
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
    /// A key can't be taken out of the user's GnuPG ring.
    #[error("cannot export {query:?} from GnuPG: {reason}")]
    Export {
        /// The key asked for.
        query: String,
        /// What gpg said.
        reason: String,
    },
    /// A key of the user's GnuPG ring can't be used.
    #[error(transparent)]
    Gnupg(#[from] GnupgError),
    /// The store has a stub of the key, and GnuPG does not have its secret either.
    #[error(
        "the secret part of key {key} is not in the store but with GnuPG (it was exported as a stub, or is on a smartcard), and that failed: {source}"
    )]
    KeptByGnupg {
        /// The key.
        key: String,
        /// Why GnuPG is of no help.
        source: Box<GnupgError>,
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

impl KeyError {
    /// Whether files can't be read now, or gpg can't be asked: what was asked of the keys may be true or not.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Permissions { .. } | Self::Damaged { .. } => true,
            Self::NotFound { looked, .. } => {
                matches!(**looked, Looked::Everywhere { problem: Some(_), .. })
            }
            Self::Gnupg(problem) => problem.may_pass(),
            Self::KeptByGnupg { source, .. } => source.may_pass(),
            _ => false,
        }
    }
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
    /// GnuPG, which keeps the secret, did not sign.
    #[error("cannot sign: {0}")]
    Gnupg(#[from] GnupgError),
    /// The OpenPGP implementation refused.
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
