//! The directory with the host's keys.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pgp::composed::ArmorOptions;
use pgp::ser::Serialize as _;
use pgp::types::Timestamp;

use super::binding::{Binding, Whose};
use super::entry::Entry;
use super::error::{KeyError, Looked, UnusableKey};
use super::files::{self, ChangeLock};
use super::fingerprint::KeyQuery;
use super::generate::NewKey;
use super::gnupg::{GnupgKey, Ring};
use super::info::KeyInfo;
use super::passphrase::PassphraseSource;
use super::renew::RevocationReason;
use super::role::Role;
use super::secret::SecretBytes;
use super::stored_key::StoredKey;
use super::verify::TrustedKeys;

/// A directory of keys: for each an armoured key `<fingerprint>.asc`, which gpg can import as it is, and metadata
/// `<fingerprint>.json`.
///
/// Every call reads the files anew, so that a key added by a command is seen by a running host.
///
/// Where a key is needed to sign for a bot and the store has no secret of that name, the user's GnuPG ring is asked.
#[derive(Debug, Clone)]
pub struct KeyStore {
    pub(super) directory: PathBuf,
    /// Where keys are that the store does not have.
    pub(super) ring: Arc<Ring>,
}

/// How a public key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Text, for `.asc` files.
    Armored,
    /// Bytes, for `.gpg` keyrings: what gpgv, debsig-verify and `Signed-By:` take everywhere.
    Binary,
}

impl KeyStore {
    /// Opens the store, making its directory if there is none. Refuses a directory that others can look into.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let directory = directory.into();
        files::open_directory(&directory)?;
        Ok(Self {
            directory,
            ring: Arc::new(Ring::new(None)),
        })
    }

    /// Sets which GnuPG ring has the keys that are not in the store, instead of that in `$GNUPGHOME` or `~/.gnupg`.
    #[must_use]
    pub fn with_gnupg_home(mut self, home: PathBuf) -> Self {
        self.ring = Arc::new(Ring::new(Some(home)));
        self
    }

    #[cfg(test)]
    pub(super) fn with_ring(mut self, ring: Ring) -> Self {
        self.ring = Arc::new(ring);
        self
    }

    /// Where the keys are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a key and stores it.
    pub fn generate(&self, role: Role, new: &NewKey) -> Result<KeyInfo, KeyError> {
        let entry = Entry {
            key: new.generate(Timestamp::now())?,
            roles: BTreeSet::from([role]),
            binding: None,
        };
        let _lock = ChangeLock::take(&self.directory)?;
        entry.save(&self.directory)?;
        Ok(entry.info())
    }

    /// Stores all keys in the data (armoured or binary, public or secret), with the roles.
    ///
    /// What is known of a key already is kept: roles add up, a revocation stays. Of keys that are for nothing but
    /// [`Role::Commits`] only the public part is stored. Public keys for [`Role::Messages`] have to be bound already, and
    /// secret ones have to be here as such.
    pub fn import(&self, data: &[u8], roles: &[Role]) -> Result<Vec<KeyInfo>, KeyError> {
        self.import_bound(data, roles, None)
    }

    /// The same, of keys that belong to a host.
    ///
    /// # Errors
    /// [`KeyError::Unbound`] for another host's messages key without a binding, [`KeyError::WhoseSecret`] for a secret one
    /// that is not here as such, [`KeyError::OtherHost`] for a key that is bound to another host already.
    pub fn import_bound(
        &self,
        data: &[u8],
        roles: &[Role],
        binding: Option<&Binding>,
    ) -> Result<Vec<KeyInfo>, KeyError> {
        self.import_as(data, roles, binding.map_or(Whose::Unsaid, Whose::Host))
    }

    /// The same, of keys of which it is said whose they are.
    ///
    /// # Errors
    /// As [`Self::import_bound`].
    pub fn import_as(&self, data: &[u8], roles: &[Role], whose: Whose<'_>) -> Result<Vec<KeyInfo>, KeyError> {
        let keys = StoredKey::parse_all(data)?;
        let _lock = ChangeLock::take(&self.directory)?;
        for key in &keys {
            self.merged(key.clone(), roles, whose)?;
        }
        let add = |key| self.add(key, roles, whose);
        keys.into_iter().map(add).collect()
    }

    /// Stores a key of the user's GnuPG keyring.
    pub fn import_from_gnupg(&self, key: &GnupgKey, roles: &[Role], whose: Whose<'_>) -> Result<KeyInfo, KeyError> {
        let mut keys = StoredKey::parse_all(key.export()?.expose())?;
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => {
                let _lock = ChangeLock::take(&self.directory)?;
                self.add(key, roles, whose)
            }
            (last, _) => {
                let candidates = keys.iter().chain(&last).map(|key| key.certificate.label()).collect();
                Err(KeyError::Ambiguous {
                    query: key.query.clone(),
                    candidates,
                })
            }
        }
    }

    fn add(&self, key: StoredKey, roles: &[Role], whose: Whose<'_>) -> Result<KeyInfo, KeyError> {
        let entry = self.merged(key, roles, whose)?;
        entry.save(&self.directory)?;
        Ok(entry.info())
    }

    /// A key with what is known of it already.
    pub(super) fn merged(&self, key: StoredKey, roles: &[Role], whose: Whose<'_>) -> Result<Entry, KeyError> {
        let (fingerprint, binding) = (key.fingerprint(), whose.binding());
        // A key that is bound to a host when it comes is another host's: with its secret it would be this one's as well.
        let key = if binding.is_some() { key.into_public() } else { key };
        let known = Entry::load(&self.directory, fingerprint)?;
        let was_own = known.as_ref().is_some_and(Entry::is_own);
        let mut entry = match known {
            Some(known) => Entry {
                key: known.key.merge(key)?,
                ..known
            },
            None => Entry {
                key,
                roles: BTreeSet::new(),
                binding: None,
            },
        };
        entry.roles.extend(roles);
        if let Some(binding) = binding {
            entry.bind(binding)?;
        }
        if roles.contains(&Role::Messages) && entry.info().is_unbound() {
            return Err(KeyError::Unbound {
                key: entry.key.certificate.label(),
            });
        }
        if entry.roles.is_empty() {
            return Err(KeyError::NoRole {
                key: entry.key.certificate.label(),
            });
        }
        if !was_own {
            entry.ask_whose(whose, || entry.import_as_own("FILE"))?;
        }
        if entry.roles.iter().all(|role| *role == Role::Commits) {
            entry.key = entry.key.into_public();
        }
        Ok(entry)
    }

    /// Binds a messages key to a host, instead of any host before.
    ///
    /// # Errors
    /// [`KeyError::WrongRole`] for a key that does not sign messages.
    pub fn allow(&self, query: &str, binding: &Binding) -> Result<KeyInfo, KeyError> {
        self.change(query, |entry, _| {
            if !entry.roles.contains(&Role::Messages) {
                return Err(entry.lacks(Role::Messages));
            }
            entry.binding = Some(binding.clone());
            Ok(())
        })
    }

    /// All keys, by fingerprint.
    pub fn list(&self) -> Result<Vec<KeyInfo>, KeyError> {
        Ok(Entry::load_all(&self.directory)?.iter().map(Entry::info).collect())
    }

    /// The one key with the role that the query means: a fingerprint, a long or short key id (with `0x` or without),
    /// also of a subkey, or an e-mail address or whole user id.
    pub fn find(&self, query: &str, role: Role) -> Result<KeyInfo, KeyError> {
        Ok(self.entry_with_role(query, role)?.info())
    }

    /// The one key of the store that the query means, whatever its roles.
    pub fn find_stored(&self, query: &str) -> Result<KeyInfo, KeyError> {
        Ok(self.entry(query)?.info())
    }

    /// The one key that the query means, whatever its roles: of the store, or of the user's GnuPG ring.
    pub fn find_any(&self, query: &str) -> Result<KeyInfo, KeyError> {
        Ok(self.locate(query)?.info())
    }

    /// Replaces a key's roles.
    ///
    /// # Errors
    /// [`KeyError::WhoseSecret`] if a secret key would become one for messages: only an import says whose it is.
    pub fn set_roles(&self, query: &str, roles: &[Role]) -> Result<KeyInfo, KeyError> {
        self.change(query, |entry, _| {
            if roles.is_empty() {
                return Err(KeyError::NoRole {
                    key: entry.key.certificate.label(),
                });
            }
            let was_own = entry.is_own();
            entry.roles = roles.iter().copied().collect();
            if was_own {
                return Ok(());
            }
            let export = || format!("foundry-host key export --secret {}", entry.key.fingerprint());
            entry.ask_whose(Whose::Unsaid, || format!("{} | {}", export(), entry.import_as_own("-")))
        })
    }

    /// The public part of a key, of the store or of the user's GnuPG ring.
    pub fn export_public(&self, query: &str, encoding: Encoding) -> Result<Vec<u8>, KeyError> {
        let found = self.locate(query)?;
        let key = found.key().certificate.public_key();
        let exported = match encoding {
            Encoding::Armored => key.to_armored_bytes(ArmorOptions::default()),
            Encoding::Binary => key.to_bytes(),
        };
        exported.map_err(|error| KeyError::OpenPgp {
            what: "export the public key",
            reason: error.to_string(),
        })
    }

    /// The public parts of all keys with the role, as one binary keyring for gpgv.
    pub fn export_keyring(&self, role: Role) -> Result<Vec<u8>, KeyError> {
        let mut keyring = Vec::new();
        for entry in Entry::load_all(&self.directory)?
            .iter()
            .filter(|entry| entry.roles.contains(&role))
        {
            let written = entry.key.certificate.public_key().to_writer(&mut keyring);
            written.map_err(|error| KeyError::OpenPgp {
                what: "export the keyring",
                reason: error.to_string(),
            })?;
        }
        Ok(keyring)
    }

    /// The secret key in armour, protected as it is in the store. For a person who asked for it, and nothing else.
    pub fn export_secret(&self, query: &str) -> Result<SecretBytes, KeyError> {
        let entry = self.entry(query)?;
        if !entry.info().has_secret {
            return Err(UnusableKey::PublicOnly {
                key: entry.key.certificate.label(),
            }
            .into());
        }
        entry.armored()
    }

    /// Forgets a key, secret part and all.
    pub fn remove(&self, query: &str) -> Result<KeyInfo, KeyError> {
        let _lock = ChangeLock::take(&self.directory)?;
        let entry = self.entry(query)?;
        entry.remove(&self.directory)?;
        Ok(entry.info())
    }

    /// Lets a key expire that long after now, or never. Not for keys with subkeys, which GnuPG extends.
    pub fn extend(
        &self,
        query: &str,
        expires_in: Option<Duration>,
        passphrases: &PassphraseSource,
    ) -> Result<KeyInfo, KeyError> {
        self.change(query, |entry, now| {
            entry.key.extend(expires_in, &entry.info(), passphrases, now)
        })
    }

    /// Takes a key out of use, for good. Whoever trusts it has to get its public key again to know.
    pub fn revoke(
        &self,
        query: &str,
        reason: RevocationReason,
        passphrases: &PassphraseSource,
    ) -> Result<KeyInfo, KeyError> {
        self.change(query, |entry, now| {
            entry.key.revoke(reason, &entry.info(), passphrases, now)
        })
    }

    fn change(
        &self,
        query: &str,
        change: impl FnOnce(&mut Entry, Timestamp) -> Result<(), KeyError>,
    ) -> Result<KeyInfo, KeyError> {
        let _lock = ChangeLock::take(&self.directory)?;
        let mut entry = self.entry(query)?;
        change(&mut entry, Timestamp::now())?;
        entry.save(&self.directory)?;
        Ok(entry.info())
    }

    /// The public parts of all keys with the role.
    pub fn trusted(&self, role: Role) -> Result<Arc<TrustedKeys>, KeyError> {
        let mut entries = Entry::load_all(&self.directory)?;
        entries.retain(|entry| entry.roles.contains(&role));
        let bindings = entries.iter().map(|entry| {
            let info = entry.info();
            let is_secret = info.has_secret || info.kept_by_gnupg;
            (info.fingerprint, (entry.binding.clone(), is_secret))
        });
        let bindings = bindings.collect();
        let certificates = entries.into_iter().map(|entry| entry.key.certificate);
        Ok(Arc::new(TrustedKeys::new(certificates).with_bindings(bindings)))
    }

    pub(super) fn entries(&self, query: &str) -> Result<Vec<Entry>, KeyError> {
        let parsed = KeyQuery::parse(query);
        let mut matches = Entry::load_all(&self.directory)?;
        matches.retain(|entry| entry.key.matches(&parsed));
        Ok(matches)
    }

    fn entry(&self, query: &str) -> Result<Entry, KeyError> {
        self.only_one(self.entries(query)?, query)
    }

    pub(super) fn entry_with_role(&self, query: &str, role: Role) -> Result<Entry, KeyError> {
        self.only_one_with_role(self.entries(query)?, query, role)
    }

    pub(super) fn only_one(&self, matches: Vec<Entry>, query: &str) -> Result<Entry, KeyError> {
        let found = only_one(matches, query, |entry| entry.key.certificate.label())?;
        found.ok_or_else(|| KeyError::NotFound {
            query: query.to_owned(),
            looked: Box::new(Looked::Store(self.directory.clone())),
        })
    }

    pub(super) fn only_one_with_role(&self, matches: Vec<Entry>, query: &str, role: Role) -> Result<Entry, KeyError> {
        let (fitting, others): (Vec<_>, Vec<_>) = matches.into_iter().partition(|entry| entry.roles.contains(&role));
        match (fitting.is_empty(), others.first()) {
            (true, Some(other)) => Err(other.lacks(role)),
            _ => self.only_one(fitting, query),
        }
    }
}

/// The one that matches, if any.
pub(super) fn only_one<T>(
    mut matches: Vec<T>,
    query: &str,
    label: impl Fn(&T) -> String,
) -> Result<Option<T>, KeyError> {
    if matches.len() > 1 {
        return Err(KeyError::Ambiguous {
            query: query.to_owned(),
            candidates: matches.iter().map(label).collect(),
        });
    }
    Ok(matches.pop())
}
