//! An unlocked key, and what it signs.

use std::fmt;
use std::io::Read;
use std::path::Path;

use pgp::composed::{ArmorOptions, DetachedSignature};
use pgp::packet::{PacketTrait, Signature, SignatureType};
use pgp::types::Timestamp;

use super::backend::{Backend, BackendError, HASH_NAME, Pending};
use super::certificate::{Certificate, Component};
use super::cleartext;
use super::error::{KeyError, SignError};
use super::fingerprint::Fingerprint;
use super::info::KeyInfo;
use super::passphrase::PassphraseSource;
use super::role::Role;
use super::stored_key::{StoredKey, check_validity};

/// How much is read at once.
const BUFFER: usize = 128 << 10;

/// An unlocked key. Prints without its secret, which is wiped from memory when the last handle is dropped.
///
/// Where GnuPG keeps the secret (on a smartcard, or because only a stub was exported) gpg is run for each signature.
/// Otherwise signing is CPU work of 0.1 ms (Ed25519) to tens of milliseconds (RSA). Async callers use `spawn_blocking`.
pub struct Signer {
    fingerprint: Fingerprint,
    label: String,
    primary: Component,
    component: Component,
    backend: Backend,
}

impl Signer {
    /// Finds the part of the key to sign with and takes its protection off.
    pub(super) fn unlock(
        key: &StoredKey,
        role: Role,
        info: &KeyInfo,
        passphrases: &PassphraseSource,
        gnupg_home: Option<&Path>,
    ) -> Result<Self, KeyError> {
        let now = Timestamp::now();
        let (component, part) = key.signing_part(role, now)?;
        let backend = if part.is_stub() {
            Backend::Gnupg {
                key: component.fingerprint,
                home: gnupg_home.map(Path::to_owned),
            }
        } else {
            Backend::Memory(Box::new(part.unlocked(info, passphrases)?))
        };
        let signer = Self {
            fingerprint: key.fingerprint(),
            label: key.certificate.label(),
            primary: key.certificate.primary().clone(),
            component: component.clone(),
            backend,
        };
        signer.check_agreement(&key.certificate, now)?;
        Ok(signer)
    }

    /// A secret that does not belong to its public key (a damaged or doctored file) would produce signatures that give
    /// the secret away.
    fn check_agreement(&self, certificate: &Certificate, now: Timestamp) -> Result<(), KeyError> {
        let probe = b"foundry: does the secret key fit the public key?";
        let signed = self.start(SignatureType::Binary, now).and_then(|mut hasher| {
            hasher.update(probe);
            hasher.sign()
        });
        match (signed, &self.backend) {
            (Ok(signature), _) if certificate.verifies(self.component.fingerprint, &signature, probe) => Ok(()),
            (Err(refused), Backend::Gnupg { .. }) => Err(KeyError::KeptByGnupg {
                key: self.label.clone(),
                reason: refused.to_string(),
            }),
            _ => Err(KeyError::OpenPgp {
                what: "use the key",
                reason: format!("the secret part of key {} does not fit its public part", self.label),
            }),
        }
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
        if cleartext::is_clear_signed(text) {
            return Err(SignError::AlreadySigned);
        }
        let mut hasher = self.start(SignatureType::Text, Timestamp::now())?;
        hasher.update(&cleartext::canonical(text));
        let signature = self.armor(hasher.sign()?)?;
        Ok(cleartext::frame(text, HASH_NAME, &signature))
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
    pub(super) fn start_binary(&self) -> Result<Hasher<'_>, SignError> {
        self.start(SignatureType::Binary, Timestamp::now())
    }

    fn hash_all(&self, mut data: impl Read) -> Result<Hasher<'_>, SignError> {
        let mut hasher = self.start_binary()?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = data.read(&mut buffer).map_err(SignError::Read)?;
            match buffer.get(..read).unwrap_or_default() {
                [] => return Ok(hasher),
                data => hasher.update(data),
            }
        }
    }

    fn start(&self, kind: SignatureType, now: Timestamp) -> Result<Hasher<'_>, SignError> {
        for component in [&self.primary, &self.component] {
            check_validity(component, &self.label, self.fingerprint, now)?;
        }
        let pending = self.backend.start(kind, now).map_err(|error| self.refused(&error))?;
        Ok(Hasher {
            signer: self,
            created: now,
            pending,
        })
    }

    fn armor(&self, signature: Signature) -> Result<Vec<u8>, SignError> {
        let armored = DetachedSignature::new(signature).to_armored_bytes(ArmorOptions::default());
        armored.map_err(|error| self.refused(&error.into()))
    }

    fn refused(&self, error: &BackendError) -> SignError {
        SignError::Refused {
            key: self.fingerprint,
            reason: error.to_string(),
        }
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
        self.pending.sign().map_err(|error| signer.refused(&error))
    }

    /// The binary signature packet.
    pub fn finish(self) -> Result<Vec<u8>, SignError> {
        let signer = self.signer;
        let signature = self.sign()?;
        let mut bytes = Vec::new();
        signature
            .to_writer_with_header(&mut bytes)
            .map_err(|error| signer.refused(&error.into()))?;
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
