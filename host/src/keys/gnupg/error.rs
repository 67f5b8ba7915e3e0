//! Why GnuPG is of no help. Each error says where it looked and what to run.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::super::fingerprint::Fingerprint;
use super::super::passphrase::PassphraseError;

/// Why a key of the user's GnuPG ring can't be used.
#[derive(Debug, Error)]
pub enum GnupgError {
    /// There is no such program.
    #[error("{program} is not installed (run `apt install gnupg`)")]
    NotInstalled {
        /// gpg or gpgconf.
        program: String,
    },
    /// There is no directory to look in.
    #[error("there is no GnuPG ring {} (set GNUPGHOME where the host is started, if the ring is elsewhere)", .home.display())]
    NoRing {
        /// Where it would be.
        home: PathBuf,
    },
    /// The program can't be run.
    #[error("cannot run {program}: {source} (as the host's user `{program} --version` has to work)")]
    Run {
        /// gpg or gpgconf.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The program ended with an error.
    #[error("{program} failed on the GnuPG ring {}: {reason} (as the host's user, `gpg --homedir {} --list-keys` shows what it stumbles over)", .home.display(), .home.display())]
    Failed {
        /// gpg or gpgconf.
        program: String,
        /// The ring.
        home: PathBuf,
        /// What it said.
        reason: String,
    },
    /// Nobody answered in time.
    #[error("{what} did not answer within {} s (if it waits for a passphrase or a PIN at a prompt that nobody sees: {UNLOCK}, where KEY is the one that was to sign)", .limit.as_secs())]
    TimedOut {
        /// Who.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// The agent is not there, and can't be started.
    #[error("cannot reach gpg-agent for the GnuPG ring {}: {reason} (start it as the host's user with `gpgconf --launch gpg-agent`, which says what is wrong)", .home.display())]
    NoAgent {
        /// The ring.
        home: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The kernel takes no longer path for a socket.
    #[error("cannot reach gpg-agent for the GnuPG ring {}: the path of its socket, {}, is longer than the {limit} bytes that a socket's path may have (move the ring to a shorter path and set GNUPGHOME to that)", .home.display(), .socket.display())]
    SocketPath {
        /// The ring.
        home: PathBuf,
        /// The agent's socket.
        socket: PathBuf,
        /// In bytes.
        limit: usize,
    },
    /// The ring knows the key, and the agent does not have its secret.
    #[error("the GnuPG ring {} has key {key} without a secret part that can sign (bring it in with `gpg --import FILE`; `gpg --list-secret-keys` shows the keys that can sign)", .home.display())]
    PublicOnly {
        /// The key.
        key: String,
        /// The ring.
        home: PathBuf,
    },
    /// The key's card is not in a reader.
    #[error(
        "key {key} is on the smartcard {serial}, which is not inserted: {reason} (insert it, and run `gpg --card-status` as the host's user until it shows the card)"
    )]
    CardMissing {
        /// The key.
        key: String,
        /// The card's number, as gpg shows it.
        serial: String,
        /// What the agent said.
        reason: String,
    },
    /// GnuPG's program for smartcards is missing.
    #[error(
        "key {key} is on the smartcard {serial}, and GnuPG has no smartcard daemon (run `apt install scdaemon`, then `gpg --card-status`)"
    )]
    NoCardDaemon {
        /// The key.
        key: String,
        /// The card's number, as gpg shows it.
        serial: String,
    },
    /// The card is there and refuses.
    #[error(
        "the smartcard {serial} did not sign with key {key}: {reason} (`gpg --card-status` shows how many attempts its PIN has left)"
    )]
    Card {
        /// The key.
        key: String,
        /// The card's number, as gpg shows it.
        serial: String,
        /// What the agent said.
        reason: String,
    },
    /// The card is there, and there is nobody to ask for its PIN.
    #[error(
        "the smartcard {serial} needs its PIN to sign with key {key}, and gpg-agent cannot ask for it: {reason} (give it once, at a terminal of the host's user, with `GPG_TTY=$(tty) gpg --local-user {fingerprint} --sign </dev/null >/dev/null`; it is never taken from a file)"
    )]
    Pin {
        /// The key.
        key: Box<str>,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// The card's number, as gpg shows it.
        serial: Box<str>,
        /// What the agent said.
        reason: Box<str>,
    },
    /// A passphrase is needed and there is nobody to ask.
    #[error(
        "gpg-agent needs the passphrase of key {key} and cannot ask for it: {reason} ({UNLOCK}, where KEY is {fingerprint})"
    )]
    Passphrase {
        /// The key.
        key: String,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// What the agent said.
        reason: String,
    },
    /// The file that has the passphrase can't be used.
    #[error(
        "gpg-agent needs the passphrase of key {key}: {source} (or name another file for {fingerprint} in `[keys.passphrase-files]`)"
    )]
    PassphraseFile {
        /// The key.
        key: String,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// What is the matter with the file.
        source: Box<PassphraseError>,
    },
    /// The passphrase is not that of the key.
    #[error(
        "the passphrase from {origin} does not unlock key {key} of the GnuPG ring (put the right one there, or name a file that has it for {fingerprint} in `[keys.passphrase-files]`)"
    )]
    WrongPassphrase {
        /// The key.
        key: String,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// Where it came from.
        origin: String,
    },
    /// The agent refused for another reason.
    #[error(
        "gpg-agent did not sign with key {key}: {reason} (as the host's user, `GPG_TTY=$(tty) gpg --local-user {fingerprint} --sign </dev/null >/dev/null` shows whether gpg can)"
    )]
    Refused {
        /// The key.
        key: String,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// What the agent said.
        reason: String,
    },
    /// The agent's answer makes no sense.
    #[error(
        "gpg-agent's answer can't be used: {reason} (start it anew with `gpgconf --kill gpg-agent`; if that does not help, sign with another key)"
    )]
    Answer {
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl GnupgError {
    /// Whether GnuPG could not be asked, which says nothing of the key.
    pub(in super::super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NotInstalled { .. }
                | Self::NoRing { .. }
                | Self::Run { .. }
                | Self::Failed { .. }
                | Self::TimedOut { .. }
                | Self::NoAgent { .. }
                | Self::Answer { .. }
        )
    }
}

/// What helps where nobody sees the agent's prompt.
const UNLOCK: &str = "a host in the background has no terminal to ask at: name a file with the passphrase in \
    FOUNDRY_PASSPHRASE_FILE, or unlock the key for gpg-agent beforehand with `GPG_TTY=$(tty) gpg --local-user KEY --sign \
    </dev/null >/dev/null`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gnupg_does_not_do_comes_with_a_command_to_run() {
        let fingerprint: Fingerprint = "8d8e0033c3009f5d130cd2fca6dde800abc6e8ec".parse().unwrap();
        let (key, program) = (fingerprint.to_string(), "gpg".to_owned());
        let reason = "no".to_owned();
        let errors = [
            GnupgError::Run {
                program: program.clone(),
                source: io::ErrorKind::PermissionDenied.into(),
            },
            GnupgError::Failed {
                program,
                home: PathBuf::from("/ring"),
                reason: reason.clone(),
            },
            GnupgError::TimedOut {
                what: "gpg-agent".to_owned(),
                limit: Duration::from_secs(1),
            },
            GnupgError::Refused {
                key,
                fingerprint,
                reason,
            },
            GnupgError::Answer { reason: "no" },
        ];
        for said in errors.map(|error| error.to_string()) {
            assert!(
                said.contains("`gpg ") || said.contains("`GPG_TTY=") || said.contains("`gpgconf "),
                "{said}"
            );
            assert!(!said.contains(" KEY ") || said.contains("where KEY is"), "{said}");
        }
    }
}
