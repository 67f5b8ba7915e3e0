//! The file of a recorded world: questions of a bot to what is outside of it, and the answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Build, Checkout, Http, Mail, Refs};

/// Marks bytes that are no text.
const BINARY: &str = "base64:";

/// All that was asked, in its order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct World {
    /// Refs of git repositories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<Exchange<Refs>>,
    /// Commits that were checked out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checkouts: Vec<Exchange<Checkout>>,
    /// Package builds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<Exchange<Build>>,
    /// HTTP requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<Exchange<Http>>,
    /// Mails.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mails: Vec<Exchange<Mail>>,
    /// What the clock showed, reading by reading.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clock: Vec<Reading>,
}

/// A time that the clock showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reading(#[serde(with = "time::serde::rfc3339")] pub OffsetDateTime);

impl World {
    /// A file of a commit that was checked out before.
    pub(crate) fn add_file(&mut self, commit: &str, path: String, content: Content) {
        let trees = self.checkouts.iter_mut().rev();
        for exchange in trees.filter(|exchange| exchange.asked.commit == commit) {
            if let Answer::Answer(tree) = &mut exchange.answer {
                tree.files.insert(path, content);
                return;
            }
        }
    }
}

/// A kind of question, and what its answers are.
pub trait Reel: Sized {
    /// For messages: what is asked.
    const WHAT: &'static str;
    /// The question. Equal questions have the same answers, in their order.
    type Asked: std::fmt::Debug + Clone + PartialEq + Serialize;
    /// The answer.
    type Answer: std::fmt::Debug + Clone + PartialEq;
    /// Why there is none.
    type Error: std::fmt::Debug + Clone + PartialEq;

    /// Where a world keeps them.
    fn of(world: &mut World) -> &mut Vec<Exchange<Self>>;
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "R::Asked: Serialize, R::Answer: Serialize, R::Error: Serialize",
    deserialize = "R::Asked: Deserialize<'de>, R::Answer: Deserialize<'de>, R::Error: Deserialize<'de>"
))]
pub struct Exchange<R: Reel> {
    /// The question.
    pub asked: R::Asked,
    /// What came of it.
    #[serde(flatten)]
    pub answer: Answer<R::Answer, R::Error>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<A, E> {
    /// The answer.
    Answer(A),
    /// Why there was none.
    Error(E),
}

/// Bytes: a text as it is, anything else as base64 after `base64:`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Content(pub Vec<u8>);

impl TryFrom<String> for Content {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_prefix(BINARY) {
            Some(encoded) => BASE64.decode(encoded).map(Self),
            None => Ok(Self(text.into_bytes())),
        }
    }
}

impl From<Content> for String {
    fn from(content: Content) -> Self {
        match String::from_utf8(content.0) {
            Ok(text) if !text.starts_with(BINARY) => text,
            Ok(text) => format!("{BINARY}{}", BASE64.encode(text)),
            Err(error) => format!("{BINARY}{}", BASE64.encode(error.as_bytes())),
        }
    }
}

impl Content {
    /// Whether there are no bytes.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
