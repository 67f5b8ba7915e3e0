//! Digests that can stop anywhere, be written down, and go on later: what is before a change need not be hashed again.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2_resumable::digest::common::hazmat::{SerializableState, SerializedState};
use sha2_resumable::{Digest, Sha256, Sha512};

use super::text::Checksum;

/// A digest that isn't finished.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(
    try_from = "Written",
    into = "Written",
    bound(serialize = "H: Clone + SerializableState", deserialize = "H: SerializableState")
)]
pub(super) struct Running<H = Sha256> {
    hasher: H,
    /// Bytes so far.
    length: u64,
}

/// A SHA-512 that isn't finished.
pub(super) type Running512 = Running<Sha512>;

/// A digest that isn't finished, as it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    state: String,
    length: u64,
}

impl<H: Digest> Running<H> {
    /// More bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    /// The digest of all, in lower-case hex.
    pub(super) fn finish(self) -> String {
        hex::encode(self.hasher.finalize())
    }
}

impl<H: Digest + Clone> Running<H> {
    /// Whether it has seen the same bytes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.length == other.length && self.clone().finish() == other.clone().finish()
    }
}

impl Running {
    /// The size and the digest of all.
    pub(super) fn checksum(self) -> Checksum {
        Checksum {
            size: self.length,
            sha256: self.finish(),
        }
    }
}

impl<H> fmt::Debug for Running<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({} bytes)", self.length)
    }
}

impl<H: SerializableState> From<Running<H>> for Written {
    fn from(Running { hasher, length }: Running<H>) -> Self {
        Self {
            state: hex::encode(hasher.serialize()),
            length,
        }
    }
}

impl<H: SerializableState> TryFrom<Written> for Running<H> {
    type Error = &'static str;

    fn try_from(Written { state, length }: Written) -> Result<Self, Self::Error> {
        const WRONG: &str = "it is not the state of a digest";
        let state = hex::decode(state).map_err(|_| WRONG)?;
        let state = SerializedState::<H>::try_from(state.as_slice()).map_err(|_| WRONG)?;
        let hasher = H::deserialize(&state).map_err(|_| WRONG)?;
        Ok(Self { hasher, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cut_anywhere_and_written_down_it_is_the_digest_of_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..10_000),
            cuts in prop::collection::vec(0usize..10_000, 0..5),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let (mut running, mut strong) = (Running::default(), Running512::default());
            for pair in cuts.windows(2) {
                running.update(&bytes[pair[0]..pair[1]]);
                let written = serde_json::to_string(&running).unwrap();
                running = serde_json::from_str(&written).unwrap();
                strong.update(&bytes[pair[0]..pair[1]]);
                let written = serde_json::to_string(&strong).unwrap();
                strong = serde_json::from_str(&written).unwrap();
            }
            let sha256 = hex::encode(Sha256::digest(&bytes));
            prop_assert_eq!(running.checksum(), Checksum { size: bytes.len() as u64, sha256 });
            prop_assert_eq!(strong.finish(), hex::encode(Sha512::digest(&bytes)));
        }
    }
}
