//! Which package sources builds may take packages from, beyond the machine's own.
//!
//! A grant is written as a line of `sources.list` is, with stars: `https://apt.example.org/* trixie main`. Scheme, host, port
//! and path are compared as [`reach`](crate::reach) compares them, suites and components each by itself. What weakens or moves
//! the check of signatures (`trusted=yes`, `allow-insecure=yes`, `signed-by=…`) is covered only where the grant has it too.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::apt::Source;
use crate::reach::{Addresses, BadPattern, Glob, Permits, WebPattern};

/// The longest text of a source that is looked at, in bytes. One may hold a key.
const LONGEST: usize = 64 << 10;

/// Options that only choose among what is signed, in lower case. All others are named by a grant: an option that a later apt
/// brings may switch off what is checked.
const FREE: [&str; 7] = [
    "architectures",
    "languages",
    "targets",
    "pdiffs",
    "by-hash",
    "description",
    "x-repolib-name",
];

/// Package sources that builds may use beyond the machine's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct SourceGrant {
    text: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// One source, as the operator wrote it himself for a stock bot. Nothing in it is a star.
    Written(Box<Source>),
    /// Nothing: the text of a source that can't be written as a pattern, where it is only shown.
    Shown,
    /// All that fit.
    Fitting {
        uri: WebPattern,
        /// None: all.
        suite: Option<Glob>,
        /// None given: all, and sources without any.
        components: Vec<Glob>,
        /// Name in lower case, and value.
        options: Vec<(String, String)>,
    },
}

/// Why a text grants no package sources.
#[derive(Debug, thiserror::Error)]
pub enum BadSourceGrant {
    /// It has not the form.
    #[error("it is not `[OPTIONS] URI SUITE COMPONENT...` in one line")]
    Form,
    /// Its URI is no pattern.
    #[error("{uri}: {why}")]
    Uri {
        /// The URI.
        uri: String,
        /// What is wrong with it.
        why: BadPattern,
    },
}

/// Why builds may not use a package source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceRefusal {
    /// It is none.
    #[error("{0}")]
    Malformed(String),
    /// No grant covers its place, suite or components.
    #[error("the package source {0} is not granted to this bot (add --allow-apt '{0}')")]
    Place(String),
    /// A grant covers all but an option.
    #[error(
        "the option {option} of the package source {source_line} is not granted to this bot (add --allow-apt '[{option}] {source_line}')"
    )]
    Option {
        /// `trusted=yes`.
        option: String,
        /// The source without it.
        source_line: String,
    },
}

impl SourceGrant {
    /// Exactly what the operator wrote as an option of a stock bot. `None` if it is no source: a build says what is wrong.
    #[must_use]
    pub fn written(text: &str) -> Option<Self> {
        let source = checked(text).ok()?;
        let text = line(&source, |_| true);
        Some(Self {
            text,
            what: What::Written(Box::new(source)),
        })
    }

    /// Where a source may lead, or what of it is beyond this grant.
    fn admit(&self, source: &Source) -> Result<Addresses, Lack> {
        match &self.what {
            What::Written(own) if **own == *source => Ok(Addresses::Named),
            What::Written(_) | What::Shown => Err(Lack::Place),
            What::Fitting {
                uri,
                suite,
                components,
                options,
            } => {
                let permits = Permits::from(std::slice::from_ref(uri));
                let places = source.uris().iter().map(|uri| permits.admit_landing(&plain_url(uri)?));
                let reached = places.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
                let fits = source
                    .suites()
                    .iter()
                    .all(|one| stays(one) && suite.as_ref().is_none_or(|suite| suite.matches(one)))
                    && fit(components, source.components());
                let addresses = reached.filter(|_| fits).ok_or(Lack::Place)?;
                match weighty(source).find(|asked| !options.contains(asked)) {
                    Some((name, value)) => Err(Lack::Option(format!("{name}={value}"))),
                    None => Ok(addresses),
                }
            }
        }
    }
}

/// What one grant has not.
#[derive(Debug)]
enum Lack {
    Place,
    Option(String),
}

/// Compares a package source with all grants, and says where it may lead.
///
/// # Errors
/// [`SourceRefusal`], with the option that would grant it.
pub(super) fn admit(grants: &[SourceGrant], text: &str) -> Result<(Source, Addresses), SourceRefusal> {
    let source = checked(text).map_err(SourceRefusal::Malformed)?;
    let (mut admitted, mut option) = (None, None);
    for grant in grants {
        match grant.admit(&source) {
            Ok(addresses) => admitted = admitted.max(Some(addresses)),
            Err(Lack::Option(one)) => option = Some(one),
            Err(Lack::Place) => {}
        }
    }
    match (admitted, option) {
        (Some(addresses), _) => Ok((source, addresses)),
        (None, Some(option)) => Err(SourceRefusal::Option {
            option,
            source_line: line(&source, |_| false),
        }),
        (None, None) => Err(SourceRefusal::Place(line(&source, |name| !FREE.contains(&name)))),
    }
}

/// A source of which apt reads what is read here.
fn checked(text: &str) -> Result<Source, String> {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.len() > LONGEST || !text.chars().all(is_plain) {
        return Err(format!(
            "an APT source has control characters, or more than {LONGEST} bytes"
        ));
    }
    Source::parse(text)
}

/// An option as it is compared. Of files only the one of exactly that name is granted.
fn weighed(name: &str, value: &str) -> (String, String) {
    let (name, value) = (name.to_ascii_lowercase(), value.trim());
    let value = match name.as_str() {
        "signed-by" => value.to_owned(),
        _ => value.to_ascii_lowercase(),
    };
    (name, value)
}

/// Options that weigh: name in lower case, and value.
fn weighty(source: &Source) -> impl Iterator<Item = (String, String)> {
    let all = source.options().iter();
    all.map(|(name, value)| weighed(name, value))
        .filter(|(name, _)| !FREE.contains(&name.as_str()))
}

/// An HTTP(S) URL that apt and the URL standard read as the same one, without a slash at its end. They differ in where an
/// authority ends, and what of it is a user.
fn plain_url(uri: &str) -> Option<Url> {
    let rest = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    let is_path = |c: char| c.is_ascii_graphic() && !"\\?#".contains(c);
    if authority.is_empty() || !authority.chars().all(is_host) || !path.chars().all(is_path) {
        return None;
    }
    Url::parse(uri.trim_end_matches('/')).ok()
}

/// Whether a suite, which becomes a part of the path, stays below its URI.
fn stays(suite: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._+~:/$()".contains(c);
    suite.chars().all(is_plain) && !suite.split('/').any(|part| part == "..")
}

fn fit(granted: &[Glob], asked: &[String]) -> bool {
    let all_fit = asked
        .iter()
        .all(|one| stays(one) && (granted.is_empty() || granted.iter().any(|glob| glob.matches(one))));
    all_fit && (granted.is_empty() || !asked.is_empty())
}

/// A source as a line, for people: with the options that are wanted, without passwords and keys.
fn line(source: &Source, wanted: impl Fn(&str) -> bool) -> String {
    let options: Vec<String> = source
        .options()
        .iter()
        .filter(|(name, _)| wanted(&name.to_ascii_lowercase()))
        .map(|(name, value)| match value.trim() {
            value if value.contains(char::is_whitespace) => format!("{}=…", name.to_ascii_lowercase()),
            value => format!("{}={value}", name.to_ascii_lowercase()),
        })
        .collect();
    let options = match options.is_empty() {
        true => String::new(),
        false => format!("[{}] ", options.join(" ")),
    };
    let uris: Vec<String> = source.uris().iter().map(|uri| without_user(uri)).collect();
    let words = [uris.as_slice(), source.suites(), source.components()].map(|words| words.join(" "));
    let text = format!("{options}{}", words.join(" "));
    // A line that somebody is to copy into a shell.
    text.trim_end().chars().filter(|c| *c != '\'').take(500).collect()
}

fn without_user(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.to_owned();
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

impl FromStr for SourceGrant {
    type Err = BadSourceGrant;

    fn from_str(text: &str) -> Result<Self, BadSourceGrant> {
        if text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(BadSourceGrant::Form);
        }
        let rest = text.trim();
        let rest = rest.strip_prefix("deb ").unwrap_or(rest).trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(BadSourceGrant::Form)?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let uri = words.next().ok_or(BadSourceGrant::Form)?;
        Ok(Self {
            text: text.trim().to_owned(),
            what: What::Fitting {
                uri: uri.parse().map_err(|why| BadSourceGrant::Uri {
                    uri: without_user(uri),
                    why,
                })?,
                suite: words.next().map(Glob::new),
                components: words.map(Glob::new).collect(),
                options: options
                    .split_whitespace()
                    .map(option)
                    .collect::<Option<_>>()
                    .ok_or(BadSourceGrant::Form)?,
            },
        })
    }
}

fn option(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    Some(weighed(name, &value.replace(',', " ")))
}

impl fmt::Display for SourceGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Rights travel as texts between a host and its command line, which shows them.
impl From<String> for SourceGrant {
    fn from(text: String) -> Self {
        text.parse().unwrap_or(Self {
            text,
            what: What::Shown,
        })
    }
}

impl From<SourceGrant> for String {
    fn from(grant: SourceGrant) -> Self {
        grant.text
    }
}
