//! Who a host is, whatever its machine is called: `identity.json` in its state directory, made at the first start.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::admission::is_bot_name;

/// The file in the state directory.
const FILE: &str = "identity.json";

/// A state directory that has been used has this file.
pub(super) const LEDGER: &str = "ledger.sqlite";

/// The format that is written, and the only one that there has been.
const FORMAT: u32 = 1;

/// Bytes of an identity, before they are written in hexadecimal.
const LENGTH: usize = 16;

/// A host's identity, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    format: u32,
    /// 32 hexadecimal digits, at random. A copy of the state directory has the same.
    pub(super) identity: String,
    /// The name that the host had at its last start.
    pub(super) name: String,
    /// Whether the state directory is older than identities: its bots then had sessions under other client identifiers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_old_sessions: bool,
}

/// The format of a file whose other members may be unknown.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Why a host has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file can't be read or written.
    #[error("cannot {what} the host's identity {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not one.
    #[error(
        "the host's identity {} is damaged: {why} (restore it from a backup; or remove it, and the host makes itself a new \
         identity at its next start)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer host made the file.
    #[error(
        "the host's identity {} has the format {format}, which this foundry-host does not know (use the newer foundry-host \
         that wrote it)",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

impl Identity {
    /// The identity in a state directory; one is made if there is none. The name that it is kept with takes precedence
    /// over `name`, unless the operator has chosen that one.
    ///
    /// # Errors
    /// [`IdentityError`], which names the file.
    pub(super) fn of(state: &Path, name: &str, chosen: bool) -> Result<Self, IdentityError> {
        let path = state.join(FILE);
        let kept = read(&path)?;
        let identity = match &kept {
            Some(kept) if chosen && kept.name != name => kept.renamed(name),
            Some(kept) => kept.clone(),
            None => Self {
                has_old_sessions: state.join(LEDGER).exists(),
                ..Self::new(name)
            },
        };
        if kept.as_ref() != Some(&identity) {
            let written = write(state, &path, &identity);
            written.map_err(|source| IdentityError::Io {
                what: "write",
                path,
                source,
            })?;
        }
        Ok(identity)
    }

    fn new(name: &str) -> Self {
        Self {
            format: FORMAT,
            identity: hex::encode(rand::random::<[u8; LENGTH]>()),
            name: name.to_owned(),
            has_old_sessions: false,
        }
    }

    fn renamed(&self, name: &str) -> Self {
        tracing::info!(before = self.name, now = name, "the host has a new name");
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    /// What makes the file unusable, if anything does.
    fn fault(&self) -> Option<String> {
        let is_identity = self.identity.len() == 2 * LENGTH && self.identity.bytes().all(|b| b.is_ascii_hexdigit());
        match (is_identity, is_bot_name(&self.name)) {
            (false, _) => Some(format!("{:?} is not an identity", self.identity)),
            (_, false) => Some(format!("{:?} is not a host's name", self.name)),
            (true, true) => None,
        }
    }
}

/// The identity in a file; none if there is no file.
fn read(path: &Path) -> Result<Option<Identity>, IdentityError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let (what, path) = ("read", path.to_owned());
            return Err(IdentityError::Io { what, path, source });
        }
    };
    let damaged = |why| IdentityError::Damaged {
        path: path.to_owned(),
        why,
    };
    let Format { format } = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if format > FORMAT {
        let path = path.to_owned();
        return Err(IdentityError::Newer { path, format });
    }
    let identity: Identity = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    match identity.fault() {
        Some(why) => Err(damaged(why)),
        None => Ok(Some(identity)),
    }
}

/// The file appears whole or not at all, also after a power cut.
fn write(state: &Path, path: &Path, identity: &Identity) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(state)?;
    serde_json::to_writer_pretty(&mut file, identity)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(state)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Format 1, as it was first written.
    const FIRST: &str = r#"{
  "format": 1,
  "identity": "0123456789abcdef0123456789abcdef",
  "name": "builder-1"
}
"#;

    fn with(text: &str) -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join(FILE), text).unwrap();
        state
    }

    #[test]
    fn an_identity_and_a_name_of_the_machines_stay_when_the_machine_is_renamed() {
        let state = tempfile::tempdir().unwrap();
        let first = Identity::of(state.path(), "3f2a9c", false).unwrap();
        let second = Identity::of(state.path(), "b71d00", false).unwrap();
        assert_eq!(first, second);
        assert_eq!(second.name, "3f2a9c");
    }

    #[test]
    fn a_state_directory_from_before_there_were_identities_is_known_as_one() {
        let state = tempfile::tempdir().unwrap();
        assert!(!Identity::of(state.path(), "a", true).unwrap().has_old_sessions);
        std::fs::remove_file(state.path().join(FILE)).unwrap();
        std::fs::write(state.path().join(LEDGER), "").unwrap();
        for _ in 0..2 {
            assert!(Identity::of(state.path(), "a", true).unwrap().has_old_sessions);
        }
    }

    #[test]
    fn two_hosts_have_two_identities() {
        let of = || {
            Identity::of(tempfile::tempdir().unwrap().path(), "a", true)
                .unwrap()
                .identity
        };
        assert_ne!(of(), of());
    }

    #[test]
    fn a_name_that_the_operator_chooses_takes_precedence_and_stays() {
        let state = with(FIRST);
        let chosen = Identity::of(state.path(), "b2", true).unwrap();
        assert_eq!(chosen.identity, "0123456789abcdef0123456789abcdef");
        assert_eq!(chosen.name, "b2");
        assert_eq!(Identity::of(state.path(), "machine", false).unwrap(), chosen);
    }

    #[test]
    fn the_first_format_is_read_and_written_as_it_was() {
        let state = with(FIRST);
        assert_eq!(Identity::of(state.path(), "machine", false).unwrap().name, "builder-1");
        Identity::of(state.path(), "b2", true).unwrap();
        Identity::of(state.path(), "builder-1", true).unwrap();
        assert_eq!(std::fs::read_to_string(state.path().join(FILE)).unwrap(), FIRST);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it_and_the_remedy_and_it_is_left_alone() {
        let bad_name = FIRST.replace("builder-1", "a/b");
        let bad_identity = FIRST.replace("0123", "wxyz");
        let cut = FIRST.get(..40).unwrap();
        for text in ["", "{}", cut, &bad_name, &bad_identity] {
            let state = with(text);
            let said = Identity::of(state.path(), "a", true).unwrap_err().to_string();
            assert!(said.contains("identity.json is damaged"), "{said}");
            assert!(said.contains("remove it"), "{said}");
            assert_eq!(std::fs::read_to_string(state.path().join(FILE)).unwrap(), text);
        }
    }

    #[test]
    fn a_file_of_a_newer_host_is_not_taken_for_a_damaged_one() {
        let state = with(r#"{"format": 2, "more": true}"#);
        let said = Identity::of(state.path(), "a", true).unwrap_err().to_string();
        assert!(said.contains("format 2") && said.contains("newer"), "{said}");
    }
}
