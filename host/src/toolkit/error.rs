//! Why a bot isn't built.

use std::path::PathBuf;
use std::process::ExitStatus;

use super::manifest::ManifestError;

/// Why a bot isn't built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A program isn't there.
    #[error("cannot build {bot}: {tool} is missing ({remedy})")]
    Missing {
        /// The bot.
        bot: String,
        /// The program.
        tool: &'static str,
        /// How to get it.
        remedy: &'static str,
    },
    /// A program can't be started.
    #[error("cannot run {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program failed; it said why.
    #[error("cannot build {bot}: {program} failed ({status}){}", said(.output))]
    Failed {
        /// The bot.
        bot: String,
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
    /// The bot's code failed while it was read.
    #[error("cannot build {bot}: its code fails when it is imported:\n{}", traceback.trim_end())]
    Code {
        /// The bot.
        bot: String,
        /// Where, and how.
        traceback: String,
    },
    /// A file can't be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// Such as `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The contract's text or the module can't be made into a component.
    #[error("cannot build {bot}: {why}")]
    Component {
        /// The bot.
        bot: String,
        /// What is wrong.
        why: String,
    },
}

fn said(output: &str) -> String {
    match output.trim() {
        "" => String::new(),
        output => format!(":\n{output}"),
    }
}

/// What an error of the file system was about.
pub(super) trait Attempt<T> {
    /// While doing what, to which file.
    fn attempt(self, action: &'static str, path: &std::path::Path) -> Result<T, BuildError>;
}

impl<T> Attempt<T> for std::io::Result<T> {
    fn attempt(self, action: &'static str, path: &std::path::Path) -> Result<T, BuildError> {
        self.map_err(|source| BuildError::File {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
