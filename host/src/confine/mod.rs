//! `confine`: processes of this program that read what strangers wrote, so that the process with the keys does not.
//!
//! A [`Task`] is what such a process does. [`Helper::start`] runs this program again for one; `main` hands its arguments
//! to [`enter`] before anything else, and the new process shuts itself in before it gets one of the stranger's bytes:
//!
//! ```text
//! the host                                  the helper
//!   spawn, empty environment        ->        dies with the host, closes all descriptors, can't be traced
//!   setup: limits, descriptors,     ->        limits of the kernel, no capabilities, Landlock, seccomp
//!          directories
//!   questions                       <->       answers, until either end closes
//!   kill, wait (at the drop)        ->        gone
//! ```
//!
//! What a helper has is on a list: the descriptors that it is given, the directories that it is given, and the system calls
//! of [`calls`]. It has no environment, no arguments and no memory of the host's, so that nothing secret is in it. Whatever it
//! answers may be a stranger's word: whoever asked checks it.
//!
//! The room knows nobody above it. Which tasks there are is the table of [`crate::helpers`].

pub mod bpf;
mod calls;
mod channel;
mod ending;
mod error;
mod helper;
mod inside;
mod kernel;
mod landlock;
mod limits;
mod setup;
mod starter;
mod timed;

#[cfg(test)]
pub mod tests;

pub use channel::ChannelError;
pub use error::ConfineError;
pub use helper::{Grants, Helper, Stopper, ask};
#[cfg(test)]
pub(crate) use inside::serve;
pub use inside::{Inside, Task, enter, out_of_memory};
pub use limits::Limits;
pub use setup::Access;
pub use starter::run_helpers_by;
