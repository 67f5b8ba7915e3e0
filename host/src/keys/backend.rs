//! Where the secret of a signing key is: in memory, or with gpg-agent, which may ask a smartcard.

use std::io::Write;

use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Signature, SignatureConfig, SignatureHasher, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Password, SigningKey, Timestamp};
use thiserror::Error;

use super::gnupg::{AgentKey, GnupgError};
use super::stored_key::SecretPart;

/// What is hashed with.
///
/// For ECDSA, the digest of the curve's size: RFC 6979 draws its number from that digest, and gpg-agent and crate pgp agree on
/// it only then. (On P-521 crate pgp draws at random.)
fn hash(key: &dyn SigningKey) -> HashAlgorithm {
    match key.algorithm() {
        PublicKeyAlgorithm::ECDSA => key.hash_alg(),
        _ => HashAlgorithm::Sha512,
    }
}

/// Why there is no signature.
#[derive(Debug, Error)]
pub(super) enum BackendError {
    #[error("{0}")]
    OpenPgp(pgp::errors::Error),
    #[error(transparent)]
    Gnupg(#[from] GnupgError),
}

impl From<pgp::errors::Error> for BackendError {
    /// An agent's refusal travels through crate pgp as an I/O error.
    fn from(error: pgp::errors::Error) -> Self {
        let pgp::errors::Error::IO { source, backtrace } = error else {
            return Self::OpenPgp(error);
        };
        match source.downcast::<GnupgError>() {
            Ok(refusal) => Self::Gnupg(refusal),
            Err(source) => Self::OpenPgp(pgp::errors::Error::IO { source, backtrace }),
        }
    }
}

/// A key that can sign. Either makes the same packets: only the numbers in them come from elsewhere.
pub(super) enum Backend {
    /// Unlocked, in memory.
    Memory(Box<SecretPart>),
    /// With the agent of the user's GnuPG ring.
    Gnupg(Box<AgentKey>),
}

impl Backend {
    fn key(&self) -> &dyn SigningKey {
        match self {
            Self::Memory(part) => match &**part {
                SecretPart::Primary(key) => key,
                SecretPart::Subkey(key) => key,
            },
            Self::Gnupg(key) => &**key,
        }
    }

    /// Begins a signature that says it was made at `time`.
    pub fn start(&self, kind: SignatureType, time: Timestamp) -> Result<Pending<'_>, BackendError> {
        let key = self.key();
        let mut config = SignatureConfig::v4(kind, key.algorithm(), hash(key));
        // Nothing that differs from one signature to the next: no salt, no notation.
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
            Subpacket::regular(SubpacketData::SignatureCreationTime(time))?,
        ];
        // Where gpg 1.4 and debsig-verify look for the signer.
        config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
        Ok(Pending {
            key,
            hasher: config.into_hasher()?,
        })
    }
}

/// A signature in the making.
pub(super) struct Pending<'a> {
    key: &'a dyn SigningKey,
    hasher: SignatureHasher,
}

impl Pending<'_> {
    /// Takes more of the data.
    pub fn update(&mut self, data: &[u8]) {
        // Hashing into memory does not fail.
        let _ = self.hasher.write_all(data);
    }

    /// gpg's name of what is hashed with, which stands in clear-signed texts.
    pub fn hash_name(&self) -> String {
        hash(self.key).to_string()
    }

    pub fn sign(self) -> Result<Signature, BackendError> {
        Ok(self.hasher.sign(self.key, &Password::empty())?)
    }
}
