//! Whose signatures are believed, while the store changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::error::KeyError;
use super::fingerprint::Fingerprint;
use super::role::Role;
use super::store::KeyStore;
use super::verify::TrustedKeys;

/// A directory that changed less than this ago may change once more without showing it: file systems count time in steps.
const STEP: Duration = Duration::from_secs(1);

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
    /// When the store had changed last when they were read; none if that can't be relied on.
    changed: Option<SystemTime>,
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
        let changed = settled(&store);
        let keys = read(&store, role, allowed.as_deref())?;
        Ok(Self {
            store,
            role,
            allowed,
            known: Mutex::new(Known {
                keys,
                changed,
                failed: None,
            }),
        })
    }

    /// The keys as they are now; as they were, if the store can't be read now.
    #[must_use]
    pub fn now(&self) -> Arc<TrustedKeys> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = settled(&self.store);
        let is_too_soon = known.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < STEP);
        if (changed.is_none() || changed != known.changed) && !is_too_soon {
            match read(&self.store, self.role, self.allowed.as_deref()) {
                Ok(keys) => {
                    let failed = None;
                    *known = Known { keys, changed, failed };
                }
                Err(error) => known.fail(&error, self.role),
            }
        }
        Arc::clone(&known.keys)
    }
}

impl Known {
    /// Note that the keys can't be read now. The same reason is told once.
    fn fail(&mut self, error: &KeyError, role: Role) {
        let why = error.to_string();
        if self.failed.as_ref().is_none_or(|(_, known)| *known != why) {
            tracing::warn!(%error, %role, "cannot read the keys; those that were known stay in force");
        }
        self.changed = None;
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

/// When the store changed last, if that is long enough ago to tell the next change from it.
fn settled(store: &KeyStore) -> Option<SystemTime> {
    // Every change of a key's file is a rename, which changes the directory.
    let changed = std::fs::metadata(store.directory()).and_then(|directory| directory.modified());
    let changed = changed.ok()?;
    changed.elapsed().is_ok_and(|age| age > STEP).then_some(changed)
}

#[cfg(test)]
mod tests {
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
        settle();
        let both = [own.fingerprint, other.fingerprint].into();
        let start = Instant::now();
        while known() != both {
            assert!(start.elapsed() < Duration::from_secs(60), "it never counted");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
