//! Taking keys out of the user's GnuPG keyring.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::error::KeyError;
use super::super::secret::{Passphrase, SecretBytes};
use super::command::{complaint, run};

/// How long gpg may take: it may ask somebody for the passphrase.
const EXPORT: Duration = Duration::from_secs(300);

/// Which key to take out of GnuPG, and how.
#[derive(Debug, Clone)]
pub struct GnupgKey {
    /// As gpg understands it: fingerprint, key id, e-mail address.
    pub query: String,
    /// Take the secret part too.
    pub secret: bool,
    /// The directory with the keyring, instead of `$GNUPGHOME` or `~/.gnupg`.
    pub home: Option<PathBuf>,
    /// The key's passphrase; without it gpg asks by its own means (an agent, pinentry) if it has to.
    pub passphrase: Option<Passphrase>,
}

impl GnupgKey {
    /// The public part of a key in the user's own keyring.
    pub fn public(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            secret: false,
            home: None,
            passphrase: None,
        }
    }

    /// A key in the user's own keyring with its secret part.
    pub fn secret(query: impl Into<String>) -> Self {
        Self {
            secret: true,
            ..Self::public(query)
        }
    }

    /// Runs `gpg --export` or `--export-secret-keys`. The key stays protected by its passphrase.
    pub(in super::super) fn export(&self) -> Result<SecretBytes, KeyError> {
        let mut command = Command::new("gpg");
        command.args(["--no-options", "--batch", "--no-auto-check-trustdb"]);
        if let Some(home) = &self.home {
            command.env("GNUPGHOME", home);
        }
        let mut input = Zeroizing::new(Vec::new());
        if let Some(passphrase) = &self.passphrase {
            // On standard input: neither command lines nor the environment are private.
            command.args(["--pinentry-mode", "loopback", "--passphrase-fd", "0"]);
            input.reserve_exact(passphrase.expose().len() + 1);
            input.extend_from_slice(passphrase.expose().as_bytes());
            input.push(b'\n');
        }
        command
            .arg(if self.secret {
                "--export-secret-keys"
            } else {
                "--export"
            })
            .arg("--")
            .arg(&self.query);
        let ran = run(&mut command, &input, EXPORT).map_err(|error| self.refused(error.to_string()))?;
        if ran.stderr.contains("Bad passphrase") {
            return Err(KeyError::WrongPassphrase {
                key: self.query.clone(),
                origin: "the one given".to_owned(),
            });
        }
        if ran.stderr.contains("nothing exported") {
            let list = "there is no such key in the keyring (see `gpg --list-secret-keys`)";
            return Err(self.refused(list.to_owned()));
        }
        if !ran.status.success() || ran.stdout.expose().is_empty() {
            return Err(self.refused(complaint(&ran.stderr)));
        }
        Ok(ran.stdout)
    }

    fn refused(&self, reason: String) -> KeyError {
        KeyError::Export {
            query: self.query.clone(),
            reason,
        }
    }
}
