//! Whose signatures are believed, while the store changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::error::KeyError;
use super::fingerprint::Fingerprint;
use super::role::Role;
use super::stamp::{STEP, Sight};
use super::store::KeyStore;
use super::verify::TrustedKeys;

/// The keys of a role, as the store has them at each look: one that is imported counts from then on, one that is revoked
/// or removed does not any more.
#[derive(Debug)]
pub struct Trust {
    store: KeyStore,
    role: Role,
    /// Only these; none for all.
    allowed: Option<Vec<Fingerprint>>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    keys: Arc<TrustedKeys>,
    /// How the store's directory looks.
    sight: Sight,
    /// How it looked before the keys were read, if no change can have followed that does not show. Until then they are read again at each
    /// look.
    read: Option<Sight>,
    /// When they could not be read last, and why: a file that is written in place is whole a moment later, and the directory
    /// doesn't show it.
    failed: Option<(Instant, String)>,
}

impl Trust {
    /// Read the keys for the first time. `allowed` leaves only some of them, now and later.
    ///
    /// # Errors
    /// [`KeyError`] if a key can't be read.
    pub fn new(store: KeyStore, role: Role, allowed: Option<Vec<Fingerprint>>) -> Result<Self, KeyError> {
        let sight = Sight::of(store.directory());
        let keys = read(&store, role, allowed.as_deref())?;
        Ok(Self {
            store,
            role,
            allowed,
            known: Mutex::new(Known {
                keys,
                sight,
                read: None,
                failed: None,
            }),
        })
    }

    /// The keys as they are now; as they were, if the store can't be read now.
    #[must_use]
    pub fn now(&self) -> Arc<TrustedKeys> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sight = known.sight.again(self.store.directory());
        if known.may_be_outdated() {
            // Asked before the files are read: a change that comes meanwhile may not show in a directory that settles only then.
            let is_settled = known.sight.is_settled();
            match read(&self.store, self.role, self.allowed.as_deref()) {
                Ok(keys) => known.learn(keys, is_settled),
                Err(error) => known.fail(&error, self.role),
            }
        }
        Arc::clone(&known.keys)
    }
}

impl Known {
    fn may_be_outdated(&self) -> bool {
        let is_current = self.read.is_some_and(|read| read.is_like(self.sight));
        let is_too_soon = self.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < STEP);
        !is_current && !is_too_soon
    }

    /// Take over what was read after the directory was looked at. `is_settled` says whether it was settled before the reading.
    fn learn(&mut self, keys: Arc<TrustedKeys>, is_settled: bool) {
        self.keys = keys;
        self.read = is_settled.then_some(self.sight);
        self.failed = None;
    }

    /// Note that the keys can't be read now. The same reason is told once.
    fn fail(&mut self, error: &KeyError, role: Role) {
        let why = error.to_string();
        if self.failed.as_ref().is_none_or(|(_, known)| *known != why) {
            tracing::warn!(%error, %role, "cannot read the keys; those that were known stay in force");
        }
        self.read = None;
        self.failed = Some((Instant::now(), why));
    }
}

fn read(store: &KeyStore, role: Role, allowed: Option<&[Fingerprint]>) -> Result<Arc<TrustedKeys>, KeyError> {
    let keys = store.trusted(role)?;
    Ok(match allowed {
        Some(allowed) => Arc::new(keys.restricted_to(allowed)),
        None => keys,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::keys::{Binding, Duties, Encoding, NewKey, RevocationReason};

    fn store(directory: &tempfile::TempDir, name: &str) -> KeyStore {
        KeyStore::open(directory.path().join(name)).unwrap()
    }

    #[test]
    fn a_key_counts_from_its_import_on_and_not_after_its_removal() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, theirs) = (store(&directory, "ours"), store(&directory, "theirs"));
        let key = theirs.generate(Role::Messages, &NewKey::new("theirs")).unwrap();
        let trust = Trust::new(ours.clone(), Role::Messages, None).unwrap();
        let known = || trust.now().fingerprints().collect::<Vec<_>>();
        assert_eq!(known(), []);

        let public = theirs
            .export_public(&key.fingerprint.to_string(), Encoding::Armored)
            .unwrap();
        let binding = Binding::new("theirs", Duties::all()).unwrap();
        ours.import_bound(&public, &[Role::Messages], Some(&binding)).unwrap();
        assert_eq!(known(), [key.fingerprint]);
        ours.remove(&key.fingerprint.to_string()).unwrap();
        assert_eq!(known(), []);
    }

    #[test]
    fn a_revocation_counts_though_the_keys_stay_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory, "keys");
        let key = store.generate(Role::Messages, &NewKey::new("ours")).unwrap();
        let fingerprint = key.fingerprint.to_string();
        let signer = store
            .signer(&fingerprint, Role::Messages, &crate::keys::PassphraseSource::none())
            .unwrap();
        let signature = signer.detach_sign_armored(&b"text"[..]).unwrap();
        let trust = Trust::new(store.clone(), Role::Messages, None).unwrap();
        assert!(trust.now().verify_detached(b"text", &signature).is_ok());
        store
            .revoke(
                &fingerprint,
                RevocationReason::Compromised,
                &crate::keys::PassphraseSource::none(),
            )
            .unwrap();
        assert!(trust.now().verify_detached(b"text", &signature).is_err());
    }

    #[test]
    fn keys_that_are_not_allowed_stay_out_whenever_they_come() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory, "keys");
        let first = store.generate(Role::Messages, &NewKey::new("first")).unwrap();
        let trust = Trust::new(store.clone(), Role::Messages, Some(vec![first.fingerprint])).unwrap();
        store.generate(Role::Messages, &NewKey::new("second")).unwrap();
        assert_eq!(trust.now().fingerprints().collect::<Vec<_>>(), [first.fingerprint]);
    }

    #[test]
    fn a_key_file_that_is_half_written_takes_no_trust_away_and_counts_once_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, theirs) = (store(&directory, "ours"), store(&directory, "theirs"));
        let own = ours.generate(Role::Messages, &NewKey::new("ours")).unwrap();
        let other = theirs.generate(Role::Messages, &NewKey::new("theirs")).unwrap();
        // Another program writes files in place: the directory shows when they come, and nothing of what follows.
        let names = ["json", "asc"].map(|end| format!("{}.{end}", other.fingerprint));
        let whole = names
            .each_ref()
            .map(|name| std::fs::read(theirs.directory().join(name)).unwrap());
        let settle = || {
            let long_ago = SystemTime::now() - Duration::from_secs(60);
            std::fs::File::open(ours.directory())
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        };
        let trust = Trust::new(ours.clone(), Role::Messages, None).unwrap();
        let known = || trust.now().fingerprints().collect::<std::collections::BTreeSet<_>>();
        for (name, bytes) in names.iter().zip(&whole) {
            let path = ours.directory().join(name);
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        settle();
        assert_eq!(known(), [own.fingerprint].into());
        for (name, bytes) in names.iter().zip(&whole) {
            std::fs::write(ours.directory().join(name), bytes).unwrap();
        }
        let both = [own.fingerprint, other.fingerprint].into();
        let start = Instant::now();
        while known() != both {
            assert!(start.elapsed() < Duration::from_secs(60), "it never counted");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Looks until two looks in a row find the same keys as they were read once. Whoever reads them again makes new ones.
    fn rests(trust: &Trust) {
        let start = Instant::now();
        while !Arc::ptr_eq(&trust.now(), &trust.now()) {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the keys are read at each look"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn set_time(store: &KeyStore, at: SystemTime) {
        std::fs::File::open(store.directory())
            .unwrap()
            .set_modified(at)
            .unwrap();
    }

    #[test]
    fn a_directory_whose_time_is_in_the_future_is_read_again_once_it_changes_and_not_at_each_look() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory, "keys");
        store.generate(Role::Messages, &NewKey::new("first")).unwrap();
        let future = SystemTime::now() + Duration::from_secs(365 * 24 * 3600);
        set_time(&store, future);
        let trust = Trust::new(store.clone(), Role::Messages, None).unwrap();
        rests(&trust);
        // A change whose author puts the time back counts as well.
        store.generate(Role::Messages, &NewKey::new("second")).unwrap();
        set_time(&store, future);
        assert_eq!(trust.now().fingerprints().count(), 2);
        rests(&trust);
    }

    #[test]
    fn another_directory_in_the_place_of_the_store_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, restored) = (store(&directory, "ours"), store(&directory, "restored"));
        ours.generate(Role::Messages, &NewKey::new("ours")).unwrap();
        let other = restored.generate(Role::Messages, &NewKey::new("restored")).unwrap();
        let trust = Trust::new(ours.clone(), Role::Messages, None).unwrap();
        rests(&trust);
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        set_time(&ours, long_ago);
        rests(&trust);
        std::fs::rename(ours.directory(), directory.path().join("before")).unwrap();
        set_time(&restored, long_ago);
        std::fs::rename(restored.directory(), ours.directory()).unwrap();
        assert_eq!(trust.now().fingerprints().collect::<Vec<_>>(), [other.fingerprint]);
    }
}
