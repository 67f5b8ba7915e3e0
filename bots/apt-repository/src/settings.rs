//! What the operator wants a suite to be.

use crate::binary::Binary;
use crate::contents::ContentsName;
use crate::descriptions::TranslationName;
use crate::existing::Existing;
use crate::host::Extras;
use crate::index::IndexName;
use crate::release::Automatic;
use crate::retention::Retention;

/// What a suite's metadata says, and who signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The key that signs its metadata.
    pub key: String,
    /// Keys that sign beside it, for clients that don't have it yet.
    pub older_keys: Vec<String>,
    /// Architectures that are served at least, beside `all`.
    pub architectures: Vec<String>,
    /// One line about it.
    pub description: String,
    /// The component that packages go to.
    pub component: String,
    /// The component that debug symbols go to; none for that of their program.
    pub debug_component: Option<String>,
    /// `Origin`.
    pub origin: String,
    /// `Label`.
    pub label: String,
    /// `Suite`; none for what it has been, or its codename.
    pub suite: Option<String>,
    /// Whether apt takes packages from it by itself.
    pub automatic: Automatic,
    /// How long a signature is valid, in milliseconds; none for ever.
    pub valid_for: Option<u64>,
    /// Which versions of a package stay when one is added; none for all.
    pub keep: Option<Retention>,
    /// How many bytes of superseded indices stay for clients that are slow.
    pub superseded_limit: u64,
    /// Whether it has lists of the packages' files.
    pub contents: bool,
    /// Whether descriptions are apart from its indices.
    pub split_descriptions: bool,
    /// How its indices are published beside the usual ways.
    pub extras: Extras,
    /// Whether SHA-512 is listed beside SHA-256.
    pub sha512: bool,
}

impl Settings {
    /// The component that a binary package goes to.
    #[must_use]
    pub fn component_of(&self, binary: &Binary) -> &str {
        match &self.debug_component {
            Some(debug) if binary.debug_symbols => debug,
            _ => &self.component,
        }
    }

    /// What a suite is already, for changes that leave it so; none if there is no suite.
    #[must_use]
    pub fn of(existing: &Existing<'_>) -> Option<Self> {
        let release = existing.release.as_ref()?;
        let records = existing.records.clone().unwrap_or_default();
        let superseded_limit = records.superseded_limit();
        let indices = release.files.keys().filter_map(|path| IndexName::from_path(path));
        let component = release.components.first().cloned();
        Some(Self {
            key: records.key,
            older_keys: records.older_keys,
            architectures: release
                .architectures
                .iter()
                .filter(|name| *name != "all" && *name != "source")
                .cloned()
                .collect(),
            description: release.description.clone(),
            component: component.or_else(|| indices.map(|name| name.component().to_owned()).next())?,
            // What is moved between suites stays in the component that it is in.
            debug_component: None,
            origin: release.origin.clone(),
            label: release.label.clone(),
            suite: release.suite.clone(),
            automatic: release.automatic,
            valid_for: records.valid_for,
            keep: None,
            superseded_limit,
            contents: release.files.keys().any(|path| ContentsName::is_one(path)),
            split_descriptions: release.files.keys().any(|path| TranslationName::is_one(path)),
            extras: Extras {
                xz: release.files.keys().any(|path| path.ends_with(".xz")),
            },
            sha512: release.files.values().any(|listed| listed.sha512.is_some()),
        })
    }
}
