//! Texts in which `*` stands for any text.

/// A text in which each `*` stands for any text, the empty one included. Everything else stands for itself.
///
/// Matching takes time in proportion to the lengths of both: the parts between the stars are looked for from left to right, each
/// once, and the first place where a part fits is as good as any later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// What is between the stars: never empty, and one part alone if there is no star.
    parts: Vec<String>,
}

impl Glob {
    /// Read a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            parts: text.split('*').map(ToOwned::to_owned).collect(),
        }
    }

    /// The pattern of one text, whose stars stand for themselves.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self {
            parts: vec![text.to_owned()],
        }
    }

    /// Whether a text matches as a whole.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, others)) = self.parts.split_first() else {
            return false;
        };
        let Some(rest) = text.strip_prefix(first.as_str()) else {
            return false;
        };
        match others.split_last() {
            None => rest.is_empty(),
            Some((last, middle)) => after_all(rest, middle).is_some_and(|rest| rest.ends_with(last.as_str())),
        }
    }
}

/// What follows the parts in a text that has them in this order.
fn after_all<'t>(text: &'t str, parts: &[String]) -> Option<&'t str> {
    parts
        .iter()
        .try_fold(text, |rest, part| rest.split_once(part.as_str()).map(|(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_a_star_matches_itself_only() {
        let pattern = Glob::new("/a.git");
        assert!(pattern.matches("/a.git"));
        assert!(!pattern.matches("/a.git/../b.git"));
        assert!(!pattern.matches("/a"));
    }

    #[test]
    fn stars_match_any_text_and_the_rest_is_anchored() {
        assert!(Glob::new("*").matches(""));
        assert!(Glob::new("a*b").matches("ab"));
        assert!(!Glob::new("a*ba").matches("aba_"));
        assert!(!Glob::new("ab*ba").matches("aba"), "no character counts twice");
        assert!(Glob::new("/*/x/*.git").matches("/team/x/y.git"));
        assert!(!Glob::new("/*/x/*.git").matches("/team/y.git"));
        assert!(Glob::new("a**b").matches("a-b"));
    }

    #[test]
    fn a_literal_has_no_stars() {
        assert!(Glob::literal("a*b").matches("a*b"));
        assert!(!Glob::literal("a*b").matches("a-b"));
    }
}
