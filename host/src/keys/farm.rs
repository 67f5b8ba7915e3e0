//! All messages keys of a farm in one file, so that a host trusts the others in one step.
//!
//! Format 1 is JSON: `{"format": 1, "keys": [{"host": "head", "may": ["watch"], "key": "-----BEGIN PGP…"}]}`. Format 2 has
//! `"groups": ["pub/buildbot"]` at a key that is bound to some; a file without such a key is of format 1. What it does not know
//! it refuses.

use std::collections::BTreeMap;

use pgp::composed::ArmorOptions;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::binding::{Binding, Whose};
use super::duty::Duties;
use super::entry::Entry;
use super::error::KeyError;
use super::files::ChangeLock;
use super::fingerprint::Fingerprint;
use super::groups::Groups;
use super::info::KeyInfo;
use super::role::Role;
use super::store::KeyStore;
use super::stored_key::StoredKey;

/// The newest version of the files that this version reads.
const FORMAT: u32 = 2;

/// The version of a file that older versions can read as it is meant.
const FORMAT_WITHOUT_GROUPS: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Farm {
    format: u32,
    keys: Vec<Member>,
}

/// A key of the file. A host may have several, while it changes its key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    host: String,
    may: Duties,
    #[serde(default, skip_serializing_if = "Groups::are_any")]
    groups: Groups,
    /// The public key in armour.
    key: String,
}

impl KeyStore {
    /// All messages keys that are bound to hosts, this host's own among them, for [`KeyStore::import_farm`]. Public parts
    /// only; those that were revoked as well, so that the others learn of it.
    ///
    /// # Errors
    /// [`KeyError::OwnUnbound`] if this host's own key does not say whose it is.
    pub fn export_farm(&self) -> Result<Vec<u8>, KeyError> {
        let mut keys = Vec::new();
        for entry in Entry::load_all(&self.directory)? {
            if entry.roles.contains(&Role::Messages) {
                keys.extend(member(&entry)?);
            }
        }
        if keys.is_empty() {
            return Err(KeyError::NoFarm);
        }
        let is_old = keys.iter().all(|member| member.groups.are_any());
        let format = if is_old { FORMAT_WITHOUT_GROUPS } else { FORMAT };
        let farm = Farm { format, keys };
        let mut text = serde_json::to_vec_pretty(&farm).map_err(|error| KeyError::OpenPgp {
            what: "write the farm's keys",
            reason: error.to_string(),
        })?;
        text.push(b'\n');
        Ok(text)
    }

    /// Takes the keys of a farm as they are, all of them or none.
    ///
    /// # Errors
    /// [`KeyError::Farm`] or [`KeyError::FarmFormat`] for a file that is none; [`KeyError::OtherHost`] if a key is bound to
    /// two hosts, in the file or by what is known here.
    pub fn import_farm(&self, data: &[u8]) -> Result<Vec<KeyInfo>, KeyError> {
        let members = parse(data)?;
        let _lock = ChangeLock::take(&self.directory)?;
        let mut entries: BTreeMap<Fingerprint, Entry> = BTreeMap::new();
        for (key, binding) in members {
            let fingerprint = key.fingerprint();
            match entries.get_mut(&fingerprint) {
                Some(entry) => entry.bind(&binding)?,
                None => {
                    let entry = self.merged(key, &[Role::Messages], Whose::Host(&binding))?;
                    entries.insert(fingerprint, entry);
                }
            }
        }
        for entry in entries.values() {
            entry.save(&self.directory)?;
        }
        Ok(entries.values().map(Entry::info).collect())
    }
}

/// None of another host that is bound to nothing: nobody can tell whose it is.
fn member(entry: &Entry) -> Result<Option<Member>, KeyError> {
    let info = entry.info();
    let Some(binding) = &entry.binding else {
        let in_use = !info.is_unbound() && !info.revoked && !info.expired;
        return match in_use {
            false => Ok(None),
            true => Err(KeyError::OwnUnbound {
                key: entry.key.certificate.label(),
                fingerprint: info.fingerprint,
            }),
        };
    };
    let public = entry.key.certificate.public_key();
    let armored = public.to_armored_string(ArmorOptions::default());
    Ok(Some(Member {
        host: binding.host().to_owned(),
        may: binding.may.clone(),
        groups: binding.groups.clone(),
        key: armored.map_err(|error| KeyError::OpenPgp {
            what: "export the public key",
            reason: error.to_string(),
        })?,
    }))
}

fn parse(data: &[u8]) -> Result<Vec<(StoredKey, Binding)>, KeyError> {
    let wrong = |error: serde_json::Error| KeyError::Farm {
        reason: error.to_string(),
    };
    // The format first: what else a newer version wrote may not even parse.
    let value: Value = serde_json::from_slice(data).map_err(wrong)?;
    let found = value.get("format").and_then(Value::as_u64);
    if let Some(found) = found.filter(|found| *found > FORMAT.into()) {
        return Err(KeyError::FarmFormat { found, known: FORMAT });
    }
    let farm: Farm = serde_json::from_value(value).map_err(wrong)?;
    farm.keys.into_iter().map(bound_key).collect()
}

fn bound_key(member: Member) -> Result<(StoredKey, Binding), KeyError> {
    let wrong = |reason: String| KeyError::Farm {
        reason: format!("the key of host {:?}: {reason}", member.host),
    };
    let binding = Binding::new(&member.host, member.may.clone()).map_err(|error| wrong(error.to_string()))?;
    if binding.may.is_empty() {
        return Err(wrong("it may say nothing".to_owned()));
    }
    let mut keys = StoredKey::parse_all(member.key.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let key = keys.pop().filter(|_| keys.is_empty());
    let key = key.ok_or_else(|| wrong("it is not one key".to_owned()))?;
    if !key.secrets.is_empty() {
        return Err(wrong(
            "it has a secret part, which belongs on its own host alone".to_owned(),
        ));
    }
    Ok((key, binding.in_groups(member.groups)))
}
