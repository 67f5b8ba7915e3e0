//! How errors of the library reach the user: a message, and an exit code.

use std::fmt;

use super::exit::Exit;
use super::output::printable_lines;
use crate::config::ConfigError;
use crate::control::{ClientError, Failure, FailureKind, StartError};
use crate::keys::KeyError;
use crate::supervisor::{HostError, LoadFailure};

/// Why a command failed.
#[derive(Debug)]
pub enum CliError {
    /// The command line is wrong, or help was asked for.
    Clap(clap::Error),
    /// Something to say, and how to end.
    Said(Exit, String),
    /// All is said; only the exit code is left.
    Told(Exit),
    /// The output can't be written.
    Output(std::io::Error),
}

impl CliError {
    /// It failed, for no reason that has an exit code of its own.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::Said(Exit::Failure, message.to_string())
    }

    /// The command line is wrong, in a way that only the library sees.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::Said(Exit::Usage, message.to_string())
    }

    /// Tell the user, and choose the exit code.
    pub fn report(self, program: &str) -> Exit {
        match self {
            Self::Clap(error) => {
                // A pipe that nobody reads is no reason to complain.
                let _ = error.print();
                if error.use_stderr() { Exit::Usage } else { Exit::Ok }
            }
            Self::Said(exit, message) => {
                // It may quote a bot, a message or a repository.
                eprintln!("{program}: {}", printable_lines(&message));
                exit
            }
            Self::Told(exit) => exit,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Output(error) => {
                eprintln!("{program}: cannot write the output: {error}");
                Exit::Failure
            }
        }
    }
}

impl From<clap::Error> for CliError {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error)
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::NotRunning(_) => Exit::NotRunning,
            ClientError::Failed(failure) => exit_of(failure.kind),
            _ => Exit::Failure,
        };
        Self::Said(exit, error.to_string())
    }
}

impl From<LoadFailure> for CliError {
    fn from(failure: LoadFailure) -> Self {
        let failure = Failure::from(failure);
        Self::Said(exit_of(failure.kind), failure.message)
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Said(Exit::Usage, error.to_string())
    }
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        let exit = match &error {
            KeyError::NotFound { .. } => Exit::NotFound,
            KeyError::Ambiguous { .. }
            | KeyError::NoRole { .. }
            | KeyError::WhoseSecret { .. }
            | KeyError::UserId { .. } => Exit::Usage,
            KeyError::WrongRole { .. } | KeyError::Unusable(_) | KeyError::WrongPassphrase { .. } => Exit::Refused,
            _ => Exit::Failure,
        };
        Self::Said(exit, error.to_string())
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Config(_) => Exit::Usage,
            StartError::Host(HostError::BadName(_)) => Exit::Usage,
            StartError::Host(
                HostError::StateInUse(_)
                | HostError::Copy { .. }
                | HostError::NameTaken { .. }
                | HostError::NameClaimed { .. }
                | HostError::Broker(foundry_broker::Error::AddressInUse { .. }),
            ) => Exit::Conflict,
            StartError::Host(
                HostError::StateOpen(_)
                | HostError::StateOfAnother { .. }
                | HostError::Broker(foundry_broker::Error::Unprotected { .. }),
            ) => Exit::Refused,
            _ => Exit::Failure,
        };
        Self::Said(exit, error.to_string())
    }
}

fn exit_of(kind: FailureKind) -> Exit {
    match kind {
        FailureKind::Usage => Exit::Usage,
        FailureKind::NotFound => Exit::NotFound,
        FailureKind::Refused => Exit::Refused,
        FailureKind::Conflict => Exit::Conflict,
        FailureKind::Failed => Exit::Failure,
    }
}
