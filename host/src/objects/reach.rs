//! Whether a bucket can be used: one request, for a key that need not be there.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use object_store::path::Path as Key;
use object_store::{Error, ObjectStoreExt as _};

use super::Bucket;

/// The key that is asked for.
const KEY: &str = "foundry-check";

/// How long the service may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// The bucket is there, as far as whoever asks may know.
    Usable,
    /// There is no such bucket.
    Absent,
    /// The service knows nobody of these credentials, or does not allow it: why.
    Refused(String),
    /// There was no answer: why.
    Away(String),
}

impl Bucket {
    /// Asks the service.
    pub async fn reach(&self) -> Reached {
        let store = match self.open() {
            Ok(store) => store,
            Err(error) => return Reached::Refused(error.to_string()),
        };
        let answer = tokio::time::timeout(PATIENCE, store.get(&Key::from(KEY))).await;
        match answer {
            Ok(Ok(_)) => Reached::Usable,
            Ok(Err(error)) => meaning(&error),
            Err(_) => Reached::Away(format!("it does not answer within {} s", PATIENCE.as_secs())),
        }
    }
}

/// What an error means. S3 says in the body which of the reasons for a status it has
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
fn meaning(error: &Error) -> Reached {
    let said = whole(error);
    match error {
        _ if said.contains("NoSuchBucket") => Reached::Absent,
        Error::NotFound { .. } => Reached::Usable,
        // So services answer for keys that are not there to those who may not list them.
        Error::PermissionDenied { .. } if said.contains("AccessDenied") => Reached::Usable,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Reached::Refused(said),
        _ => Reached::Away(said),
    }
}

/// An error with all of its causes, each of which is said once.
fn whole(error: &Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            let _ = write!(said, ": {text}");
        }
        next = cause.source();
    }
    said
}
