//! The interface `build` of the contract, on top of [`Builder`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wasmtime::component::Resource;

use super::apt::Source;
use super::source_grant::{self, SourceRefusal};
use super::source_reach;
use super::storing::{Caller, TEXT};
use super::taped;
use super::{BuildError, BuildKind, BuildRequest, Builder, Limits, Observer, OverlayFile, Phase};
use crate::capability::git::Checkout;
use crate::capability::{Grants, Level, Services, shell_word, tape};
use crate::reach::{Addresses, PrivateAddress};
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
        let asked_for = match granted(&self.bot.grants, builder.own_suite(), &request) {
            Ok(sources) => reach(&builder, sources).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = asked_for {
            return Ok(Err(Error::Unavailable(refusal.to_string())));
        }
        let request = with_limits(&builder, tree, output.path(), request);
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

/// The bot's request, with the operator's limits.
fn with_limits(builder: &Builder, tree: PathBuf, output: &Path, asked: Request) -> BuildRequest {
    let limits = builder.limits();
    let asked_time = asked.timeout.map(|seconds| Duration::from_secs(seconds.into()));
    BuildRequest {
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
        keyrings: asked.keyrings.into_iter().map(PathBuf::from).collect(),
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
    }
}

/// What a bot asks for beyond its grants.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// A file of the machine's.
    #[error("the file {file} is not granted to this bot (add --allow-file {file})", file = .0.display())]
    File(PathBuf),
    /// Another suite than the machine's own.
    #[error("builds for the suite {suite} are not granted to this bot (add --allow-suite {suite})", suite = shell_word(.0))]
    Suite(String),
    #[error(transparent)]
    Source(#[from] SourceRefusal),
    /// A granted source that leads where no grant does.
    #[error("a package source: {0}")]
    Address(#[from] PrivateAddress),
    /// Whether it does was not found out.
    #[error("the addresses of the package sources could not be looked up")]
    Unknown,
}

/// Compares a request with the operator's grants, and returns the package sources that it names.
fn granted(grants: &Grants, own_suite: Option<&str>, asked: &Request) -> Result<Vec<(Source, Addresses)>, Refusal> {
    if let Some(file) = asked.keyrings.iter().find(|file| !grants.allow_file(Path::new(file))) {
        return Err(Refusal::File(file.into()));
    }
    let suite = asked.suite.as_deref().filter(|suite| own_suite != Some(suite));
    if let Some(suite) = suite.filter(|suite| !grants.allow_suite(suite)) {
        return Err(Refusal::Suite(suite.to_owned()));
    }
    let sources = asked.repositories.iter();
    sources
        .map(|text| source_grant::admit(&grants.apt, text).map_err(Refusal::from))
        .collect()
}

/// Refuses granted sources that lead where no grant does. Names are resolved on a thread of their own.
async fn reach(builder: &Builder, sources: Vec<(Source, Addresses)>) -> Result<(), Refusal> {
    if sources.is_empty() {
        return Ok(());
    }
    let network = builder.network();
    let checked = tokio::task::spawn_blocking(move || source_reach::check(&network, &sources)).await;
    checked.map_err(|_| Refusal::Unknown)?.map_err(Refusal::from)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::capability::Interface;
    use crate::runtime::wit::types::Description;

    fn asked(suite: Option<&str>, repositories: &[&str], keyrings: &[&str]) -> Request {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Request {
            kind: Kind::Full,
            suite: suite.map(ToOwned::to_owned),
            architecture: None,
            repositories: owned(repositories),
            keyrings: owned(keyrings),
            files: Vec::new(),
            timeout: None,
        }
    }

    fn refused(grants: &Grants, asked: &Request) -> Option<String> {
        let refusal = granted(grants, Some("trixie"), asked).err();
        refusal.map(|refusal| refusal.to_string())
    }

    #[test]
    fn a_bot_that_may_build_names_no_source_no_suite_and_no_keyring_beyond_its_grants() {
        let mut grants = Grants {
            build: true,
            ..Grants::default()
        };
        let source = "deb [trusted=yes] http://127.0.0.1:8917/ ./";
        for (asked, why) in [
            (
                asked(None, &[source], &[]),
                "the package source [trusted=yes] http://127.0.0.1:8917/ ./ is not granted to this bot (add --allow-apt \
                 '[trusted=yes] http://127.0.0.1:8917/ ./')",
            ),
            (
                asked(Some("sid"), &[], &[]),
                "builds for the suite sid are not granted to this bot (add --allow-suite sid)",
            ),
            (
                asked(None, &[], &["/etc/ssl/private/key"]),
                "the file /etc/ssl/private/key is not granted to this bot (add --allow-file /etc/ssl/private/key)",
            ),
        ] {
            assert_eq!(refused(&grants, &asked).as_deref(), Some(why));
        }
        assert_eq!(
            refused(&grants, &asked(Some("trixie"), &[], &[])),
            None,
            "the machine's own"
        );
        grants
            .apt
            .push("[trusted=yes] http://127.0.0.1:8917/ ./".parse().unwrap());
        grants.suites.push("s*d".to_owned());
        grants.files.push("/srv/key".into());
        assert_eq!(refused(&grants, &asked(Some("sid"), &[source], &["/srv/key"])), None);
    }

    #[test]
    fn buildbot_may_use_what_its_own_options_say_and_no_other_stock_bot_may() {
        let description = Description {
            name: "buildbot".to_owned(),
            version: "1".to_owned(),
            summary: String::new(),
            options: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            timers: Vec::new(),
            message_timeout: None,
        };
        let source = "deb [trusted=yes] http://127.0.0.1:8917/ ./";
        let options = BTreeMap::from(
            [("repository", source), ("suite", "sid")].map(|(name, value)| (name.to_owned(), vec![value.to_owned()])),
        );
        let of = |imports: &[Interface]| Grants::of_stock_bot(&description, imports, &options);
        let (grants, request) = (of(&[Interface::Build]), asked(Some("sid"), &[source], &[]));
        assert_eq!(refused(&grants, &request), None);
        let other = asked(None, &["deb [trusted=yes] http://127.0.0.1:8918/ ./"], &[]);
        assert!(refused(&grants, &other).is_some_and(|why| why.contains("8918/ ./ is not granted")));
        let watchbot = of(&[Interface::Git]);
        assert!(watchbot.apt.is_empty() && watchbot.suites.is_empty());
    }
}
