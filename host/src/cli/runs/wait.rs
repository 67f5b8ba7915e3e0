//! `runs --wait`: a run until its end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ask;
use super::show::{chains, end, event_lines, kept};
use crate::cli::common::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::control::ShownRun;
use crate::run::{ChainStatus, RunState};

/// How often a run that is waited for is looked at.
const GLANCE: Duration = Duration::from_millis(500);

/// After how long without an event it is said what is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// Wait for the end of a run, which may not have begun, and show it. Each event is printed once, as soon as it is known.
///
/// # Errors
/// [`CliError`] with exit code 1 if some of it failed, or `timeout` has passed; else if the host does not answer.
pub(super) async fn wait(id: String, timeout: Duration, context: &mut Context) -> Result<(), CliError> {
    let begun = Instant::now();
    let mut progress = Progress::default();
    loop {
        let found = match ask(id.clone(), context).await {
            Ok(found) => Some(found),
            // A commit may be waited for before watchbot has seen it.
            Err(CliError::Said(Exit::NotFound, _)) => None,
            Err(error) => return Err(error),
        };
        if let Some((run, log)) = &found {
            progress.show(run, context)?;
            if run.state.is_decided() {
                end(run, log, context)?;
                let has_failed = run.state.status.has_failed();
                return if has_failed {
                    Err(CliError::Told(Exit::Failure))
                } else {
                    Ok(())
                };
            }
        }
        let awaited = awaited(found.as_ref().map(|(run, _)| &run.state));
        if begun.elapsed() >= timeout {
            if let Some((run, _)) = found.filter(|_| !context.common.json) {
                chains(&run.state, context)?;
            }
            return Err(CliError::failed(format_args!(
                "{id} was not published within {} s: still waiting for {awaited}",
                timeout.as_secs()
            )));
        }
        progress.say(awaited, context);
        tokio::time::sleep(GLANCE.min(timeout.saturating_sub(begun.elapsed()))).await;
    }
}

/// What was said of a run that is waited for.
struct Progress {
    /// The run. A commit gets another one if it is announced once more.
    run: Option<String>,
    /// Its events that were printed, by id: one that comes late may belong between two of them.
    events: BTreeSet<String>,
    /// When the last one was, or the waiting began.
    since: Instant,
    /// What it was last said to wait for.
    said: Option<&'static str>,
    /// The topic that was said to have no reader: once for each, and not whenever less time is left.
    unread: Option<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            run: None,
            events: BTreeSet::new(),
            since: Instant::now(),
            said: None,
            unread: None,
        }
    }
}

impl Progress {
    /// Print the events that are new, and say when nobody reads the topic that the run waits on. With `--json` the whole
    /// run is printed at its end, and nothing before.
    fn show(&mut self, run: &ShownRun, context: &mut Context) -> Result<(), CliError> {
        if let Some(unread) = &run.unread
            && self.unread.as_ref() != Some(&unread.topic)
        {
            context.note(unread);
            self.unread = Some(unread.topic.clone());
        }
        if self.run.as_ref() != Some(&run.id) {
            self.run = Some(run.id.clone());
            self.events.clear();
        }
        let lines = event_lines(&run.events);
        let mut is_new = false;
        for (line, event) in lines.iter().zip(&run.events) {
            if !self.events.insert(event.id.clone()) {
                continue;
            }
            is_new = true;
            if !context.common.json {
                context.out.line(line)?;
                kept(event, context)?;
            }
        }
        if is_new {
            self.since = Instant::now();
            self.said = None;
        }
        Ok(())
    }

    /// Say what is waited for, once, if there was no event for a while.
    fn say(&mut self, awaited: &'static str, context: &Context) {
        if self.since.elapsed() >= QUIET && self.said != Some(awaited) {
            context.note(format_args!("waiting for {awaited}"));
            self.said = Some(awaited);
        }
    }
}

/// What a run needs to go on, by the chain that is furthest from its end.
fn awaited(state: Option<&RunState>) -> &'static str {
    let Some(state) = state else {
        return "the commit to be announced (is its branch watched? `foundry-host logs watchbot` may tell)";
    };
    match state.pending().map(|chain| chain.status).min() {
        None | Some(ChainStatus::Announced) => "the build (`foundry-host logs -f` shows it)",
        Some(ChainStatus::Built) => {
            "the packages to be signed (`foundry-host logs RUN` tells whether --sign-branch leaves the branch out)"
        }
        Some(ChainStatus::Signed) => {
            "the packages to be published (`foundry-host logs RUN` tells whether no --codename takes the branch)"
        }
        Some(ChainStatus::Published | ChainStatus::Failed) => "nothing",
    }
}
