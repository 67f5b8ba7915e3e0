//! Certificates in PEM files, as brokers and their clients read them.

use std::path::Path;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};

/// Why a file's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read, or is damaged.
    #[error(transparent)]
    Unreadable(#[from] pem::Error),
    /// It is of another kind.
    #[error("there is no certificate in it")]
    Empty,
}

/// All certificates in a file.
///
/// # Errors
/// [`PemError`], which does not name the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Err(PemError::Empty);
    }
    Ok(found)
}
