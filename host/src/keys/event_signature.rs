//! Signed events: an OpenPGP signature inside of a CloudEvents object.
//!
//! The member `signkey` names the signer's primary key; the member `signature` is the base64 of a binary detached
//! signature over the RFC 8785 canonical form of the object without the member `signature`. Checked by hand:
//!
//! ```text
//! jq -cjS 'del(.signature)' event.json > data; jq -r .signature event.json | base64 -d > data.sig
//! gpgv --keyring ./hosts.gpg data.sig data
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgp::packet::SignatureType;
use pgp::types::Timestamp;
use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::{Map, Number, Value};
use thiserror::Error;

use super::error::SignError;
use super::fingerprint::Fingerprint;
use super::signer::{Dated, Signer};
use super::verify::{TrustedKeys, VerifyError, read_signatures};

/// The member with the signature.
pub const SIGNATURE_MEMBER: &str = "signature";
/// The member with the fingerprint of the key that signed.
pub const SIGNER_MEMBER: &str = "signkey";

/// Whole numbers beyond this have no canonical form of their own: several of them would share one signature.
const LARGEST_EXACT: f64 = 9_007_199_254_740_991.0;

/// Why an event has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotCanonical {
    /// Events are objects.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// RFC 8785 knows the numbers of JavaScript only.
    #[error("the number {number} is beyond 2^53 and would be rounded (write it as a string)")]
    InexactNumber {
        /// The number.
        number: String,
    },
    /// The canonicalizer refused.
    #[error("it has no canonical form: {reason}")]
    Other {
        /// What it said.
        reason: String,
    },
}

/// The object without its signature.
struct Unsigned<'a>(&'a Map<String, Value>);

impl Serialize for Unsigned<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.iter().filter(|(name, _)| *name != SIGNATURE_MEMBER) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The bytes that an event's signature covers.
pub fn canonical_event(event: &Value) -> Result<Vec<u8>, NotCanonical> {
    let Value::Object(members) = event else {
        return Err(NotCanonical::NotAnObject);
    };
    members.values().try_for_each(check_numbers)?;
    serde_json_canonicalizer::to_vec(&Unsigned(members)).map_err(|error| NotCanonical::Other {
        reason: error.to_string(),
    })
}

fn check_numbers(value: &Value) -> Result<(), NotCanonical> {
    match value {
        Value::Number(number) if !is_exact(number) => Err(NotCanonical::InexactNumber {
            number: number.to_string(),
        }),
        Value::Array(values) => values.iter().try_for_each(check_numbers),
        Value::Object(members) => members.values().try_for_each(check_numbers),
        _ => Ok(()),
    }
}

fn is_exact(number: &Number) -> bool {
    number.as_f64().is_some_and(|number| number.abs() <= LARGEST_EXACT)
}

impl Signer {
    /// Signs an event in place, instead of any signature that it carries.
    pub fn sign_event(&self, event: &mut Value) -> Result<(), SignError> {
        let Value::Object(members) = event else {
            return Err(NotCanonical::NotAnObject.into());
        };
        members.insert(SIGNER_MEMBER.to_owned(), Value::String(self.fingerprint().to_string()));
        let mut hasher = self.start_binary(Dated::Now)?;
        hasher.update(&canonical_event(event)?);
        let signature = STANDARD.encode(hasher.finish()?);
        if let Value::Object(members) = event {
            members.insert(SIGNATURE_MEMBER.to_owned(), Value::String(signature));
        }
        Ok(())
    }
}

impl TrustedKeys {
    /// Checks the signature that an event carries, and says whose it is.
    pub fn verify_event(&self, event: &Value) -> Result<Fingerprint, VerifyError> {
        let Some(signature) = event.get(SIGNATURE_MEMBER) else {
            return Err(VerifyError::Unsigned);
        };
        let malformed = |reason: &str| VerifyError::Malformed {
            reason: reason.to_owned(),
        };
        let signature = signature.as_str().ok_or_else(|| malformed("it is not a string"))?;
        let signature = STANDARD.decode(signature).map_err(|_| malformed("it is not base64"))?;
        let signatures = read_signatures(&signature)?;
        let signer = self.verify_any(
            &canonical_event(event)?,
            &signatures,
            SignatureType::Binary,
            Timestamp::now(),
        )?;
        let named = event.get(SIGNER_MEMBER).and_then(Value::as_str).unwrap_or_default();
        if named != signer.to_string() {
            return Err(VerifyError::OtherSigner {
                named: named.to_owned(),
                signer,
            });
        }
        Ok(signer)
    }
}
