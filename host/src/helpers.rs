//! What this program does when the host runs it as a helper: the table that `main` hands to [`crate::confine::enter`].

use crate::capability::git::READER;
use crate::confine::Task;

/// All tasks, each of the room that asks for it.
#[cfg(not(test))]
pub const TASKS: &[&Task] = &[&READER, &crate::package::TASK];

/// In tests there are those of the room itself as well.
#[cfg(test)]
pub const TASKS: &[&Task] = &[
    &READER,
    &crate::package::TASK,
    &crate::confine::tests::ECHO,
    &crate::confine::tests::HOSTILE,
];
