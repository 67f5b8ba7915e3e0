//! Control of a running host from the same machine, over a Unix socket in its state directory.

mod client;
mod desk;
mod groups;
mod letters;
mod logs;
mod protocol;
mod server;
mod service;
mod specs;
mod unread;

use std::path::{Path, PathBuf};

pub use client::{Answers, Client, ClientError};
pub use protocol::{
    Answer, Ask, Counters, Failure, FailureKind, HostStatus, ListedBot, MAX_LETTERS, MAX_REQUEST, MAX_RUNS, Reply,
    Request, VERSION,
};
pub use server::Server;
pub use service::{Service, StartError};
pub use specs::{LoadedBots, SpecError};
pub use unread::{ShownRun, Unread, reader_of, span};

/// The control socket of a state directory.
#[must_use]
pub fn socket(state: &Path) -> PathBuf {
    state.join("control.sock")
}
