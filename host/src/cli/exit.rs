//! Exit codes: part of the interface, since scripts branch on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It failed.
    Failure = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// No host is running with this state directory.
    NotRunning = 3,
    /// There is no such bot, run, key, file, suite or package.
    NotFound = 4,
    /// Not granted, not accepted, or not usable for that.
    Refused = 5,
    /// Somebody else has the name, the port or the state directory.
    Conflict = 6,
    /// `test`: the bot asks for another attempt.
    Retry = 7,
    /// `test`: the bot gives the message up.
    Reject = 8,
    /// `test`: the bot's code failed.
    Fault = 9,
}

impl Exit {
    /// All of them, with what the documentation says of each.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Ok, "it did what was asked"),
        (Self::Failure, "it failed; the message says at what"),
        (Self::Usage, "the command line or the configuration is wrong"),
        (Self::NotRunning, "no host is running with this state directory"),
        (Self::NotFound, "there is no such bot, run, key, file, suite or package"),
        (Self::Refused, "not granted, not accepted, or not usable for that"),
        (
            Self::Conflict,
            "somebody else has the name, the port or the state directory",
        ),
        (Self::Retry, "`test`: the bot asks for another attempt"),
        (Self::Reject, "`test`: the bot gives the message up"),
        (Self::Fault, "`test`: the bot's code failed"),
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_documented() {
        let page = include_str!("../../../docs/commands.md");
        for (exit, meaning) in Exit::ALL {
            let row = format!("| {} | {meaning} |", exit.code());
            assert!(page.contains(&row), "docs/commands.md lacks this line:\n{row}");
        }
    }
}
