//! Which key of the user's ring a name means.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::super::fingerprint::{Fingerprint, KeyQuery};
use super::super::stored_key::StoredKey;
use super::command::{Ran, complaint, run};
use super::error::GnupgError;
use super::listing::{self, Keygrip, ListedKey};

/// How long gpg may take to look something up. No lookup asks a person anything.
const LOOKUP: Duration = Duration::from_secs(30);

/// More keys than this with one name, or with a secret, are not shown.
const MOST_KEYS: usize = 256;

/// Names that are remembered; a host has a few keys.
const MOST_REMEMBERED: usize = 64;

/// No key is remembered for longer: GnuPG has stores whose changes the files of the ring don't show (keyboxd).
const REMEMBERED: Duration = Duration::from_secs(60);

/// A file that changed less than this ago may change once more without showing it: file systems count time in steps.
const STEP: Duration = Duration::from_secs(1);

/// The user's GnuPG ring as it stands: that of `$GNUPGHOME`, else `~/.gnupg`.
#[derive(Debug)]
pub(in super::super) struct Ring {
    /// Instead of what the environment says.
    home: Option<PathBuf>,
    gpg: PathBuf,
    remembered: Mutex<BTreeMap<String, Remembered>>,
    /// The agent's socket, once it is known.
    pub(super) socket: Mutex<Option<PathBuf>>,
}

#[derive(Debug)]
struct Remembered {
    keys: Vec<Arc<RingKey>>,
    /// The state of the ring's files when they were read.
    files: Files,
    at: Instant,
}

/// When the files that hold public keys changed last, and their sizes.
type Files = [Option<(SystemTime, u64)>; 4];

/// A key of the ring.
#[derive(Debug)]
pub(in super::super) struct RingKey {
    /// Its public part, checked.
    pub key: StoredKey,
    /// The agent's names of the secrets of its parts, whether the agent has them or not.
    pub grips: BTreeMap<Fingerprint, Keygrip>,
}

impl Ring {
    /// The ring in `home`, or that of the environment.
    pub fn new(home: Option<PathBuf>) -> Self {
        Self {
            home,
            gpg: PathBuf::from("gpg"),
            remembered: Mutex::default(),
            socket: Mutex::default(),
        }
    }

    /// Another gpg, which a test counts the runs of.
    #[cfg(test)]
    pub fn with_gpg(mut self, gpg: PathBuf) -> Self {
        self.gpg = gpg;
        self
    }

    /// The ring's directory.
    pub fn home(&self) -> PathBuf {
        let environment = || {
            std::env::var_os("GNUPGHOME")
                .filter(|home| !home.is_empty())
                .map(PathBuf::from)
        };
        let default = || std::env::home_dir().unwrap_or_default().join(".gnupg");
        self.home.clone().or_else(environment).unwrap_or_else(default)
    }

    /// The keys that a name means: by the digits of a fingerprint or key id, also of a subkey, by address or user id.
    ///
    /// What was found is remembered until a file of the ring changes.
    pub fn find(&self, query: &str) -> Result<Vec<Arc<RingKey>>, GnupgError> {
        let files = self.files();
        if let Some(keys) = self.remembered(query, &files) {
            return Ok(keys);
        }
        let parsed = KeyQuery::parse(query);
        let mut command = self.gpg()?;
        command
            .args(["--with-colons", "--with-keygrip", "--list-keys", "--"])
            .args(pattern(&parsed));
        let keys = match self.listed(&mut command)? {
            listed if listed.is_empty() => Vec::new(),
            listed => {
                let mut keys = self.export(listed)?;
                keys.retain(|ring_key| ring_key.key.matches(&parsed));
                keys.into_iter().map(Arc::new).collect()
            }
        };
        self.remember(query, &keys, files);
        Ok(keys)
    }

    /// The keys whose secrets the agent has, wholly or in part.
    pub fn with_secrets(&self) -> Result<Vec<RingKey>, GnupgError> {
        let mut command = self.gpg()?;
        command.args(["--with-colons", "--with-keygrip", "--list-secret-keys"]);
        match self.listed(&mut command)? {
            listed if listed.is_empty() => Ok(Vec::new()),
            listed => self.export(listed),
        }
    }

    /// A program of GnuPG for this ring.
    pub(super) fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(home) = &self.home {
            command.env("GNUPGHOME", home);
        }
        command
    }

    /// A gpg that reads the ring and leaves it as it is.
    fn gpg(&self) -> Result<Command, GnupgError> {
        let home = self.home();
        if !home.is_dir() {
            return Err(GnupgError::NoRing { home });
        }
        let mut command = self.program(&self.gpg);
        // No trust database is read, made or updated: who is trusted does not matter for one's own key.
        command.args([
            "--no-options",
            "--batch",
            "--no-tty",
            "--no-auto-check-trustdb",
            "--trust-model",
            "always",
        ]);
        Ok(command)
    }

    fn listed(&self, command: &mut Command) -> Result<Vec<ListedKey>, GnupgError> {
        if !self.has_public_keys() {
            // gpg would make a file for them.
            return Ok(Vec::new());
        }
        let ran = run(command, b"", LOOKUP)?;
        let listed = listing::parse(&String::from_utf8_lossy(ran.stdout.expose()));
        // gpg fails where nothing matches, and for a key that it can't read beside others that it can.
        if listed.is_empty() && !ran.status.success() && !is_no_match(&ran.stderr) {
            return Err(self.failed(&ran));
        }
        Ok(listed.into_iter().take(MOST_KEYS).collect())
    }

    /// The public parts of some keys. One that can't be read, such as of a newer kind, does not stand in the way of others.
    fn export(&self, listed: Vec<ListedKey>) -> Result<Vec<RingKey>, GnupgError> {
        match self.export_together(&listed) {
            Err(GnupgError::Failed { .. }) if listed.len() > 1 => {}
            exported => return exported,
        }
        let mut exported = Vec::new();
        for key in listed {
            match self.export_together(&[key]) {
                Ok(keys) => exported.extend(keys),
                Err(GnupgError::Failed { reason, .. }) => {
                    tracing::debug!(reason, "a key of the GnuPG ring is left out")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(exported)
    }

    fn export_together(&self, listed: &[ListedKey]) -> Result<Vec<RingKey>, GnupgError> {
        let mut command = self.gpg()?;
        command.args(["--no-armor", "--export", "--"]);
        command.args(
            listed
                .iter()
                .filter_map(|key| Some(format!("0x{}", key.fingerprint()?))),
        );
        let ran = run(&mut command, b"", LOOKUP)?;
        let exported = StoredKey::parse_all(ran.stdout.expose()).map_err(|error| GnupgError::Failed {
            program: "gpg".to_owned(),
            home: self.home(),
            reason: format!("{error}; {}", complaint(&ran.stderr)),
        })?;
        let grips: BTreeMap<Fingerprint, Keygrip> = listed
            .iter()
            .flat_map(|key| &key.parts)
            .filter_map(|part| Some((part.fingerprint?, part.keygrip.clone()?)))
            .collect();
        Ok(exported
            .into_iter()
            .map(|key| {
                let parts = key.certificate.components().iter();
                let grips = parts
                    .filter_map(|part| Some((part.fingerprint, grips.get(&part.fingerprint)?.clone())))
                    .collect();
                RingKey { key, grips }
            })
            .collect())
    }

    fn failed(&self, ran: &Ran) -> GnupgError {
        GnupgError::Failed {
            program: "gpg".to_owned(),
            home: self.home(),
            reason: complaint(&ran.stderr),
        }
    }

    fn public_key_files(&self) -> [PathBuf; 4] {
        let home = self.home();
        [
            "pubring.kbx",
            "pubring.gpg",
            "public-keys.d/pubring.db",
            "public-keys.d/pubring.db-wal",
        ]
        .map(|name| home.join(name))
    }

    fn has_public_keys(&self) -> bool {
        self.public_key_files().iter().any(|path| path.exists())
    }

    fn files(&self) -> Files {
        self.public_key_files().map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    fn remembered(&self, query: &str, files: &Files) -> Option<Vec<Arc<RingKey>>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = remembered.get(query)?;
        (known.files == *files && known.at.elapsed() < REMEMBERED).then(|| known.keys.clone())
    }

    fn remember(&self, query: &str, keys: &[Arc<RingKey>], files: Files) {
        // What was not found may be imported next, and is asked for once.
        if keys.is_empty() || !files.iter().flatten().all(|(changed, _)| is_settled(*changed)) {
            return;
        }
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        let (keys, at) = (keys.to_vec(), Instant::now());
        remembered.insert(query.to_owned(), Remembered { keys, files, at });
    }
}

/// Changed long enough ago to tell the next change from that one.
fn is_settled(changed: SystemTime) -> bool {
    changed.elapsed().is_ok_and(|age| age > STEP)
}

/// A pattern of gpg's that matches at least what the query does; none for all keys. It begins with a character that makes it
/// no option.
fn pattern(query: &KeyQuery) -> Option<String> {
    match query {
        KeyQuery::Digits(digits) => Some(format!("0x{digits}")),
        // Anywhere in a user id. The case of letters beyond ASCII counts for gpg, and here it does not.
        KeyQuery::UserId(text) => text.is_ascii().then(|| format!("*{text}")),
    }
}

fn is_no_match(said: &str) -> bool {
    ["No public key", "No secret key", "Not found"]
        .iter()
        .any(|words| said.contains(words))
}
