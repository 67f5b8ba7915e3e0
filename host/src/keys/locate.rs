//! Which key signs: one of the store, or one of the user's GnuPG ring.

use std::collections::BTreeSet;
use std::sync::Arc;

use pgp::types::Timestamp;

use super::certificate::Certificate;
use super::entry::Entry;
use super::error::{KeyError, Looked, UnusableKey};
use super::fingerprint::Fingerprint;
use super::gnupg::{GnupgError, RingKey};
use super::info::KeyInfo;
use super::passphrase::PassphraseSource;
use super::role::Role;
use super::signer::Signer;
use super::store::{KeyStore, only_one};
use super::stored_key::StoredKey;
use super::verify::TrustedKeys;

/// Where a key was found.
pub(super) enum Found {
    Store(Box<Entry>),
    Ring(Arc<RingKey>),
}

/// Keys whose signatures count, as far as that can be told now.
#[derive(Debug, Clone, Default)]
pub struct Believed {
    /// Their public parts.
    pub keys: Arc<TrustedKeys>,
    /// Why keys that may belong to them could not be read. A signature by none of `keys` may be by one of those.
    pub unknown: Vec<String>,
}

/// How much of what signing takes a key of the ring has, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    /// gpg-agent has no secret of it that may sign.
    PublicOnly,
    /// It has one that is expired or revoked.
    Invalid,
    Signs,
}

impl KeyStore {
    /// Unlocks a key for its role. The handle stays usable until it is dropped or the key expires.
    ///
    /// To sign packages, repositories and bots, a key of the user's GnuPG ring serves where the store has no secret that the
    /// query means. It needs no role: it is for what it was named for.
    ///
    /// # Errors
    /// [`KeyError`], which says where it looked and what helps.
    pub fn signer(&self, query: &str, role: Role, passphrases: &PassphraseSource) -> Result<Arc<Signer>, KeyError> {
        let found = match role {
            Role::Packages | Role::Repository | Role::Bots => self.locate_for(query, role)?,
            Role::Messages | Role::Commits => Found::stored(self.entry_with_role(query, role)?),
        };
        let signer = match found {
            Found::Store(entry) => Signer::unlock(&entry.key, role, &entry.info(), passphrases, &self.ring),
            Found::Ring(key) => Signer::of_ring(&self.ring, &key, role, passphrases),
        };
        signer.map(Arc::new)
    }

    /// The keys of the user's GnuPG ring whose secrets gpg-agent has, but for those that the store goes before. None if there
    /// is no ring.
    ///
    /// # Errors
    /// [`KeyError::Gnupg`] if there is one that can't be read.
    pub fn list_gnupg(&self) -> Result<Vec<KeyInfo>, KeyError> {
        let keys = match self.ring.with_secrets() {
            Err(GnupgError::NoRing { .. }) => return Ok(Vec::new()),
            keys => keys?,
        };
        let mut infos = Vec::new();
        for ring_key in keys {
            let stored = Entry::load(&self.directory, ring_key.key.fingerprint())?;
            if stored.is_none_or(|entry| entry.key.secrets.is_empty()) {
                infos.push(Found::Ring(self.with_stored(Arc::new(ring_key))?).info());
            }
        }
        Ok(infos)
    }

    /// The public parts of all keys of the store with the role, and of these keys of the user's GnuPG ring: that the user
    /// has a key is no reason to believe it in a role. A ring that can't be read adds nothing but why.
    ///
    /// # Errors
    /// [`KeyError`] if the store can't be read.
    pub fn trusted_with_gnupg(&self, role: Role, of_ring: &[Fingerprint]) -> Result<Believed, KeyError> {
        let (mut certificates, mut unknown) = (Vec::<Certificate>::new(), Vec::new());
        for fingerprint in of_ring {
            let found = self.ring.find(&fingerprint.to_string()).unwrap_or_else(|error| {
                unknown.push(error.to_string());
                Vec::new()
            });
            // A key whose subkey has that fingerprint is another one.
            let found = found
                .into_iter()
                .filter(|ring_key| ring_key.key.fingerprint() == *fingerprint);
            for ring_key in found {
                certificates.push(self.with_stored(ring_key)?.key.certificate.clone());
            }
        }
        for entry in Entry::load_all(&self.directory)? {
            let known = certificates
                .iter()
                .any(|known| known.fingerprint() == entry.key.fingerprint());
            if entry.roles.contains(&role) && !known {
                certificates.push(entry.key.certificate);
            }
        }
        let keys = Arc::new(TrustedKeys::new(certificates));
        Ok(Believed { keys, unknown })
    }

    /// The public parts of keys that somebody named, of the store or of the user's GnuPG ring, whatever their roles.
    ///
    /// # Errors
    /// [`KeyError`] if one is missing, or a name means several.
    pub fn trusted_by_name(&self, queries: &[String]) -> Result<Arc<TrustedKeys>, KeyError> {
        let certificate = |query: &String| Ok::<_, KeyError>(self.locate(query)?.key().certificate.clone());
        let certificates = queries.iter().map(certificate).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(TrustedKeys::new(certificates)))
    }

    /// The key to sign with in a role: of the store if it has a secret of that name, else of the ring. A public key in the
    /// store, such as a committer's, does not stand in the way of its owner's ring.
    fn locate_for(&self, query: &str, role: Role) -> Result<Found, KeyError> {
        let (secret, public): (Vec<_>, Vec<_>) = self
            .entries(query)?
            .into_iter()
            .partition(|entry| !entry.key.secrets.is_empty());
        if !secret.is_empty() {
            return self.only_one_with_role(secret, query, role).map(Found::stored);
        }
        match (self.in_ring_to_sign(query), public.first()) {
            (Err(KeyError::NotFound { .. }), Some(entry)) => Err(UnusableKey::PublicOnly {
                key: entry.key.certificate.label(),
            }
            .into()),
            (found, _) => Ok(Found::Ring(found?)),
        }
    }

    /// The key that a query means, in the same order; at last a public key of the store.
    pub(super) fn locate(&self, query: &str) -> Result<Found, KeyError> {
        let (secret, public): (Vec<_>, Vec<_>) = self
            .entries(query)?
            .into_iter()
            .partition(|entry| !entry.key.secrets.is_empty());
        if !secret.is_empty() {
            return self.only_one(secret, query).map(Found::stored);
        }
        match self.in_ring(query) {
            Err(KeyError::NotFound { .. }) if !public.is_empty() => self.only_one(public, query).map(Found::stored),
            found => Ok(Found::Ring(found?)),
        }
    }

    /// The one key of the user's GnuPG ring that a query means.
    fn in_ring(&self, query: &str) -> Result<Arc<RingKey>, KeyError> {
        let (_, best) = self.best_in_ring(query)?;
        self.only_one_of_ring(best, query)
    }

    /// The same to sign with. If none of several can, then one of those that come closest, for signing to say why not.
    fn in_ring_to_sign(&self, query: &str) -> Result<Arc<RingKey>, KeyError> {
        let (fitness, mut best) = self.best_in_ring(query)?;
        if fitness < Fitness::Signs {
            best.sort_by_key(|ring_key| ring_key.key.certificate.primary().created);
            best.drain(..best.len().saturating_sub(1));
        }
        self.only_one_of_ring(best, query)
    }

    fn only_one_of_ring(&self, keys: Vec<Arc<RingKey>>, query: &str) -> Result<Arc<RingKey>, KeyError> {
        let found = only_one(keys, query, |key| key.key.certificate.label())?;
        found.ok_or_else(|| self.not_found(query, None))
    }

    /// The keys of the user's GnuPG ring that a query means; of several those that are fittest to sign. Anybody's public key
    /// may carry the address, and so does the expired predecessor of one's own.
    fn best_in_ring(&self, query: &str) -> Result<(Fitness, Vec<Arc<RingKey>>), KeyError> {
        let keys = match self.ring.find(query) {
            Ok(keys) => keys,
            Err(problem @ (GnupgError::NoRing { .. } | GnupgError::NotInstalled { .. })) => {
                return Err(self.not_found(query, Some(problem)));
            }
            Err(problem) => return Err(problem.into()),
        };
        let keys: Vec<_> = keys
            .into_iter()
            .map(|key| self.with_stored(key))
            .collect::<Result<_, _>>()?;
        if keys.len() < 2 {
            // Nothing is asked that signing won't ask.
            return Ok((Fitness::Signs, keys));
        }
        let mut best = (Fitness::PublicOnly, Vec::new());
        for key in keys {
            let fitness = self.fitness(&key)?;
            if fitness > best.0 {
                best = (fitness, Vec::new());
            }
            if fitness == best.0 {
                best.1.push(key);
            }
        }
        Ok(best)
    }

    fn fitness(&self, ring_key: &RingKey) -> Result<Fitness, KeyError> {
        let certificate = &ring_key.key.certificate;
        // Roles have their order of the parts, and each takes any.
        let valid = ring_key.key.signing_components(Role::Packages, Timestamp::now());
        let valid = valid.unwrap_or_default();
        let mut fitness = Fitness::PublicOnly;
        for component in certificate.components().iter().filter(|component| component.may_sign) {
            let Some(grip) = ring_key.grips.get(&component.fingerprint) else {
                continue;
            };
            if !self.ring.has_secret(grip)? {
                continue;
            }
            let is_valid = valid.iter().any(|valid| valid.fingerprint == component.fingerprint);
            fitness = fitness.max(if is_valid { Fitness::Signs } else { Fitness::Invalid });
        }
        Ok(fitness)
    }

    fn not_found(&self, query: &str, problem: Option<GnupgError>) -> KeyError {
        KeyError::NotFound {
            query: query.to_owned(),
            looked: Box::new(Looked::Everywhere {
                store: self.directory.clone(),
                ring: self.ring.home(),
                problem,
            }),
        }
    }

    /// The key of the ring with what the store knows of it: a revocation that came here counts.
    fn with_stored(&self, ring_key: Arc<RingKey>) -> Result<Arc<RingKey>, KeyError> {
        let Some(entry) = Entry::load(&self.directory, ring_key.key.fingerprint())? else {
            return Ok(ring_key);
        };
        Ok(Arc::new(RingKey {
            key: entry.key.into_public().merge(ring_key.key.clone())?,
            grips: ring_key.grips.clone(),
        }))
    }
}

impl Found {
    fn stored(entry: Entry) -> Self {
        Self::Store(Box::new(entry))
    }

    pub fn key(&self) -> &StoredKey {
        match self {
            Self::Store(entry) => &entry.key,
            Self::Ring(ring_key) => &ring_key.key,
        }
    }

    pub fn info(&self) -> KeyInfo {
        match self {
            Self::Store(entry) => entry.info(),
            Self::Ring(ring_key) => ring_key.key.info(BTreeSet::new(), Timestamp::now()).in_gnupg(),
        }
    }
}
