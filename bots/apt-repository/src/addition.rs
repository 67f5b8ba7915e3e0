//! What is new in a suite.

use crate::binary::Binary;
use crate::host::Digest;
use crate::index::{Entry, IndexName, Key};
use crate::settings::Settings;
use crate::source::Source;

/// A package that goes into a suite; its files are in the pool.
#[derive(Debug)]
pub enum Addition {
    /// A binary package.
    Binary(Binary, Digest),
    /// A source package, with the digest of its .dsc.
    Source(Source, Digest),
}

impl Addition {
    pub(crate) fn belongs_to(&self, name: &IndexName) -> bool {
        match self {
            Self::Binary(binary, _) => binary.belongs_to(name),
            Self::Source(source, _) => source.belongs_to(name),
        }
    }

    pub(crate) fn entry(&self, component: &str) -> Entry {
        match self {
            Self::Binary(binary, digest) => binary.entry(component, digest),
            Self::Source(source, digest) => source.entry(component, digest),
        }
    }

    /// By what an index has it.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Binary(binary, _) => binary.key(),
            Self::Source(source, _) => source.key(),
        }
    }

    /// The component that it goes to.
    pub(crate) fn component<'a>(&self, settings: &'a Settings) -> &'a str {
        match self {
            Self::Binary(binary, _) => settings.component_of(binary),
            Self::Source(..) => &settings.component,
        }
    }

    /// The indices that a suite has to have for it, beside those that each has.
    pub(crate) fn needs<'a>(&self, settings: &'a Settings) -> impl Iterator<Item = IndexName> + use<'a> {
        let component = self.component(settings);
        let installer = matches!(self, Self::Binary(binary, _) if binary.installer);
        let special = installer || component != settings.component;
        let architectures = settings.architectures.iter().filter(move |_| special);
        architectures.map(move |architecture| IndexName::Binary {
            component: component.to_owned(),
            architecture: architecture.clone(),
            installer,
        })
    }
}
