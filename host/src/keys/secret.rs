//! Types that hold secrets: they print as `[redacted]` and are wiped when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// A passphrase.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The passphrase itself. Don't print it, and don't put it on a command line or into the environment.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn to_pgp(&self) -> pgp::types::Password {
        self.0.as_str().into()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Bytes that contain secret key material, such as an exported secret key.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Runs code that parses secret keys with this thread's log records switched off.
///
/// The crate pgp prints the bytes of the secret key packets that it parses at log level debug. An operator who turns
/// debug logging on must not find keys in the log.
pub(super) fn without_logs<T>(work: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::new(), work)
}
