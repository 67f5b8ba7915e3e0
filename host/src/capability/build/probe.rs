//! Whether this machine can build at all. Asked after work that did not succeed: what fails on a machine that can build says something of
//! the work, and counts as an attempt at it; what fails on one that can't is for other members of the group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{Attempt as _, BuildError};
use super::pipeline;
use super::request::{BuildRequest, Silent};
use super::usage;
use super::{Builder, Shared};
use crate::ability::Whom;
use crate::objects::Reached;
use crate::runtime::BotContext;

/// The name of a machine that can't build among the reasons why a bot takes no work.
const MACHINE: &str = "machine";

/// First and longest pause before a machine that could not build is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// What is written where builds write: enough for the disk to have to find room.
const TRIAL: usize = 64 * 1024;

/// What a machine has to be able to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The suite to build for; none for the machine's own.
    pub suite: Option<String>,
    /// The architecture to build for; none for the machine's own.
    pub architecture: Option<String>,
}

impl Needs {
    /// What all builds of a bot need. Suite and architecture of the stock buildbot are its operator's choice. Others may take them from
    /// their messages, and no message is to keep a bot from its work.
    fn of(bot: &BotContext) -> Self {
        if bot.stock.is_none() {
            return Self::default();
        }
        let option = |name| bot.options.get(name).and_then(|values| values.first()).cloned();
        Self {
            suite: option("suite"),
            architecture: option("arch"),
        }
    }
}

impl Builder {
    /// Does what each build begins with: directories and files are made, and a way of building is chosen. Nothing of it is left.
    ///
    /// # Errors
    /// [`BuildError`], which says what this machine lacks.
    pub async fn probe(&self, needs: Needs) -> Result<(), BuildError> {
        let builder = self.clone();
        let probed = tokio::task::spawn_blocking(move || {
            let output = builder.output()?;
            let request = BuildRequest {
                suite: needs.suite,
                architecture: needs.architecture,
                ..BuildRequest::new(output.path(), output.path())
            };
            begin_and_end(&builder.shared, &request)
        });
        probed.await.unwrap_or_else(|_| {
            Err(BuildError::Internal {
                why: "its thread ended without a result".to_owned(),
            })
        })
    }
}

fn begin_and_end(shared: &Shared, request: &BuildRequest) -> Result<(), BuildError> {
    let go_on = || false;
    let job = pipeline::begin(shared, request, &go_on, Box::new(Silent))?;
    for name in ["archives", "layers", "roots"] {
        let place = shared.state.join(name);
        tempfile::tempfile_in(&place).attempt("create a file in", &place)?;
    }
    job.scratch.file("trial", vec![0; TRIAL])?;
    if usage::is_nearly_full(job.scratch.path()) {
        return Err(BuildError::DiskLimit {
            limit: request.limits.disk,
            host_full: true,
            tail: Box::default(),
        });
    }
    job.serves()
}

/// Asks whether this machine can do a bot's builds. If it can't, the bot takes no more work until it can, and others of its group get
/// what it has.
pub async fn examine(bot: &Arc<BotContext>) {
    let Some(why) = lack(bot).await else {
        return;
    };
    tracing::warn!(bot = bot.name, why, "takes no work until this machine can build");
    let is_new = bot.services.ability.lose(whom(bot), MACHINE, why);
    // One task for each bot: it ends when the reason does.
    if is_new {
        tokio::spawn(recover(Arc::clone(bot)));
    }
}

/// What this machine lacks for a bot's builds: the means to build, or a store that takes what is built.
async fn lack(bot: &BotContext) -> Option<String> {
    if let Err(lack) = bot.services.builder.probe(Needs::of(bot)).await {
        return Some(lack.to_string());
    }
    match bot.services.artifacts.reach().await {
        // One that is away comes back, and what is built waits for it.
        Reached::Usable | Reached::Away(_) => None,
        Reached::Absent => Some("cannot store what is built: there is no such bucket (see artifacts.url)".to_owned()),
        Reached::Refused(why) => Some(format!(
            "cannot store what is built: {why} (see artifacts in foundry.toml)"
        )),
    }
}

fn whom(bot: &BotContext) -> Whom {
    Whom::Bot(bot.name.clone())
}

/// Asks again and again, until the machine can build, or the bot is stopped.
async fn recover(bot: Arc<BotContext>) {
    let begun = Instant::now();
    let ability = &bot.services.ability;
    let mut pause = PAUSE.0;
    loop {
        tokio::time::sleep(pause).await;
        if ability.why(whom(&bot), MACHINE).is_none() {
            return;
        }
        let Some(lack) = lack(&bot).await else {
            let after = begun.elapsed().as_secs();
            tracing::info!(bot = bot.name, seconds = after, "this machine can build again");
            ability.regain(whom(&bot), MACHINE);
            return;
        };
        ability.restate(whom(&bot), MACHINE, lack);
        pause = (pause * 2).min(PAUSE.1);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Settings;
    use super::*;

    fn builder(state: &std::path::Path) -> Builder {
        Builder::new(&state.join("build"), Settings::default()).unwrap()
    }

    #[tokio::test]
    async fn a_machine_that_can_build_is_left_as_it_was() {
        let state = tempfile::tempdir().unwrap();
        let builder = builder(state.path());
        builder.probe(Needs::default()).await.unwrap();
        for name in ["archives", "builds", "layers", "roots"] {
            let left = fs::read_dir(state.path().join("build").join(name)).unwrap().count();
            assert_eq!(left, 0, "{name}");
        }
    }

    #[tokio::test]
    async fn a_machine_that_has_lost_a_directory_of_its_builds_cannot_build_and_says_which() {
        for name in ["archives", "builds", "layers", "roots"] {
            let state = tempfile::tempdir().unwrap();
            let builder = builder(state.path());
            let place = state.path().join("build").join(name);
            fs::remove_dir(&place).unwrap();
            fs::write(&place, "").unwrap();
            let lack = builder.probe(Needs::default()).await.unwrap_err().to_string();
            assert!(lack.contains(&place.display().to_string()), "{lack}");
            fs::remove_file(&place).unwrap();
            fs::create_dir(&place).unwrap();
            builder.probe(Needs::default()).await.unwrap();
        }
    }
}
