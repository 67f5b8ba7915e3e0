//! Names of keys: fingerprints, key ids, and what a person types to mean one.

use std::fmt;
use std::str::FromStr;

use pgp::types::KeyVersion;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The fingerprint of an OpenPGP version 4 key: 20 bytes, written as 40 lower-case hexadecimal digits.
///
/// Where it names a signer it is the fingerprint of the *primary* key, even if a subkey made the signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 20]);

/// A long key id: the last 8 bytes of a fingerprint, written as 16 lower-case hexadecimal digits.
///
/// Good for showing and for looking up. Never decide trust by it: key ids can be forged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

/// The text is not a fingerprint.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{text:?} is not an OpenPGP fingerprint: expected 40 hexadecimal digits, as `gpg --fingerprint` prints them")]
pub struct NotAFingerprint {
    /// What was given.
    pub text: String,
}

impl Fingerprint {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The long key id: the fingerprint's last 8 bytes.
    pub fn key_id(&self) -> KeyId {
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(self.0.iter().skip(12)) {
            *to = *from;
        }
        KeyId(id)
    }

    /// `None` for keys of other versions than 4, which gpg 2.2 can't use.
    pub(super) fn from_pgp(fingerprint: &pgp::types::Fingerprint) -> Option<Self> {
        if fingerprint.version() != Some(KeyVersion::V4) {
            return None;
        }
        fingerprint.as_bytes().try_into().ok().map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hexadecimal digits as people write them: `0x` in front, groups apart, either case.
fn plain_hex(text: &str) -> String {
    let text = text.trim();
    let text = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    text.chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let mut bytes = [0; 20];
        match hex::decode_to_slice(plain_hex(text), &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(NotAFingerprint { text: text.to_owned() }),
        }
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What someone typed to mean a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyQuery {
    /// The last digits of a fingerprint: all 40, the 16 of a long id or the 8 of a short one.
    Digits(String),
    /// A user id, or the e-mail address in one. Compared without case.
    UserId(String),
}

impl KeyQuery {
    /// Eight, sixteen or forty hexadecimal digits mean a key's number, all else a user.
    pub(super) fn parse(text: &str) -> Self {
        let digits = plain_hex(text);
        if matches!(digits.len(), 8 | 16 | 40) && digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            Self::Digits(digits)
        } else {
            Self::UserId(text.trim().to_lowercase())
        }
    }

    pub(super) fn matches_fingerprint(&self, fingerprint: &Fingerprint) -> bool {
        match self {
            Self::Digits(digits) => fingerprint.to_string().ends_with(digits),
            Self::UserId(_) => false,
        }
    }

    pub(super) fn matches_user_id(&self, user_id: &str) -> bool {
        let Self::UserId(wanted) = self else { return false };
        let user_id = user_id.to_lowercase();
        let address = user_id.rsplit_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
        user_id == *wanted || address == Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "42105959881186ac19ee0fcf07cfb62ca62591b4";

    #[test]
    fn a_fingerprint_reads_as_gpg_prints_it() {
        let grouped = "4210 5959 8811 86AC 19EE  0FCF 07CF B62C A625 91B4";
        let parsed: Fingerprint = grouped.parse().unwrap();
        assert_eq!(parsed.to_string(), FINGERPRINT);
        assert_eq!(parsed, format!("0x{FINGERPRINT}").parse().unwrap());
        assert_eq!(parsed.key_id().to_string(), "07cfb62ca62591b4");
        assert!("07cfb62ca62591b4".parse::<Fingerprint>().is_err());
        assert!(FINGERPRINT.replace('4', "g").parse::<Fingerprint>().is_err());
    }

    #[test]
    fn queries_match_ids_and_addresses_but_not_parts_of_them() {
        let fingerprint: Fingerprint = FINGERPRINT.parse().unwrap();
        for query in [FINGERPRINT, "0x07CFB62CA62591B4", "07cf b62c a625 91b4", "A62591B4"] {
            assert!(KeyQuery::parse(query).matches_fingerprint(&fingerprint), "{query}");
        }
        assert!(!KeyQuery::parse("62591B4").matches_fingerprint(&fingerprint));
        assert!(
            !KeyQuery::parse("42105959").matches_fingerprint(&fingerprint),
            "ids are the end of a fingerprint"
        );

        for query in ["Ada@Example.org", "Ada Lovelace <ada@example.org>"] {
            assert!(
                KeyQuery::parse(query).matches_user_id("Ada Lovelace <ada@example.org>"),
                "{query}"
            );
        }
        for query in ["da@example.org", "example.org", "Ada"] {
            assert!(
                !KeyQuery::parse(query).matches_user_id("Ada Lovelace <ada@example.org>"),
                "{query}"
            );
        }
    }
}
