//! Which artifacts texts refer to.

use std::collections::HashSet;

/// Bytes of a SHA-256 in hex.
const LENGTH: usize = 64;

/// Digests that something refers to.
///
/// A reference is whatever has the form of a SHA-256, 64 lower-case hexadecimal digits in a row, wherever it is: events of all
/// types, also of bots that this host knows nothing of, name artifacts by it. What only looks like one keeps nothing that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digests {
    found: HashSet<[u8; 32]>,
}

impl Digests {
    /// Add all that a text refers to.
    pub fn add(&mut self, text: &[u8]) {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        // A row of another length is something else: another digest, or a commit's id.
        for row in text.split(|byte| !is_digit(byte)).filter(|row| row.len() == LENGTH) {
            let mut digest = [0; 32];
            if hex::decode_to_slice(row, &mut digest).is_ok() {
                self.found.insert(digest);
            }
        }
    }

    /// Add those of others.
    pub fn extend(&mut self, others: Self) {
        self.found.extend(others.found);
    }

    /// Whether a digest in hex is among them.
    #[must_use]
    pub fn contain(&self, sha256: &str) -> bool {
        let mut digest = [0; 32];
        hex::decode_to_slice(sha256, &mut digest).is_ok() && self.found.contains(&digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_found_wherever_it_is_and_nothing_else_is_one() {
        let digest = "0123456789abcdef".repeat(4);
        for text in [
            format!("{{\"artifacts\":[{{\"sha256\":\"{digest}\"}}]}}"),
            format!("x/{digest}.deb"),
            digest.clone(),
        ] {
            let mut digests = Digests::default();
            digests.add(text.as_bytes());
            assert!(digests.contain(&digest), "{text}");
        }
        for text in [format!("{digest}0"), digest.to_uppercase(), digest[1..].to_owned()] {
            let mut digests = Digests::default();
            digests.add(text.as_bytes());
            assert_eq!(digests, Digests::default(), "{text}");
        }
        assert!(!Digests::default().contain("not a digest"));
    }
}
