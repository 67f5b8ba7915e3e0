//! Signatures that were found good, so that each is computed once.
//!
//! Several parts of a host look at one message: its bots, the observer, and whoever reads the announcement that all events of a
//! run carry. That a key made a signature over some data is a fact that nothing changes later, and to compute it is most of what
//! a check costs. Whether the key counts, at this moment and for this purpose, is never remembered: it's asked each time.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pgp::packet::Signature;
use pgp::ser::Serialize;
use sha2::{Digest, Sha256};

use super::fingerprint::Fingerprint;

/// Signatures in a generation. There are two, of 32 bytes each: 256 KiB, and as many again for the tables.
const GENERATION: usize = 4096;

/// The good signatures of late. Bad ones are not noted: anybody can send any number of them.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    generations: Mutex<Generations>,
}

/// When the younger generation is full it becomes the older one, and what was in that is forgotten.
#[derive(Debug, Default)]
struct Generations {
    younger: HashSet<[u8; 32]>,
    older: HashSet<[u8; 32]>,
}

impl Remembered {
    /// Whether `key` made a signature over data, as `check` computes it if it has not done so of late.
    pub(super) fn holds(
        &self,
        key: Fingerprint,
        signature: &Signature,
        data: &[u8],
        check: impl FnOnce() -> bool,
    ) -> bool {
        // One that can't be written again, so that it has no name here, is computed as often as it comes.
        let Ok(packet) = signature.to_bytes() else {
            return check();
        };
        let name = name(key, &packet, data);
        if self.generations().have(&name) {
            return true;
        }
        // Not under the lock: others need not wait for the computation.
        let is_good = check();
        if is_good {
            self.generations().add(name);
        }
        is_good
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        // Nothing panics while it holds this.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn have(&self, name: &[u8; 32]) -> bool {
        self.younger.contains(name) || self.older.contains(name)
    }

    fn add(&mut self, name: [u8; 32]) {
        if self.younger.len() >= GENERATION {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(name);
    }
}

/// A digest over all that decides whether a signature is good. Each part but the last begins with its length, so that no two
/// triples read alike.
fn name(key: Fingerprint, packet: &[u8], data: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [key.as_bytes().as_slice(), packet] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.update(data);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::keys::verify::read_signatures;
    use crate::keys::{KeyStore, NewKey, PassphraseSource, Role};

    struct Signed {
        key: Fingerprint,
        signature: Signature,
        checks: Cell<u32>,
    }

    impl Signed {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = KeyStore::open(directory.path().join("keys")).unwrap();
            let key = store.generate(Role::Messages, &NewKey::new("a")).unwrap().fingerprint;
            let signer = store.signer(&key.to_string(), Role::Messages, &PassphraseSource::none());
            let armored = signer.unwrap().detach_sign_armored(&b"data"[..]).unwrap();
            let signature = read_signatures(&armored).unwrap().remove(0);
            let checks = Cell::default();
            Self { key, signature, checks }
        }

        /// How often it was computed, for a question about it.
        fn asked(&self, remembered: &Remembered, data: &[u8], is_good: bool) -> (bool, u32) {
            self.checks.set(0);
            let said = remembered.holds(self.key, &self.signature, data, || {
                self.checks.set(self.checks.get() + 1);
                is_good
            });
            (said, self.checks.get())
        }
    }

    #[test]
    fn a_good_signature_is_computed_once_and_a_bad_one_each_time() {
        let (signed, remembered) = (Signed::new(), Remembered::default());
        assert_eq!(signed.asked(&remembered, b"other", false), (false, 1));
        assert_eq!(signed.asked(&remembered, b"other", false), (false, 1));
        assert_eq!(signed.asked(&remembered, b"data", true), (true, 1));
        assert_eq!(signed.asked(&remembered, b"data", true), (true, 0));
        assert_eq!(signed.asked(&remembered, b"dat", false), (false, 1), "other data");
        let other = Signed::new();
        assert_eq!(other.asked(&remembered, b"data", false), (false, 1), "another key's");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_latest_stays() {
        let name = |number: usize| {
            name(
                "0123456789abcdef0123456789abcdef01234567".parse().unwrap(),
                b"",
                &number.to_be_bytes(),
            )
        };
        let mut generations = Generations::default();
        for number in 0..3 * GENERATION {
            generations.add(name(number));
            assert!(generations.younger.len() + generations.older.len() <= 2 * GENERATION);
            assert!(generations.have(&name(number)));
        }
        assert!(generations.have(&name(2 * GENERATION)), "of late");
        assert!(!generations.have(&name(0)), "long ago");
    }
}
