//! The host, as a component reaches it.

use apt_repository::failure::Failure;
use apt_repository::host::{Checksum, Digest, Extras, Host, Piece, Splice, Spliced, Text, Transaction};
use foundry_sdk::{Artifact, bindings, clock, log, signing, site};

use bindings::foundry::bot::site::Transaction as HostTransaction;

/// The host that runs this component.
#[derive(Debug, Clone, Copy)]
pub struct Sandbox;

impl Host for Sandbox {
    fn digest(&self, bytes: &[u8]) -> Digest {
        digest(site::digest_of(bytes))
    }

    fn fingerprint(&self, key: &str) -> Result<String, Failure> {
        signing::fingerprint(key).map_err(cannot_sign)
    }

    fn clear_sign(&self, key: &str, text: &[u8]) -> Result<Vec<u8>, Failure> {
        signing::clear_sign(key, text).map_err(cannot_sign)
    }

    fn detach_sign(&self, key: &str, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        signing::detach_sign(key, bytes).map_err(cannot_sign)
    }

    fn public_key(&self, key: &str) -> Result<String, Failure> {
        signing::public_key(key).map_err(cannot_sign)
    }

    fn expires(&self, key: &str) -> Result<Option<u64>, Failure> {
        signing::expires(key).map_err(cannot_sign)
    }

    fn now(&self) -> u64 {
        clock::now()
    }

    fn rfc5322(&self, millis: u64) -> String {
        clock::rfc5322(millis)
    }

    fn warn(&self, line: &str) {
        log::warn(line);
    }
}

/// A transaction of the host.
pub struct SiteTransaction(HostTransaction);

impl SiteTransaction {
    /// Open one on a directory.
    ///
    /// # Errors
    /// [`Failure`] if the directory can't be published into.
    pub fn begin(directory: &str) -> Result<Self, Failure> {
        site::begin(directory).map(Self).map_err(refused)
    }

    /// Add those of the artifacts whose paths have no file yet. What has each path then, in the same order.
    ///
    /// # Errors
    /// [`Failure`] if one can't be copied.
    pub fn add_missing(&self, files: &[(String, Artifact)]) -> Result<Vec<Placed>, Failure> {
        let placed = self.0.add_missing(files).map_err(refused)?;
        let placed = placed.into_iter().map(|(of, is_new)| Placed {
            digest: digest(of),
            is_new,
        });
        Ok(placed.collect())
    }

    /// A part of a file, from an offset; shorter at the file's end.
    ///
    /// # Errors
    /// [`Failure`] if there is no such file, or it can't be read.
    pub fn read_part(&self, path: &str, offset: u64, length: u32) -> Result<Vec<u8>, Failure> {
        let part = self.0.read_part(path, offset, length).map_err(refused)?;
        part.ok_or_else(|| Failure::Later(format!("{path} was there a moment ago, and is gone")))
    }
}

/// What has a path once files were added where there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Digests of what is there.
    pub digest: Digest,
    /// Whether it was added, and not there before.
    pub is_new: bool,
}

impl Transaction for SiteTransaction {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.0.read(path).map_err(refused)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Failure> {
        self.0.list(path).map_err(refused)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write(path, bytes).map_err(refused)
    }

    fn text(&self, path: &str) -> Result<Option<Text>, Failure> {
        let piece = |piece: site::Piece| Piece {
            label: piece.label,
            size: piece.size,
        };
        let text = self.0.text(path).map_err(refused)?;
        Ok(text.map(|text| Text {
            checksum: checksum(text.checksum),
            pieces: text.pieces.into_iter().map(piece).collect(),
        }))
    }

    fn read_piece(&self, path: &str, number: usize) -> Result<Vec<u8>, Failure> {
        self.0.read_piece(path, small(number)?).map_err(refused)
    }

    fn splice(&self, path: &str, extras: Extras, changes: Vec<Splice>) -> Result<Spliced, Failure> {
        let change = |change: Splice| {
            let pieces = change.pieces.into_iter();
            Ok(site::Splice {
                first: small(change.first)?,
                count: small(change.count)?,
                pieces: pieces
                    .map(|piece| site::NewPiece {
                        label: piece.label,
                        text: piece.text.into_bytes(),
                    })
                    .collect(),
            })
        };
        let changes: Vec<_> = changes.into_iter().map(change).collect::<Result<_, Failure>>()?;
        let also = if extras.xz { &[site::Compression::Xz][..] } else { &[] };
        let spliced = self.0.splice_with(path, also, &changes).map_err(refused)?;
        let files = spliced.files.into_iter();
        Ok(Spliced {
            text: checksum(spliced.text),
            files: files.map(|(suffix, file)| (suffix, checksum(file))).collect(),
        })
    }

    fn sha512(&self, paths: &[String]) -> Result<Vec<Option<String>>, Failure> {
        self.0.sha512(paths).map_err(refused)
    }

    fn link(&self, path: &str, name: &str) -> Result<(), Failure> {
        self.0.link(path, name).map_err(refused)
    }

    fn package_files(&self, path: &str) -> Result<Vec<String>, Failure> {
        self.0.package_files(path).map_err(refused)
    }

    fn modified(&self, path: &str) -> Result<Option<u64>, Failure> {
        self.0.modified(path).map_err(refused)
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        self.0.remove(path).map_err(refused)
    }

    fn commit(&self, last: &[String]) -> Result<(), Failure> {
        self.0.commit(last).map_err(refused)
    }
}

fn small(number: usize) -> Result<u32, Failure> {
    u32::try_from(number).map_err(|error| Failure::Repository(error.to_string()))
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

fn refused(error: site::Error) -> Failure {
    match error {
        site::Error::NotGranted(what) => Failure::Repository(format!("may not publish into {what}")),
        site::Error::BadPath(path) => Failure::Repository(format!("{path} leads out of the repository")),
        site::Error::Conflict((path, existing, new)) => Failure::Conflict {
            what: path,
            existing,
            new,
        },
        site::Error::Foreign(what) => Failure::Repository(what),
        site::Error::Unavailable(why) => Failure::Later(why),
    }
}

fn cannot_sign(error: signing::Error) -> Failure {
    match error {
        signing::Error::NotGranted(key) => Failure::Signing(format!("may not sign with {key}")),
        signing::Error::BadInput(why) => Failure::Signing(why),
        // The operator may bring the key back, unlock it or renew it: the commit must not be lost over it.
        signing::Error::NoKey(why) | signing::Error::Unavailable(why) => Failure::Later(why),
    }
}
