//! What the host does for distbot, as a trait: the same publication runs in the sandbox and natively in tests.

use foundry_sdk::{Artifact, artifacts, signing, site};

/// The host's side of a publication.
pub trait Host {
    /// `length` bytes of an artifact at `offset`; fewer at the end.
    ///
    /// # Errors
    /// The host's.
    fn read_artifact(&self, artifact: &Artifact, offset: u64, length: u32) -> Result<Vec<u8>, artifacts::Error>;

    /// Open a transaction on the directory.
    ///
    /// # Errors
    /// The host's.
    fn begin(&self, directory: &str) -> Result<Box<dyn Transaction + '_>, site::Error>;

    /// Compress bytes.
    fn compress(&self, how: site::Compression, bytes: &[u8]) -> Vec<u8>;

    /// Digests of bytes.
    fn digest(&self, bytes: &[u8]) -> site::Digest;

    /// A key's fingerprint.
    ///
    /// # Errors
    /// The host's.
    fn fingerprint(&self, key: &str) -> Result<String, signing::Error>;

    /// A clear-signed copy of a text.
    ///
    /// # Errors
    /// The host's.
    fn clear_sign(&self, key: &str, text: &[u8]) -> Result<Vec<u8>, signing::Error>;

    /// An armoured detached signature.
    ///
    /// # Errors
    /// The host's.
    fn detach_sign(&self, key: &str, bytes: &[u8]) -> Result<Vec<u8>, signing::Error>;

    /// The armoured public key.
    ///
    /// # Errors
    /// The host's.
    fn public_key(&self, key: &str) -> Result<String, signing::Error>;

    /// Now, in milliseconds since 1970.
    fn now(&self) -> u64;

    /// Milliseconds since 1970 as RFC 5322 has them.
    fn rfc5322(&self, millis: u64) -> String;

    /// A line for the log.
    fn warn(&self, line: &str);
}

/// An open transaction on the repository's directory.
pub trait Transaction {
    /// A file as it would be after the transaction.
    ///
    /// # Errors
    /// The host's.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, site::Error>;

    /// The files below a directory as they are, sorted.
    ///
    /// # Errors
    /// The host's.
    fn list(&self, path: &str) -> Result<Vec<String>, site::Error>;

    /// Write a file.
    ///
    /// # Errors
    /// The host's.
    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), site::Error>;

    /// Add an artifact as a file that never changes.
    ///
    /// # Errors
    /// The host's.
    fn add(&self, path: &str, artifact: &Artifact) -> Result<site::Digest, site::Error>;

    /// Remove a file.
    ///
    /// # Errors
    /// The host's.
    fn remove(&self, path: &str) -> Result<(), site::Error>;

    /// Make everything visible.
    ///
    /// # Errors
    /// The host's.
    fn commit(&self, last: &[String]) -> Result<(), site::Error>;
}
