//! Making keys, and the signatures of a key over itself.

use std::time::Duration;

use ::rsa::RsaPrivateKey;
use ::rsa::traits::{PrivateKeyParts, PublicKeyParts};
use pgp::composed::{KeyType, PublicOrSecret, SignedKeyDetails, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::crypto::rsa;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{
    Features, KeyFlags, PacketTrait, PubKeyInner, PublicKey, SecretKey, Signature, SignatureConfig, SignatureType,
    Subpacket, SubpacketData, UserId,
};
use pgp::types::{
    KeyDetails, KeyVersion, Password, PlainSecretParams, PublicParams, RsaPublicParams, SecretParams, Timestamp,
};
use rand_core::OsRng;

use super::error::KeyError;
use super::secret::Passphrase;
use super::stored_key::StoredKey;

/// The algorithm of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// Fast and small; understood by gpg since 2.1 and apt since Debian 9.
    #[default]
    Ed25519,
    /// For verifiers older than that.
    Rsa4096,
}

impl Algorithm {
    fn id(self) -> PublicKeyAlgorithm {
        match self {
            // The encoding of RFC 9580 is unknown to GnuPG 2.2.
            Self::Ed25519 => PublicKeyAlgorithm::EdDSALegacy,
            Self::Rsa4096 => PublicKeyAlgorithm::RSA,
        }
    }

    fn material(self) -> Result<(PublicParams, SecretParams), pgp::errors::Error> {
        match self {
            Self::Ed25519 => KeyType::Ed25519Legacy.generate(OsRng),
            Self::Rsa4096 => {
                let secret = rsa::SecretKey::from(smaller_prime_first(RsaPrivateKey::new(&mut OsRng, 4096)?)?);
                let public = PublicParams::RSA(RsaPublicParams::from(&secret));
                Ok((public, SecretParams::Plain(PlainSecretParams::RSA(secret))))
            }
        }
    }
}

/// The same key with its primes as RFC 9580 section 5.5.5.1 demands, p < q.
///
/// Libgcrypt relies on it: of a key with p > q that was imported into GnuPG, about one signature in a hundred is bad.
fn smaller_prime_first(key: RsaPrivateKey) -> Result<RsaPrivateKey, ::rsa::Error> {
    let mut primes = key.primes().to_vec();
    primes.sort_unstable();
    RsaPrivateKey::from_components(key.n().clone(), key.e().clone(), key.d().clone(), primes)
}

/// What a new key should be like.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Such as `Foundry packages <packages@example.org>`.
    pub user_id: String,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// How long the key is valid; `None` for ever.
    pub expires_in: Option<Duration>,
    /// Protects the secret part in its file; `None` leaves that to the file's permissions.
    pub passphrase: Option<Passphrase>,
}

impl NewKey {
    /// An Ed25519 key that does not expire and is not protected.
    pub fn new(user_id: impl Into<String>) -> Self {
        Self {
            user_id: user_id.into(),
            algorithm: Algorithm::default(),
            expires_in: None,
            passphrase: None,
        }
    }

    /// Makes the key. Rsa4096 takes seconds.
    pub(super) fn generate(&self, now: Timestamp) -> Result<StoredKey, KeyError> {
        check_user_id(&self.user_id)?;
        let lifetime = self.expires_in.map(lifetime).transpose()?;
        let key = self.build(now, lifetime).map_err(|error| KeyError::OpenPgp {
            what: "make a key",
            reason: error.to_string(),
        })?;
        StoredKey::from_parsed(PublicOrSecret::Secret(key))
    }

    fn build(
        &self,
        now: Timestamp,
        lifetime: Option<pgp::types::Duration>,
    ) -> Result<SignedSecretKey, pgp::errors::Error> {
        let (public, secret) = self.algorithm.material()?;
        let public = PubKeyInner::new(KeyVersion::V4, self.algorithm.id(), now, None, public)?;
        let public = PublicKey::from_inner(public)?;
        let mut secret = SecretKey::new(public, secret)?;
        let user_id = UserId::from_str(Default::default(), &self.user_id)?;
        let certification = certify(&secret, &Password::empty(), &user_id, now, lifetime)?;
        if let Some(passphrase) = &self.passphrase {
            secret.set_password(OsRng, &passphrase.to_pgp())?;
        }
        let details = SignedKeyDetails::new(
            Vec::new(),
            Vec::new(),
            vec![user_id.into_signed(certification)],
            Vec::new(),
        );
        Ok(SignedSecretKey::new(secret, details, Vec::new(), Vec::new()))
    }
}

/// OpenPGP counts a key's lifetime in 32 bits of seconds, and zero means for ever.
pub(super) fn lifetime(expires_in: Duration) -> Result<pgp::types::Duration, KeyError> {
    let seconds = expires_in.as_secs().max(1);
    u32::try_from(seconds)
        .map(pgp::types::Duration::from_secs)
        .map_err(|_| KeyError::Expiry { seconds })
}

/// The key's own statement: this is my name, I certify and sign, until then.
pub(super) fn certify(
    key: &SecretKey,
    passphrase: &Password,
    user_id: &UserId,
    now: Timestamp,
    lifetime: Option<pgp::types::Duration>,
) -> Result<Signature, pgp::errors::Error> {
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(true);
    let mut features = Features::default();
    features.set_seipd_v1(true);
    let mut config = SignatureConfig::v4(SignatureType::CertPositive, key.algorithm(), HashAlgorithm::Sha512);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(now))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
        Subpacket::regular(SubpacketData::KeyFlags(flags))?,
        Subpacket::regular(SubpacketData::IsPrimary(true))?,
        Subpacket::regular(SubpacketData::Features(features))?,
        Subpacket::regular(SubpacketData::PreferredHashAlgorithms(
            [HashAlgorithm::Sha512, HashAlgorithm::Sha384, HashAlgorithm::Sha256]
                .into_iter()
                .collect(),
        ))?,
        Subpacket::regular(SubpacketData::PreferredSymmetricAlgorithms(
            [SymmetricKeyAlgorithm::AES256, SymmetricKeyAlgorithm::AES128]
                .into_iter()
                .collect(),
        ))?,
    ];
    if let Some(lifetime) = lifetime {
        config
            .hashed_subpackets
            .push(Subpacket::regular(SubpacketData::KeyExpirationTime(lifetime))?);
    }
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    config.sign_certification(key, key.public_key(), passphrase, user_id.tag(), user_id)
}

/// What gpg would refuse, or what would break the listings that people and programs read.
fn check_user_id(user_id: &str) -> Result<(), KeyError> {
    let refuse = |reason| {
        Err(KeyError::UserId {
            user_id: user_id.to_owned(),
            reason,
        })
    };
    if user_id.trim().is_empty() {
        return refuse("it is empty (write `Name <address@example.org>`)");
    }
    if user_id.chars().any(char::is_control) {
        return refuse("it has control characters in it");
    }
    if user_id.len() > 2048 {
        return refuse("it is longer than 2048 bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_prime_of_an_rsa_key_comes_first_in_either_case() {
        let key = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
        let reversed = key.primes().iter().rev().cloned().collect();
        let reversed =
            RsaPrivateKey::from_components(key.n().clone(), key.e().clone(), key.d().clone(), reversed).unwrap();
        for key in [key, reversed] {
            let ordered = smaller_prime_first(key.clone()).unwrap();
            assert!(ordered.primes()[0] < ordered.primes()[1]);
            assert_eq!(ordered.to_public_key(), key.to_public_key());
            // What crate pgp writes into the key's packet: d, p, q, and the inverse of p modulo q.
            let (_, p, q, _) = rsa::SecretKey::from(ordered).to_bytes();
            assert!(p < q, "{p:?} {q:?}");
        }
    }
}
