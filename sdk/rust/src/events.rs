//! The pipeline's events, typed. Their JSON Schemas are in `wit/schemas/`.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Event, Message, bindings::foundry::bot::types};

/// Data of an event: a type with a CloudEvents type and a usual topic.
pub trait EventData: Serialize + DeserializeOwned {
    /// CloudEvents type.
    const TYPE: &'static str;
    /// Usual topic.
    const TOPIC: &'static str;

    /// The data of a message of this type.
    ///
    /// # Errors
    /// A sentence that says what else the message is.
    fn of(message: &Message) -> Result<Self, String> {
        if message.event_type != Self::TYPE {
            return Err(format!("a message of type {}, not {}", message.event_type, Self::TYPE));
        }
        serde_json::from_str(&message.data).map_err(|e| format!("unreadable {}: {e}", Self::TYPE))
    }

    /// An event with this data, for its usual topic.
    fn event(&self, subject: impl Into<String>) -> Event<'_, Self> {
        Event {
            topic: Self::TOPIC,
            event_type: Self::TYPE,
            subject: Some(subject.into()),
            data: self,
            key: None,
        }
    }
}

/// A file, by reference into the artifact store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Plain file name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Media type.
    pub media_type: String,
}

impl From<types::Artifact> for Artifact {
    fn from(a: types::Artifact) -> Self {
        Self {
            name: a.name,
            size: a.size,
            sha256: a.sha256,
            media_type: a.media_type,
        }
    }
}

impl From<Artifact> for types::Artifact {
    fn from(a: Artifact) -> Self {
        Self {
            name: a.name,
            size: a.size,
            sha256: a.sha256,
            media_type: a.media_type,
        }
    }
}

/// `foundry.commit.v1`: a commit was seen on a watched branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// URL or path of the repository.
    pub repository: String,
    /// Branch that the commit was seen on.
    pub branch: String,
    /// The commit's id.
    #[serde(rename = "ref")]
    pub commit: String,
}

/// `foundry.build.v1`: a commit's packages were built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// Where it comes from.
    #[serde(flatten)]
    pub commit: Commit,
    /// Source package.
    pub source: String,
    /// Version of the source package.
    pub version: String,
    /// Architecture of the machine that built.
    pub architecture: String,
    /// The packages, and the files that describe them.
    pub artifacts: Vec<Artifact>,
    /// The build's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Artifact>,
    /// Milliseconds that it took.
    #[serde(default)]
    pub duration_ms: u64,
}

/// `foundry.sign.v1`: a build's packages were signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// Where it comes from.
    #[serde(flatten)]
    pub commit: Commit,
    /// Source package.
    pub source: String,
    /// Version of the source package.
    pub version: String,
    /// Architecture of the machine that built.
    pub architecture: String,
    /// Fingerprint of the key.
    pub key: String,
    /// The signed copies.
    pub artifacts: Vec<Artifact>,
    /// A clear-signed text that names these files, by the same key: [`statement`](crate::statement). Events of earlier
    /// releases have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// A binary package in a [`Dist`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Its architecture; `all` is one.
    pub architecture: String,
}

/// A file in a [`Dist`] that stayed as it was published first, though this build of the same source has other bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Plain file name.
    pub name: String,
    /// SHA-256 of the published file, lower-case hex.
    pub published: String,
    /// SHA-256 of this build's file, which is not published.
    pub offered: String,
}

/// `foundry.dist.v1`: a commit's packages were published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dist {
    /// Where it comes from.
    #[serde(flatten)]
    pub commit: Commit,
    /// The APT repository's name.
    pub name: String,
    /// Codename.
    pub distribution: String,
    /// Source package.
    pub source: String,
    /// Version of the source package.
    pub version: String,
    /// Binary packages; the first of them, if there are so many that an event can't name them all.
    pub packages: Vec<Package>,
    /// How many binary packages aren't named.
    #[serde(default, rename = "omittedPackages", skip_serializing_if = "is_zero")]
    pub omitted_packages: usize,
    /// The published files; the first of them, likewise.
    pub artifacts: Vec<Artifact>,
    /// How many files aren't named.
    #[serde(default, rename = "omittedArtifacts", skip_serializing_if = "is_zero")]
    pub omitted_artifacts: usize,
    /// Files that stayed as they were published before; the first of them, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
    /// How many such files aren't named.
    #[serde(default, rename = "omittedKept", skip_serializing_if = "is_zero")]
    pub omitted_kept: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// `foundry.failure.v1`: a bot could not do its part for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Where the run comes from.
    #[serde(flatten)]
    pub commit: Option<Commit>,
    /// What failed: `build`, `sign`, `dist`.
    pub stage: String,
    /// Where in the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What went wrong, in a line.
    pub reason: String,
    /// The last lines of the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// The whole log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Artifact>,
}

macro_rules! event_data {
    ($($type:ty: $name:literal on $topic:literal,)*) => {
        $(impl EventData for $type {
            const TYPE: &'static str = $name;
            const TOPIC: &'static str = $topic;
        })*
    };
}

event_data! {
    Commit: "foundry.commit.v1" on "commits",
    Build: "foundry.build.v1" on "builds",
    Sign: "foundry.sign.v1" on "signs",
    Dist: "foundry.dist.v1" on "dists",
    Failure: "foundry.failure.v1" on "failures",
}
