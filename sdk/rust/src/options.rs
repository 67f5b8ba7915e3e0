//! The options that the operator gave, or their defaults.

use crate::bindings::foundry::bot::config;

/// All values of an option.
#[must_use]
pub fn all(name: &str) -> Vec<String> {
    config::get(name)
}

/// The first value of an option.
#[must_use]
pub fn one(name: &str) -> Option<String> {
    config::get(name).into_iter().next()
}

/// Whether a flag was given.
#[must_use]
pub fn flag(name: &str) -> bool {
    one(name).is_some_and(|value| value == "true")
}

/// Whether a name is among an option's values, which may hold `*` for any text. No value at all allows every name.
#[must_use]
pub fn allows(option: &str, name: &str) -> bool {
    let patterns = all(option);
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
}

/// Whether a pattern with `*` for any text matches all of a name: `stable` does not match `stable-2`.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| rest.get(at..).is_some_and(|rest| matches(tail, rest)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        assert!(matches("stable", "stable"));
        assert!(!matches("stable", "stable-2"));
        assert!(!matches("stable", "unstable"));
        assert!(matches("release/*", "release/1.0"));
        assert!(matches("*", ""));
        assert!(matches("a*c*e", "abcde"));
        assert!(!matches("a*c*e", "abcdef"));
    }
}
