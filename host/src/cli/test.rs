//! `test`: one event for a bot, in a world of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::common::Context;
use super::error::CliError;
use super::exit::Exit;
use super::load::{HostArgs, choose};
use super::output::printable;
use crate::capability::Lacking;
use crate::capability::tape::{Tape, World};
use crate::config::Config;
use crate::supervisor::{Outside, Trial, TrialError, TrialEvent, TrialOutcome, TrialReport};

/// Marks a value of the state that is no text.
const BINARY: &str = "base64:";

/// Which bot, and what happens to it.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "foundry-host test [OPTIONS] <BOT> [BOT OPTIONS]",
    after_help = "The event is a JSON file with `type` and `data`, and `topic`, `subject` and `id` if you like: a message as
`foundry-host watch --json` prints it will do. Rights are granted as with `load`; they are as real as there.
Nothing is published or kept: what the bot would have published, its state afterwards and its log are printed.
Topics need no grants here; those that `load` needs are named.

What git, builds, HTTP and mail answer can be recorded with --record, and comes from the recording with --world: then nothing
outside is asked at all. With --config, mail goes through the server that the file names under
[mail], and its [network] holds for git and HTTP.

The exit code tells the outcome: 0 done, 7 retry, 8 reject, 9 if the bot's code failed.

Examples:
  foundry-host test --event commit.json ./build/greeter.wasm --greeting hi
  foundry-host test --tick poll --json ./build/poller.wasm"
)]
pub struct Args {
    /// The bot, then its options
    #[arg(required = true, trailing_var_arg = true, value_name = "BOT")]
    bot: Vec<OsString>,
    /// Let it handle the event in this file
    #[arg(long, value_name = "FILE", required_unless_present = "tick", conflicts_with = "tick")]
    event: Option<PathBuf>,
    /// Let this timer of it go off
    #[arg(long, value_name = "TIMER")]
    tick: Option<String>,
    /// Give it the state in this JSON file: an object of texts, or of base64 after `base64:`
    #[arg(long, value_name = "FILE")]
    with_state: Option<PathBuf>,
    /// Ask git, builds, HTTP and mail for real, and write what they answer into this file
    #[arg(long, value_name = "FILE", conflicts_with = "world")]
    record: Option<PathBuf>,
    /// Take the answers of git, builds, HTTP and mail from this file, and ask nobody
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,
    /// Attempts at the event before this one
    #[arg(long, value_name = "N", default_value_t = 0)]
    attempt: u32,
    #[command(flatten)]
    host: HostArgs,
}

/// An event's file. What a whole event has besides is of no use here.
#[derive(Deserialize)]
struct EventFile {
    r#type: String,
    #[serde(default)]
    data: Map<String, Value>,
    topic: Option<String>,
    subject: Option<String>,
    id: Option<String>,
}

/// Test it.
pub async fn run(args: Args, context: &mut Context) -> Result<(), CliError> {
    let event = args
        .event
        .as_deref()
        .map(|path| read_event(path, args.attempt))
        .transpose()?;
    let state = args.with_state.as_deref().map(read_state).transpose()?;
    let tape = match (&args.world, &args.record) {
        (Some(path), _) => Tape::playing(read_json(path)?),
        (None, Some(_)) => Tape::recording(),
        (None, None) => Tape::Off,
    };
    let chosen = choose("test", args.bot, args.host, context).await?;
    let config = chosen.host.configuration().map(Config::read).transpose()?;
    let outside = config.as_ref().map(outside).unwrap_or_default();
    let trial = Trial::load_in(&chosen.inspector, &chosen.spec, tape, outside).await?;
    if let Some(state) = state {
        trial.set_state(state).await?;
    }
    let report = match (event, args.tick) {
        (Some(event), _) => trial.handle(event).await?,
        (None, Some(timer)) => trial.tick(&timer).await?,
        (None, None) => return Err(CliError::usage("there is nothing to test: give --event or --tick")),
    };
    if let (Some(path), Some(world)) = (&args.record, trial.recorded()) {
        write_world(path, &world)?;
    }
    if context.common.json {
        context.out.json(&as_json(&report))?;
    } else {
        print(&report, context)?;
    }
    match report.outcome {
        TrialOutcome::Done => Ok(()),
        TrialOutcome::Retry { .. } => Err(CliError::Told(Exit::Retry)),
        TrialOutcome::Reject(_) => Err(CliError::Told(Exit::Reject)),
        TrialOutcome::Fault(_) => Err(CliError::Told(Exit::Fault)),
    }
}

/// What the host's file says of the world outside.
fn outside(config: &Config) -> Outside<'_> {
    Outside {
        mail: config.mail.as_ref(),
        network: Arc::new(config.network.clone()),
    }
}

fn read_event(path: &Path, attempt: u32) -> Result<TrialEvent, CliError> {
    let file: EventFile = read_json(path)?;
    Ok(TrialEvent {
        event_type: file.r#type,
        topic: file.topic,
        id: file.id.unwrap_or_else(|| "0123456789abcdef0123456789abcdef".to_owned()),
        subject: file.subject,
        data: file.data,
        attempt,
    })
}

fn read_state(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, CliError> {
    let texts: BTreeMap<String, String> = read_json(path)?;
    texts
        .into_iter()
        .map(|(key, text)| match text.strip_prefix(BINARY) {
            None => Ok((key, text.into_bytes())),
            Some(encoded) => match BASE64.decode(encoded) {
                Ok(bytes) => Ok((key, bytes)),
                Err(error) => Err(CliError::usage(format_args!("{}: {key:?}: {error}", path.display()))),
            },
        })
        .collect()
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, CliError> {
    let text = std::fs::read(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failure,
        };
        CliError::Said(exit, format!("cannot read {}: {error}", path.display()))
    })?;
    serde_json::from_slice(&text).map_err(|error| CliError::usage(format_args!("{}: {error}", path.display())))
}

fn write_world(path: &Path, world: &World) -> Result<(), CliError> {
    let failed =
        |error: &dyn std::fmt::Display| CliError::failed(format_args!("cannot write {}: {error}", path.display()));
    let mut text = serde_json::to_string_pretty(world).map_err(|error| failed(&error))?;
    text.push('\n');
    std::fs::write(path, text).map_err(|error| failed(&error))
}

/// The outcome's name, the reason, and the milliseconds to wait.
fn in_words(outcome: &TrialOutcome) -> (&'static str, Option<String>, Option<u64>) {
    match outcome {
        TrialOutcome::Done => ("done", None, None),
        TrialOutcome::Retry { after, why } => {
            let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            ("retry", Some(why.clone()), Some(millis))
        }
        TrialOutcome::Reject(why) => ("reject", Some(why.clone()), None),
        TrialOutcome::Fault(fault) => ("fault", Some(format!("the bot {fault}")), None),
    }
}

/// A value of the state, as the state's file has it.
fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.starts_with(BINARY) => text.to_owned(),
        _ => format!("{BINARY}{}", BASE64.encode(value)),
    }
}

fn as_json(report: &TrialReport) -> Value {
    let (outcome, why, after) = in_words(&report.outcome);
    let published: Vec<_> = report
        .published
        .iter()
        .map(|event| {
            json!({
                "id": event.id, "topic": event.topic, "type": event.event_type, "subject": event.subject,
                "run": event.run, "cause": event.cause, "data": event.data,
            })
        })
        .collect();
    let state: BTreeMap<_, _> = report.state.iter().map(|(key, value)| (key, text(value))).collect();
    let log: Vec<_> = report
        .log
        .iter()
        .map(|line| json!({ "level": line.level, "line": line.line }))
        .collect();
    json!({
        "outcome": outcome, "why": why, "after-ms": after, "published": published, "state": state, "log": log,
        "needs": report.needs.as_ref().map(Lacking::flags).unwrap_or_default(),
        "milliseconds": report.took.as_secs_f64() * 1000.0,
    })
}

fn print(report: &TrialReport, context: &mut Context) -> Result<(), CliError> {
    for line in &report.log {
        let text = format!("log        {:5}  {}", line.level.name(), line.line);
        context.out.line(printable(&text))?;
    }
    for event in &report.published {
        let data = serde_json::to_string(&event.data).unwrap_or_default();
        let text = format!("published  {}  {} {data}", event.topic, event.event_type);
        context.out.line(printable(&text))?;
    }
    for (key, value) in &report.state {
        context
            .out
            .line(printable(&format!("state      {key} = {}", text(value))))?;
    }
    let (outcome, why, after) = in_words(&report.outcome);
    let mut line = format!("outcome    {outcome}");
    if let Some(millis) = after {
        line.push_str(&format!(" after {millis} ms"));
    }
    if let Some(why) = why {
        line.push_str(&format!(": {why}"));
    }
    context.out.line(printable(&line))?;
    if let Some(needs) = &report.needs {
        context.note(format_args!("to be loaded it needs {}", needs.flags().join(" ")));
    }
    context.note(format_args!("took {:.1} ms", report.took.as_secs_f64() * 1000.0));
    Ok(())
}

impl From<TrialError> for CliError {
    fn from(error: TrialError) -> Self {
        match error {
            TrialError::Load(failure) => failure.into(),
            TrialError::Event(_) => CliError::usage(error),
            _ => CliError::failed(error),
        }
    }
}
