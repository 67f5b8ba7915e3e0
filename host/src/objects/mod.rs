//! Where bytes are kept that machines share: in a directory, or in a bucket of an S3 service.

mod bucket;
mod credentials;
mod reach;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;

use crate::tls::ClientTlsError;

pub use bucket::{Bucket, parse_endpoint};
pub use credentials::{Credentials, CredentialsError};
pub use reach::Reached;

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a local directory, or one that machines share by NFS or the like.
    Directory(PathBuf),
    /// In a bucket.
    Bucket(Box<Bucket>),
}

/// Why objects can't be kept there.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory can't be made or used.
    #[error("cannot use the directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    /// The bucket can't be used.
    #[error("cannot use {url}: {source}")]
    Bucket {
        /// `s3://…`
        url: String,
        /// What the library said.
        source: object_store::Error,
    },
}

impl Location {
    /// Read what an operator wrote: a path, a `file:///…` URL, or `s3://BUCKET[/PREFIX]`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Directory(PathBuf::from(text)));
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Directory(PathBuf::from(rest))),
            "s3" => {
                let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                // The letters of S3's rules for names; the service knows the rest of them.
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
                if name.is_empty() || !name.chars().all(plain) {
                    return Err(
                        "write s3://BUCKET/PREFIX; a bucket's name has lower-case letters, digits, '-' and '.'"
                            .to_owned(),
                    );
                }
                let prefix = Key::parse(prefix).map_err(|error| error.to_string())?;
                Ok(Self::Bucket(Box::new(Bucket {
                    name: name.to_owned(),
                    prefix: prefix.to_string(),
                    ..Bucket::default()
                })))
            }
            _ => Err("write a directory, file:///DIRECTORY or s3://BUCKET/PREFIX".to_owned()),
        }
    }

    /// Make the directory if need be, or set up the client. Does not ask an S3 service for anything.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self) -> Result<Arc<dyn ObjectStore>, OpenError> {
        match self {
            Self::Directory(path) => open_directory(path),
            Self::Bucket(bucket) => bucket.open(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Bucket(bucket) if bucket.prefix.is_empty() => write!(f, "s3://{}", bucket.name),
            Self::Bucket(bucket) => write!(f, "s3://{}/{}", bucket.name, bucket.prefix),
        }
    }
}

fn open_directory(path: &Path) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let failed = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    std::fs::create_dir_all(path).map_err(failed)?;
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| failed(std::io::Error::other(error)))?;
    Ok(Arc::new(store.with_fsync(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_path_or_a_url() {
        let bucket = |name: &str, prefix: &str| {
            Ok(Location::Bucket(Box::new(Bucket {
                name: name.to_owned(),
                prefix: prefix.to_owned(),
                ..Bucket::default()
            })))
        };
        assert_eq!(Location::parse("/srv/x"), Ok(Location::Directory("/srv/x".into())));
        assert_eq!(
            Location::parse("file:///srv/x"),
            Ok(Location::Directory("/srv/x".into()))
        );
        assert_eq!(Location::parse("s3://b-1"), bucket("b-1", ""));
        assert_eq!(Location::parse("s3://b-1/a/b/"), bucket("b-1", "a/b"));
        for wrong in [
            "s3://",
            "s3://B",
            "s3://b/../c",
            "file://host/x",
            "http://x/y",
            "gs://b",
        ] {
            let remedy = Location::parse(wrong).unwrap_err();
            assert!(!remedy.is_empty(), "{wrong}");
        }
    }
}
