//! `load --watch`: a bot again and again, as its file changes.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::common::Context;
use super::error::CliError;
use super::load::{Chosen, prepare};
use super::surprised;
use crate::control::{Answer, Request};
use crate::supervisor::{BotSource, BotSpec};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// What tells one build of a file from another without reading it.
type Look = Option<(SystemTime, u64)>;

/// Load the bot in the place of the one with its name, and again after each change of its file, until interrupted.
/// The bot stays loaded then.
pub async fn run(mut chosen: Chosen, context: &mut Context) -> Result<(), CliError> {
    let BotSource::File(path) = chosen.spec.source.clone() else {
        let source = &chosen.spec.source;
        return Err(CliError::usage(format_args!("{source} has no file to watch")));
    };
    chosen.spec.name.get_or_insert_with(|| chosen.description.name.clone());
    prepare(&chosen, context).await?;
    let spec = chosen.spec;
    let mut loaded = look(&path);
    replace(&spec, context).await?;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let now = look(&path);
        if now.is_none() || now == loaded {
            continue;
        }
        // A program that writes in place is given the time to finish.
        tokio::time::sleep(INTERVAL).await;
        if look(&path) != now {
            continue;
        }
        loaded = now;
        if let Err(CliError::Said(_, why)) = replace(&spec, context).await {
            let name = spec.name.as_deref().unwrap_or_default();
            context.note(format_args!(
                "the new build is not used, and {name} goes on as it was: {why}"
            ));
        }
    }
}

fn look(path: &Path) -> Look {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

async fn replace(spec: &BotSpec, context: &mut Context) -> Result<(), CliError> {
    let start = Instant::now();
    let answer = context.client().ask(Request::Replace(Box::new(spec.clone()))).await?;
    let Answer::Loaded(status) = answer else {
        return Err(surprised());
    };
    if context.common.json {
        return context.out.json_line(&status);
    }
    for note in &status.notes {
        context.note(format_args!("note: {}: {note}", status.name));
    }
    let seconds = start.elapsed().as_secs_f32();
    context.note(format_args!(
        "loaded {} {} in {seconds:.1} s",
        status.name, status.version
    ));
    Ok(())
}
