//! Who may provide a package: which repositories provide a source package, and which sources a binary package. First come,
//! first kept.
//!
//! ```text
//! [claim]  what a build asks for, and what it is refused
//! [held]   what an archive holds of names of which nothing is recorded: its memory from before the records
//! [store]  where the records are
//! ```
//!
//! The rule itself, [`Names::admit`], reads and writes nothing but the records in memory.

pub mod claim;
pub mod held;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use claim::{Claim, Claimed, Refusal};
use held::Held;

/// The records of some names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    sources: BTreeMap<String, BTreeSet<String>>,
    binaries: BTreeMap<String, Provided>,
}

/// What is recorded of a binary package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provided {
    /// The source packages that may provide it. Without any, the next one that does takes it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sources: BTreeSet<String>,
    /// Whether it may be one that clients install unasked, or refuse to remove.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub essential: bool,
    /// The repository that brought the name, alone so far, from a source package that is others' as well: as long as it may
    /// provide that one, the name is on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_leave: Option<String>,
}

/// Whose a binary package is, as seen by a repository that comes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nobody's yet, or of its sources: what it comes from now is one of them from then on.
    Own,
    /// Also of another repository's sources, or from one that is, by an operator's leave: it may come, and nothing of that stays
    /// when the leave is taken back.
    Shared,
    /// Of other repositories' sources alone.
    Others,
}

/// The name that a binary package is recorded by. Debug symbols go with their package, whoever says that they are some.
#[must_use]
pub fn recorded_name(package: &str) -> &str {
    package
        .strip_suffix("-dbgsym")
        .filter(|package| !package.is_empty())
        .unwrap_or(package)
}

impl Names {
    /// The repositories that provide each source package.
    #[must_use]
    pub fn sources(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.sources
    }

    /// What is recorded of each binary package.
    #[must_use]
    pub fn binaries(&self) -> &BTreeMap<String, Provided> {
        &self.binaries
    }

    /// Whether nothing is recorded of a binary package.
    #[must_use]
    pub fn is_unknown(&self, package: &str) -> bool {
        !self.binaries.contains_key(recorded_name(package))
    }

    /// Take what the archive holds for the record of binary packages of which there is none.
    pub fn remember(&mut self, held: &[Held]) {
        let unknown: BTreeSet<_> = held
            .iter()
            .map(|held| recorded_name(&held.package).to_owned())
            .filter(|name| !self.binaries.contains_key(name))
            .collect();
        for held in held {
            let name = recorded_name(&held.package);
            if unknown.contains(name) {
                let provided = self.binaries.entry(name.to_owned()).or_default();
                provided.sources.insert(held.source.clone());
                provided.essential |= held.is_essential;
            }
        }
    }

    /// Let a build provide its packages, and record names that nobody provided before. A binary package may move between
    /// sources of one repository, as packages are split and renamed. Where it or the source is other repositories' too, the move
    /// is not recorded: it is allowed as long as the repository may provide one of its sources.
    ///
    /// # Errors
    /// Every refusal. Nothing is recorded then.
    pub fn admit(&mut self, claim: &Claim) -> Result<(), Vec<Refusal>> {
        let mut after = self.clone();
        let mut refusals = Vec::new();
        for source in &claim.sources {
            refusals.extend(after.admit_source(source, &claim.repository));
        }
        for binary in &claim.binaries {
            refusals.extend(after.admit_binary(binary, &claim.repository));
        }
        if refusals.is_empty() {
            *self = after;
            Ok(())
        } else {
            refusals.sort();
            refusals.dedup();
            Err(refusals)
        }
    }

    fn admit_source(&mut self, source: &str, repository: &str) -> Option<Refusal> {
        let providers = self.sources.entry(source.to_owned()).or_default();
        if providers.is_empty() {
            providers.insert(repository.to_owned());
        }
        (!providers.contains(repository)).then(|| Refusal::Source {
            source: source.to_owned(),
            repository: repository.to_owned(),
            providers: providers.clone(),
        })
    }

    fn admit_binary(&mut self, claimed: &Claimed, repository: &str) -> Option<Refusal> {
        let name = recorded_name(&claimed.package);
        let sources = self
            .binaries
            .get(name)
            .map(|provided| provided.sources.clone())
            .unwrap_or_default();
        let standing = self.standing(&sources, &claimed.source, repository);
        let is_by_leave = sources.is_empty() && self.is_shared(&claimed.source);
        if standing == Standing::Others {
            return Some(Refusal::Binary {
                binary: name.to_owned(),
                source: claimed.source.clone(),
                providers: sources,
            });
        }
        let provided = self.binaries.entry(name.to_owned()).or_default();
        if standing == Standing::Own {
            provided.sources.insert(claimed.source.clone());
        }
        if is_by_leave {
            provided.by_leave = Some(repository.to_owned());
        }
        provided.by_leave.take_if(|first| first != repository);
        match claimed.mark {
            Some(field) if !provided.essential => Some(Refusal::Essential {
                binary: name.to_owned(),
                field,
            }),
            _ => None,
        }
    }

    /// How a binary package that these sources provide stands to a repository that comes with it from a source.
    fn standing(&self, sources: &BTreeSet<String>, source: &str, repository: &str) -> Standing {
        if sources.is_empty() || sources.contains(source) {
            return Standing::Own;
        }
        let providers = sources.iter().filter_map(|source| self.sources.get(source));
        let providers: BTreeSet<_> = providers.flatten().map(String::as_str).collect();
        match (providers.contains(repository), providers.len()) {
            (false, _) => Standing::Others,
            (true, 1) if !self.is_shared(source) => Standing::Own,
            (true, _) => Standing::Shared,
        }
    }

    /// Whether several repositories may provide a source package.
    fn is_shared(&self, source: &str) -> bool {
        self.sources.get(source).is_some_and(|providers| providers.len() > 1)
    }

    /// Let a repository provide a source package, beside those that do. False if it did already.
    pub fn allow_source(&mut self, source: &str, repository: &str) -> bool {
        let providers = self.sources.entry(source.to_owned()).or_default();
        providers.insert(repository.to_owned())
    }

    /// Let a source package provide a binary package, beside those that do. False if it did already.
    pub fn allow_binary(&mut self, package: &str, source: &str) -> bool {
        let provided = self.binaries.entry(recorded_name(package).to_owned()).or_default();
        provided.by_leave = None;
        provided.sources.insert(source.to_owned())
    }

    /// Say whether a binary package may be one that clients install unasked. False if that was so already.
    pub fn allow_essential(&mut self, package: &str, may: bool) -> bool {
        let provided = self.binaries.entry(recorded_name(package).to_owned()).or_default();
        std::mem::replace(&mut provided.essential, may) != may
    }

    /// Have a repository provide a source package no more, nor the names that it alone brought from it beside others. Without
    /// any, the next one that publishes it takes it. False if it didn't.
    pub fn forbid_source(&mut self, source: &str, repository: &str) -> bool {
        let Some(providers) = self.sources.get_mut(source) else {
            return false;
        };
        let was = providers.remove(repository);
        if providers.is_empty() {
            self.sources.remove(source);
        }
        self.binaries.retain(|_, provided| {
            let is_gone = provided.by_leave.as_deref() == Some(repository) && provided.sources.remove(source);
            provided.by_leave.take_if(|_| is_gone);
            !is_gone || provided.essential || !provided.sources.is_empty()
        });
        was
    }

    /// Have a source package provide a binary package no more. Without any, the next one that publishes it takes it. False
    /// if it didn't.
    pub fn forbid_binary(&mut self, package: &str, source: &str) -> bool {
        let provided = self.binaries.get_mut(recorded_name(package));
        provided.is_some_and(|provided| provided.sources.remove(source))
    }
}

#[cfg(test)]
mod tests;
