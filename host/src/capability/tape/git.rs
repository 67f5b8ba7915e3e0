//! What a bot asks of git repositories.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::world::{Content, Exchange, Reel, World};

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
