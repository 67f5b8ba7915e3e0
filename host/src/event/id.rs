//! Ids, as they are made of what makes an event the same.

use sha2::{Digest, Sha256};

/// An id in a domain of its own. The number of `what`'s parts is hashed too, so that the lists cannot run into each other.
pub(super) fn derive(domain: &str, what: &[&str], whose: &[&str]) -> String {
    let count = what.len().to_string();
    let mut parts = vec![domain, &count];
    parts.extend(what);
    parts.extend(whose);
    derive_id(&parts)
}

/// 128 bits of SHA-256 over the length-prefixed parts, in hex.
fn derive_id(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut id = hex::encode(hasher.finalize());
    id.truncate(32);
    id
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[ab0]{0,3}", 0..5)
    }

    proptest! {
        #[test]
        fn different_parts_give_different_ids(one in parts(), other in parts()) {
            let id = |parts: &[String]| derive_id(&parts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(id(&one) == id(&other), one == other);
            prop_assert!(id(&one).len() == 32 && id(&one).bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
}
