//! The file of a recorded world: questions of a bot to what is outside of its host, and the answers.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

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
}

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

/// What a repository's refs are.
#[derive(Debug, Clone, PartialEq)]
pub struct Refs;

/// A repository, as the bot names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its URL.
    pub url: String,
}

/// Why git could not do it: the contract's `git.error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GitFailure {
    /// No such repository.
    NotFound(String),
    /// No such branch or commit.
    NoSuchRef(String),
    /// Too slow.
    TimedOut(String),
    /// Malformed.
    BadRequest(String),
    /// The network, the server.
    Unavailable(String),
}

impl Reel for Refs {
    const WHAT: &'static str = "refs";
    type Asked = Repository;
    /// Commits by the refs' full names.
    type Answer = BTreeMap<String, String>;
    type Error = GitFailure;

    fn of(world: &mut World) -> &mut Vec<Exchange<Self>> {
        &mut world.refs
    }
}

/// A commit that is checked out.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkout;

/// Which commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// The repository.
    pub url: String,
    /// The branch that it is on.
    pub branch: String,
    /// Its id.
    pub commit: String,
}

/// The tree of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub struct Tree {
    /// Committer's time, seconds since 1970.
    pub time: u64,
    /// Author.
    pub author: String,
    /// First line of the message.
    pub summary: String,
    /// Who signed it.
    pub signature: Signed,
    /// The files that were read. Others are not there.
    pub files: BTreeMap<String, Content>,
}

/// Who signed a commit: the contract's `git.signature`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signed {
    /// Nobody.
    #[default]
    Unsigned,
    /// A trusted key; its fingerprint.
    Trusted(String),
    /// Another key, or not validly; why.
    Untrusted(String),
}

impl Reel for Checkout {
    const WHAT: &'static str = "checkout";
    type Asked = Commit;
    type Answer = Tree;
    type Error = GitFailure;

    fn of(world: &mut World) -> &mut Vec<Exchange<Self>> {
        &mut world.checkouts
    }
}

/// A package build.
#[derive(Debug, Clone, PartialEq)]
pub struct Build;

/// What is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildAsked {
    /// The commit's id.
    pub commit: String,
    /// Which packages: the contract's `build.kind`.
    pub kind: String,
    /// The suite, if the bot names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The architecture, if the bot names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Built {
    /// Source package.
    pub source: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub architecture: String,
    /// What it made.
    pub artifacts: Vec<BuiltFile>,
    /// Its log.
    pub log: BuiltFile,
    /// How long it took.
    #[serde(default)]
    pub duration_ms: u64,
}

/// A file that a build made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BuiltFile {
    /// Plain file name.
    pub name: String,
    /// Media type.
    #[serde(default = "octets")]
    pub media_type: String,
    /// Its bytes.
    pub content: Content,
}

fn octets() -> String {
    "application/octet-stream".to_owned()
}

/// Why there is no package: the contract's `build.error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildFailure {
    /// The package doesn't build.
    Failed(FailedBuild),
    /// The host can't build now.
    Unavailable(String),
}

/// A build that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FailedBuild {
    /// Where: `build`, `dependencies`, `time`.
    pub phase: String,
    /// What went wrong.
    pub reason: String,
    /// The last lines of the log.
    #[serde(default)]
    pub log_tail: Vec<String>,
    /// The log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<BuiltFile>,
}

impl Reel for Build {
    const WHAT: &'static str = "build";
    type Asked = BuildAsked;
    type Answer = Built;
    type Error = BuildFailure;

    fn of(world: &mut World) -> &mut Vec<Exchange<Self>> {
        &mut world.builds
    }
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq)]
pub struct Http;

/// What is requested. Header fields are left out: they are where the secrets are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpAsked {
    /// Method.
    pub method: String,
    /// URL.
    pub url: String,
    /// Body; left out if it is empty.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub body: Content,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Header fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Body.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub body: Content,
}

fn is_empty(content: &Content) -> bool {
    content.0.is_empty()
}

/// Why there is no answer: the contract's `http.error`. What isn't granted is never asked, and so never recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpFailure {
    /// A redirect, or the address that a name has, isn't granted.
    NotGranted(String),
    /// Malformed.
    BadRequest(String),
    /// Too slow.
    TimedOut,
    /// Too large.
    TooLarge,
    /// The network or the server.
    Unavailable(String),
}

impl Reel for Http {
    const WHAT: &'static str = "HTTP request";
    type Asked = HttpAsked;
    type Answer = HttpAnswer;
    type Error = HttpFailure;

    fn of(world: &mut World) -> &mut Vec<Exchange<Self>> {
        &mut world.http
    }
}

/// A mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Mail;

/// What is sent, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailAsked {
    /// Recipients.
    pub to: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Text.
    pub text: String,
}

/// Why a mail was not sent: the contract's `mail.error`. What isn't granted or malformed never gets as far as here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailFailure {
    /// The bot has sent its share; seconds until it may send another.
    TooMany(u32),
    /// The server refuses an address: the address, and what it said.
    RefusedAddress(String, String),
    /// The server refuses the mail.
    Refused(String),
    /// The server refuses it for now.
    TryLater(String),
    /// No server, or it can't be reached.
    Unavailable(String),
}

impl Reel for Mail {
    const WHAT: &'static str = "mail";
    type Asked = MailAsked;
    /// What the server said when it took the mail.
    type Answer = String;
    type Error = MailFailure;

    fn of(world: &mut World) -> &mut Vec<Exchange<Self>> {
        &mut world.mails
    }
}
