//! Which indices there are, and where.

use std::fmt;

use crate::syntax::{is_architecture, is_suite_name};

/// Which index of a suite.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexName {
    /// Binary packages of one architecture, with those for all.
    Binary {
        /// Component.
        component: String,
        /// Architecture.
        architecture: String,
        /// Whether they are the installer's.
        installer: bool,
    },
    /// Source packages.
    Source {
        /// Component.
        component: String,
    },
}

impl IndexName {
    /// The index of a path below `dists/<codename>`: `main/binary-amd64/Packages`.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let (directory, file) = path.rsplit_once('/')?;
        let (component, rest) = directory.split_once('/')?;
        if !is_suite_name(component) {
            return None;
        }
        let component = component.to_owned();
        if rest == "source" {
            return (file == "Sources").then_some(Self::Source { component });
        }
        let (installer, rest) = match rest.strip_prefix("debian-installer/") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let architecture = rest
            .strip_prefix("binary-")
            .filter(|name| is_architecture(name))?
            .to_owned();
        (file == "Packages").then_some(Self::Binary {
            component,
            architecture,
            installer,
        })
    }

    /// Its component.
    #[must_use]
    pub fn component(&self) -> &str {
        match self {
            Self::Binary { component, .. } | Self::Source { component } => component,
        }
    }

    /// Its directory below `dists/<codename>`.
    #[must_use]
    pub fn directory(&self) -> String {
        match self {
            Self::Binary {
                component,
                architecture,
                installer: false,
            } => format!("{component}/binary-{architecture}"),
            Self::Binary {
                component,
                architecture,
                installer: true,
            } => {
                format!("{component}/debian-installer/binary-{architecture}")
            }
            Self::Source { component } => format!("{component}/source"),
        }
    }

    /// The name of its file.
    #[must_use]
    pub fn file(&self) -> &'static str {
        match self {
            Self::Binary { .. } => "Packages",
            Self::Source { .. } => "Sources",
        }
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.directory(), self.file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_inverse() {
        for path in [
            "main/binary-amd64/Packages",
            "main/debian-installer/binary-arm64/Packages",
            "contrib/source/Sources",
        ] {
            assert_eq!(IndexName::from_path(path).unwrap().to_string(), path);
        }
        for path in [
            "Packages",
            "main/Packages",
            "main/binary-../Packages",
            "main/source/Packages",
            "main/i18n/Index",
            "../source/Sources",
        ] {
            assert_eq!(IndexName::from_path(path), None, "{path}");
        }
    }
}
