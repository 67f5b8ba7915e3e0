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

/// From when until when a certificate counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// Its subject, for people.
    pub subject: String,
    /// From then on, in seconds since 1970.
    pub not_before: i64,
    /// Until then, in seconds since 1970.
    pub not_after: i64,
}

/// The validity of each certificate in a file. Those that can't be read are left out: others say so.
///
/// # Errors
/// [`PemError`], which does not name the file.
pub fn validities(path: &Path) -> Result<Vec<Validity>, PemError> {
    let validity = |certificate: CertificateDer<'static>| {
        let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).ok()?;
        let validity = certificate.validity();
        Some(Validity {
            subject: certificate.subject().to_string(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    };
    Ok(certificates(path)?.into_iter().filter_map(validity).collect())
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
