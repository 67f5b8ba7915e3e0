//! Artifacts' bytes, and the digests that Debian's control files give of them.

use foundry_sdk::artifacts;
use foundry_sdk::events::Artifact;
use md5::Md5;
use sha1::{Digest as _, Sha1};

use crate::checksums::Checksums;

/// Bytes that are read at once.
const CHUNK: u32 = 1024 * 1024;

/// All bytes of an artifact.
pub fn read(artifact: &Artifact) -> Result<Vec<u8>, artifacts::Error> {
    let mut bytes = Vec::new();
    each_chunk(artifact, |chunk| bytes.extend_from_slice(chunk))?;
    Ok(bytes)
}

/// Digests and size. The SHA-256 is the one that the artifact is stored under, which the host has checked.
pub fn of(artifact: &Artifact) -> Result<Checksums, artifacts::Error> {
    let (mut md5, mut sha1) = (Md5::new(), Sha1::new());
    each_chunk(artifact, |chunk| {
        md5.update(chunk);
        sha1.update(chunk);
    })?;
    Ok(Checksums {
        size: artifact.size,
        md5: hex::encode(md5.finalize()),
        sha1: hex::encode(sha1.finalize()),
        sha256: artifact.sha256.clone(),
    })
}

fn each_chunk(artifact: &Artifact, mut take: impl FnMut(&[u8])) -> Result<(), artifacts::Error> {
    let reference = artifact.clone().into();
    let mut offset = 0;
    while offset < artifact.size {
        let chunk = artifacts::read(&reference, offset, CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        take(&chunk);
        offset += chunk.len() as u64;
    }
    Ok(())
}
