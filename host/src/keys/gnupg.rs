//! Taking keys out of the user's GnuPG keyring.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::error::KeyError;
use super::secret::{Passphrase, SecretBytes};

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
    pub(super) fn export(&self) -> Result<SecretBytes, KeyError> {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--no-auto-check-trustdb"]);
        if let Some(home) = &self.home {
            command.env("GNUPGHOME", home);
        }
        if self.passphrase.is_some() {
            // On standard input: neither command lines nor the environment are private.
            command.args(["--pinentry-mode", "loopback", "--passphrase-fd", "0"]);
        }
        command
            .arg(if self.secret {
                "--export-secret-keys"
            } else {
                "--export"
            })
            .arg("--")
            .arg(&self.query);
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let cannot_run = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => self.refused("gpg is not installed (apt install gnupg)".to_owned()),
            _ => self.refused(format!("cannot run gpg: {error}")),
        };
        let mut child = command.spawn().map_err(cannot_run)?;
        if let (Some(mut stdin), Some(passphrase)) = (child.stdin.take(), &self.passphrase) {
            // A gpg that needs no passphrase may be gone before it has read one.
            let _ = stdin
                .write_all(passphrase.expose().as_bytes())
                .and_then(|()| stdin.write_all(b"\n"));
        }
        let output = child.wait_with_output().map_err(cannot_run)?;
        let key = SecretBytes::new(output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("Bad passphrase") {
            return Err(KeyError::WrongPassphrase {
                key: self.query.clone(),
                origin: "the one given".to_owned(),
            });
        }
        if !output.status.success() || key.expose().is_empty() {
            return Err(self.refused(complaint(&said)));
        }
        Ok(key)
    }

    fn refused(&self, reason: String) -> KeyError {
        KeyError::Gnupg {
            query: self.query.clone(),
            reason,
        }
    }
}

/// What gpg said, on one line.
pub(super) fn complaint(said: &str) -> String {
    let lines: Vec<_> = said
        .lines()
        .map(|line| line.strip_prefix("gpg: ").unwrap_or(line))
        .collect();
    match lines.as_slice() {
        [] => "gpg failed and did not say why".to_owned(),
        lines if lines.iter().any(|line| line.contains("nothing exported")) => {
            "there is no such key in the keyring (see `gpg --list-secret-keys`)".to_owned()
        }
        lines => lines.join("; "),
    }
}
