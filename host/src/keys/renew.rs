//! Changing what a key says of itself: its expiry, and that it is out of use.

use std::time::Duration;

use pgp::composed::SignedPublicKey;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    PacketTrait, RevocationCode, SecretKey, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData,
};
use pgp::types::{KeyDetails, Password, SignedUser, Timestamp};

use super::certificate::{Certificate, valid_user};
use super::error::{KeyError, UnusableKey};
use super::generate::lifetime;
use super::info::KeyInfo;
use super::passphrase::PassphraseSource;
use super::stored_key::{SecretPart, StoredKey};

/// Why a key is taken out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationReason {
    /// Somebody else may have the secret part. Signatures made before the revocation are worth nothing either.
    Compromised,
    /// Another key has taken its place.
    Superseded,
    /// It is not used any more.
    Retired,
}

impl RevocationReason {
    fn code(self) -> RevocationCode {
        match self {
            Self::Compromised => RevocationCode::KeyCompromised,
            Self::Superseded => RevocationCode::KeySuperseded,
            Self::Retired => RevocationCode::KeyRetired,
        }
    }
}

impl StoredKey {
    /// Lets the key expire that long after now, or never.
    pub fn extend(
        &mut self,
        expires_in: Option<Duration>,
        info: &KeyInfo,
        passphrases: &PassphraseSource,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        if self.certificate.components().len() > 1 {
            return Err(KeyError::HasSubkeys {
                key: info.to_string(),
                fingerprint: self.fingerprint(),
            });
        }
        if let Some(at) = self.certificate.primary().revoked {
            return Err(UnusableKey::Revoked {
                key: info.to_string(),
                at: super::certificate::moment(at),
            }
            .into());
        }
        let key = self.unlocked_primary(info, passphrases)?;
        // A key's lifetime counts from its creation.
        let age = Duration::from_secs(now.as_secs().saturating_sub(key.created_at().as_secs()).into());
        let lifetime = expires_in.map(|more| lifetime(age.saturating_add(more))).transpose()?;
        let mut public = self.certificate.public_key().clone();
        for user in public
            .details
            .users
            .iter_mut()
            .filter(|user| valid_user(user).is_some())
        {
            let renewed = certify_again(user, &key, now, lifetime);
            let renewed = renewed.map_err(|error| refused("extend the key", &error))?;
            user.signatures.push(renewed);
        }
        self.replace(public)
    }

    /// Takes the key out of use, for good.
    pub fn revoke(
        &mut self,
        reason: RevocationReason,
        info: &KeyInfo,
        passphrases: &PassphraseSource,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        let key = self.unlocked_primary(info, passphrases)?;
        let revocation = revocation(&key, reason, now).map_err(|error| refused("revoke the key", &error))?;
        let mut public = self.certificate.public_key().clone();
        public.details.revocation_signatures.push(revocation);
        self.replace(public)
    }

    fn unlocked_primary(&self, info: &KeyInfo, passphrases: &PassphraseSource) -> Result<SecretKey, KeyError> {
        let part = self.secrets.iter().find(|part| matches!(part, SecretPart::Primary(_)));
        match part.map(|part| part.unlocked(info, passphrases)).transpose()? {
            None => Err(UnusableKey::PublicOnly { key: info.to_string() }.into()),
            Some(SecretPart::Primary(key)) => Ok(key),
            Some(SecretPart::Subkey(_)) => Err(UnusableKey::Stub { key: info.to_string() }.into()),
        }
    }

    fn replace(&mut self, public: SignedPublicKey) -> Result<(), KeyError> {
        self.certificate = Certificate::check(public).map_err(|why| KeyError::Import {
            reason: why.to_string(),
        })?;
        Ok(())
    }
}

/// The newest certification of a user id once more, with another expiry.
fn certify_again(
    user: &SignedUser,
    key: &SecretKey,
    now: Timestamp,
    lifetime: Option<pgp::types::Duration>,
) -> Result<Signature, pgp::errors::Error> {
    let mut config = SignatureConfig::v4(SignatureType::CertPositive, key.algorithm(), HashAlgorithm::Sha512);
    let kept = valid_user(user)
        .and_then(|(_, newest)| newest.config())
        .into_iter()
        .flat_map(|old| old.hashed_subpackets());
    let replaced = |subpacket: &&Subpacket| {
        matches!(
            subpacket.data,
            SubpacketData::SignatureCreationTime(_)
                | SubpacketData::SignatureExpirationTime(_)
                | SubpacketData::KeyExpirationTime(_)
        )
    };
    config.hashed_subpackets = kept.filter(|subpacket| !replaced(subpacket)).cloned().collect();
    config
        .hashed_subpackets
        .insert(0, Subpacket::regular(SubpacketData::SignatureCreationTime(now))?);
    if let Some(lifetime) = lifetime {
        config
            .hashed_subpackets
            .push(Subpacket::regular(SubpacketData::KeyExpirationTime(lifetime))?);
    }
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    config.sign_certification(key, key.public_key(), &Password::empty(), user.id.tag(), &user.id)
}

fn revocation(key: &SecretKey, reason: RevocationReason, now: Timestamp) -> Result<Signature, pgp::errors::Error> {
    let mut config = SignatureConfig::v4(SignatureType::KeyRevocation, key.algorithm(), HashAlgorithm::Sha512);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(now))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
        Subpacket::regular(SubpacketData::RevocationReason(reason.code(), Default::default()))?,
    ];
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    config.sign_key(key, &Password::empty(), key.public_key())
}

fn refused(what: &'static str, error: &pgp::errors::Error) -> KeyError {
    KeyError::OpenPgp {
        what,
        reason: error.to_string(),
    }
}
