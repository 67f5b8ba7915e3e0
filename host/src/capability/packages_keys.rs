//! Which keys of the user's GnuPG ring count for packages: those that the operator has signbots of this host sign with. That
//! a user has a key is no other reason to believe what it signs.
//!
//! And which messages came with what none of the keys signed: one that is imported later may have.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::keys::{Fingerprint, KeyStore, Location};

/// Messages that are remembered at most: what is remembered of one is asked for when its bot is done with it.
const MOST_STRANGERS: usize = 1000;

/// Keys that signbots were granted, as the grants write them. They count until the host ends: what a signbot signed may wait
/// for its distbot when the signbot is gone.
#[derive(Debug, Default)]
pub struct PackagesKeys {
    granted: Mutex<BTreeSet<String>>,
    /// Messages by their group and id.
    strangers: Mutex<BTreeSet<(String, String)>>,
}

/// The keys of the ring that count, as far as that can be told now.
#[derive(Debug, Default)]
pub struct OfRing {
    /// Their fingerprints.
    pub keys: Vec<Fingerprint>,
    /// Why others could not be looked up.
    pub unknown: Vec<String>,
}

impl PackagesKeys {
    /// Note the keys of a signbot that is loaded, or going to be.
    pub fn grant<'a>(&self, keys: impl IntoIterator<Item = &'a String>) {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.extend(keys.into_iter().cloned());
    }

    /// Those that signbots were granted, as the grants write them.
    #[must_use]
    pub fn granted(&self) -> BTreeSet<String> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that are in the ring. Keys of the store count by their roles. Asks gpg.
    #[must_use]
    pub fn of_ring(&self, store: &KeyStore) -> OfRing {
        let mut of_ring = OfRing::default();
        for key in self.granted() {
            match store.find_any(&key) {
                Ok(found) if found.location == Location::Gnupg => of_ring.keys.push(found.fingerprint),
                Ok(_) => {}
                // A signbot signs with it: if it is not there now, it was, or is going to be.
                Err(error) => of_ring.unknown.push(error.to_string()),
            }
        }
        of_ring
    }

    /// Note that a message came with what none of the keys signed, or one that has expired.
    pub fn note_stranger(&self, group: &str, id: &str) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.len() >= MOST_STRANGERS {
            strangers.clear();
        }
        strangers.insert((group.to_owned(), id.to_owned()));
    }

    /// Whether that was noted of a message, which is forgotten with this.
    pub fn was_stranger(&self, group: &str, id: &str) -> bool {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.remove(&(group.to_owned(), id.to_owned()))
    }
}
