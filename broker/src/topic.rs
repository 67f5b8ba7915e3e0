//! Topic names and topic filters: what is valid, what matches what, and how a shared filter is read.
//!
//! Everything a client names passes through here before it reaches any table, so the rest of the broker may
//! rely on [`TopicName`] and [`TopicFilter`] being well-formed.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// More levels than any sane hierarchy has. Matching costs one step a level, so there is a bound.
const MAX_LEVELS: usize = 128;

/// Why a topic name or filter was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Names and filters are at least one character long.
    #[error("is empty")]
    Empty,
    /// The MQTT string type is limited to 65,535 bytes.
    #[error("is longer than 65,535 bytes")]
    TooLong,
    /// More than 128 levels.
    #[error("has more than {MAX_LEVELS} levels")]
    TooDeep,
    /// U+0000 is forbidden in MQTT strings.
    #[error("contains U+0000")]
    Nul,
    /// `+` or `#` in the topic of a PUBLISH.
    #[error("contains a wildcard")]
    Wildcard,
    /// `+` or `#` that is not a whole level, or `#` that is not the last one.
    #[error("has a wildcard that is not a level of its own")]
    MisplacedWildcard,
    /// `$share/GROUP/FILTER` without group or filter, or with a wildcard in the group.
    #[error("is not of the form $share/GROUP/FILTER")]
    BadShare,
}

fn check_common(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > usize::from(u16::MAX) {
        return Err(TopicError::TooLong);
    }
    let mut levels = 1;
    for byte in text.bytes() {
        match byte {
            0 => return Err(TopicError::Nul),
            b'/' => levels += 1,
            _ => {}
        }
    }
    if levels > MAX_LEVELS {
        return Err(TopicError::TooDeep);
    }
    Ok(())
}

/// A topic that a message can be published to: no wildcards.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks `text` and takes it as a topic name.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        check_common(text)?;
        if text.contains(['+', '#']) {
            return Err(TopicError::Wildcard);
        }
        Ok(Self(text.into()))
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A filter that topics are matched against.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks `text` and takes it as a filter. `$share/…` is not read here: see [`Subscribable::parse`].
    pub fn new(text: &str) -> Result<Self, TopicError> {
        check_common(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let alone = level.len() == 1;
            if level.contains('+') && !alone {
                return Err(TopicError::MisplacedWildcard);
            }
            if level.contains('#') && (!alone || levels.peek().is_some()) {
                return Err(TopicError::MisplacedWildcard);
            }
        }
        Ok(Self(text.into()))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does this filter match every topic that `other` matches?
    pub fn covers(&self, other: &Self) -> bool {
        if other.0.starts_with('$') && !self.0.starts_with('$') {
            return false;
        }
        let mut theirs = other.0.split('/');
        for level in self.0.split('/') {
            if level == "#" {
                return true;
            }
            match theirs.next() {
                Some("#") | None => return false,
                Some(their) if level == "+" || level == their => {}
                Some(_) => return false,
            }
        }
        theirs.next().is_none()
    }

    /// Does a message on `topic` belong to this filter?
    pub fn matches(&self, topic: &TopicName) -> bool {
        matches(&self.0, topic.as_str())
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The matching rule of MQTT section 4.7, on filters and topics already known to be valid.
fn matches(filter: &str, topic: &str) -> bool {
    // A wildcard in the first level never matches topics that begin with `$` (section 4.7.2).
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match topic.next() {
            Some(name) if level == "+" || level == name => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

/// The key of a group: MQTT says that one group name with two filters is two shared subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey {
    /// GROUP of `$share/GROUP/FILTER`.
    pub name: Arc<str>,
    /// FILTER of `$share/GROUP/FILTER`.
    pub filter: TopicFilter,
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$share/{}/{}", self.name, self.filter)
    }
}

/// What a SUBSCRIBE or UNSUBSCRIBE can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscribable {
    /// An ordinary filter.
    Plain(TopicFilter),
    /// Membership in a group.
    Shared(GroupKey),
}

impl Subscribable {
    /// Reads a filter as SUBSCRIBE and UNSUBSCRIBE carry it.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let Some(shared) = text.strip_prefix("$share/") else {
            if text == "$share" {
                return Err(TopicError::BadShare);
            }
            return TopicFilter::new(text).map(Self::Plain);
        };
        check_common(text)?;
        let (name, filter) = shared.split_once('/').ok_or(TopicError::BadShare)?;
        if name.is_empty() || filter.is_empty() || name.contains(['+', '#']) {
            return Err(TopicError::BadShare);
        }
        Ok(Self::Shared(GroupKey {
            name: name.into(),
            filter: TopicFilter::new(filter)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hit(filter: &str, topic: &str) -> bool {
        TopicFilter::new(filter)
            .unwrap()
            .matches(&TopicName::new(topic).unwrap())
    }

    #[test]
    fn the_examples_of_section_4_7_match_as_it_says() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/#", "sport", true),
            ("#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("é/+", "é/a", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
        ] {
            assert_eq!(hit(filter, topic), expected, "{filter} against {topic}");
        }
    }

    proptest! {
        #[test]
        fn a_filter_that_covers_another_matches_all_its_topics(
            wide in prop::collection::vec(prop::sample::select(vec!["a", "b", "+", "$x"]), 1..4),
            narrow in prop::collection::vec(prop::sample::select(vec!["a", "b", "+", "$x"]), 1..4),
            name in prop::collection::vec(prop::sample::select(vec!["a", "b", "$x"]), 1..5),
            ends in (any::<bool>(), any::<bool>()),
        ) {
            let filter = |levels: &[&str], open: bool| {
                TopicFilter::new(&[levels.join("/"), if open { "/#".to_owned() } else { String::new() }].concat()).unwrap()
            };
            let (wide, narrow) = (filter(&wide, ends.0), filter(&narrow, ends.1));
            let name = TopicName::new(&name.join("/")).unwrap();
            if wide.covers(&narrow) && narrow.matches(&name) {
                prop_assert!(wide.matches(&name), "{wide} {narrow} {name}");
            }
        }
    }

    #[test]
    fn coverage_is_not_granted_too_widely() {
        let covers = |a: &str, b: &str| TopicFilter::new(a).unwrap().covers(&TopicFilter::new(b).unwrap());
        for (wide, narrow, expected) in [
            ("#", "a/#", true),
            ("a/#", "a", true),
            ("a/#", "a/+/c", true),
            ("a/+", "a/b", true),
            ("a/b", "a/b", true),
            ("a/#", "#", false),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("#", "$SYS/#", false),
            ("+/b", "a/+", false),
        ] {
            assert_eq!(covers(wide, narrow), expected, "{wide} covers {narrow}");
        }
    }

    #[test]
    fn bad_names_and_filters_are_refused_with_their_reason() {
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(TopicName::new("a/+"), Err(TopicError::Wildcard));
        assert_eq!(TopicName::new("a\0b"), Err(TopicError::Nul));
        assert_eq!(TopicName::new(&"x".repeat(65_536)), Err(TopicError::TooLong));
        assert_eq!(TopicName::new(&"/".repeat(200)), Err(TopicError::TooDeep));
        for bad in ["a+", "a/b+/c", "#/a", "a#", "a/#/b", "+#"] {
            assert_eq!(TopicFilter::new(bad), Err(TopicError::MisplacedWildcard), "{bad}");
        }
        for bad in ["$share", "$share/g", "$share//a", "$share/g/", "$share/g+/a"] {
            assert_eq!(Subscribable::parse(bad), Err(TopicError::BadShare), "{bad}");
        }
        assert_eq!(
            Subscribable::parse("$share/g/a/#/b"),
            Err(TopicError::MisplacedWildcard)
        );
    }

    #[test]
    fn a_shared_filter_names_group_and_filter() {
        let Subscribable::Shared(key) = Subscribable::parse("$share/pub/foundry/#").unwrap() else {
            panic!("not shared");
        };
        assert_eq!((&*key.name, key.filter.as_str()), ("pub", "foundry/#"));
        assert_eq!(key.to_string(), "$share/pub/foundry/#");
    }
}
