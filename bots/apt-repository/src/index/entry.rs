//! One package in an index: its paragraph, and what is told from it.

use std::cmp::Ordering;

use crate::syntax::is_sha256;
use crate::version;

/// One package in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the package, or of the source package.
    pub package: String,
    /// Version.
    pub version: String,
    /// Architecture; `source` for source packages.
    pub architecture: String,
    /// SHA-256 of the package, or of the .dsc; none if another program wrote the entry without it.
    pub sha256: Option<String>,
    /// The paragraph, with a newline at its end.
    pub text: String,
}

/// By what a package is found in an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Name of the package, or of the source package.
    pub package: String,
    /// Version.
    pub version: String,
    /// Architecture; `source` for source packages.
    pub architecture: String,
}

/// The same package and version is there with other bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Package, version and architecture.
    pub what: String,
    /// SHA-256 of what is there.
    pub existing: String,
    /// SHA-256 of what was to be added.
    pub new: String,
}

/// An index's text is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the paragraph that begins with {0:?} has no {1}")]
pub struct IndexError(String, &'static str);

impl Entry {
    pub(super) fn parse(text: &str) -> Result<Self, IndexError> {
        let field = |name: &'static str| field(text, name);
        let need = |name: &'static str| {
            let missing = || IndexError(text.lines().next().unwrap_or_default().to_owned(), name);
            field(name).map(str::to_owned).ok_or_else(missing)
        };
        let is_source = field("Filename").is_none();
        let sha256 = if is_source { dsc_digest(text) } else { field("SHA256") };
        if is_source {
            need("Directory")?;
        }
        Ok(Self {
            package: need("Package")?,
            version: need("Version")?,
            // A source package's field lists what it builds for.
            architecture: if is_source {
                "source".to_owned()
            } else {
                need("Architecture")?
            },
            sha256: sha256.filter(|digest| is_sha256(digest)).map(str::to_owned),
            text: format!("{text}\n"),
        })
    }

    /// By what it is found.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            package: self.package.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
        }
    }

    /// A field of its paragraph; of a field with several lines the first.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.text, name)
    }

    /// Have the same version added again. True if that changes the entry.
    pub(super) fn meet(&mut self, new: Self) -> Result<bool, Conflict> {
        match (&self.sha256, &new.sha256) {
            (Some(existing), Some(sha256)) if existing != sha256 => Err(Conflict {
                what: format!("{} {} ({})", new.package, new.version, new.architecture),
                existing: existing.clone(),
                new: sha256.clone(),
            }),
            // The same file: keep the paragraph that its users have.
            (Some(_), _) => Ok(false),
            (None, _) => {
                *self = new;
                Ok(true)
            }
        }
    }

    /// Where it is in an index: by name, then version as Debian orders them, then architecture.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.order_of(&other.package, &other.version, &other.architecture)
    }

    pub(super) fn order_of(&self, package: &str, version: &str, architecture: &str) -> Ordering {
        self.package
            .as_str()
            .cmp(package)
            .then_with(|| version::compare(&self.version, version))
            // Versions that are equal to dpkg may be written differently.
            .then_with(|| self.version.as_str().cmp(version))
            .then_with(|| self.architecture.as_str().cmp(architecture))
    }
}

/// The name in a paragraph; empty if it has none.
pub(super) fn name(paragraph: &str) -> &str {
    // Mostly it is the first thing that is said.
    let first = paragraph.strip_prefix("Package: ").and_then(|rest| rest.lines().next());
    first
        .map(str::trim)
        .or_else(|| field(paragraph, "Package"))
        .unwrap_or_default()
}

/// The first line of a field's value.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field
            .eq_ignore_ascii_case(name)
            .then(|| value.trim())
            .filter(|value| !value.is_empty())
    })
}

/// The SHA-256 of a source package's .dsc, from its `Checksums-Sha256`.
fn dsc_digest(text: &str) -> Option<&str> {
    let mut lines = text
        .lines()
        .skip_while(|line| !line.to_ascii_lowercase().starts_with("checksums-sha256:"));
    lines.next();
    lines.take_while(|line| line.starts_with([' ', '\t'])).find_map(|line| {
        let mut words = line.split_whitespace();
        let digest = words.next()?;
        words.nth(1)?.ends_with(".dsc").then_some(digest)
    })
}
