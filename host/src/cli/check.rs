//! `check`: is a configuration all right?

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::announced;
use super::common::{ConfigArgs, Context};
use super::error::CliError;
use super::exit::Exit;
use super::loose;
use super::output::{Tint, printable};
use crate::config::{self, Config, ConfigError, Problem, Severity};
use crate::control::{LoadedBots, SpecError};
use crate::keys::KeyStore;
use crate::supervisor::{BotSpec, Credulous, Inspector, LoadFailure, Party, credulous};

/// Which configuration.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is run: components are compiled and asked what they are, options are checked, keys looked
up, directories, URLs and certificates looked at. A broker elsewhere and a bucket for artifacts are
asked whether they let this host in. It is an error if they do not, or if a certificate has expired;
it is a warning if they can't be reached, or if a certificate expires within 14 days. A port that is
taken is a warning too, since the host may be running.
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
            problems.extend(config::check_services(&config).await);
            let loaded = LoadedBots::of(&state);
            problems.extend(kept(&config, &inspector, &loaded).await);
            problems.extend(of_packages_keys(&config, &loaded, &state));
            problems.extend(announced::problems(&config, &loaded));
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
    let (bots, unreadable) = loaded.all();
    let mut problems: Vec<_> = unreadable.iter().map(unusable).collect();
    for (name, spec) in bots {
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

/// What is wrong with the file of a bot that was loaded by hand, such as a grant that is none any more.
fn unusable(error: &SpecError) -> Problem {
    let (file, message) = match error {
        SpecError::Io { path, source, .. } => (path, source.to_string()),
        SpecError::Damaged { path, source } => (path, source.to_string()),
    };
    Problem {
        severity: Severity::Error,
        file: file.clone(),
        line: None,
        key: String::new(),
        message,
        remedy: "remove it, and load the bot again".to_owned(),
    }
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
    let bots_said = match bots {
        1 => "1 bot".to_owned(),
        bots => format!("{bots} bots"),
    };
    match (errors, problems.len()) {
        (0, 0) => context.note(format_args!("all right: {bots_said}")),
        (0, 1) => context.note(format_args!("no errors, 1 warning: {bots_said}")),
        (0, warnings) => context.note(format_args!("no errors, {warnings} warnings: {bots_said}")),
        (1, _) => context.note("1 error"),
        (errors, _) => context.note(format_args!("{errors} errors")),
    }
    Ok(())
}
