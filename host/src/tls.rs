//! TLS to a server: whom to believe, and how to present oneself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How to connect with TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Certificates of the authorities to believe, in PEM form; none for those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// This host's certificate and its key, in PEM form, if the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why TLS to a server can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A file can't be read, or has nothing of its kind in it.
    #[error("cannot read {what} from {}: {why}", path.display())]
    File {
        /// What is expected in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The machine trusts nobody.
    #[error("this machine has no trusted certificates (install ca-certificates, or name a file with `ca`)")]
    NoRoots,
    /// Certificate and key don't go together, or TLS doesn't like them.
    #[error("cannot use TLS: {0}")]
    Unusable(String),
}

/// TLS as the files said when they were read last. Clones share it.
#[derive(Clone)]
pub struct ReadTls {
    files: ClientTls,
    now: Arc<Mutex<Arc<ClientConfig>>>,
}

impl std::fmt::Debug for ReadTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReadTls").field(&self.files).finish()
    }
}

impl ReadTls {
    /// Read the files.
    ///
    /// # Errors
    /// [`ClientTlsError`], which names the file.
    pub fn of(files: &ClientTls) -> Result<Self, ClientTlsError> {
        Ok(Self {
            files: files.clone(),
            now: Arc::new(Mutex::new(files.load()?)),
        })
    }

    /// How to connect now.
    #[must_use]
    pub fn now(&self) -> Arc<ClientConfig> {
        // Nothing panics while it holds this.
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Read the files again, for connections from now on.
    ///
    /// # Errors
    /// [`ClientTlsError`], which names the file. What was read before stays in use then.
    pub fn read_again(&self) -> Result<(), ClientTlsError> {
        let read = self.files.load()?;
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.files()
    }
}

impl ClientTls {
    /// The files that are named. The certificates that the machine trusts are not among them.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca.iter().chain(identity).cloned().collect()
    }

    /// Read the files.
    ///
    /// # Errors
    /// [`ClientTlsError`], which names the file.
    pub fn load(&self) -> Result<Arc<ClientConfig>, ClientTlsError> {
        let unusable = |error: tokio_rustls::rustls::Error| ClientTlsError::Unusable(error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(self.roots()?);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate, "the certificate")?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| ClientTlsError::File {
                    what: "the private key",
                    path: key.clone(),
                    why: error.to_string(),
                })?;
                builder.with_client_auth_cert(chain, secret).map_err(unusable)?
            }
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, ClientTlsError> {
        let mut roots = RootCertStore::empty();
        let Some(ca) = &self.ca else {
            // Some machines have certificates among theirs that nobody can read; the others count.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return if roots.is_empty() {
                Err(ClientTlsError::NoRoots)
            } else {
                Ok(roots)
            };
        };
        for certificate in certificates(ca, "the certificate authorities")? {
            roots.add(certificate).map_err(|error| ClientTlsError::File {
                what: "the certificate authorities",
                path: ca.clone(),
                why: error.to_string(),
            })?;
        }
        Ok(roots)
    }
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    foundry_broker::certificates(path).map_err(|error| ClientTlsError::File {
        what,
        path: path.to_owned(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        let tls = ClientTls {
            ca: Some(ca.clone()),
            identity: None,
        };
        assert!(tls.load().unwrap_err().to_string().contains("ca.pem"));
        std::fs::write(&ca, "nothing of the kind").unwrap();
        let error = tls.load().unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("no certificate"), "{error}");
    }
}
