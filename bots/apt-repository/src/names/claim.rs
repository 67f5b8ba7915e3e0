//! What a build asks for, and what it is refused.

use std::collections::BTreeSet;
use std::fmt;

use crate::binary::Binary;

/// Fields that have clients install a package unasked, or refuse to remove it (Debian Policy 5.6.9; apt's `Important`).
const MARKS: [&str; 3] = ["Essential", "Protected", "Important"];

/// Refusals that a message has room for.
const MOST_TOLD: usize = 5;

/// The names that a build asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// URL or path of the repository, as the event has it.
    pub repository: String,
    /// Source packages: those that it has, and those that its binary packages name.
    pub sources: BTreeSet<String>,
    /// Binary packages.
    pub binaries: Vec<Claimed>,
}

/// A binary package that a build asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Its name.
    pub package: String,
    /// The source package that it names.
    pub source: String,
    /// A field by which clients install it unasked, or refuse to remove it.
    pub mark: Option<&'static str>,
}

impl Claimed {
    /// What a binary package asks for.
    #[must_use]
    pub fn of(binary: &Binary) -> Self {
        Self {
            package: binary.package.clone(),
            source: binary.source.clone(),
            mark: mark(|field| binary.field(field)),
        }
    }
}

/// The first of the marks that a package has. apt takes many words for a yes (`1`, `true`, `on`), so whatever is no plain no
/// counts as one.
pub(super) fn mark<'a>(field: impl Fn(&'static str) -> Option<&'a str>) -> Option<&'static str> {
    let is_set = |name: &&'static str| field(name).is_some_and(|value| !value.trim().eq_ignore_ascii_case("no"));
    MARKS.into_iter().find(is_set)
}

/// A rule that a build breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Another repository provides the source package.
    Source {
        /// The source package.
        source: String,
        /// The repository that came with it.
        repository: String,
        /// Those that provide it.
        providers: BTreeSet<String>,
    },
    /// Another source package provides the binary package.
    Binary {
        /// The binary package.
        binary: String,
        /// The source package that came with it.
        source: String,
        /// Those that provide it.
        providers: BTreeSet<String>,
    },
    /// Clients would install the binary package unasked, or not remove it again.
    Essential {
        /// The binary package.
        binary: String,
        /// The field that says so.
        field: &'static str,
    },
}

impl Refusal {
    /// The command that allows it, in an archive's directory.
    #[must_use]
    pub fn remedy(&self, directory: &str) -> String {
        let what = match self {
            Self::Source { source, repository, .. } => format!("--source {source} --from {}", quoted(repository)),
            Self::Binary { binary, source, .. } => format!("--binary {binary} --from-source {source}"),
            Self::Essential { binary, .. } => format!("--essential {binary}"),
        };
        format!("foundry-host repo allow {} {what}", quoted(directory))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match self {
            Self::Source {
                source,
                repository,
                providers,
            } => write!(
                f,
                "the source package {source} is provided by {}, and not by {repository}",
                list(providers)
            ),
            Self::Binary {
                binary,
                source,
                providers,
            } => write!(
                f,
                "the binary package {binary} is provided by the source {}, and not by the source {source}",
                list(providers)
            ),
            Self::Essential { binary, field } => write!(
                f,
                "the binary package {binary} has {field}: yes, and clients install such packages without being asked"
            ),
        }
    }
}

/// All refusals of a build, each with what allows it, as far as a message has room.
#[must_use]
pub fn told(refusals: &[Refusal], directory: &str) -> String {
    let one = |refusal: &Refusal| format!("{refusal} (to allow it: `{}`)", refusal.remedy(directory));
    let mut told: Vec<_> = refusals.iter().take(MOST_TOLD).map(one).collect();
    if let Some(more) = refusals.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        told.push(format!("{more} more like these"));
    }
    format!("{}; then requeue the dead letter", told.join("; "))
}

/// A suite that can't be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The suite.
    pub codename: String,
    /// Why.
    pub why: String,
}

/// What to say of binary packages of which nothing is recorded, while suites can't be read that may have them: nobody knows
/// whose their names are, and so they are nobody's who comes now. The command decides whose the source is as well: else the names
/// would be those of whoever takes it first.
#[must_use]
pub fn undecided(claimed: &[&Claimed], repository: &str, unread: &[Unread], directory: &str) -> String {
    let names: Vec<_> = claimed
        .iter()
        .take(MOST_TOLD)
        .map(|claimed| claimed.package.as_str())
        .collect();
    let more = if claimed.len() > MOST_TOLD { " and others" } else { "" };
    let suite = |Unread { codename, why }: &Unread| {
        format!(
            "the suite {codename} can't be read: {why}; `foundry-host repo repair {} {codename}` mends it",
            quoted(directory)
        )
    };
    let suites: Vec<_> = unread.iter().take(MOST_TOLD).map(suite).collect();
    let source = claimed
        .first()
        .map(|claimed| claimed.source.as_str())
        .unwrap_or_default();
    let of_source = claimed
        .iter()
        .take(MOST_TOLD)
        .filter(|claimed| claimed.source == source);
    let binaries: String = of_source
        .map(|claimed| format!(" --binary {}", claimed.package))
        .collect();
    format!(
        "nobody knows who provides {}{more}, of which there is no record: {} (`foundry-host repo check {}` says what is damaged; \
         or decide it: `foundry-host repo allow {} --source {source} --from {}{binaries} --from-source {source}`)",
        names.join(", "),
        suites.join("; "),
        quoted(directory),
        quoted(directory),
        quoted(repository),
    )
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-+@%,=~".contains(&byte);
    if !word.is_empty() && !word.starts_with('~') && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn essential(binary: &str) -> Refusal {
        Refusal::Essential {
            binary: binary.to_owned(),
            field: "Essential",
        }
    }

    #[test]
    fn a_refusal_names_the_rule_and_the_command_that_allows_it() {
        let other = Refusal::Source {
            source: "hello".to_owned(),
            repository: "https://example.org/it's.git".to_owned(),
            providers: ["https://example.org/hello.git".to_owned()].into(),
        };
        assert_eq!(
            told(&[other], "/srv/deb"),
            "the source package hello is provided by https://example.org/hello.git, and not by https://example.org/it's.git \
             (to allow it: `foundry-host repo allow /srv/deb --source hello --from 'https://example.org/it'\\''s.git'`); then \
             requeue the dead letter"
        );
    }

    #[test]
    fn many_refusals_are_told_in_short() {
        let many: Vec<_> = (0..12).map(|number| essential(&format!("p{number}"))).collect();
        let told = told(&many, "/srv/deb");
        assert!(
            told.ends_with("; 7 more like these; then requeue the dead letter"),
            "{told}"
        );
        assert!(told.len() < 2000);
    }

    #[test]
    fn names_that_a_damaged_suite_may_have_are_told_with_what_mends_it_and_what_decides() {
        let claimed = |package: &str| Claimed {
            package: package.to_owned(),
            source: "hello".to_owned(),
            mark: None,
        };
        let many: Vec<_> = (0..9).map(|number| claimed(&format!("p{number}"))).collect();
        let unread = Unread {
            codename: "stable".to_owned(),
            why: "no Release".to_owned(),
        };
        assert_eq!(
            undecided(
                &Vec::from_iter(&many),
                "https://example.org/hello.git",
                &[unread],
                "/srv/deb"
            ),
            "nobody knows who provides p0, p1, p2, p3, p4 and others, of which there is no record: the suite stable can't be \
             read: no Release; `foundry-host repo repair /srv/deb stable` mends it (`foundry-host repo check /srv/deb` says what \
             is damaged; or decide it: `foundry-host repo allow /srv/deb --source hello --from https://example.org/hello.git \
             --binary p0 --binary p1 --binary p2 --binary p3 --binary p4 --from-source hello`)"
        );
    }

    #[test]
    fn a_mark_is_whatever_is_no_plain_no() {
        let of = |value: &'static str| mark(move |name| (name == "Protected").then_some(value));
        assert_eq!(of("yes"), Some("Protected"));
        for yes in [" YES ", "1", "true", "on", "with", "enable", "", "maybe"] {
            assert_eq!(of(yes), Some("Protected"), "{yes:?}");
        }
        assert_eq!(of(" No "), None);
        assert_eq!(of("no"), None);
    }
}
