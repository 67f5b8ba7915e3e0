//! An unlocked key, and what it signs.

use std::fmt;
use std::io::{self, Read};

use pgp::composed::{ArmorOptions, DetachedSignature};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PacketTrait, Signature, SignatureConfig, SignatureHasher, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password, Timestamp};

use super::certificate::{Certificate, Component};
use super::cleartext;
use super::error::{KeyError, SignError};
use super::fingerprint::Fingerprint;
use super::info::KeyInfo;
use super::passphrase::PassphraseSource;
use super::role::Role;
use super::stored_key::{SecretPart, StoredKey, check_validity};

/// What the signature hash is; gpg's name of it stands in clear-signed texts.
const HASH: HashAlgorithm = HashAlgorithm::Sha512;
const HASH_NAME: &str = "SHA512";

/// An unlocked key. Prints without its secret, which is wiped from memory when the last handle is dropped.
///
/// Signing is CPU work of 0.1 ms (Ed25519) to tens of milliseconds (RSA), so async callers use `spawn_blocking` for RSA
/// keys and for large data.
pub struct Signer {
    fingerprint: Fingerprint,
    label: String,
    primary: Component,
    component: Component,
    part: SecretPart,
}

impl Signer {
    /// Finds the part of the key to sign with and takes its protection off.
    pub(super) fn unlock(
        key: &StoredKey,
        role: Role,
        info: &KeyInfo,
        passphrases: &PassphraseSource,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let (component, part) = key.signing_part(role, now)?;
        let part = part.unlocked(info, passphrases)?;
        let signer = Self {
            fingerprint: key.fingerprint(),
            label: key.certificate.label(),
            primary: key.certificate.primary().clone(),
            component: component.clone(),
            part,
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
        match signed {
            Ok(signature) if certificate.verifies(self.component.fingerprint, &signature, probe) => Ok(()),
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
        io::copy(&mut data, &mut hasher.inner).map_err(SignError::Read)?;
        Ok(hasher)
    }

    fn start(&self, kind: SignatureType, now: Timestamp) -> Result<Hasher<'_>, SignError> {
        for component in [&self.primary, &self.component] {
            check_validity(component, &self.label, self.fingerprint, now)?;
        }
        let inner = self.hasher(kind, now).map_err(|error| self.refused(&error))?;
        Ok(Hasher {
            signer: self,
            created: now,
            inner,
        })
    }

    fn hasher(&self, kind: SignatureType, now: Timestamp) -> Result<SignatureHasher, pgp::errors::Error> {
        let (algorithm, fingerprint, key_id) = match &self.part {
            SecretPart::Primary(key) => (key.algorithm(), key.fingerprint(), key.legacy_key_id()),
            SecretPart::Subkey(key) => (key.algorithm(), key.fingerprint(), key.legacy_key_id()),
        };
        let mut config = SignatureConfig::v4(kind, algorithm, HASH);
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::IssuerFingerprint(fingerprint))?,
            Subpacket::regular(SubpacketData::SignatureCreationTime(now))?,
        ];
        // Where gpg 1.4 and debsig-verify look for the signer.
        config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key_id))?];
        config.into_hasher()
    }

    fn armor(&self, signature: Signature) -> Result<Vec<u8>, SignError> {
        let armored = DetachedSignature::new(signature).to_armored_bytes(ArmorOptions::default());
        armored.map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &pgp::errors::Error) -> SignError {
        SignError::OpenPgp {
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
    inner: SignatureHasher,
}

impl Hasher<'_> {
    pub fn update(&mut self, data: &[u8]) {
        // Hashing into memory does not fail.
        let _ = io::Write::write_all(&mut self.inner, data);
    }

    /// Seconds since 1970.
    pub fn created(&self) -> i64 {
        i64::from(self.created.as_secs())
    }

    fn sign(self) -> Result<Signature, SignError> {
        let unlocked = Password::empty();
        let signed = match &self.signer.part {
            SecretPart::Primary(key) => self.inner.sign(key, &unlocked),
            SecretPart::Subkey(key) => self.inner.sign(key, &unlocked),
        };
        signed.map_err(|error| self.signer.refused(&error))
    }

    /// The binary signature packet.
    pub fn finish(self) -> Result<Vec<u8>, SignError> {
        let signer = self.signer;
        let signature = self.sign()?;
        let mut bytes = Vec::new();
        signature
            .to_writer_with_header(&mut bytes)
            .map_err(|error| signer.refused(&error))?;
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
