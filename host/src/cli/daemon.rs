//! A host in the background, for bots that are loaded when none is running.

use std::fs::{DirBuilder, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::common::{ConfigArgs, Context};
use super::error::CliError;
use super::exit::Exit;
use super::status::displaced;
use crate::control::{Answer, ClientError, HostStatus, Request};

/// How long a host may take until it is ready. It compiles the bots of its configuration before it listens on its socket: one in
/// Python takes 20 s on a quiet machine of two cores, and minutes beside a build. A host that ends is noticed at once.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long another host that starts at the same time may take to answer.
const PATIENCE_WITH_ANOTHER: Duration = Duration::from_secs(20);

/// How often we look.
const PAUSE: Duration = Duration::from_millis(20);

/// The state directory of a host that is running; it is started if there is none.
pub async fn ensure(config: &ConfigArgs, context: &Context) -> Result<(), CliError> {
    match context.client().ask(Request::Status).await {
        Err(ClientError::NotRunning(_)) => start(config, context).await,
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

async fn start(config: &ConfigArgs, context: &Context) -> Result<(), CliError> {
    let state = context.state();
    let log = state.join("host.log");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .map_err(|error| failed(&format!("cannot make {}", state.display()), &error))?;
    let ready = ready(config, &state, &log, context);
    let status = context.patiently("starting a host in the background", ready).await?;
    context.note(format_args!(
        "started host {} in the background: broker {}{}, log {}",
        status.name,
        status.broker,
        displaced(&status),
        log.display()
    ));
    Ok(())
}

/// Run this program again, as a host. What it says goes to the end of its log.
fn spawn(config: &ConfigArgs, state: &Path, log: &Path, context: &Context) -> Result<(Child, u64), CliError> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.map_err(|error| failed(&format!("cannot write {}", log.display()), &error))?;
    let begin = file.metadata().map_or(0, |metadata| metadata.len());
    let program = std::env::current_exe().map_err(|error| failed("cannot find this program", &error))?;
    let mut command = Command::new(program);
    command.arg("run").arg("--detached").arg("--state").arg(state);
    if let Some(path) = &config.config {
        command.arg("--config").arg(path);
    }
    if context.common.verbose > 0 {
        command.arg(format!("-{}", "v".repeat(context.common.verbose.into())));
    }
    let errors = file
        .try_clone()
        .map_err(|error| failed("cannot share its log", &error))?;
    let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
    let child = child.map_err(|error| failed("cannot run this program again", &error))?;
    Ok((child, begin))
}

/// Start hosts until one is ready, or report why none ever will be.
async fn ready(config: &ConfigArgs, state: &Path, log: &Path, context: &Context) -> Result<HostStatus, CliError> {
    let client = context.client();
    let begun = Instant::now();
    let (mut child, mut begin) = spawn(config, state, log, context)?;
    loop {
        if let Ok(Answer::Status(status)) = client.ask(Request::Status).await
            && status.loaded
        {
            return Ok(status);
        }
        if let Ok(Some(end)) = child.try_wait() {
            // Another command has just started a host, which will do as well; or one is about to end, and leave its
            // place to the next.
            if !in_use(log, begin) || begun.elapsed() > PATIENCE_WITH_ANOTHER {
                return Err(never_ready(Some(end), log, begin));
            }
            tokio::time::sleep(PAUSE * 10).await;
            if matches!(client.ask(Request::Status).await, Err(ClientError::NotRunning(_))) {
                (child, begin) = spawn(config, state, log, context)?;
            }
        }
        if begun.elapsed() > PATIENCE {
            return Err(never_ready(None, log, begin));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn failed(what: &str, error: &std::io::Error) -> CliError {
    CliError::failed(format_args!("cannot start a host in the background: {what}: {error}"))
}

fn never_ready(end: Option<std::process::ExitStatus>, log: &Path, begin: u64) -> CliError {
    let said = said(log, begin);
    let exit = match end.and_then(|status| status.code()) {
        Some(code) => Exit::ALL
            .into_iter()
            .map(|(exit, _)| exit)
            .find(|exit| i32::from(exit.code()) == code),
        None => None,
    };
    let why = match (end, last_words(&said)) {
        (None, _) => format!("it is not ready after {} s", PATIENCE.as_secs()),
        (Some(_), Some(words)) => words,
        (Some(status), None) => format!("it ended without a word ({status})"),
    };
    let message = format!(
        "cannot start a host in the background: {why}\n(its log is {})",
        log.display()
    );
    CliError::Said(exit.filter(|exit| *exit != Exit::Ok).unwrap_or(Exit::Failure), message)
}

/// Whether the host found another one in its state directory.
fn in_use(log: &Path, begin: u64) -> bool {
    said(log, begin).contains("another foundry-host is using")
}

/// What the host wrote to its log.
fn said(log: &Path, begin: u64) -> String {
    let read = || {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(begin))?;
        let mut text = Vec::new();
        file.take(1024 * 1024).read_to_end(&mut text)?;
        std::io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_default()
}

/// The message that the host ended with: from its last line that begins with the program's name.
fn last_words(said: &str) -> Option<String> {
    let prefix = format!("{}: ", super::PROGRAM);
    let lines: Vec<_> = said.lines().collect();
    let last = lines.iter().rposition(|line| line.starts_with(&prefix))?;
    let words = lines.get(last..)?.join("\n");
    words.strip_prefix(&prefix).map(ToOwned::to_owned)
}

/// The configuration by its absolute path, since the background host has another directory.
pub fn absolute(config: ConfigArgs) -> ConfigArgs {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    ConfigArgs {
        config: config.config.map(absolute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_final_message_with_its_lines() {
        let said = "INFO x\nfoundry-host: h is ready\nWARN y\nfoundry-host: cannot use f:\n  f:1: bad\n";
        assert_eq!(last_words(said).as_deref(), Some("cannot use f:\n  f:1: bad"));
        assert_eq!(last_words("nothing of ours\n"), None);
    }
}
