//! Whose component it is: detached OpenPGP signatures beside components' files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::spec::BotSource;
use crate::keys::{Fingerprint, KeyError, KeyStore, Role, VerifyError};

/// What is appended to a component's file name.
const SUFFIX: &str = ".asc";

/// Why a component's signature doesn't do.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The operator wants one, and there is none.
    #[error(
        "{} is not signed, and unsigned bots are refused here (there is no {}; make one with `foundry-host key sign`)",
        component.display(), signature.display()
    )]
    Missing {
        /// The component.
        component: PathBuf,
        /// Where its signature would be.
        signature: PathBuf,
    },
    /// It is not by a key that signs bots here, or not over this component.
    #[error(
        "{}: {why} (keys that sign bots are imported with `foundry-host key import --role bots`)", signature.display()
    )]
    Refused {
        /// The signature.
        signature: PathBuf,
        /// What is wrong.
        why: VerifyError,
    },
    /// A file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The component was replaced while it was loaded.
    #[error("{} changed while it was loaded (load it again)", .0.display())]
    Changed(PathBuf),
    /// The key store can't be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Where a component's signature is.
#[must_use]
pub fn signature_of(component: &Path) -> PathBuf {
    let mut path = OsString::from(component);
    path.push(SUFFIX);
    path.into()
}

/// Who signed a component, if anybody did. A signature that is there has to hold, wanted or not. Blocks.
///
/// # Errors
/// [`SignatureError`].
pub(super) fn check(
    keys: &KeyStore,
    source: &BotSource,
    digest: &str,
    required: bool,
) -> Result<Option<Fingerprint>, SignatureError> {
    // Stock bots are as trustworthy as the host, whose program they are in.
    let BotSource::File(component) = source else {
        return Ok(None);
    };
    let path = signature_of(component);
    let signature = match std::fs::read(&path) {
        Ok(signature) => signature,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(SignatureError::Missing {
                component: component.clone(),
                signature: path,
            });
        }
        Err(source) => return Err(SignatureError::Read { path, source }),
    };
    let bytes = std::fs::read(component).map_err(|source| SignatureError::Read {
        path: component.clone(),
        source,
    })?;
    if hex::encode(Sha256::digest(&bytes)) != digest {
        return Err(SignatureError::Changed(component.clone()));
    }
    let signer = keys.trusted(Role::Bots)?.verify_detached(&bytes, &signature);
    signer
        .map(Some)
        .map_err(|why| SignatureError::Refused { signature: path, why })
}
