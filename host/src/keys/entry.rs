//! One key of the store: its two files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use pgp::types::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::KeyError;
use super::files;
use super::fingerprint::Fingerprint;
use super::info::KeyInfo;
use super::role::Role;
use super::secret::SecretBytes;
use super::stored_key::StoredKey;

/// The version of the metadata files that this version writes, and the newest it reads.
const FORMAT: u32 = 1;

/// What the file beside a key says.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    format: u32,
    roles: BTreeSet<Role>,
}

/// A key and its roles.
pub(super) struct Entry {
    pub key: StoredKey,
    pub roles: BTreeSet<Role>,
}

impl Entry {
    pub fn info(&self) -> KeyInfo {
        self.key.info(self.roles.clone(), Timestamp::now())
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
        Ok(Some(Self {
            key,
            roles: load_roles(directory, fingerprint)?,
        }))
    }

    /// Key first, roles after it: after a crash in between the key is there without a role, and of no effect.
    pub fn save(&self, directory: &Path) -> Result<(), KeyError> {
        let fingerprint = self.key.fingerprint();
        files::write(directory, &key_name(fingerprint), self.armored()?.expose())?;
        let metadata = Metadata {
            format: FORMAT,
            roles: self.roles.clone(),
        };
        let text = serde_json::to_vec_pretty(&metadata).map_err(|error| KeyError::OpenPgp {
            what: "write the roles of the key",
            reason: error.to_string(),
        })?;
        files::write(directory, &metadata_name(fingerprint), &text)
    }

    /// Roles first: after a crash in between the key is of no effect.
    pub fn remove(&self, directory: &Path) -> Result<(), KeyError> {
        let fingerprint = self.key.fingerprint();
        files::remove(directory, &metadata_name(fingerprint))?;
        files::remove(directory, &key_name(fingerprint))
    }
}

fn load_roles(directory: &Path, fingerprint: Fingerprint) -> Result<BTreeSet<Role>, KeyError> {
    let path = directory.join(metadata_name(fingerprint));
    let Some(text) = files::read(&path)? else {
        return Ok(BTreeSet::new());
    };
    let damaged = |error: serde_json::Error| KeyError::Damaged {
        path: path.clone(),
        reason: error.to_string(),
    };
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
    Ok(metadata.roles)
}

fn key_name(fingerprint: Fingerprint) -> String {
    format!("{fingerprint}.asc")
}

fn metadata_name(fingerprint: Fingerprint) -> String {
    format!("{fingerprint}.json")
}
