//! Digests of what is published.

use std::io::{self, Read};

use md5::Md5;
use sha2::{Digest as _, Sha256};

/// A file's size and digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Size in bytes.
    pub size: u64,
    /// MD5, lower-case hex. Not trusted by anyone, but still a field of package indices.
    pub md5: String,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

impl Digest {
    /// Of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            size: bytes.len() as u64,
            md5: hex::encode(Md5::digest(bytes)),
            sha256: hex::encode(Sha256::digest(bytes)),
        }
    }

    /// Of everything that a reader gives.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let (mut md5, mut sha256, mut size) = (Md5::new(), Sha256::new(), 0u64);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            md5.update(bytes);
            sha256.update(bytes);
            size += read as u64;
        }
        Ok(Self {
            size,
            md5: hex::encode(md5.finalize()),
            sha256: hex::encode(sha256.finalize()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_readers_agree_with_the_published_test_vectors() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.size, 3);
        assert_eq!(digest.md5, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            digest.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Digest::of_reader(&b"abc"[..]).unwrap(), digest);
        let long = vec![7; 1_000_000];
        assert_eq!(Digest::of_reader(long.as_slice()).unwrap(), Digest::of(&long));
    }
}
