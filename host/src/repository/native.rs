//! The host's side of a repository's change, as this program gives it: its own sites and key store.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use apt_repository::failure::Failure;
use apt_repository::host::{Checksum, Digest, Extras, Host, Piece, Splice, Spliced, Text, Transaction};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::runtime::Handle;

use crate::capability::site::{self, Mirror, MirrorState, SiteError};
use crate::keys::{Encoding, KeyError, KeyStore, PassphraseSource, Role, Signer};

/// Keys, digests and time.
#[derive(Debug)]
pub(super) struct Native {
    pub(super) keys: KeyStore,
    pub(super) passphrases: PassphraseSource,
}

impl Native {
    fn signer(&self, key: &str) -> Result<Arc<Signer>, Failure> {
        self.keys
            .signer(key, Role::Repository, &self.passphrases)
            .map_err(cannot_sign)
    }
}

impl Host for Native {
    fn digest(&self, bytes: &[u8]) -> Digest {
        digest(site::Digest::of(bytes))
    }

    fn fingerprint(&self, key: &str) -> Result<String, Failure> {
        Ok(self.signer(key)?.fingerprint().to_string())
    }

    fn clear_sign(&self, key: &str, text: &[u8]) -> Result<Vec<u8>, Failure> {
        let signed = self.signer(key)?.clear_sign(text);
        signed.map_err(|error| Failure::Signing(error.to_string()))
    }

    fn detach_sign(&self, key: &str, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let signed = self.signer(key)?.detach_sign_armored(bytes);
        signed.map_err(|error| Failure::Signing(error.to_string()))
    }

    fn public_key(&self, key: &str) -> Result<String, Failure> {
        let armoured = self.keys.export_public(key, Encoding::Armored).map_err(cannot_sign)?;
        Ok(String::from_utf8_lossy(&armoured).into_owned())
    }

    fn expires(&self, key: &str) -> Result<Option<u64>, Failure> {
        let key = self.keys.find_any(key).map_err(cannot_sign)?;
        Ok(key.expires_millis())
    }

    fn now(&self) -> u64 {
        let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        u64::try_from(millis).unwrap_or_default()
    }

    fn rfc5322(&self, millis: u64) -> String {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
        at.unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .format(&Rfc2822)
            .unwrap_or_default()
    }

    fn warn(&self, line: &str) {
        tracing::warn!("{line}");
    }
}

fn cannot_sign(error: KeyError) -> Failure {
    Failure::Signing(error.to_string())
}

/// A transaction of a site, for a thread that may wait.
#[derive(Debug)]
pub(super) struct SiteTransaction {
    runtime: Handle,
    transaction: RefCell<site::Transaction>,
}

impl SiteTransaction {
    pub(super) fn new(runtime: Handle, transaction: site::Transaction) -> Self {
        Self {
            runtime,
            transaction: RefCell::new(transaction),
        }
    }

    /// The site's mirror.
    pub(super) fn mirror(&self) -> Result<Option<MirrorState>, SiteError> {
        self.runtime.block_on(self.transaction.borrow().mirror())
    }

    /// Let it have this one.
    pub(super) fn set_mirror(&self, mirror: Option<Mirror>) -> Result<(), SiteError> {
        self.runtime.block_on(self.transaction.borrow().set_mirror(mirror))
    }

    /// What the table of a text says that isn't so.
    pub(super) fn examine(&self, path: &str) -> Result<Option<String>, SiteError> {
        self.runtime.block_on(self.transaction.borrow().examine(path))
    }

    /// Add a copy of a file as one that never changes.
    pub(super) fn add(&self, path: &str, source: &Path) -> Result<Digest, Failure> {
        let mut transaction = self.transaction.borrow_mut();
        self.runtime.block_on(async {
            let reserved = transaction.reserve().await.map_err(refused)?;
            std::fs::copy(source, reserved.path())
                .map_err(|error| Failure::Repository(format!("cannot copy {}: {error}", source.display())))?;
            transaction.add(path, reserved).await.map(digest).map_err(refused)
        })
    }
}

impl Transaction for SiteTransaction {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.runtime
            .block_on(self.transaction.borrow().read(path))
            .map_err(refused)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Failure> {
        self.runtime
            .block_on(self.transaction.borrow().list(path))
            .map_err(refused)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut transaction = self.transaction.borrow_mut();
        self.runtime
            .block_on(transaction.write(path, bytes.to_vec()))
            .map_err(refused)
    }

    fn text(&self, path: &str) -> Result<Option<Text>, Failure> {
        let text = self
            .runtime
            .block_on(self.transaction.borrow().text(path))
            .map_err(refused)?;
        let piece = |piece: site::Piece| Piece {
            label: piece.label,
            size: piece.size,
        };
        Ok(text.map(|text| Text {
            checksum: checksum(text.checksum),
            pieces: text.pieces.into_iter().map(piece).collect(),
        }))
    }

    fn read_piece(&self, path: &str, number: usize) -> Result<Vec<u8>, Failure> {
        let transaction = self.transaction.borrow();
        self.runtime
            .block_on(transaction.read_piece(path, number))
            .map_err(refused)
    }

    fn splice(&self, path: &str, Extras { xz }: Extras, changes: Vec<Splice>) -> Result<Spliced, Failure> {
        let change = |change: Splice| {
            let pieces = change.pieces.into_iter();
            site::Splice {
                first: change.first,
                count: change.count,
                pieces: pieces
                    .map(|piece| site::NewPiece {
                        label: piece.label,
                        text: piece.text.into_bytes(),
                    })
                    .collect(),
            }
        };
        let changes = changes.into_iter().map(change).collect();
        let mut transaction = self.transaction.borrow_mut();
        let spliced = self
            .runtime
            .block_on(transaction.splice(path, site::Extras { xz }, changes))
            .map_err(refused)?;
        let files = spliced.files.into_iter();
        Ok(Spliced {
            text: checksum(spliced.text),
            files: files
                .map(|(suffix, file)| (suffix.to_owned(), checksum(file)))
                .collect(),
        })
    }

    fn sha512(&self, paths: &[String]) -> Result<Vec<Option<String>>, Failure> {
        let mut transaction = self.transaction.borrow_mut();
        self.runtime.block_on(transaction.sha512(paths)).map_err(refused)
    }

    fn link(&self, path: &str, name: &str) -> Result<(), Failure> {
        let mut transaction = self.transaction.borrow_mut();
        self.runtime.block_on(transaction.link(path, name)).map_err(refused)
    }

    fn package_files(&self, path: &str) -> Result<Vec<String>, Failure> {
        let transaction = self.transaction.borrow();
        self.runtime.block_on(transaction.package_files(path)).map_err(refused)
    }

    fn modified(&self, path: &str) -> Result<Option<u64>, Failure> {
        let transaction = self.transaction.borrow();
        self.runtime.block_on(transaction.modified(path)).map_err(refused)
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        self.transaction.borrow_mut().remove(path).map_err(refused)
    }

    fn commit(&self, last: &[String]) -> Result<(), Failure> {
        let mut transaction = self.transaction.borrow_mut();
        self.runtime.block_on(transaction.commit(last)).map_err(refused)
    }
}

fn digest(site::Digest { size, md5, sha256 }: site::Digest) -> Digest {
    let sha512 = None;
    Digest {
        size,
        md5,
        sha256,
        sha512,
    }
}

fn checksum(site::Checksum { size, sha256 }: site::Checksum) -> Checksum {
    Checksum { size, sha256 }
}

pub(super) fn refused(error: SiteError) -> Failure {
    match error {
        SiteError::Conflict { path, existing, new } => Failure::Conflict {
            what: path,
            existing,
            new,
        },
        SiteError::BadPath(_) | SiteError::Foreign { .. } => Failure::Repository(error.to_string()),
        _ if error.is_by_package() => Failure::Repository(error.to_string()),
        other => Failure::Later(other.to_string()),
    }
}
