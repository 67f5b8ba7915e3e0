//! Which keys of the user's GnuPG ring count for packages: those that the operator has signbots of this host sign with. That
//! a user has a key is no other reason to believe what it signs.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::keys::{Fingerprint, KeyStore, Location};

/// Keys that signbots were granted, as the grants write them. They count until the host ends: what a signbot signed may wait
/// for its distbot when the signbot is gone.
#[derive(Debug, Default)]
pub struct PackagesKeys(Mutex<BTreeSet<String>>);

impl PackagesKeys {
    /// Note the keys of a signbot that is loaded, or going to be.
    pub fn grant<'a>(&self, keys: impl IntoIterator<Item = &'a String>) {
        let mut granted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        granted.extend(keys.into_iter().cloned());
    }

    /// The fingerprints of those that are in the ring. Keys of the store count by their roles. Asks gpg.
    #[must_use]
    pub fn of_ring(&self, store: &KeyStore) -> Vec<Fingerprint> {
        let granted = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let in_ring = |key: &String| match store.find_any(key) {
            Ok(found) => (found.location == Location::Gnupg).then_some(found.fingerprint),
            Err(error) => {
                tracing::debug!(%error, key, "a signbot's key adds nothing to those of packages");
                None
            }
        };
        granted.iter().filter_map(in_ring).collect()
    }
}
