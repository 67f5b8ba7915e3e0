//! Signing Debian packages as debsigs does: a member `_gpgorigin` with a detached signature over the contents of
//! `debian-binary`, `control.tar*` and `data.tar*`, one after the other. debsig-verify checks it.

use std::io::{self, Read, Write};

use thiserror::Error;

use super::ar::{ArError, Header, Reader, Writer};
use super::error::SignError;
use super::fingerprint::Fingerprint;
use super::signer::{Dated, Signer};

/// The member with the signature of the organisation that distributes a package.
pub const ORIGIN_MEMBER: &str = "_gpgorigin";

/// `debian-binary` holds a version such as `2.0` and a line end.
const LONGEST_VERSION: u64 = 64;

const COPY_BUFFER: usize = 128 << 10;

/// Why a package was not signed. What was written until then is of no use.
#[derive(Debug, Error)]
pub enum DebError {
    /// The container is broken.
    #[error("cannot sign the package: {0}")]
    Archive(#[from] ArError),
    /// The members are not those of a package, or not in their order.
    #[error("cannot sign the package: member {found} is where {expected} is expected")]
    Order {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A member is missing.
    #[error("cannot sign the package: it has no {expected}")]
    Missing {
        /// The member.
        expected: &'static str,
    },
    /// dpkg knows no such packages.
    #[error("cannot sign the package: its format version is {version:?}, not 2.x")]
    Version {
        /// What debian-binary says.
        version: String,
    },
    /// debsig-verify looks for the signer among primary keys only.
    #[error(
        "cannot sign the package with key {key}: a subkey would sign, and debsig-verify does not know subkeys (use a key whose primary key may sign, such as `foundry-host key generate` makes)"
    )]
    Subkey {
        /// The primary key.
        key: Fingerprint,
    },
    /// The signed copy could not be written.
    #[error("cannot write the signed package: {0}")]
    Write(#[source] io::Error),
    /// The key refused.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Which member must come next. dpkg-deb wants this order too; it ignores members whose names begin with `_`.
#[derive(Clone, Copy)]
enum Expect {
    Version,
    Control,
    Data,
    End,
}

impl Expect {
    fn name(self) -> &'static str {
        match self {
            Self::Version => "debian-binary",
            Self::Control => "control.tar",
            Self::Data => "data.tar",
            Self::End => "the end of the package",
        }
    }

    /// Only exact names: `control.tar` with an unknown ending is nothing that dpkg would unpack.
    fn accepts(self, name: &str) -> bool {
        let compressed = |name: &str, endings: &[&str]| {
            name.strip_prefix(self.name())
                .is_some_and(|ending| endings.contains(&ending))
        };
        match self {
            Self::Version => name == "debian-binary",
            Self::Control => compressed(name, &["", ".gz", ".xz", ".zst"]),
            Self::Data => compressed(name, &["", ".gz", ".xz", ".zst", ".bz2", ".lzma"]),
            Self::End => false,
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Version => Self::Control,
            Self::Control => Self::Data,
            Self::Data | Self::End => Self::End,
        }
    }
}

impl Signer {
    /// Copies a package and puts its signature behind it, in place of an older one of the same kind.
    ///
    /// Streams: nothing but the signature is held in memory. Other signatures (`_gpgmaint`) are kept. A package with
    /// anything else in it that the signature would not cover is refused.
    pub fn sign_deb(&self, package: impl Read, signed: impl Write) -> Result<(), DebError> {
        self.sign_deb_dated(package, signed, Dated::Now)
    }

    /// As [`Signer::sign_deb`], by a signature of another time, which the new member bears as well.
    pub fn sign_deb_dated(&self, package: impl Read, signed: impl Write, dated: Dated) -> Result<(), DebError> {
        if self.is_subkey() {
            return Err(DebError::Subkey {
                key: self.fingerprint(),
            });
        }
        let mut reader = Reader::new(package)?;
        let mut writer = Writer::new(signed).map_err(DebError::Write)?;
        let mut hasher = self.start_binary(dated)?;
        let mut expect = Expect::Version;
        let mut buffer = vec![0; COPY_BUFFER];
        while let Some(header) = reader.next_member()? {
            let covered = expect.accepts(header.name());
            if !covered && (matches!(expect, Expect::Version) || !header.name().starts_with('_')) {
                return Err(DebError::Order {
                    expected: expect.name(),
                    found: header.name().to_owned(),
                });
            }
            if header.name() == ORIGIN_MEMBER {
                continue;
            }
            writer.header(&header).map_err(DebError::Write)?;
            if matches!(expect, Expect::Version) {
                check_version(&header, &mut reader, &mut |content| {
                    hasher.update(content);
                    writer.content().write_all(content).map_err(DebError::Write)
                })?;
            }
            loop {
                let read = reader.read(&mut buffer).map_err(ArError::Read)?;
                let content = buffer.get(..read).unwrap_or_default();
                if content.is_empty() {
                    break;
                }
                if covered {
                    hasher.update(content);
                }
                writer.content().write_all(content).map_err(DebError::Write)?;
            }
            writer.end_member(&header).map_err(DebError::Write)?;
            if covered {
                expect = expect.next();
            }
        }
        if !matches!(expect, Expect::End) {
            return Err(DebError::Missing {
                expected: expect.name(),
            });
        }
        let signed_at = hasher.created();
        let signature = hasher.finish()?;
        let header = Header::new(ORIGIN_MEMBER, signed_at, signature.len() as u64)?;
        writer.header(&header).map_err(DebError::Write)?;
        writer.content().write_all(&signature).map_err(DebError::Write)?;
        writer.end_member(&header).map_err(DebError::Write)?;
        writer.finish().map_err(DebError::Write)
    }
}

/// Reads all of `debian-binary` and passes it on, if dpkg would go on after reading it.
fn check_version(
    header: &Header,
    content: &mut impl Read,
    pass: &mut impl FnMut(&[u8]) -> Result<(), DebError>,
) -> Result<(), DebError> {
    let mut version = Vec::new();
    content
        .take(LONGEST_VERSION)
        .read_to_end(&mut version)
        .map_err(ArError::Read)?;
    if header.size() > LONGEST_VERSION || !version.starts_with(b"2.") || !version.ends_with(b"\n") {
        return Err(DebError::Version {
            version: String::from_utf8_lossy(&version).trim_end().to_owned(),
        });
    }
    pass(&version)
}
