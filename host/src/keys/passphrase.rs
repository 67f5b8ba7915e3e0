//! Where the passphrases of protected keys come from.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use super::fingerprint::Fingerprint;
use super::info::KeyInfo;
use super::secret::Passphrase;

/// The environment variable that names a file with a passphrase for all keys.
pub const PASSPHRASE_FILE_VARIABLE: &str = "FOUNDRY_PASSPHRASE_FILE";

/// A passphrase longer than this is a mistake, such as the wrong file.
const LONGEST: u64 = 4096;

/// Why there is no passphrase.
#[derive(Debug, Error)]
pub enum PassphraseError {
    /// Nothing offers one for this key.
    #[error(
        "key {key} is protected and there is no passphrase for it (set a passphrase file for it, name one in {PASSPHRASE_FILE_VARIABLE}, or pass the systemd credential {fingerprint})"
    )]
    Missing {
        /// The key.
        key: String,
        /// Its fingerprint, which is also the credential's name.
        fingerprint: Fingerprint,
    },
    /// The file can't be read.
    #[error("cannot read the passphrase file {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("passphrase file {} has mode {mode:03o}: others than its owner can read it (run `chmod 600 {}`)", .path.display(), .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// The permission bits it has.
        mode: u32,
    },
    /// The file does not hold one passphrase.
    #[error("passphrase file {} does not hold a passphrase: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The person asked did not answer.
    #[error("cannot ask for the passphrase of key {key}: {source}")]
    Prompt {
        /// The key.
        key: String,
        /// Why not.
        source: io::Error,
    },
}

/// Asks a person for the passphrase of a key.
pub type Prompt = dyn Fn(&KeyInfo) -> io::Result<Passphrase> + Send + Sync;

/// Where to look for passphrases, in this order: the file configured for the key, the file for all keys, the systemd
/// credential with the fingerprint as its name, a person.
#[derive(Clone, Default)]
pub struct PassphraseSource {
    files: BTreeMap<Fingerprint, PathBuf>,
    common_file: Option<PathBuf>,
    credentials: Option<PathBuf>,
    prompt: Option<Arc<Prompt>>,
}

impl PassphraseSource {
    /// No source: only unprotected keys can be used.
    pub fn none() -> Self {
        Self::default()
    }

    /// What the environment offers: the file that `FOUNDRY_PASSPHRASE_FILE` names, and systemd's `$CREDENTIALS_DIRECTORY`.
    pub fn from_environment() -> Self {
        Self {
            common_file: std::env::var_os(PASSPHRASE_FILE_VARIABLE).map(PathBuf::from),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            ..Self::default()
        }
    }

    /// Adds the file with the passphrase of one key.
    #[must_use]
    pub fn with_file(mut self, key: Fingerprint, path: PathBuf) -> Self {
        self.files.insert(key, path);
        self
    }

    /// Sets the file with the passphrase of all keys that have none of their own.
    #[must_use]
    pub fn with_common_file(mut self, path: PathBuf) -> Self {
        self.common_file = Some(path);
        self
    }

    /// Sets the directory with one file per key, named by its fingerprint, as systemd's `LoadCredential=` makes it.
    #[must_use]
    pub fn with_credentials_directory(mut self, path: PathBuf) -> Self {
        self.credentials = Some(path);
        self
    }

    /// Sets the function that asks a person when nothing else offers a passphrase.
    #[must_use]
    pub fn with_prompt(mut self, prompt: Arc<Prompt>) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// The passphrase for the key, and where it came from (for error messages).
    pub(super) fn passphrase(&self, key: &KeyInfo) -> Result<(Passphrase, String), PassphraseError> {
        if let Some(found) = self.without_prompt(key)? {
            return Ok(found);
        }
        if let Some(prompt) = &self.prompt {
            let answer = prompt(key).map_err(|source| PassphraseError::Prompt {
                key: key.to_string(),
                source,
            })?;
            return Ok((answer, "the prompt".to_owned()));
        }
        Err(PassphraseError::Missing {
            key: key.to_string(),
            fingerprint: key.fingerprint,
        })
    }

    /// Whether a file is named for the key, which need not be there.
    pub(super) fn has_file(&self, key: &KeyInfo) -> bool {
        self.files.contains_key(&key.fingerprint)
            || self.common_file.is_some()
            || self.credential(key.fingerprint).is_some()
    }

    /// What the files have for the key, for one whose own agent asks people.
    pub(super) fn without_prompt(&self, key: &KeyInfo) -> Result<Option<(Passphrase, String)>, PassphraseError> {
        let configured = self.files.get(&key.fingerprint).or(self.common_file.as_ref());
        if let Some(path) = configured {
            return Ok(Some((read(path, Access::OwnerOnly)?, path.display().to_string())));
        }
        let Some(path) = self.credential(key.fingerprint) else {
            return Ok(None);
        };
        Ok(Some((
            read(&path, Access::AsSystemdMadeIt)?,
            path.display().to_string(),
        )))
    }

    fn credential(&self, key: Fingerprint) -> Option<PathBuf> {
        let lower = key.to_string();
        let directory = self.credentials.as_ref()?;
        [lower.to_uppercase(), lower]
            .into_iter()
            .map(|name| directory.join(name))
            .find(|path| path.exists())
    }
}

impl fmt::Debug for PassphraseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassphraseSource")
            .field("files", &self.files)
            .field("common_file", &self.common_file)
            .field("credentials", &self.credentials)
            .field("prompt", &self.prompt.is_some())
            .finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    OwnerOnly,
    /// systemd grants access by an ACL, whose mask shows as group permissions.
    AsSystemdMadeIt,
}

impl Passphrase {
    /// The first line of a file that only its owner can read.
    pub fn from_file(path: &Path) -> Result<Self, PassphraseError> {
        read(path, Access::OwnerOnly)
    }
}

/// Reads the first line.
fn read(path: &Path, access: Access) -> Result<Passphrase, PassphraseError> {
    let failed = |source| PassphraseError::Read {
        path: path.to_owned(),
        source,
    };
    let content = |reason| PassphraseError::Content {
        path: path.to_owned(),
        reason,
    };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if access == Access::OwnerOnly && mode & 0o077 != 0 {
        return Err(PassphraseError::Permissions {
            path: path.to_owned(),
            mode,
        });
    }
    // Reserved at once, so that no copy is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize + 1));
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LONGEST {
        return Err(content("it is longer than 4096 bytes"));
    }
    match text.lines().next() {
        None | Some("") => Err(content("its first line is empty")),
        Some(line) => Ok(Passphrase::new(line.to_owned())),
    }
}
