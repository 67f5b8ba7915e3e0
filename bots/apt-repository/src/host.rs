//! What a repository asks of whoever runs it, as traits: the same change runs in a sandbox, in a program, and in tests.

use crate::failure::Failure;

/// A file's digests and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Size in bytes.
    pub size: u64,
    /// MD5, lower-case hex.
    pub md5: String,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// SHA-512, lower-case hex, if it was asked for.
    pub sha512: Option<String>,
}

/// A file's size and SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What its writer knows it by.
    pub label: String,
    /// Bytes of its text.
    pub size: u64,
}

/// A text that was written in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The whole text.
    pub checksum: Checksum,
    /// Its pieces, in their order.
    pub pieces: Vec<Piece>,
}

/// A piece to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPiece {
    /// What its writer is to know it by.
    pub label: String,
    /// Its text.
    pub text: String,
}

/// New pieces in the place of old ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// The first piece that goes away, or before which the new ones go.
    pub first: usize,
    /// How many go away.
    pub count: usize,
    /// What comes instead.
    pub pieces: Vec<NewPiece>,
}

/// How a text is published beside the usual ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// Compressed with xz as well.
    pub xz: bool,
}

/// What a splice made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spliced {
    /// The whole text.
    pub text: Checksum,
    /// Its compressed files: what is appended to the text's path, and their checksums.
    pub files: Vec<(String, Checksum)>,
}

/// The host's side of a change.
pub trait Host {
    /// Digests of bytes.
    fn digest(&self, bytes: &[u8]) -> Digest;

    /// A key's fingerprint.
    ///
    /// # Errors
    /// The host's.
    fn fingerprint(&self, key: &str) -> Result<String, Failure>;

    /// A clear-signed copy of a text.
    ///
    /// # Errors
    /// The host's.
    fn clear_sign(&self, key: &str, text: &[u8]) -> Result<Vec<u8>, Failure>;

    /// An armoured detached signature.
    ///
    /// # Errors
    /// The host's.
    fn detach_sign(&self, key: &str, bytes: &[u8]) -> Result<Vec<u8>, Failure>;

    /// The armoured public key.
    ///
    /// # Errors
    /// The host's.
    fn public_key(&self, key: &str) -> Result<String, Failure>;

    /// When a key stops being valid, in milliseconds since 1970; none if it never does. Also of one that no longer is.
    ///
    /// # Errors
    /// The host's.
    fn expires(&self, key: &str) -> Result<Option<u64>, Failure>;

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
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Failure>;

    /// The files below a directory as they are, sorted.
    ///
    /// # Errors
    /// The host's.
    fn list(&self, path: &str) -> Result<Vec<String>, Failure>;

    /// Write a file.
    ///
    /// # Errors
    /// The host's.
    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Failure>;

    /// A text that was written in pieces; none if there is none, or something else changed its files.
    ///
    /// # Errors
    /// The host's.
    fn text(&self, path: &str) -> Result<Option<Text>, Failure>;

    /// What a piece of it says, by its number.
    ///
    /// # Errors
    /// The host's.
    fn read_piece(&self, path: &str, number: usize) -> Result<Vec<u8>, Failure>;

    /// Change some pieces of a text, or write a new text. It is published only compressed. If that was with other extras, it
    /// is written anew.
    ///
    /// # Errors
    /// The host's.
    fn splice(&self, path: &str, extras: Extras, changes: Vec<Splice>) -> Result<Spliced, Failure>;

    /// The SHA-512 of files, or of texts in pieces, in the same order; none for what isn't there.
    ///
    /// # Errors
    /// The host's.
    fn sha512(&self, paths: &[String]) -> Result<Vec<Option<String>>, Failure>;

    /// Give a file another name beside its own.
    ///
    /// # Errors
    /// The host's.
    fn link(&self, path: &str, name: &str) -> Result<(), Failure>;

    /// The files in a Debian package of the repository, sorted.
    ///
    /// # Errors
    /// The host's.
    fn package_files(&self, path: &str) -> Result<Vec<String>, Failure>;

    /// When a file's bytes were written, in milliseconds since 1970; none if there is no file.
    ///
    /// # Errors
    /// The host's.
    fn modified(&self, path: &str) -> Result<Option<u64>, Failure>;

    /// Remove a file.
    ///
    /// # Errors
    /// The host's.
    fn remove(&self, path: &str) -> Result<(), Failure>;

    /// Make everything visible.
    ///
    /// # Errors
    /// The host's.
    fn commit(&self, last: &[String]) -> Result<(), Failure>;
}
