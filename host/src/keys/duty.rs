//! What a host may say: its duties (`docs/adr/0024-who-may-say-what.md`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One thing that a host may say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// Commits, on `commits`.
    Watch,
    /// Builds, on `builds`.
    Build,
    /// Signed packages, on `signs`.
    Sign,
    /// Publications, on `dists`.
    Publish,
    /// What an operator asks for, on `control` and `jobs`.
    Operate,
    /// Everything.
    All,
    /// Events of a type on a topic: what another topology or other bots need.
    Extra {
        /// CloudEvents type; with a final `*`, all types that begin with what is before it.
        event_type: String,
        /// Topic without prefix, with wildcards as MQTT 5 has them (section 4.7.1).
        topic: String,
    },
}

/// The text is not the name of a duty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not a duty: write watch, build, sign, publish, operate, head (watch, sign and publish), builder (build), \
     all, or TYPE@TOPIC such as foundry.build.v1@builds-2"
)]
pub struct NotADuty {
    /// What was given.
    pub text: String,
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watch => f.write_str("watch"),
            Self::Build => f.write_str("build"),
            Self::Sign => f.write_str("sign"),
            Self::Publish => f.write_str("publish"),
            Self::Operate => f.write_str("operate"),
            Self::All => f.write_str("all"),
            Self::Extra { event_type, topic } => write!(f, "{event_type}@{topic}"),
        }
    }
}

impl FromStr for Duty {
    type Err = NotADuty;

    fn from_str(text: &str) -> Result<Self, NotADuty> {
        match text {
            "watch" => Ok(Self::Watch),
            "build" => Ok(Self::Build),
            "sign" => Ok(Self::Sign),
            "publish" => Ok(Self::Publish),
            "operate" => Ok(Self::Operate),
            "all" => Ok(Self::All),
            other => extra(other).ok_or_else(|| NotADuty { text: text.to_owned() }),
        }
    }
}

fn extra(text: &str) -> Option<Duty> {
    let (event_type, topic) = text.split_once('@')?;
    let stem = event_type.strip_suffix('*').unwrap_or(event_type);
    let is_type = !event_type.is_empty() && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    (is_type && is_filter(topic)).then(|| Duty::Extra {
        event_type: event_type.to_owned(),
        topic: topic.to_owned(),
    })
}

/// MQTT 5, section 4.7.1: wildcards have a level of their own, and `#` is the last. Topics of the broker (`$…`) are no
/// topics of hosts, and a comma separates duties.
fn is_filter(topic: &str) -> bool {
    let mut levels = topic.split('/').peekable();
    let mut fits = !topic.is_empty() && !topic.starts_with('$') && !topic.contains(['\0', ',', ' ']);
    while let Some(level) = levels.next() {
        fits &= !level.contains(['+', '#']) || level == "+" || (level == "#" && levels.peek().is_none());
    }
    fits
}

/// All that a host may say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Duties(BTreeSet<Duty>);

impl Duties {
    /// Everything: a host's own key.
    #[must_use]
    pub fn all() -> Self {
        Self(BTreeSet::from([Duty::All]))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one is among them.
    #[must_use]
    pub fn contains(&self, duty: &Duty) -> bool {
        self.0.contains(duty)
    }

    /// One after the other, in the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &Duty> {
        self.0.iter()
    }
}

impl FromIterator<Duty> for Duties {
    fn from_iter<I: IntoIterator<Item = Duty>>(duties: I) -> Self {
        Self(duties.into_iter().collect())
    }
}

impl FromIterator<Duties> for Duties {
    fn from_iter<I: IntoIterator<Item = Duties>>(lists: I) -> Self {
        lists.into_iter().flat_map(|list| list.0).collect()
    }
}

/// As they are given on the command line: `watch,sign`.
impl fmt::Display for Duties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(","))
    }
}

/// Duties separated by commas, or the words `head` and `builder`, which stand for some.
impl FromStr for Duties {
    type Err = NotADuty;

    fn from_str(text: &str) -> Result<Self, NotADuty> {
        let word = |word: &str| match word {
            "head" => Ok(Self::from_iter([Duty::Watch, Duty::Sign, Duty::Publish])),
            "builder" => Ok(Self::from_iter([Duty::Build])),
            word => word.parse().map(|duty: Duty| Self::from_iter([duty])),
        };
        text.split(',').map(word).collect()
    }
}

impl Serialize for Duties {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Duties {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        let duties: Result<Self, NotADuty> = words.iter().map(|word| word.parse::<Duty>()).collect();
        duties.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duties(text: &str) -> String {
        text.parse::<Duties>().unwrap().to_string()
    }

    #[test]
    fn words_stand_for_lists() {
        assert_eq!(duties("head"), "watch,sign,publish");
        assert_eq!(duties("builder"), "build");
        assert_eq!(duties("sign,watch,sign"), "watch,sign");
        assert_eq!(
            duties("foundry.build.v1@builds-2,build"),
            "build,foundry.build.v1@builds-2"
        );
        assert_eq!(duties("lint.*@reports/#"), "lint.*@reports/#");
    }

    #[test]
    fn what_is_no_duty_is_named() {
        for bad in [
            "", "Sign", "sign,", "sign ", "x@", "@x", "a*b@x", "x@a/#/b", "x@a+", "x@$SYS/x", "a b@x", "x@a b",
        ] {
            let error = bad.parse::<Duties>().unwrap_err().to_string();
            assert!(error.contains("TYPE@TOPIC"), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_file_has_them_as_a_list_of_words() {
        let written = serde_json::to_string(&"head,x.*@y/+".parse::<Duties>().unwrap()).unwrap();
        assert_eq!(written, r#"["watch","sign","publish","x.*@y/+"]"#);
        let read: Duties = serde_json::from_str(&written).unwrap();
        assert_eq!(read.to_string(), "watch,sign,publish,x.*@y/+");
        assert!(serde_json::from_str::<Duties>(r#"["rule"]"#).is_err());
    }
}
