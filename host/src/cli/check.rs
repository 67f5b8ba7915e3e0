//! `check`: is a configuration all right?

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::common::{ConfigArgs, Context};
use super::error::CliError;
use super::exit::Exit;
use super::loose;
use super::output::{Tint, printable};
use crate::config::{self, Config, ConfigError, Problem, Severity};
use crate::control::LoadedBots;
use crate::keys::KeyStore;
use crate::supervisor::{BotSpec, Credulous, Inspector, LoadFailure, Party, credulous};

/// Which configuration.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is run: components are compiled and asked what they are, options are checked, keys looked
up, directories and URLs looked at. A port that is taken is a warning, since the host may be running.
The same is done with the bots that were loaded by hand and come back when the host starts.

Examples:
  foundry-host check -c foundry.toml
  foundry-host check -c foundry.toml --json | jq -r '.problems[].message'"
)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Check it.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let (problems, bots) = match context.config(&args.config) {
        Ok((config, state)) => {
            let inspector = Inspector::new(state.join("compiled")).map_err(CliError::failed)?;
            let (bots, mut problems) = config::resolve(&config, &inspector).await;
            problems.extend(config::check(&config, &bots, &state));
            let loaded = LoadedBots::of(&state);
            problems.extend(kept(&config, &inspector, &loaded).await);
            problems.extend(of_packages_keys(&config, &loaded, &state));
            problems.extend(loose::problems(&config, &loaded, &state).await);
            config::sort(&mut problems);
            (problems, config.bots.len())
        }
        Err(ConfigError::Wrong { problems, .. }) => (problems, 0),
        Err(error) => return Err(error.into()),
    };
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count();
    if context.common.json {
        context.out.json(&json!({ "ok": errors == 0, "problems": problems }))?;
    } else {
        print(&problems, errors, bots, context)?;
    }
    if errors > 0 {
        Err(CliError::Told(Exit::Usage))
    } else {
        Ok(())
    }
}

/// What would keep bots that were loaded by hand from coming back.
async fn kept(config: &Config, inspector: &Inspector, loaded: &LoadedBots) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, spec) in loaded.all().0 {
        if config.bots.iter().any(|bot| bot.name == name) {
            continue;
        }
        let Err(failure) = loadable(inspector, &spec).await else {
            continue;
        };
        let remedy = inspector.remedy(&spec, &failure).await;
        problems.push(Problem {
            severity: Severity::Error,
            file: loaded.file(&name),
            line: None,
            key: "grants".to_owned(),
            message: failure.to_string(),
            remedy: match remedy {
                Some(command) => format!("when the host has started, load it again: {command}"),
                None => format!("load it again, or `foundry-host stop {name}` forgets it"),
            },
        });
    }
    problems
}

/// The distbots that believe more packages keys than they need. A store that can't be read is told by other checks.
fn of_packages_keys(config: &Config, loaded: &LoadedBots, state: &Path) -> Vec<Problem> {
    let Ok(store) = KeyStore::open(state.join("keys")) else {
        return Vec::new();
    };
    let configured = config.bots.iter().map(|bot| (bot.name.clone(), bot.spec.clone()));
    let mut bots: BTreeMap<_, _> = loaded.all().0.into_iter().collect();
    // The configuration's own go before those that were loaded by hand under their names.
    bots.extend(configured);
    let parties = bots
        .iter()
        .filter_map(|(name, spec)| Party::of(name, spec.source.stock(), &spec.options));
    let told = credulous(&parties.collect::<Vec<_>>(), &store).into_iter();
    told.map(|Credulous { bot, what, remedy }| {
        let configured = config.bots.iter().find(|configured| configured.name == bot);
        let file = config.path.as_deref().unwrap_or(Path::new("foundry.toml"));
        Problem {
            severity: Severity::Warning,
            file: configured.map_or_else(|| loaded.file(&bot), |_| file.to_owned()),
            line: configured.map(|configured| configured.line),
            key: format!("bots.{bot}.packages-key"),
            message: what,
            remedy,
        }
    })
    .collect()
}

async fn loadable(inspector: &Inspector, spec: &BotSpec) -> Result<(), LoadFailure> {
    let (component, description) = inspector.inspect(&spec.source).await?;
    inspector.check_grants(spec, &component, &description)
}

fn print(problems: &[Problem], errors: usize, bots: usize, context: &mut Context) -> Result<(), CliError> {
    for problem in problems {
        let tint = match problem.severity {
            Severity::Error => Tint::Bad,
            Severity::Warning => Tint::Odd,
        };
        let text: Vec<_> = problem.to_string().lines().map(printable).collect();
        let text = context.out.tint(tint, &text.join("\n"));
        context.out.line(text)?;
    }
    match (errors, bots) {
        (0, 1) => context.note("all right: 1 bot"),
        (0, bots) => context.note(format_args!("all right: {bots} bots")),
        (1, _) => context.note("1 error"),
        (errors, _) => context.note(format_args!("{errors} errors")),
    }
    Ok(())
}
