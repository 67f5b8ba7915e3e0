//! The interface `build` of the contract, on top of [`Builder`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wasmtime::component::Resource;

use super::storing::{Caller, TEXT};
use super::taped;
use super::{BuildError, BuildKind, BuildRequest, Builder, Limits, Observer, OverlayFile, Phase};
use crate::capability::git::Checkout;
use crate::capability::{Level, Services, tape};
use crate::runtime::{Invocation, wit};

use wit::build::{Error, Failure, Kind, Report, Request};

/// Lines of a build's log that are shown live: so many at once, and so many per second. All are in the artifact.
const LIVE_BURST: u32 = 2000;
const LIVE_RATE: u32 = 200;

impl wit::build::Host for Invocation {
    async fn run(&mut self, source: Resource<Checkout>, request: Request) -> wasmtime::Result<Result<Report, Error>> {
        let services = Arc::clone(&self.bot.services);
        let checkout = self.table.get(&source)?;
        let asked = taped::asked(checkout.commit(), &request);
        if let Some(answer) = services.tape.play::<tape::Build>(&asked)? {
            return taped::answer(&services, answer).await;
        }
        let Some(tree) = checkout.path().map(Path::to_owned) else {
            return Err(wasmtime::Error::msg("a recorded tree can't be built"));
        };
        let builder = services.builder.clone();
        let live = Live::new(Arc::clone(&services), &self.bot.name, Self::run(self));
        let output = match builder.output() {
            Ok(output) => output,
            Err(error) => return Ok(Err(Error::Unavailable(error.to_string()))),
        };
        let request = match self.request(&builder, tree, output.path(), request) {
            Ok(request) => request,
            Err(refusal) => return Ok(Err(Error::Unavailable(refusal))),
        };
        let begun = Instant::now();
        let outcome = builder.run(request, CancellationToken::new(), live).await;
        let caller = Caller {
            artifacts: &services.artifacts,
            logs: &services.logs,
            bot: &self.bot.name,
            run: Self::run(self),
            until: self.until,
        };
        let outcome = match outcome {
            Ok(report) => caller.store(report, begun.elapsed()).await,
            Err(error) => Err(failed(&services, &error).await),
        };
        if services.tape.is_recording() {
            taped::record(&services, asked, &outcome).await?;
        }
        Ok(outcome)
    }
}

impl Invocation {
    /// The bot's request, with the operator's grants and limits.
    fn request(&self, builder: &Builder, tree: PathBuf, output: &Path, asked: Request) -> Result<BuildRequest, String> {
        let keyrings: Vec<PathBuf> = asked.keyrings.iter().map(PathBuf::from).collect();
        if let Some(file) = keyrings.iter().find(|file| !self.bot.grants.allow_file(file)) {
            let file = file.display();
            return Err(format!(
                "the file {file} is not granted to this bot (add --allow-file {file})"
            ));
        }
        let limits = builder.limits();
        let asked_time = asked.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        Ok(BuildRequest {
            suite: asked.suite,
            architecture: asked.architecture,
            kind: match asked.kind {
                Kind::Full => BuildKind::Full,
                Kind::Binary => BuildKind::Binary,
                Kind::Any => BuildKind::Any,
                Kind::All => BuildKind::All,
                Kind::Source => BuildKind::Source,
            },
            repositories: asked.repositories,
            keyrings,
            files: asked
                .files
                .into_iter()
                .map(|(path, content)| OverlayFile {
                    path: path.into(),
                    content,
                })
                .collect(),
            limits: Limits {
                wall_time: asked_time.map_or(limits.wall_time, |time| time.min(limits.wall_time)),
                ..limits.clone()
            },
            ..BuildRequest::new(tree, output)
        })
    }
}

/// Says in the contract's terms why there are no packages.
async fn failed(services: &Services, error: &BuildError) -> Error {
    let reason = error.to_string();
    let phase = match error {
        _ if error.may_pass() => return Error::Unavailable(reason),
        BuildError::Dependencies { .. } => "dependencies",
        BuildError::Failed {
            phase: Phase::Build, ..
        } => "build",
        BuildError::TimedOut { .. } => "time",
        BuildError::MemoryLimit { .. } => "memory",
        BuildError::DiskLimit { .. } => "disk",
        BuildError::ProcessLimit { .. } => "processes",
        BuildError::BadResult { .. } => "collect",
        _ => "source",
    };
    let tail = error.tail();
    let log = match tail {
        Some(tail) => services.artifacts.put_file("build.log", TEXT, &tail.path).await.ok(),
        None => None,
    };
    Error::Failed(Failure {
        phase: phase.to_owned(),
        reason,
        log_tail: tail.map(|tail| tail.lines.clone()).unwrap_or_default(),
        log: log.map(Into::into),
    })
}

/// Shows a build's log while it is written, at a rate that listeners can take.
struct Live {
    services: Arc<Services>,
    bot: String,
    run: Option<String>,
    tokens: u32,
    refilled: Instant,
    dropped: u32,
}

impl Live {
    fn new(services: Arc<Services>, bot: &str, run: Option<&str>) -> Self {
        Self {
            services,
            bot: bot.to_owned(),
            run: run.map(ToOwned::to_owned),
            tokens: LIVE_BURST,
            refilled: Instant::now(),
            dropped: 0,
        }
    }

    fn write(&self, text: &str) {
        self.services
            .logs
            .write(&self.bot, self.run.as_deref(), Level::Info, text);
    }

    fn may_write(&mut self) -> bool {
        let seconds = u32::try_from(self.refilled.elapsed().as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.tokens = self
                .tokens
                .saturating_add(seconds.saturating_mul(LIVE_RATE))
                .min(LIVE_BURST);
            self.refilled = Instant::now();
        }
        let may = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        may
    }
}

impl Observer for Live {
    fn phase(&mut self, _phase: Phase) {
        // The log has a line for it.
    }

    fn line(&mut self, line: &str) {
        if !self.may_write() {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        if self.dropped > 0 {
            self.write(&format!(
                "[{} lines came too fast to be shown; the build's log has them]",
                self.dropped
            ));
            self.dropped = 0;
        }
        self.write(line);
    }
}
