//! Paths inside of a site.

use std::fmt;
use std::path::Path;

use super::{PRIVATE, SiteError};

/// Longest path, in bytes.
const MAX_LENGTH: usize = 1024;

/// A relative path of plain names, outside of the host's own records.
///
/// The directory handles that it is used with keep symbolic links from leading out of the site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SitePath(String);

impl SitePath {
    /// A path as a bot wrote it.
    pub(super) fn parse(path: &str) -> Result<Self, SiteError> {
        let names = path.len() <= MAX_LENGTH && path.split('/').all(is_plain);
        if names && !is_hosts(path) {
            Ok(Self(path.to_owned()))
        } else {
            Err(SiteError::BadPath(path.to_owned()))
        }
    }

    /// A path of the host's own records.
    pub(super) fn host(path: String) -> Self {
        Self(path)
    }

    /// The path as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for SitePath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Printable ASCII without blanks: whatever reads the site, a browser or a shell, sees the same name.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\''))
}

/// Whether the host keeps its lock, its transactions or its tables there.
pub(super) fn is_hosts(path: &str) -> bool {
    path.strip_prefix(PRIVATE).is_some_and(|rest| {
        let of = |directory: &str| {
            rest.strip_prefix(directory)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        rest.is_empty() || rest == "/lock" || of("/transactions") || of("/texts")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_paths_are_taken() {
        for path in [
            "InRelease",
            "pool/main/h/hello/hello_1:2.0~rc1+b1-1_amd64.deb",
            "dists/a/..b/...",
            ".foundry/suites/x",
        ] {
            assert_eq!(SitePath::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_refused() {
        let long = "a/".repeat(600) + "a";
        for path in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "a\\b",
            "a b",
            "a\nb",
            "a\0b",
            "ä",
            ".foundry",
            ".foundry/lock",
            ".foundry/transactions",
            ".foundry/transactions/staging-1/0",
            ".foundry/texts/dists/stable/main/binary-amd64/Packages",
            &long,
        ] {
            assert!(matches!(SitePath::parse(path), Err(SiteError::BadPath(_))), "{path:?}");
        }
    }
}
