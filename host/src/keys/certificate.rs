//! What an OpenPGP certificate (a public key with its user ids, subkeys and self-signatures) says.
//!
//! Only what the primary key itself signed counts. Everything else that a file carries (certifications by others,
//! photos, bindings that don't verify) is dropped when a key is imported, so that what is stored is what was checked.

use pgp::composed::{SignedKeyDetails, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, SignedUser, Tag, Timestamp, VerifyingKey};
use thiserror::Error;
use time::OffsetDateTime;

use super::fingerprint::Fingerprint;

/// Why a certificate is of no use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum NotACertificate {
    #[error("key {key} is of OpenPGP version {version}; GnuPG 2.2, apt and dpkg know version 4 only")]
    Version { key: String, version: u8 },
    #[error("key {key} has no user id that it has signed itself and not revoked")]
    NoUserId { key: String },
}

/// A checked certificate, and what it says about its keys.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    /// With nothing in it but what the primary key signed.
    key: SignedPublicKey,
    /// The user ids that hold, the primary one first.
    user_ids: Vec<String>,
    /// The primary key, then the subkeys in the order of `key.public_subkeys`.
    components: Vec<Component>,
}

/// One key of a certificate: the primary key, or a subkey.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub fingerprint: Fingerprint,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
    /// Its owner meant it for signing data and, if it is a subkey, it agreed by a signature of its own.
    pub may_sign: bool,
    /// A name such as `rsa4096`.
    pub algorithm: String,
    /// Too short or too old to be believed.
    pub weak: bool,
}

impl Component {
    /// When it stops being valid is the first moment at which it is expired.
    pub fn expired_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.expires.filter(|expires| *expires <= now)
    }
}

/// A time of OpenPGP as a time of ours.
pub(super) fn moment(timestamp: Timestamp) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(i64::from(timestamp.as_secs()))
}

impl Certificate {
    /// Checks every self-signature, drops all else, and works out what remains.
    pub fn check(key: SignedPublicKey) -> Result<Self, NotACertificate> {
        let Some(fingerprint) = Fingerprint::from_pgp(&key.fingerprint()) else {
            return Err(NotACertificate::Version {
                key: hex::encode(key.fingerprint().as_bytes()),
                version: key.version().into(),
            });
        };
        let key = only_self_signed(key);
        let mut users: Vec<_> = key.details.users.iter().filter_map(valid_user).collect();
        let newest_direct = newest(&key.details.direct_signatures, |_| true);
        let newest_user = users
            .iter()
            .map(|(_, signature)| *signature)
            .max_by_key(|signature| signature.created());
        let Some(binding) = newest_user else {
            return Err(NotACertificate::NoUserId {
                key: fingerprint.to_string(),
            });
        };
        users.sort_by_key(|(_, signature)| std::cmp::Reverse((signature.is_primary(), signature.created())));
        let user_ids = users.iter().map(|(name, _)| name.clone()).collect();

        let primary = &key.primary_key;
        let revoked = key
            .details
            .revocation_signatures
            .iter()
            .filter_map(Signature::created)
            .min();
        // A signature directly over the key speaks where the user id's is silent.
        let lifetime = binding
            .key_expiration_time()
            .or_else(|| newest_direct?.key_expiration_time());
        let may_sign = states_flags(binding)
            .or_else(|| states_flags(newest_direct?))
            // Keys from before key flags existed may do whatever their algorithm can.
            .unwrap_or_else(|| primary.algorithm().can_sign());
        let mut components = vec![component(primary, fingerprint, lifetime, revoked, may_sign)];
        for subkey in &key.public_subkeys {
            let Some(fingerprint) = Fingerprint::from_pgp(&subkey.key.fingerprint()) else {
                continue;
            };
            let Some(binding) = newest(&subkey.signatures, is_type(SignatureType::SubkeyBinding)) else {
                continue;
            };
            let revoked = subkey
                .signatures
                .iter()
                .filter(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation))
                .filter_map(Signature::created)
                .min();
            let agreed = binding
                .embedded_signature()
                .is_some_and(|back| acceptable(back) && back.verify_primary_key_binding(&subkey.key, primary).is_ok());
            let may_sign = agreed && binding.key_flags().sign();
            let lifetime = binding.key_expiration_time();
            components.push(component(&subkey.key, fingerprint, lifetime, revoked, may_sign));
        }
        Ok(Self {
            key,
            user_ids,
            components,
        })
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.primary().fingerprint
    }

    pub fn public_key(&self) -> &SignedPublicKey {
        &self.key
    }

    pub fn user_ids(&self) -> &[String] {
        &self.user_ids
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "`check` puts the primary key first, and nothing removes it"
    )]
    pub fn primary(&self) -> &Component {
        &self.components[0]
    }

    /// The primary key and the subkeys.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Checks a signature over data with one of the certificate's keys.
    pub fn verifies(&self, component: Fingerprint, signature: &Signature, data: &[u8]) -> bool {
        if component == self.fingerprint() {
            return signature.verify(&self.key.primary_key, data).is_ok();
        }
        self.key
            .public_subkeys
            .iter()
            .find(|subkey| Fingerprint::from_pgp(&subkey.key.fingerprint()) == Some(component))
            .is_some_and(|subkey| signature.verify(&subkey.key, data).is_ok())
    }

    /// One of the certificate's keys, to check signatures with.
    pub fn verifying_key(&self, component: Fingerprint) -> Option<Box<dyn VerifyingKey + Send + Sync>> {
        if component == self.fingerprint() {
            return Some(Box::new(self.key.primary_key.clone()));
        }
        let mut subkeys = self.key.public_subkeys.iter();
        let subkey = subkeys.find(|subkey| Fingerprint::from_pgp(&subkey.key.fingerprint()) == Some(component))?;
        Some(Box::new(subkey.key.clone()))
    }

    /// The key as a person knows it: fingerprint and user id.
    pub fn label(&self) -> String {
        match self.user_ids.first() {
            Some(user_id) => format!("{} ({user_id})", self.fingerprint()),
            None => self.fingerprint().to_string(),
        }
    }
}

/// The key without anything that its primary key did not sign.
fn only_self_signed(key: SignedPublicKey) -> SignedPublicKey {
    let primary = key.primary_key;
    let SignedKeyDetails {
        mut revocation_signatures,
        mut direct_signatures,
        mut users,
        ..
    } = key.details;
    revocation_signatures.retain(|signature| {
        signature.typ() == Some(SignatureType::KeyRevocation) && signature.verify_key(&primary).is_ok()
    });
    direct_signatures.retain(|signature| {
        signature.typ() == Some(SignatureType::Key) && acceptable(signature) && signature.verify_key(&primary).is_ok()
    });
    for user in &mut users {
        let id = &user.id;
        user.signatures.retain(|signature| {
            let revokes = signature.typ() == Some(SignatureType::CertRevocation);
            (revokes || acceptable(signature)) && signature.verify_certification(&primary, Tag::UserId, id).is_ok()
        });
    }
    let mut subkeys = key.public_subkeys;
    for subkey in &mut subkeys {
        let SignedPublicSubKey { key, signatures } = subkey;
        signatures.retain(|signature| {
            let revokes = signature.typ() == Some(SignatureType::SubkeyRevocation);
            (revokes || acceptable(signature)) && signature.verify_subkey_binding(&primary, key).is_ok()
        });
    }
    // The constructors drop user ids and subkeys that are left without a signature.
    let details = SignedKeyDetails::new(revocation_signatures, direct_signatures, users, Vec::new());
    SignedPublicKey::new(primary, details, subkeys)
}

/// Self-signatures with SHA-1 still count, as they do for gpg: many keys in use have no other. (Signatures over data
/// with it don't, see [`super::verify`].)
fn acceptable(signature: &Signature) -> bool {
    signature.created().is_some()
        && !matches!(
            signature.hash_alg(),
            None | Some(HashAlgorithm::None | HashAlgorithm::Md5 | HashAlgorithm::Ripemd160)
        )
}

fn is_type(wanted: SignatureType) -> impl Fn(&Signature) -> bool {
    move |signature| signature.typ() == Some(wanted)
}

fn newest(signatures: &[Signature], wanted: impl Fn(&Signature) -> bool) -> Option<&Signature> {
    signatures
        .iter()
        .filter(|signature| wanted(signature))
        .max_by_key(|signature| signature.created())
}

/// A user id's text and newest certification, unless a revocation is as new.
pub(super) fn valid_user(user: &SignedUser) -> Option<(String, &Signature)> {
    let certification = newest(&user.signatures, |signature| {
        signature.typ() != Some(SignatureType::CertRevocation)
    })?;
    let revocation = newest(&user.signatures, is_type(SignatureType::CertRevocation));
    if revocation.is_some_and(|revocation| revocation.created() >= certification.created()) {
        return None;
    }
    Some((String::from_utf8_lossy(user.id.id()).into_owned(), certification))
}

/// Whether the signature gives the key the right to sign; `None` if it says nothing of rights.
fn states_flags(signature: &Signature) -> Option<bool> {
    let stated = signature
        .config()?
        .hashed_subpackets()
        .any(|subpacket| matches!(subpacket.data, pgp::packet::SubpacketData::KeyFlags(_)));
    stated.then(|| signature.key_flags().sign())
}

fn component(
    key: &(impl VerifyingKey + Serialize),
    fingerprint: Fingerprint,
    lifetime: Option<pgp::types::Duration>,
    revoked: Option<Timestamp>,
    may_sign: bool,
) -> Component {
    let created = key.created_at();
    let lifetime = lifetime
        .map(pgp::types::Duration::as_secs)
        .filter(|seconds| *seconds > 0);
    let expires = lifetime.map(|seconds| Timestamp::from_secs(created.as_secs().saturating_add(seconds)));
    let (algorithm, weak) = describe(key);
    Component {
        fingerprint,
        created,
        expires,
        revoked,
        may_sign,
        algorithm,
        weak,
    }
}

/// A name in gpg's manner, and whether nobody should believe signatures by such a key any more.
fn describe(key: &impl KeyDetails) -> (String, bool) {
    // RSA and DSA parameters begin with the modulus, whose length in bits comes first.
    let bits = || match key.public_params().to_bytes().as_deref() {
        Ok([high, low, ..]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    match key.algorithm() {
        PublicKeyAlgorithm::RSA | PublicKeyAlgorithm::RSASign | PublicKeyAlgorithm::RSAEncrypt => {
            (format!("rsa{}", bits()), bits() < 2048)
        }
        PublicKeyAlgorithm::DSA => (format!("dsa{}", bits()), true),
        PublicKeyAlgorithm::EdDSALegacy => ("ed25519".to_owned(), false),
        other => (format!("{other:?}").to_lowercase(), false),
    }
}
