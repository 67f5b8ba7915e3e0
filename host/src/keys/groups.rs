//! In which groups a host may work (`docs/adr/0028-an-events-id-is-checked.md`).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name of a group, in bytes.
const LONGEST: usize = 200;

/// The groups that a host's bots may work in: any, or those that are named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Groups(Option<BTreeSet<String>>);

/// The text is not the name of a group.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not a group: write the endpoint that its bots share, such as pub/buildbot_i386 (1 to {LONGEST} bytes, without white \
     space, quotes and control characters)"
)]
pub struct NotAGroup {
    /// What was given.
    pub text: String,
}

impl Groups {
    /// Any group.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    /// These groups and no others; any, if there are none.
    ///
    /// # Errors
    /// [`NotAGroup`] for the first name that is none.
    pub fn of(names: impl IntoIterator<Item = String>) -> Result<Self, NotAGroup> {
        let names: BTreeSet<String> = names.into_iter().collect();
        match names.iter().find(|name| !is_plain(name)) {
            Some(bad) => Err(NotAGroup { text: bad.clone() }),
            None => Ok(Self(Some(names).filter(|names| !names.is_empty()))),
        }
    }

    /// Whether no group is left out.
    #[must_use]
    pub fn are_any(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a group is one of them.
    #[must_use]
    pub fn include(&self, group: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(group))
    }

    /// The names of those that are named.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(String::as_str)
    }

    /// As they are given on the command line, with a space before each: ` --group pub/buildbot_i386`; nothing for any.
    #[must_use]
    pub fn flags(&self) -> String {
        self.names().map(|name| format!(" --group {name}")).collect()
    }
}

/// Whether an error may name a group in a command, and a list separate groups by commas.
pub(crate) fn is_plain(name: &str) -> bool {
    let means_something = |c: char| c.is_whitespace() || c.is_control() || "'\"`$\\;&|<>(){}*?!,~#[]".contains(c);
    (1..=LONGEST).contains(&name.len()) && !name.starts_with('-') && !name.contains(means_something)
}

/// As `key list` shows them: `any`, or the names with commas between them.
impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("any"),
            Some(names) => f.write_str(&names.iter().map(String::as_str).collect::<Vec<_>>().join(",")),
        }
    }
}

/// A list of names; `null` for any.
impl Serialize for Groups {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Option::<BTreeSet<String>>::deserialize(deserializer)?;
        if names.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(serde::de::Error::custom("a list of groups without any group"));
        }
        Self::of(names.into_iter().flatten()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(names: &[&str]) -> Groups {
        Groups::of(names.iter().map(|name| (*name).to_owned())).unwrap()
    }

    #[test]
    fn none_that_are_named_are_any_and_some_that_are_named_are_no_others() {
        let any = groups(&[]);
        assert!(any.are_any() && any.include("pub/buildbot") && any == Groups::any());
        assert_eq!((any.to_string().as_str(), any.flags().as_str()), ("any", ""));
        let two = groups(&["pub/b", "pub/a", "pub/b"]);
        assert!(two.include("pub/a") && two.include("pub/b"));
        assert!(!two.include("pub/a/b") && !two.include("pub") && !two.include(""));
        assert_eq!(two.to_string(), "pub/a,pub/b");
        assert_eq!(two.flags(), " --group pub/a --group pub/b");
    }

    #[test]
    fn a_name_that_means_something_to_a_shell_is_refused() {
        for bad in [
            "",
            "a b",
            "a\nb",
            "$(id)",
            "a;b",
            "a'b",
            "a,b",
            "--may",
            &"x".repeat(201),
        ] {
            assert!(Groups::of([bad.to_owned()]).is_err(), "{bad:?}");
        }
        for fine in ["pub/buildbot_i386", "lint", "a.b-c", "a+b", "100%", "\u{e9}"] {
            assert!(Groups::of([fine.to_owned()]).is_ok(), "{fine:?}");
        }
    }

    #[test]
    fn a_file_has_them_as_a_list_that_is_not_empty() {
        let written = serde_json::to_string(&groups(&["pub/b", "pub/a"])).unwrap();
        assert_eq!(written, r#"["pub/a","pub/b"]"#);
        assert_eq!(
            serde_json::from_str::<Groups>(&written).unwrap(),
            groups(&["pub/a", "pub/b"])
        );
        assert_eq!(serde_json::to_string(&Groups::any()).unwrap(), "null");
        for bad in ["[]", r#"["a b"]"#, r#""pub/a""#, "[1]"] {
            assert!(serde_json::from_str::<Groups>(bad).is_err(), "{bad}");
        }
    }
}
