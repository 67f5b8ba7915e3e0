//! All that one bot was granted of one kind.

use std::sync::Arc;

use url::Url;

use super::network::Addresses;
use super::pattern::{Pattern, WebPattern};
use super::target::Target;

/// Patterns that grant something. Cheap to clone: a request carries them, so that its redirects are compared with them too.
#[derive(Debug, Clone, Default)]
pub struct Permits(Arc<[Pattern]>);

impl From<&[Pattern]> for Permits {
    fn from(patterns: &[Pattern]) -> Self {
        Self(patterns.into())
    }
}

impl From<&[WebPattern]> for Permits {
    fn from(patterns: &[WebPattern]) -> Self {
        Self(patterns.iter().map(|pattern| (**pattern).clone()).collect())
    }
}

impl Permits {
    /// Where what somebody asks for may lead; `None` if it is not granted.
    #[must_use]
    pub fn admit(&self, target: &Target) -> Option<Addresses> {
        furthest(self.0.iter().filter(|pattern| pattern.covers(target)))
    }

    /// The same for what a server redirects to, which nobody has asked for: only a grant that names its server covers it.
    #[must_use]
    pub fn admit_redirect(&self, target: &Target) -> Option<Addresses> {
        furthest(self.0.iter().filter(|pattern| pattern.covers_redirect(target)))
    }

    /// The same for a directory that a redirect leads to, which a grant may write with a slash at its end.
    #[must_use]
    pub fn admit_landing(&self, directory: &Url) -> Option<Addresses> {
        let target = Target::of(directory)?;
        self.admit_redirect(&target)
            .or_else(|| self.admit_redirect(&target.with_slash()))
    }
}

fn furthest<'a>(covering: impl Iterator<Item = &'a Pattern>) -> Option<Addresses> {
    covering.map(Pattern::addresses).max()
}
