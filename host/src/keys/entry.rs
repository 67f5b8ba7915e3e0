//! One key of the store: its two files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use pgp::types::Timestamp;
use serde::{Deserialize, Serialize};

use super::binding::{Binding, Whose};
use super::duty::Duties;
use super::error::KeyError;
use super::files;
use super::fingerprint::Fingerprint;
use super::groups::Groups;
use super::info::KeyInfo;
use super::role::Role;
use super::secret::SecretBytes;
use super::stored_key::StoredKey;

/// The newest version of the metadata files that this version reads. The first had no host, the second no groups. A binding to
/// groups would be lost on who does not know of them: such files have the third version, and others the second.
const FORMAT: u32 = 3;
const FORMAT_WITHOUT_GROUPS: u32 = 2;

/// What the file beside a key says.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    format: u32,
    roles: BTreeSet<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Duties::is_empty")]
    may: Duties,
    #[serde(default, skip_serializing_if = "Groups::are_any")]
    groups: Groups,
}

/// A key, its roles, and to which host it belongs.
pub(super) struct Entry {
    pub key: StoredKey,
    pub roles: BTreeSet<Role>,
    pub binding: Option<Binding>,
}

impl Entry {
    pub fn info(&self) -> KeyInfo {
        let binding = self.binding.clone();
        KeyInfo {
            host: binding.as_ref().map(|binding| binding.host().to_owned()),
            groups: binding
                .as_ref()
                .map(|binding| binding.groups.clone())
                .unwrap_or_default(),
            may: binding.map(|binding| binding.may).unwrap_or_default(),
            ..self.key.info(self.roles.clone(), Timestamp::now())
        }
    }

    /// Binds the key to a host. What it may say can be another than before; the host cannot.
    pub fn bind(&mut self, binding: &Binding) -> Result<(), KeyError> {
        match &self.binding {
            Some(known) if known.host() != binding.host() => Err(KeyError::OtherHost {
                key: self.key.certificate.label(),
                host: known.host().to_owned(),
                command: format!(
                    "foundry-host key allow {} --host {} --may {}{}",
                    self.key.fingerprint(),
                    binding.host(),
                    binding.may,
                    binding.groups.flags()
                ),
            }),
            _ => {
                self.binding = Some(binding.clone());
                Ok(())
            }
        }
    }

    /// Whether it signs messages here: a secret messages key counts as this host's own.
    pub fn is_own(&self) -> bool {
        self.roles.contains(&Role::Messages) && !self.key.secrets.is_empty()
    }

    /// For a key that was not this host's own: by what it has become it is not either, unless that is said, and no other host
    /// has it. The command says it.
    pub fn ask_whose(&self, whose: Whose<'_>, command: impl FnOnce() -> String) -> Result<(), KeyError> {
        let key = self.key.certificate.label();
        match (whose, &self.binding) {
            (Whose::Own, Some(binding)) => Err(KeyError::OtherHost {
                key,
                host: binding.host().to_owned(),
                command: format!("foundry-host key remove {}", self.key.fingerprint()),
            }),
            (Whose::Own, None) => Ok(()),
            _ if self.is_own() => Err(KeyError::WhoseSecret {
                key,
                command: command(),
            }),
            _ => Ok(()),
        }
    }

    /// What imports it as this host's own.
    pub fn import_as_own(&self, file: &str) -> String {
        let roles = self.roles.iter().map(|role| format!(" --role {role}"));
        format!("foundry-host key import{} --own {file}", roles.collect::<String>())
    }

    /// The key is not for this.
    pub fn lacks(&self, role: Role) -> KeyError {
        let roles: String = self
            .roles
            .iter()
            .chain([&role])
            .map(|role| format!(" --role {role}"))
            .collect();
        KeyError::WrongRole {
            key: self.key.certificate.label(),
            role,
            command: format!("foundry-host key roles {}{roles}", self.key.fingerprint()),
        }
    }

    /// The key as it is in its file.
    pub fn armored(&self) -> Result<SecretBytes, KeyError> {
        self.key.to_armored().map_err(|error| KeyError::OpenPgp {
            what: "write the key",
            reason: error.to_string(),
        })
    }

    /// All keys in the directory, by fingerprint.
    pub fn load_all(directory: &Path) -> Result<Vec<Self>, KeyError> {
        let failed = |source| KeyError::Io {
            what: "list",
            path: directory.to_owned(),
            source,
        };
        let mut fingerprints = BTreeSet::new();
        for file in fs::read_dir(directory).map_err(failed)? {
            let name = file.map_err(failed)?.file_name();
            let fingerprint = name
                .to_str()
                .and_then(|name| name.strip_suffix(".asc"))
                .map(str::parse::<Fingerprint>);
            if let Some(Ok(fingerprint)) = fingerprint {
                fingerprints.insert(fingerprint);
            }
        }
        // A key that is removed at the same time is not in the list; that is as good as a moment later.
        fingerprints
            .into_iter()
            .filter_map(|fingerprint| Self::load(directory, fingerprint).transpose())
            .collect()
    }

    /// The key with the fingerprint, if it is there.
    pub fn load(directory: &Path, fingerprint: Fingerprint) -> Result<Option<Self>, KeyError> {
        let path = directory.join(key_name(fingerprint));
        let Some(armored) = files::read(&path)? else {
            return Ok(None);
        };
        let damaged = |reason: String| KeyError::Damaged {
            path: path.clone(),
            reason,
        };
        let mut keys = StoredKey::parse_all(&armored).map_err(|error| damaged(error.to_string()))?;
        let key = keys
            .pop()
            .filter(|key| keys.is_empty() && key.fingerprint() == fingerprint);
        let key = key.ok_or_else(|| damaged("it holds another key than its name says".to_owned()))?;
        let (roles, binding) = load_metadata(directory, fingerprint)?;
        Ok(Some(Self { key, roles, binding }))
    }

    /// Key first, roles after it: after a crash in between the key is there without a role, and of no effect.
    pub fn save(&self, directory: &Path) -> Result<(), KeyError> {
        let fingerprint = self.key.fingerprint();
        files::write(directory, &key_name(fingerprint), self.armored()?.expose())?;
        let text = serde_json::to_vec_pretty(&self.metadata()).map_err(|error| KeyError::OpenPgp {
            what: "write the roles of the key",
            reason: error.to_string(),
        })?;
        files::write(directory, &metadata_name(fingerprint), &text)
    }

    fn metadata(&self) -> Metadata {
        let binding = self.binding.as_ref();
        let groups = binding.map(|binding| binding.groups.clone()).unwrap_or_default();
        Metadata {
            format: if groups.are_any() {
                FORMAT_WITHOUT_GROUPS
            } else {
                FORMAT
            },
            roles: self.roles.clone(),
            host: binding.map(|binding| binding.host().to_owned()),
            may: binding.map(|binding| binding.may.clone()).unwrap_or_default(),
            groups,
        }
    }

    /// Roles first: after a crash in between the key is of no effect.
    pub fn remove(&self, directory: &Path) -> Result<(), KeyError> {
        let fingerprint = self.key.fingerprint();
        files::remove(directory, &metadata_name(fingerprint))?;
        files::remove(directory, &key_name(fingerprint))
    }
}

fn load_metadata(directory: &Path, fingerprint: Fingerprint) -> Result<(BTreeSet<Role>, Option<Binding>), KeyError> {
    let path = directory.join(metadata_name(fingerprint));
    let Some(text) = files::read(&path)? else {
        return Ok((BTreeSet::new(), None));
    };
    let damaged_by = |reason: String| KeyError::Damaged {
        path: path.clone(),
        reason,
    };
    let damaged = |error: serde_json::Error| damaged_by(error.to_string());
    // The format first: what else a newer version wrote may not even parse.
    let value: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&text).map_err(damaged)?;
    if let Some(found) = value
        .get("format")
        .and_then(serde_json::Value::as_u64)
        .filter(|found| *found > FORMAT.into())
    {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(KeyError::Format {
            path,
            found,
            known: FORMAT,
        });
    }
    let metadata: Metadata = serde_json::from_slice(&text).map_err(damaged)?;
    let binding = metadata.host.map(|host| Binding::new(&host, metadata.may)).transpose();
    let binding = binding.map_err(|error| damaged_by(error.to_string()))?;
    Ok((
        metadata.roles,
        binding.map(|binding| binding.in_groups(metadata.groups)),
    ))
}

fn key_name(fingerprint: Fingerprint) -> String {
    format!("{fingerprint}.asc")
}

fn metadata_name(fingerprint: Fingerprint) -> String {
    format!("{fingerprint}.json")
}
