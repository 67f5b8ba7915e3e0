//! TLS with rustls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::config::Tls;

/// The TLS listener cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has nothing of its kind in it.
    #[error("read {what} from {}: {why}", path.display())]
    File {
        /// What is expected in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key do not go together, or TLS does not like them.
    #[error("use the certificate {}: {why}", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    crate::certificates(path).map_err(|error| TlsError::File {
        what,
        path: path.to_owned(),
        why: error.to_string(),
    })
}

/// The certificate that the broker shows, and whose certificates of clients it believes: read again when an operator says so.
pub struct Certificates {
    settings: Tls,
    acceptor: watch::Sender<TlsAcceptor>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificates").field(&self.settings).finish()
    }
}

impl Certificates {
    /// Reads the files.
    pub(super) fn read(settings: &Tls) -> Result<Self, TlsError> {
        Ok(Self {
            settings: settings.clone(),
            acceptor: watch::Sender::new(acceptor(settings)?),
        })
    }

    /// Reads the files again, for connections from now on. If they can't be used, those that were read before stay in use.
    pub fn read_again(&self) -> Result<(), TlsError> {
        self.acceptor.send_replace(acceptor(&self.settings)?);
        Ok(())
    }

    /// The files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.settings.files()
    }

    /// What brings TLS connections in from now on.
    pub(super) fn acceptor(&self) -> watch::Receiver<TlsAcceptor> {
        self.acceptor.subscribe()
    }
}

impl Tls {
    /// The files that are read.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = [&self.certificate, &self.key].into_iter().chain(&self.client_ca);
        files.cloned().collect()
    }

    /// Reads the files as a broker does when it starts, and says what is wrong with them.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn check(&self) -> Result<(), TlsError> {
        acceptor(self).map(drop)
    }
}

/// What brings TLS connections in.
fn acceptor(settings: &Tls) -> Result<TlsAcceptor, TlsError> {
    let unusable = |why: String| TlsError::Certificate {
        path: settings.certificate.clone(),
        why,
    };
    let chain = certificates(&settings.certificate, "the certificate")?;
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|error| TlsError::File {
        what: "the private key",
        path: settings.key.clone(),
        why: error.to_string(),
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, "the clients' authority")? {
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            // Clients without a certificate can still come with a user name and password.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| unusable(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable(error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The common name in the client's certificate, which the handshake has verified.
pub(super) fn name_of(connection: &ServerConnection) -> Option<String> {
    let certificate = connection.peer_certificates()?.first()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    // A certificate without a readable name is nobody's, not anonymous.
    Some(name.as_str().unwrap_or_default().to_owned())
}
