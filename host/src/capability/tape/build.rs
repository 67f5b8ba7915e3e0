//! What a bot has built.

use serde::{Deserialize, Serialize};

use super::world::{Content, Exchange, Reel, World};

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
