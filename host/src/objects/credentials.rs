//! Who asks an S3 service.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::secret_file::{self, SecretFileError};

/// An S3 service's equivalent of a user and a password.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Credentials {
    /// The public part.
    pub access_key_id: String,
    /// The secret part.
    pub secret_access_key: String,
    /// For credentials that are lent for some time.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Why a file of credentials can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It can't be read, or others can read it.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Something else is in it. What the parser says is kept back: it quotes secrets.
    #[error(
        "{} does not hold credentials (write access-key-id = \"…\" and secret-access-key = \"…\" into it, and session-token if there is one)",
        .0.display()
    )]
    Content(PathBuf),
}

impl Credentials {
    /// Read them from a TOML file with `access-key-id`, `secret-access-key` and maybe `session-token`, which nobody but its
    /// owner can read.
    ///
    /// # Errors
    /// [`CredentialsError`], without anything of the content.
    pub fn read(path: &Path) -> Result<Self, CredentialsError> {
        let text = secret_file::read(path)?;
        toml::from_str(&text).map_err(|_| CredentialsError::Content(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_secret_of_credentials_is_not_printed() {
        let credentials = Credentials {
            access_key_id: "id".to_owned(),
            secret_access_key: "hush".to_owned(),
            session_token: Some("hush".to_owned()),
        };
        let printed = format!("{credentials:?}");
        assert!(printed.contains("id") && !printed.contains("hush"), "{printed}");
    }

    #[test]
    fn a_file_of_credentials_is_its_owners_alone_and_is_never_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s3.toml");
        fs::write(&path, "access-key-id = \"id\"\nsecret-access-key = \"hush\"\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Credentials::read(&path),
            Err(CredentialsError::File(SecretFileError::Permissions { mode: 0o640, .. }))
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Credentials::read(&path).unwrap().secret_access_key, "hush");
        fs::write(&path, "access-key-id = \"id\"\nsecret-key = \"hush\"\n").unwrap();
        let error = Credentials::read(&path).unwrap_err().to_string();
        assert!(error.contains("s3.toml") && !error.contains("hush"), "{error}");
    }
}
