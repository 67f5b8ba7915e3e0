//! Log lines that were kept, and those to come.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::protocol::{Failure, FailureKind};
use crate::capability::LogLine;
use crate::supervisor::Host;

/// Whose lines.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    Everybody,
    Bot(String),
    Run(String),
}

impl Whose {
    fn has(&self, line: &LogLine) -> bool {
        match self {
            Self::Everybody => true,
            Self::Bot(bot) => line.bot == *bot,
            Self::Run(run) => line.run.as_deref() == Some(run),
        }
    }
}

/// A log, up to now and from now on.
pub(super) struct Log {
    whose: Whose,
    /// The newest lines that were kept, oldest first.
    pub(super) kept: Vec<LogLine>,
    live: Receiver<Arc<LogLine>>,
}

impl Log {
    /// Of a bot, of a run (or the beginning of its id), or of all.
    pub(super) async fn open(host: &Host, of: Option<&str>, lines: usize) -> Result<Self, Failure> {
        // Before the files are read, so that no line falls between them and the live ones.
        let live = host.logs();
        let logs = Arc::clone(&host.services().logs);
        let failed = |error: String| Failure::new(FailureKind::Failed, format!("cannot read the log: {error}"));
        let whose = match of {
            None => Whose::Everybody,
            Some(name) if host.status(name).is_ok() => Whose::Bot(name.to_owned()),
            Some(name) => match host
                .ledger()
                .run(name)
                .await
                .map_err(|error| failed(error.to_string()))?
            {
                Some(run) => Whose::Run(run.id),
                None if logs.knows_bot(name) => Whose::Bot(name.to_owned()),
                None => {
                    let message =
                        format!("no bot and no run is called {name} (see `foundry-host list` and `foundry-host runs`)");
                    return Err(Failure::new(FailureKind::NotFound, message));
                }
            },
        };
        let query = whose.clone();
        let kept = tokio::task::spawn_blocking(move || match &query {
            Whose::Everybody => logs.newest(None, lines),
            Whose::Bot(bot) => logs.newest(Some(bot), lines),
            Whose::Run(run) => logs
                .of_run(run)
                .map(|mut all| all.split_off(all.len().saturating_sub(lines))),
        });
        let kept = kept
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { whose, kept, live })
    }

    /// The next line to come; none when the host ends. Lines are left out if the listener is too slow for them.
    pub(super) async fn next(&mut self) -> Option<LogLine> {
        loop {
            let line = match self.live.recv().await {
                Ok(line) => line,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return None,
            };
            // It was written while the files were read, and is among what they held.
            let known = self.kept.iter().rev().any(|kept| *kept == *line);
            if self.whose.has(&line) && !known {
                return Some((*line).clone());
            }
        }
    }
}
