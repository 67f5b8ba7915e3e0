//! Debian packages, read in a helper process: who made one may be anybody who may push to a watched repository, and this process
//! has keys.
//!
//! A helper reads one package and ends ([`crate::confine`]). What it says is bounded there and looked at again here: it is the word
//! of whoever made the package, in the worst case.

mod control;
mod names;
mod task;
mod unpack;

use std::fs::File;
use std::os::fd::AsFd as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::confine::{self, ConfineError, Grants};

pub use task::TASK;
use task::{Answer, Question};

/// Why a package could not be read. It fits "cannot list the files of hello.deb: {}".
#[derive(Debug, Error)]
pub enum PackageError {
    /// It is none, or one of a kind that is not read here.
    #[error("{0}")]
    Refused(String),
    /// The helper did not come to an answer.
    #[error(transparent)]
    Confined(#[from] ConfineError),
}

impl PackageError {
    /// Whether the package is the reason, so that trying again is of no use.
    #[must_use]
    pub fn is_by_package(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Confined(error) => error.is_by_input(),
        }
    }
}

/// What a package unpacks to, without directories, sorted. Names that no list could hold are left out.
///
/// The file is read from its beginning, whatever its position is. This waits for a process, up to ten minutes for the largest packages.
///
/// # Errors
/// [`PackageError`] if it is no package, or more is unpacked than is allowed for.
pub fn files(package: &File) -> Result<Vec<String>, PackageError> {
    let mut files: Vec<String> = ask(package, Question::Files)?;
    // Again, by whoever goes on with it.
    if !files.iter().all(|name| names::is_listable(name)) {
        return Err(PackageError::Refused("its list of files is none".to_owned()));
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

/// The `control` file of a package, which is not yet parsed. The file is read from its beginning.
///
/// # Errors
/// As [`files`].
pub fn control(package: &File) -> Result<String, PackageError> {
    ask(package, Question::Control)
}

fn ask<T: Serialize + DeserializeOwned>(package: &File, question: Question) -> Result<T, PackageError> {
    let grants = Grants {
        descriptors: vec![package.as_fd()],
        ..Grants::default()
    };
    let answer: Answer<T> = confine::ask(&TASK, grants, &question)?;
    answer.map_err(PackageError::Refused)
}

#[cfg(test)]
mod tests;

/// For the fuzz target: what the helper makes of bytes, here.
#[cfg(fuzzing)]
pub fn fuzz(package: &[u8]) {
    let _ = names::list(package);
}
