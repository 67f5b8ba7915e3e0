//! SHA-256 that can stop anywhere, be written down, and go on later: what is behind a change need not be hashed again.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2_resumable::digest::common::hazmat::{SerializableState, SerializedState};
use sha2_resumable::{Digest, Sha256};

use super::text::Checksum;

/// A digest that isn't finished.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(super) struct Running {
    hasher: Sha256,
    /// Bytes so far.
    length: u64,
}

/// A digest that isn't finished, as it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    state: String,
    length: u64,
}

impl Running {
    /// More bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    /// The size and the digest of all.
    pub(super) fn checksum(self) -> Checksum {
        Checksum {
            size: self.length,
            sha256: hex::encode(self.hasher.finalize()),
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({} bytes)", self.length)
    }
}

impl From<Running> for Written {
    fn from(Running { hasher, length }: Running) -> Self {
        Self {
            state: hex::encode(hasher.serialize()),
            length,
        }
    }
}

impl TryFrom<Written> for Running {
    type Error = &'static str;

    fn try_from(Written { state, length }: Written) -> Result<Self, Self::Error> {
        const WRONG: &str = "it is not the state of a digest";
        let state = hex::decode(state).map_err(|_| WRONG)?;
        let state = SerializedState::<Sha256>::try_from(state.as_slice()).map_err(|_| WRONG)?;
        let hasher = Sha256::deserialize(&state).map_err(|_| WRONG)?;
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
            let mut running = Running::default();
            for pair in cuts.windows(2) {
                running.update(&bytes[pair[0]..pair[1]]);
                let written = serde_json::to_string(&running).unwrap();
                running = serde_json::from_str(&written).unwrap();
            }
            let sha256 = hex::encode(Sha256::digest(&bytes));
            prop_assert_eq!(running.checksum(), Checksum { size: bytes.len() as u64, sha256 });
        }
    }
}
