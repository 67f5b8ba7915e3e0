//! Checking signatures against a set of keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgp::composed::{Deserializable, DetachedSignature};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SignatureVersion, SubpacketData};
use pgp::types::Timestamp;
use thiserror::Error;
use time::OffsetDateTime;

use super::binding::Binding;
use super::certificate::{Certificate, Component, moment};
use super::claims::Claims;
use super::cleartext::{self, NotClearSigned};
use super::error::rfc3339;
use super::event_signature::NotCanonical;
use super::fingerprint::Fingerprint;
use super::remembered::Remembered;

/// How far the signer's clock may be ahead of ours.
const CLOCK_SKEW_SECONDS: u32 = 300;

/// A document with more signatures than this is not looked at: checking each costs time.
const MOST_SIGNATURES: usize = 16;

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// There is no signature.
    #[error("there is no signature")]
    Unsigned,
    /// What should be a signature is none.
    #[error("the signature can't be read: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// The document is not one clear-signed text.
    #[error("the document is not a clear-signed text: {0}")]
    NotClearSigned(#[from] NotClearSigned),
    /// The event can't be put into canonical form.
    #[error("the event can't be checked: {0}")]
    Event(#[from] NotCanonical),
    /// Another kind of signature.
    #[error("the signature is of an unsupported kind, {kind} (only OpenPGP version 4 signatures are supported)")]
    Unsupported {
        /// The kind.
        kind: String,
    },
    /// The signer is none of those allowed.
    #[error(
        "the signature is by key {issuer}, which is not among the {allowed} keys allowed here (if it should be, import its public key)"
    )]
    UnknownSigner {
        /// The key that the signature names.
        issuer: String,
        /// How many keys are allowed.
        allowed: usize,
    },
    /// The data or the signature was altered, or another key made it.
    #[error("the signature by key {key} does not fit the data: one of them was altered")]
    Bad {
        /// The key that the signature names.
        key: String,
    },
    /// The signature names another key than the event does.
    #[error("the event names key {named} as its signer, but key {signer} signed it")]
    OtherSigner {
        /// The key in the event's member.
        named: String,
        /// The key that made the signature.
        signer: Fingerprint,
    },
    /// The signer's key has expired.
    #[error("the signature is good, but key {key} expired at {} (get the key with its new expiry and import it again)", rfc3339(.at))]
    KeyExpired {
        /// The key.
        key: String,
        /// When.
        at: OffsetDateTime,
    },
    /// The signer's key was revoked.
    #[error("the signature is good, but key {key} was revoked at {}", rfc3339(.at))]
    KeyRevoked {
        /// The key.
        key: String,
        /// When.
        at: OffsetDateTime,
    },
    /// The signer's key is not for signing data.
    #[error("the signature is good, but key {key} is not meant for signing data")]
    NotASigningKey {
        /// The key.
        key: String,
    },
    /// The signer's key is too weak.
    #[error("the signature is good, but key {key} is too weak to be believed ({algorithm})")]
    WeakKey {
        /// The key.
        key: String,
        /// Such as `rsa1024`.
        algorithm: String,
    },
    /// The digest is too weak.
    #[error("the signature is over a {digest} digest, which can be forged (sign with SHA-256 or better)")]
    WeakDigest {
        /// The digest's name.
        digest: String,
    },
    /// The signature has an expiry of its own.
    #[error("the signature by key {key} expired at {}", rfc3339(.at))]
    SignatureExpired {
        /// The key.
        key: String,
        /// When.
        at: OffsetDateTime,
    },
    /// The signature is dated in the future, or before its key was made.
    #[error("the signature by key {key} is dated {}, which can't be (check the clocks of both machines)", rfc3339(.at))]
    ImpossibleTime {
        /// The key.
        key: String,
        /// When.
        at: OffsetDateTime,
    },
}

/// A clear-signed text that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedText {
    /// Who signed it: the primary key.
    pub signer: Fingerprint,
    /// What was signed. Line ends are line feeds and lines have no trailing blanks, since these are not covered by the
    /// signature: use this, never the document.
    pub text: Vec<u8>,
}

/// The public keys whose signatures are accepted for something.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    certificates: Vec<Arc<Certificate>>,
    /// Whose each is, and whether its secret is here.
    bindings: Arc<BTreeMap<Fingerprint, (Option<Binding>, bool)>>,
    remembered: Arc<Remembered>,
    /// Which groups they are bound to.
    claims: Arc<Claims>,
}

impl TrustedKeys {
    pub(super) fn new(certificates: impl IntoIterator<Item = Certificate>) -> Self {
        Self {
            certificates: certificates.into_iter().map(Arc::new).collect(),
            bindings: Arc::default(),
            remembered: Arc::default(),
            claims: Arc::default(),
        }
    }

    pub(super) fn with_bindings(self, bindings: BTreeMap<Fingerprint, (Option<Binding>, bool)>) -> Self {
        Self {
            bindings: Arc::new(bindings),
            ..self
        }
        .with_claims()
    }

    /// The claims of the keys that are among these and that their owners have not revoked: no other closes a group. One that has
    /// expired does, since its owner may extend it.
    fn with_claims(self) -> Self {
        let standing = self
            .certificates
            .iter()
            .filter(|certificate| certificate.primary().revoked.is_none());
        let claims = Claims::of(standing.filter_map(|certificate| self.binding(certificate.fingerprint())));
        Self {
            claims: Arc::new(claims),
            ..self
        }
    }

    /// Which groups the keys are bound to, but for revoked ones.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// The host that a key is bound to.
    #[must_use]
    pub fn binding(&self, key: Fingerprint) -> Option<&Binding> {
        self.bindings.get(&key)?.0.as_ref()
    }

    /// What the keys of a host may say, one for each of its keys.
    pub fn bindings_of<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Binding> {
        let bindings = self.bindings.values().filter_map(|(binding, _)| binding.as_ref());
        bindings.filter(move |binding| binding.host() == host)
    }

    /// The hosts that some key is bound to, and that may say something.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let bindings = self.bindings.values().filter_map(|(binding, _)| binding.as_ref());
        bindings.filter(|binding| !binding.may.is_empty()).map(Binding::host)
    }

    /// Whether the store has the secret part of a key.
    #[must_use]
    pub fn is_secret(&self, key: Fingerprint) -> bool {
        self.bindings.get(&key).is_some_and(|(_, is_secret)| *is_secret)
    }

    /// The fingerprints of the primary keys.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.certificates.iter().map(|certificate| certificate.fingerprint())
    }

    /// Only those of the keys that are in the list.
    #[must_use]
    pub fn restricted_to(&self, allowed: &[Fingerprint]) -> Self {
        let kept = self
            .certificates
            .iter()
            .filter(|certificate| allowed.contains(&certificate.fingerprint()));
        Self {
            certificates: kept.cloned().collect(),
            bindings: Arc::clone(&self.bindings),
            remembered: Arc::clone(&self.remembered),
            claims: Arc::default(),
        }
        .with_claims()
    }

    /// Checks a detached signature, armoured or not, and says whose it is. Of several signatures one must hold.
    pub fn verify_detached(&self, data: &[u8], signature: &[u8]) -> Result<Fingerprint, VerifyError> {
        self.verify_any(
            data,
            &read_signatures(signature)?,
            SignatureType::Binary,
            Timestamp::now(),
        )
    }

    /// Checks a clear-signed text, and says what was signed by whom.
    pub fn verify_clear_signed(&self, document: &[u8]) -> Result<VerifiedText, VerifyError> {
        if !cleartext::is_clear_signed(document) {
            return Err(VerifyError::Unsigned);
        }
        let parsed = cleartext::parse(document)?;
        let data = cleartext::canonical(&parsed.text);
        let signatures = read_signatures(parsed.signature)?;
        let signer = self.verify_any(&data, &signatures, SignatureType::Text, Timestamp::now())?;
        Ok(VerifiedText {
            signer,
            text: cleartext::signed_content(&parsed.text),
        })
    }

    pub(super) fn verify_any(
        &self,
        data: &[u8],
        signatures: &[Signature],
        kind: SignatureType,
        now: Timestamp,
    ) -> Result<Fingerprint, VerifyError> {
        let mut refusal = VerifyError::Unsigned;
        for signature in signatures {
            match self.verify_one(data, signature, kind, now) {
                // Of several refusals the one about a key that is allowed says most.
                Err(why) if matches!(refusal, VerifyError::Unsigned | VerifyError::UnknownSigner { .. }) => {
                    refusal = why
                }
                Err(_) => {}
                Ok(signer) => return Ok(signer),
            }
        }
        Err(refusal)
    }

    fn verify_one(
        &self,
        data: &[u8],
        signature: &Signature,
        kind: SignatureType,
        now: Timestamp,
    ) -> Result<Fingerprint, VerifyError> {
        check_kind(signature, kind)?;
        let issuer = issuer(signature);
        let mut named = false;
        for certificate in &self.certificates {
            for component in certificate.components() {
                if !may_be_by(signature, component) {
                    continue;
                }
                named = true;
                let key = component.fingerprint;
                let check = || certificate.verifies(key, signature, data);
                if self.remembered.holds(key, signature, data, check) {
                    accept(certificate, component, signature, now)?;
                    return Ok(certificate.fingerprint());
                }
            }
        }
        if named {
            Err(VerifyError::Bad { key: issuer })
        } else {
            Err(VerifyError::UnknownSigner {
                issuer,
                allowed: self.certificates.len(),
            })
        }
    }
}

/// A signature over data, of a kind that we know and believe in.
fn check_kind(signature: &Signature, kind: SignatureType) -> Result<(), VerifyError> {
    let config = match (signature.version(), signature.config()) {
        (SignatureVersion::V4, Some(config)) => config,
        (version, _) => {
            return Err(VerifyError::Unsupported {
                kind: format!("OpenPGP {version:?}").to_lowercase(),
            });
        }
    };
    // gpg clear-signs as text, but a binary signature over the canonical text is as good.
    if config.typ() != SignatureType::Binary && config.typ() != kind {
        return Err(VerifyError::Malformed {
            reason: format!("it is not over data of this kind but {:?}", config.typ()),
        });
    }
    let strong = [
        HashAlgorithm::Sha256,
        HashAlgorithm::Sha384,
        HashAlgorithm::Sha512,
        HashAlgorithm::Sha3_256,
        HashAlgorithm::Sha3_512,
    ];
    if !strong.contains(&config.hash_alg) {
        return Err(VerifyError::WeakDigest {
            digest: config.hash_alg.to_string(),
        });
    }
    let condition = config
        .hashed_subpackets()
        .any(|subpacket| subpacket.is_critical && matches!(subpacket.data, SubpacketData::Notation(_)));
    if condition {
        return Err(VerifyError::Unsupported {
            kind: "a signature with a critical notation".to_owned(),
        });
    }
    Ok(())
}

/// The key that the signature says it is by; only a hint.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|fingerprint| fingerprint.to_string());
    let key_id = || signature.issuer_key_id().first().map(|key_id| key_id.to_string());
    fingerprint.or_else(key_id).unwrap_or_else(|| "(unnamed)".to_owned())
}

fn may_be_by(signature: &Signature, component: &Component) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    let key_ids = signature.issuer_key_id();
    (fingerprints.is_empty() && key_ids.is_empty())
        || fingerprints
            .iter()
            .any(|named| Fingerprint::from_pgp(named) == Some(component.fingerprint))
        || key_ids
            .iter()
            .any(|named| named.to_string() == component.fingerprint.key_id().to_string())
}

/// The signature is good; is its key, now?
fn accept(
    certificate: &Certificate,
    component: &Component,
    signature: &Signature,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let key = certificate.label();
    for part in [certificate.primary(), component] {
        if let Some(at) = part.revoked {
            return Err(VerifyError::KeyRevoked { key, at: moment(at) });
        }
        if let Some(at) = part.expired_at(now) {
            return Err(VerifyError::KeyExpired { key, at: moment(at) });
        }
    }
    if !component.may_sign {
        return Err(VerifyError::NotASigningKey { key });
    }
    if component.weak || certificate.primary().weak {
        return Err(VerifyError::WeakKey {
            key,
            algorithm: component.algorithm.clone(),
        });
    }
    let Some(created) = signature.created() else {
        return Err(VerifyError::Malformed {
            reason: "it does not say when it was made".to_owned(),
        });
    };
    if created < component.created || created.as_secs() > now.as_secs().saturating_add(CLOCK_SKEW_SECONDS) {
        return Err(VerifyError::ImpossibleTime {
            key,
            at: moment(created),
        });
    }
    let lifetime = signature
        .signature_expiration_time()
        .map(|lifetime| lifetime.as_secs())
        .filter(|seconds| *seconds > 0);
    match lifetime.map(|seconds| Timestamp::from_secs(created.as_secs().saturating_add(seconds))) {
        Some(at) if at <= now => Err(VerifyError::SignatureExpired { key, at: moment(at) }),
        _ => Ok(()),
    }
}

/// Reads the signature packets in the data, armoured or not.
pub(super) fn read_signatures(data: &[u8]) -> Result<Vec<Signature>, VerifyError> {
    if data.trim_ascii().is_empty() {
        return Err(VerifyError::Unsigned);
    }
    let malformed = |error: pgp::errors::Error| VerifyError::Malformed {
        reason: error.to_string(),
    };
    let (signatures, _) = DetachedSignature::from_reader_many(data).map_err(malformed)?;
    let signatures: Result<Vec<_>, _> = signatures.take(MOST_SIGNATURES + 1).collect();
    let signatures = signatures.map_err(malformed)?;
    match signatures.len() {
        0 => Err(VerifyError::Malformed {
            reason: "there is no OpenPGP signature in it".to_owned(),
        }),
        count if count > MOST_SIGNATURES => Err(VerifyError::Malformed {
            reason: format!("there are more than {MOST_SIGNATURES} signatures in it"),
        }),
        _ => Ok(signatures.into_iter().map(|signature| signature.signature).collect()),
    }
}
