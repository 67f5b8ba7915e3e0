//! What the command line and a running host say to each other: one JSON object per line over a Unix socket.
//!
//! A connection carries one [`Ask`], and then [`Reply`]s up to one that is the last. How long a request takes is not known
//! to the client: compiling a component, draining a bot and waiting for the broker have limits that the host's configuration
//! sets, or none. So the host says every [`HEARTBEAT`] that it is still at work, and a client gives up when it hears nothing
//! for [`PATIENCE`].

use std::net::SocketAddr;
use std::time::Duration;

use foundry_broker::{BacklogStatus, DeadLetter as GroupDeadLetter, GroupStatus};
use serde::{Deserialize, Serialize};

use super::unread::ShownRun;
pub use crate::bus::Counters;
use crate::bus::{LeftOut, Presence, Sighting};
use crate::capability::LogLine;
use crate::ledger::{DeadLetter, LetterNumber, Size};
use crate::retention::Report;
use crate::supervisor::{BotSpec, BotStatus, DiskStatus, InForce};

/// The version of what is defined here. Both sides come from the same package; when one was upgraded and the other
/// still runs, they find out by this number.
pub const VERSION: u32 = 6;

/// How often a host says that it is still at work on a request.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long a host may say nothing: six heartbeats, since a machine that is overloaded delays them.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Most dead letters in one answer.
pub const MAX_LETTERS: u32 = 1000;

/// Most runs in one answer, each with its events.
pub const MAX_RUNS: u32 = 500;

/// Longest request.
pub const MAX_REQUEST: usize = 1024 * 1024;

/// A request with the version of its sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// What is wanted.
    pub request: Request,
}

/// What can be asked of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Request {
    /// How the host is: [`Answer::Status`].
    Status,
    /// Load a bot, and load it again whenever the host starts: [`Answer::Loaded`].
    Load(Box<BotSpec>),
    /// Load a bot in the place of the one that has its name: [`Answer::Loaded`].
    Replace(Box<BotSpec>),
    /// A bot's rights and limits: [`Answer::InForce`].
    Grants {
        /// Its name.
        bot: String,
    },
    /// Stop a bot, for good: [`Answer::Done`].
    Stop {
        /// Its name.
        bot: String,
        /// Only if it is an instance of this component.
        component: Option<String>,
    },
    /// The bots of all hosts: [`Answer::Bots`].
    List,
    /// Log lines: any number of [`Answer::Line`], then [`Answer::Done`].
    Logs {
        /// A bot, or a run or the beginning of its id; none for all that is said from now on.
        of: Option<String>,
        /// At most so many of the newest.
        lines: usize,
        /// Go on with those to come.
        follow: bool,
    },
    /// Messages as they pass: [`Answer::Watching`], then any number of [`Answer::Sighting`].
    Watch {
        /// Topic filter, without prefix.
        filter: String,
    },
    /// The newest runs: [`Answer::Runs`].
    Runs {
        /// At most so many, and at most [`MAX_RUNS`].
        limit: u32,
        /// Those that are listed after this one, by its whole id; none if it is on record no more.
        after: Option<String>,
    },
    /// One run, with its log's end if it failed: [`Answer::Run`].
    Run {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Messages that were given up, without what they said: [`Answer::DeadLetters`].
    DeadLetters {
        /// At most so many.
        limit: u32,
        /// Those that are listed after this one.
        after: Option<LetterNumber>,
        /// Those of this bot, or of this group.
        of: Option<String>,
    },
    /// One of them, with what it said: [`Answer::DeadLetter`].
    DeadLetter {
        /// Its number.
        number: LetterNumber,
    },
    /// Forget a dead letter: [`Answer::Done`].
    DropDeadLetter {
        /// Its number.
        number: LetterNumber,
    },
    /// Try a dead letter again: [`Answer::Done`].
    RequeueDeadLetter {
        /// Its number.
        number: LetterNumber,
    },
    /// The embedded broker's groups: [`Answer::Groups`].
    Groups,
    /// One group with its oldest dead letters: [`Answer::Group`].
    Group {
        /// `$share/NAME/FILTER`.
        filter: String,
    },
    /// Remove a group with all messages in it: [`Answer::Done`].
    RemoveGroup {
        /// `$share/NAME/FILTER`.
        filter: String,
    },
    /// Keep house now: [`Answer::Collected`].
    Collect {
        /// Only say what would be removed.
        dry_run: bool,
    },
    /// Stop the host: [`Answer::Done`], as soon as it has begun to.
    Shutdown,
}

/// What a host sends back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The request is still being worked on.
    Working,
    /// There is more to come.
    Part(Answer),
    /// This was all.
    Last(Answer),
    /// It didn't work.
    Failed(Failure),
}

/// What a host has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done,
    /// How the host is.
    Status(HostStatus),
    /// A bot that was loaded.
    Loaded(BotStatus),
    /// What a bot may do and use.
    InForce(Box<InForce>),
    /// All bots.
    Bots {
        /// Those of hosts that are believed.
        bots: Vec<ListedBot>,
        /// The others.
        left_out: LeftOut,
    },
    /// A log line.
    Line(LogLine),
    /// Subscribed: from here on nothing is missed.
    Watching,
    /// A message that passed.
    Sighting(Box<Sighting>),
    /// Runs, newest first.
    Runs(Vec<ShownRun>),
    /// A run.
    Run {
        /// The run.
        run: Box<ShownRun>,
        /// The end of its log.
        log: Vec<LogLine>,
    },
    /// What was removed, or would be, by kind.
    Collected(Vec<Report>),
    /// Dead letters without payloads: the host's, oldest first, and then those of groups, oldest first.
    DeadLetters {
        /// As many as were asked for, or all that are left.
        letters: Vec<DeadLetter>,
        /// Whether there are more after them.
        more: bool,
    },
    /// A dead letter.
    DeadLetter(Box<DeadLetter>),
    /// The embedded broker's groups.
    Groups {
        /// Their numbers.
        groups: Vec<GroupStatus>,
        /// What is kept for groups that are created later.
        backlog: BacklogStatus,
    },
    /// One of them.
    Group {
        /// Its numbers.
        group: GroupStatus,
        /// Its dead letters, oldest first.
        dead_letters: Vec<GroupDeadLetter>,
    },
}

/// How a host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The broker's URL, without password.
    pub broker: String,
    /// The address that the broker would have without another program that listens there, which nobody asked for by
    /// name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_displaced: Option<SocketAddr>,
    /// Topics' first part.
    pub prefix: String,
    /// Whether its bots are loaded and it has a connection to the broker.
    pub ready: bool,
    /// Whether its bots are loaded.
    pub loaded: bool,
    /// Whether it has a connection to the broker.
    pub connected: bool,
    /// Since when it has had none, RFC 3339; none if it has one, or has not tried yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected_since: Option<String>,
    /// Seconds that messages in hand may take to be finished when a bot or the host is stopped.
    #[serde(default)]
    pub drain: u64,
    /// Events that wait for the broker.
    #[serde(default)]
    pub outbox: Size,
    /// Whether they are so many that bots take no more messages.
    #[serde(default)]
    pub outbox_full: bool,
    /// Why they wait, or why there is no connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What keeps bots from taking work: this machine, or its clock.
    #[serde(default)]
    pub unable: Vec<String>,
    /// What in the broker's settings can lose messages.
    #[serde(default)]
    pub concerns: Vec<String>,
    /// What keeps the limits of builds on this machine.
    #[serde(default)]
    pub build_limits: String,
    /// How full the disk is; none in the moment before the host has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskStatus>,
    /// What the last sweep found of all that is kept for a while; empty before the first.
    #[serde(default)]
    pub kept: Vec<Report>,
}

/// A bot in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListedBot {
    /// As it presents itself.
    #[serde(flatten)]
    pub presence: Presence,
    /// What its host counts; none if that does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Counters>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What sort of failure it is, for exit codes.
    pub kind: FailureKind,
    /// What failed, on what, why, and what to do.
    pub message: String,
}

/// Sorts of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// What was asked for makes no sense.
    Usage,
    /// There is no such bot, run, file.
    NotFound,
    /// Not allowed, not granted, or not accepted.
    Refused,
    /// Somebody else has the name or the place.
    Conflict,
    /// Anything else.
    Failed,
}

impl Failure {
    /// A failure of some sort.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}
