//! Versions of the contract. `wit/` has the current one, `wit/released/` those that were released: they never change, and
//! what was built for one of them is loaded for as long as it is listed here.
//!
//! Within `0.1`, a version only adds interfaces that a bot may import, and functions to those there are. So one linker serves all of them: a component
//! imports what its version had, and wasmtime takes `0.1.0` and `0.1.1` of an interface for compatible.

use crate::capability::Interface;

/// The package of the contract.
pub const PACKAGE: &str = "foundry:bot";

/// The version that this host's SDKs are for.
pub const CURRENT: &str = "0.1.1";

/// All versions that this host offers, oldest first.
pub const OFFERED: [&str; 2] = ["0.1.0", CURRENT];

/// An import of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContractImport<'a> {
    /// The interface's name.
    pub interface: &'a str,
    /// The version of the contract.
    pub version: &'a str,
}

impl<'a> ContractImport<'a> {
    /// Read a component's import: `foundry:bot/git@0.1.0`. None if it is of another package.
    #[must_use]
    pub fn parse(import: &'a str) -> Option<Self> {
        let (interface, version) = import.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')?;
        Some(Self { interface, version })
    }

    /// Whether this host has that version.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        OFFERED.contains(&self.version)
    }

    /// The interface, if the contract has it in that version.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        Interface::from_name(self.interface).filter(|_| self.is_offered())
    }
}

/// The versions that this host offers, for people.
#[must_use]
pub fn offered() -> String {
    OFFERED.join(" and ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;

    /// SHA-256 over each released version's files, their names and sizes. A new version adds a line; no line ever changes.
    const RELEASED: [(&str, &str); 1] = [(
        "0.1.0",
        "39a7594568e043e9a3b0b640f7ccd9308feb8312a8c82eda5ca378d2684a8924",
    )];

    fn texts(directory: &Path) -> BTreeMap<String, String> {
        std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect()
    }

    fn wit() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit"))
    }

    #[test]
    fn a_released_version_never_changes() {
        let released = wit().join("released");
        let mut found: Vec<_> = std::fs::read_dir(&released)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        found.sort();
        assert_eq!(found, RELEASED.map(|(version, _)| version));
        for (version, digest) in RELEASED {
            let mut hasher = Sha256::new();
            for (name, text) in texts(&released.join(version)) {
                hasher.update(format!("{name} {}\n{text}", text.len()));
            }
            assert_eq!(
                hex::encode(hasher.finalize()),
                digest,
                "wit/released/{version} was changed: bots were built for it as it was (take the change back, and make it a \
                 new version in wit/)"
            );
            assert!(OFFERED.contains(&version), "bots of {version} are no longer loaded");
        }
    }

    /// Without comments and the version.
    fn meaning(text: &str) -> String {
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("package "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Whether a text has all of an older one in its order, and beside it nothing but functions: what is added to a type
    /// makes it another type.
    fn only_adds_functions(old: &str, new: &str) -> bool {
        let mut old = old.lines().peekable();
        let fits = |line: &str| old.next_if_eq(&line).is_some() || line.contains(": func(");
        new.lines().all(fits) && old.next().is_none()
    }

    #[test]
    fn functions_may_be_added_and_nothing_else_may_change() {
        let old = "record a {\nsize: u64,\n}\nf: func();";
        assert!(only_adds_functions(old, old));
        assert!(only_adds_functions(old, &format!("{old}\ng: func() -> a;")));
        for new in [
            "record a {\nsize: u64,\n}",
            "record a {\nsize: u64,\ntime: u64,\n}\nf: func();",
            "record a {\nsize: u32,\n}\nf: func();",
            "record a {\nsize: u64,\n}\nf: func(x: u32);",
        ] {
            assert!(!only_adds_functions(old, new), "{new}");
        }
    }

    #[test]
    fn a_compatible_version_only_adds_interfaces_and_functions() {
        let current = texts(wit());
        assert!(
            current
                .values()
                .all(|text| text.starts_with(&format!("package {PACKAGE}@{CURRENT};")))
        );
        for (name, old) in texts(&wit().join("released/0.1.0")) {
            let new = &current[&name];
            if name == "world.wit" {
                let new = meaning(new);
                assert!(meaning(&old).lines().all(|line| new.contains(line)), "{name}");
            } else {
                assert!(only_adds_functions(&meaning(&old), &meaning(new)), "{name}");
            }
        }
    }

    #[test]
    fn an_import_is_of_a_version_that_is_offered_or_not() {
        let git = |version: &str| format!("foundry:bot/git@{version}");
        for version in OFFERED {
            assert_eq!(
                ContractImport::parse(&git(version)).unwrap().interface(),
                Some(Interface::Git)
            );
        }
        for version in ["0.9.0", "1.0.0", "0.1.2", "0.1.0-rc"] {
            let import = git(version);
            let import = ContractImport::parse(&import).unwrap();
            assert!(!import.is_offered() && import.interface().is_none(), "{version}");
        }
        assert_eq!(ContractImport::parse("wasi:io/streams@0.2.0"), None);
        assert_eq!(ContractImport::parse("foundry:bottle/git@0.1.0"), None);
    }
}
