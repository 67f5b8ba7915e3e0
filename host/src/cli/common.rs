//! What all verbs have in common: where the host's state is, and how to print.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgAction;

use super::output::{Output, printable_lines};
use crate::config::{Config, ConfigError};
use crate::control::Client;

/// Work that takes longer is announced.
const LONG: Duration = Duration::from_millis(700);

/// Options of all verbs.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Common options")]
pub struct CommonArgs {
    /// State directory of the host [default: /var/lib/foundry for root, else ~/.local/state/foundry]
    #[arg(long, global = true, env = "FOUNDRY_STATE", hide_env = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more; repeat for even more
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say only what went wrong
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

impl CommonArgs {
    /// What was given before a bot's name, and what after it.
    #[must_use]
    pub fn merged(self, later: Self) -> Self {
        Self {
            state: later.state.or(self.state),
            json: self.json || later.json,
            verbose: self.verbose.saturating_add(later.verbose),
            quiet: self.quiet || later.quiet,
        }
    }
}

/// Which configuration a host is started with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration [default: foundry.toml in the state directory, if there is one]
    #[arg(long, short, env = "FOUNDRY_CONFIG", hide_env = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What verbs work with.
pub struct Context {
    /// The common options.
    pub common: CommonArgs,
    /// Standard output.
    pub out: Output,
}

impl Context {
    /// With these options.
    #[must_use]
    pub fn new(common: CommonArgs) -> Self {
        Self {
            common,
            out: Output::stdout(),
        }
    }

    /// The state directory, absolute.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        let state = self.common.state.clone().unwrap_or_else(default_state);
        std::path::absolute(&state).unwrap_or(state)
    }

    /// The running host.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.state())
    }

    /// The configuration, and the state directory that goes with it: `--state` takes precedence over the file.
    ///
    /// # Errors
    /// If the file can't be used.
    pub fn config(&self, args: &ConfigArgs) -> Result<(Config, PathBuf), ConfigError> {
        let own = self.state().join("foundry.toml");
        let config = match &args.config {
            Some(path) => Config::read(path)?,
            None if own.is_file() => Config::read(&own)?,
            None => Config::without_file()?,
        };
        let state = match (&self.common.state, &config.state) {
            (None, Some(state)) => state.clone(),
            _ => self.state(),
        };
        Ok((config, state))
    }

    /// Wait for something, and say what for if it takes long and somebody sits at a terminal.
    pub async fn patiently<T>(&self, what: impl std::fmt::Display, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(LONG) => {}
        }
        if std::io::stderr().is_terminal() {
            self.note(format_args!("{what} …"));
        }
        work.await
    }

    /// A word to the user that is neither output nor an error.
    pub fn note(&self, text: impl std::fmt::Display) {
        if !self.common.quiet {
            // It may quote a bot, a message or a repository.
            eprintln!("{}", printable_lines(&text.to_string()));
        }
    }
}

/// The value of `--state` among words that can't all be understood yet.
#[must_use]
pub fn state_among(words: &[OsString]) -> Option<PathBuf> {
    words.iter().enumerate().find_map(|(at, word)| {
        let rest = word.as_encoded_bytes().strip_prefix(b"--state")?;
        match rest.strip_prefix(b"=") {
            Some(value) => Some(PathBuf::from(OsStr::from_bytes(value))),
            None if rest.is_empty() => words.get(at + 1).map(PathBuf::from),
            None => None,
        }
    })
}

/// `/var/lib/foundry` for root, else what the XDG base directory specification says.
fn default_state() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/foundry");
    }
    let set = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    base.unwrap_or_else(|| Path::new("/tmp").join(format!("foundry-{}", rustix::process::geteuid().as_raw())))
        .join("foundry")
}
