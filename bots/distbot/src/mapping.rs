//! Which branch's packages are published under which codename.

use apt_repository::syntax::is_suite_name;
use foundry_sdk::options::matches;

/// The codename when no `--codename` is given, for every branch.
pub const DEFAULT_CODENAME: &str = "stable";

/// From branches to codenames, as the `--codename` options say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// None: every branch that no other rule names.
    branch: Option<String>,
    codename: String,
}

impl Mapping {
    /// From the values of `--codename`: `codename`, or `branch:codename` where `*` in the branch stands for any text.
    ///
    /// # Errors
    /// A sentence that names the value that is wrong.
    pub fn parse(values: &[String]) -> Result<Self, String> {
        let mut rules = Vec::new();
        for value in values {
            // Neither git's branch names nor codenames have colons.
            let (branch, codename) = match value.split_once(':') {
                Some((branch, codename)) => (Some(branch), codename),
                None => (None, value.as_str()),
            };
            if !is_suite_name(codename) {
                return Err(format!(
                    "--codename {value:?}: {codename:?} is not a codename (use letters, digits, and . _ ~ + -)"
                ));
            }
            if branch.is_some_and(|branch| {
                branch.is_empty() || branch.contains(|c: char| c.is_whitespace() || c.is_control())
            }) {
                return Err(format!(
                    "--codename {value:?}: there is no branch's name before the colon"
                ));
            }
            // The original took `*` to be the same as no branch.
            let branch = branch.filter(|branch| *branch != "*").map(str::to_owned);
            let rule = Rule {
                branch,
                codename: codename.to_owned(),
            };
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        if rules.is_empty() {
            rules.push(Rule {
                branch: None,
                codename: DEFAULT_CODENAME.to_owned(),
            });
        }
        Ok(Self { rules })
    }

    /// The codenames of a branch: those of every rule that names it, else those of the rules without a branch.
    #[must_use]
    pub fn codenames(&self, branch: &str) -> Vec<&str> {
        let named = |rule: &&Rule| rule.branch.as_ref().is_some_and(|pattern| matches(pattern, branch));
        let unnamed = |rule: &&Rule| rule.branch.is_none();
        let has_named = self.rules.iter().any(|rule| named(&rule));
        let rules = self
            .rules
            .iter()
            .filter(|rule| if has_named { named(rule) } else { unnamed(rule) });
        distinct(rules)
    }

    /// Every codename there is.
    #[must_use]
    pub fn all_codenames(&self) -> Vec<&str> {
        distinct(self.rules.iter())
    }
}

fn distinct<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<&'a str> {
    let mut codenames = Vec::new();
    for rule in rules {
        if !codenames.contains(&rule.codename.as_str()) {
            codenames.push(rule.codename.as_str());
        }
    }
    codenames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping<const N: usize>(values: [&str; N]) -> Mapping {
        Mapping::parse(&values.map(str::to_owned)).unwrap()
    }

    #[test]
    fn without_any_codename_every_branch_is_stable() {
        assert_eq!(mapping([]).codenames("anything"), ["stable"]);
    }

    #[test]
    fn a_codename_without_a_branch_takes_the_branches_that_no_other_names() {
        let mapping = mapping(["unstable:sid", "bookworm"]);
        assert_eq!(mapping.codenames("unstable"), ["sid"]);
        assert_eq!(mapping.codenames("master"), ["bookworm"]);
        assert_eq!(mapping.all_codenames(), ["sid", "bookworm"]);
    }

    #[test]
    fn branches_match_whole() {
        let mapping = mapping(["stable:bookworm"]);
        assert_eq!(mapping.codenames("stable"), ["bookworm"]);
        for branch in ["stable-2", "unstable", "old/stable", "stabl", ""] {
            assert_eq!(mapping.codenames(branch), Vec::<&str>::new(), "{branch}");
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        let mapping = mapping(["release/*:stable", "debian/*/main:sid"]);
        assert_eq!(mapping.codenames("release/1.0"), ["stable"]);
        assert_eq!(mapping.codenames("debian/x/main"), ["sid"]);
        assert_eq!(mapping.codenames("my/release/1.0"), Vec::<&str>::new());
    }

    #[test]
    fn several_branches_share_a_codename_and_a_branch_has_several() {
        let mapping = mapping(["main:sid", "next:sid", "main:trixie", "main:sid", "*:rest"]);
        assert_eq!(mapping.codenames("main"), ["sid", "trixie"]);
        assert_eq!(mapping.codenames("next"), ["sid"]);
        assert_eq!(mapping.codenames("other"), ["rest"]);
    }

    #[test]
    fn bad_values_are_named() {
        for value in [
            "",
            ":",
            "a:",
            ":a",
            "a:b:c",
            "a/b",
            "main:../..",
            "main:a b",
            "x\nOrigin:y",
        ] {
            let error = Mapping::parse(&[value.to_owned()]).unwrap_err();
            assert!(error.starts_with(&format!("--codename {value:?}")), "{error}");
        }
    }
}
