//! An unlocked key, and what it signs.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

use pgp::composed::{ArmorOptions, DetachedSignature};
use pgp::packet::{PacketTrait, Signature, SignatureType};
use pgp::types::Timestamp;

use super::backend::{Backend, BackendError, Pending};
use super::certificate::{Certificate, Component};
use super::cleartext;
use super::error::{KeyError, SignError, UnusableKey};
use super::fingerprint::Fingerprint;
use super::gnupg::{AgentKey, GnupgError, Ring, RingKey};
use super::info::KeyInfo;
use super::passphrase::PassphraseSource;
use super::role::Role;
use super::stored_key::{StoredKey, check_validity};

/// How much is read at once.
const BUFFER: usize = 128 << 10;

/// An unlocked key. Prints without its secret, which is wiped from memory when the last handle is dropped.
///
/// Where GnuPG keeps the secret, gpg-agent is asked for each signature, and may ask somebody for a passphrase or a card.
/// Otherwise signing is CPU work of 0.1 ms (Ed25519) to tens of milliseconds (RSA). Async callers use `spawn_blocking`.
pub struct Signer {
    fingerprint: Fingerprint,
    label: String,
    primary: Component,
    component: Component,
    backend: Backend,
}

impl Signer {
    /// Finds the part of a key of the store to sign with and takes its protection off.
    pub(super) fn unlock(
        key: &StoredKey,
        role: Role,
        info: &KeyInfo,
        passphrases: &PassphraseSource,
        ring: &Arc<Ring>,
    ) -> Result<Self, KeyError> {
        let now = Timestamp::now();
        let (component, part) = key.signing_part(role, now)?;
        let backend = if part.is_stub() {
            let agent = agent_key_of_stub(key, component, info, passphrases, ring);
            let key = || key.certificate.label();
            Backend::Gnupg(Box::new(agent.map_err(|source| KeyError::KeptByGnupg {
                key: key(),
                source: Box::new(source),
            })?))
        } else {
            Backend::Memory(Box::new(part.unlocked(info, passphrases)?))
        };
        let signer = Self::new(&key.certificate, component, backend);
        signer.check_agreement(&key.certificate, now)?;
        Ok(signer)
    }

    /// Finds the part of a key of the user's GnuPG ring to sign with. gpg-agent has to have its secret; it is asked neither
    /// for a passphrase nor for a card before the first signature.
    pub(super) fn of_ring(
        ring: &Arc<Ring>,
        ring_key: &RingKey,
        role: Role,
        passphrases: &PassphraseSource,
    ) -> Result<Self, KeyError> {
        let (key, certificate) = (&ring_key.key, &ring_key.key.certificate);
        let now = Timestamp::now();
        let info = key.info(BTreeSet::new(), now).in_gnupg();
        for component in key.signing_components(role, now).map_err(UnusableKey::in_gnupg)? {
            let grip = ring_key.grips.get(&component.fingerprint);
            let public = certificate.verifying_key(component.fingerprint);
            let (Some(grip), Some(public)) = (grip, public) else {
                continue;
            };
            if let Some(agent_key) = AgentKey::find(ring, grip, public, &info, passphrases)? {
                return Ok(Self::new(certificate, component, Backend::Gnupg(Box::new(agent_key))));
            }
        }
        Err(KeyError::Gnupg(GnupgError::PublicOnly {
            key: certificate.label(),
            home: ring.home(),
        }))
    }

    fn new(certificate: &Certificate, component: &Component, backend: Backend) -> Self {
        Self {
            fingerprint: certificate.fingerprint(),
            label: certificate.label(),
            primary: certificate.primary().clone(),
            component: component.clone(),
            backend,
        }
    }

    /// A secret that does not belong to its public key (a damaged or doctored file) would produce signatures that give
    /// the secret away.
    ///
    /// Keys of GnuPG are not tried: each signature of theirs is checked, and this one could cost somebody a passphrase.
    fn check_agreement(&self, certificate: &Certificate, now: Timestamp) -> Result<(), KeyError> {
        if matches!(self.backend, Backend::Gnupg(_)) {
            return Ok(());
        }
        let probe = b"foundry: does the secret key fit the public key?";
        let signed = self.start(SignatureType::Binary, now).and_then(|mut hasher| {
            hasher.update(probe);
            hasher.sign()
        });
        if signed.is_ok_and(|signature| certificate.verifies(self.component.fingerprint, &signature, probe)) {
            return Ok(());
        }
        Err(KeyError::OpenPgp {
            what: "use the key",
            reason: format!("the secret part of key {} does not fit its public part", self.label),
        })
    }

    /// The fingerprint of the primary key, even if a subkey signs.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether a subkey signs instead of the primary key.
    pub(super) fn is_subkey(&self) -> bool {
        self.component.fingerprint != self.fingerprint
    }

    /// Signs a text so that it stays readable: `.changes`, `.dsc`, `.buildinfo`, `InRelease`.
    ///
    /// The text is kept to the byte. What OpenPGP does not cover is whether and which blanks end a line.
    pub fn clear_sign(&self, text: &[u8]) -> Result<Vec<u8>, SignError> {
        self.clear_sign_dated(text, Dated::Now)
    }

    /// As [`Signer::clear_sign`], by a signature of another time.
    pub fn clear_sign_dated(&self, text: &[u8], dated: Dated) -> Result<Vec<u8>, SignError> {
        if cleartext::is_clear_signed(text) {
            return Err(SignError::AlreadySigned);
        }
        let mut hasher = self.start_dated(SignatureType::Text, dated)?;
        hasher.update(&cleartext::canonical(text));
        let hash = hasher.pending.hash_name();
        let signature = self.armor(hasher.sign()?)?;
        Ok(cleartext::frame(text, &hash, &signature))
    }

    /// A detached signature in armour: `Release.gpg`.
    pub fn detach_sign_armored(&self, data: impl Read) -> Result<Vec<u8>, SignError> {
        self.armor(self.hash_all(data)?.sign()?)
    }

    /// A detached signature, as bytes.
    pub fn detach_sign(&self, data: impl Read) -> Result<Vec<u8>, SignError> {
        self.hash_all(data)?.finish()
    }

    /// Begins a detached signature over data that comes in pieces.
    pub(super) fn start_binary(&self, dated: Dated) -> Result<Hasher<'_>, SignError> {
        self.start_dated(SignatureType::Binary, dated)
    }

    fn hash_all(&self, mut data: impl Read) -> Result<Hasher<'_>, SignError> {
        let mut hasher = self.start_binary(Dated::Now)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = data.read(&mut buffer).map_err(SignError::Read)?;
            match buffer.get(..read).unwrap_or_default() {
                [] => return Ok(hasher),
                data => hasher.update(data),
            }
        }
    }

    fn start_dated(&self, kind: SignatureType, dated: Dated) -> Result<Hasher<'_>, SignError> {
        let now = Timestamp::now();
        let key_made = self.primary.created.max(self.component.created);
        self.start_at(kind, dated.time(key_made, now), now)
    }

    fn start(&self, kind: SignatureType, now: Timestamp) -> Result<Hasher<'_>, SignError> {
        self.start_at(kind, now, now)
    }

    /// A signature of the time `dated`, if the key is usable now.
    fn start_at(&self, kind: SignatureType, dated: Timestamp, now: Timestamp) -> Result<Hasher<'_>, SignError> {
        for component in [&self.primary, &self.component] {
            let valid = check_validity(component, &self.label, self.fingerprint, now);
            valid.map_err(|why| match &self.backend {
                Backend::Memory(_) => why,
                Backend::Gnupg(_) => why.in_gnupg(),
            })?;
        }
        let pending = self.backend.start(kind, dated).map_err(|error| self.refused(error))?;
        Ok(Hasher {
            signer: self,
            created: dated,
            pending,
        })
    }

    fn armor(&self, signature: Signature) -> Result<Vec<u8>, SignError> {
        let armored = DetachedSignature::new(signature).to_armored_bytes(ArmorOptions::default());
        armored.map_err(|error| self.refused(error.into()))
    }

    fn refused(&self, error: BackendError) -> SignError {
        match error {
            BackendError::Gnupg(why) => SignError::Gnupg(why),
            BackendError::OpenPgp(error) => SignError::Refused {
                key: self.fingerprint,
                reason: error.to_string(),
            },
        }
    }
}

/// The agent's half of a key of which the store has a stub: the ring has to know that key.
fn agent_key_of_stub(
    key: &StoredKey,
    component: &Component,
    info: &KeyInfo,
    passphrases: &PassphraseSource,
    ring: &Arc<Ring>,
) -> Result<AgentKey, GnupgError> {
    let missing = || GnupgError::PublicOnly {
        key: key.certificate.label(),
        home: ring.home(),
    };
    let known = ring.find(&key.fingerprint().to_string())?;
    let grip = known
        .iter()
        .find_map(|known| known.grips.get(&component.fingerprint))
        .ok_or_else(missing)?;
    let public = key
        .certificate
        .verifying_key(component.fingerprint)
        .ok_or_else(missing)?;
    AgentKey::find(ring, grip, public, info, passphrases)?.ok_or_else(missing)
}

/// What time a signature states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dated {
    /// When it is made.
    Now,
    /// The time of what is signed, so that whoever signs the same bytes with the same key makes the same signature: the
    /// later of the source's time, in seconds since 1970, and the making of the signing key. The latter alone if the source
    /// has no time, or claims one that has not come yet.
    Source(Option<u64>),
}

impl Dated {
    fn time(self, key_made: Timestamp, now: Timestamp) -> Timestamp {
        let Self::Source(source) = self else { return now };
        let source = source
            .and_then(|seconds| u32::try_from(seconds).ok())
            .map(Timestamp::from_secs);
        source
            .filter(|source| *source <= now)
            .map_or(key_made, |source| source.max(key_made))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("key", &self.label)
            .field("secret", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// A signature in the making.
pub(super) struct Hasher<'a> {
    signer: &'a Signer,
    created: Timestamp,
    pending: Pending<'a>,
}

impl Hasher<'_> {
    pub fn update(&mut self, data: &[u8]) {
        self.pending.update(data);
    }

    /// Seconds since 1970.
    pub fn created(&self) -> i64 {
        i64::from(self.created.as_secs())
    }

    fn sign(self) -> Result<Signature, SignError> {
        let signer = self.signer;
        self.pending.sign().map_err(|error| signer.refused(error))
    }

    /// The binary signature packet.
    pub fn finish(self) -> Result<Vec<u8>, SignError> {
        let signer = self.signer;
        let signature = self.sign()?;
        let mut bytes = Vec::new();
        signature
            .to_writer_with_header(&mut bytes)
            .map_err(|error| signer.refused(error.into()))?;
        Ok(bytes)
    }
}

/// Takes the signature off a clear-signed text, without checking it; a text that is not clear-signed stays as it is.
pub fn strip_clear_signature(document: &[u8]) -> Result<Vec<u8>, cleartext::NotClearSigned> {
    if !cleartext::is_clear_signed(document) {
        return Ok(document.to_vec());
    }
    cleartext::parse(document).map(|parsed| parsed.text)
}

/// Used by tests of expiry: the moment at which the signer checks its own validity is an argument there.
#[cfg(test)]
impl Signer {
    pub(super) fn usable_at(&self, now: Timestamp) -> Result<(), super::error::UnusableKey> {
        match self.start(SignatureType::Binary, now) {
            Err(SignError::Unusable(why)) => Err(why),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_signature_is_of_the_later_of_the_sources_time_and_the_keys() {
        let (key, now) = (Timestamp::from_secs(1000), Timestamp::from_secs(5000));
        let of = |source| Dated::Source(source).time(key, now).as_secs();
        assert_eq!(
            [of(Some(2000)), of(Some(5000)), of(Some(900)), of(Some(0))],
            [2000, 5000, 1000, 1000]
        );
        assert_eq!(of(None), 1000, "without a time");
        assert_eq!(
            [of(Some(5001)), of(Some(u64::MAX))],
            [1000, 1000],
            "of a time that has not come"
        );
        assert_eq!(Dated::Now.time(key, now), now);
    }

    proptest! {
        #[test]
        fn a_signature_is_never_of_the_future_nor_older_than_its_key(source in any::<Option<u64>>(), key in 0u32..2_000_000_000, later in 0u32..2_000_000_000) {
            let now = Timestamp::from_secs(key + later);
            let time = Dated::Source(source).time(Timestamp::from_secs(key), now);
            prop_assert!(time >= Timestamp::from_secs(key) && time <= now);
        }
    }
}
