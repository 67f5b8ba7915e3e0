//! `git`: repositories, read by the host.

/// The tree of one commit, checked out for one message.
pub struct Source {}
