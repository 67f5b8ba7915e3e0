//! buildbot: builds Debian packages from the commits that others announce.
//!
//! It checks out exactly the announced commit, refuses it unless a trusted key has signed it, has the host build it,
//! and announces the packages, or why there are none.

mod bump;

use std::time::Duration;

use foundry_sdk::build::{self, Failure as BuildFailure, Kind, Report, Request};
use foundry_sdk::events::{Build, Commit, EventData as _, Failure};
use foundry_sdk::git::{self, CommitInfo, Signature, Source};
use foundry_sdk::{
    Bot, Description, Message, OptionBuilder, OptionKind, Outcome, clock, export, log, options, publish, retry_after,
};

/// How long to wait before another attempt when a server or this host can't do its part now.
const LATER: Duration = Duration::from_secs(30);

/// Seconds that one message may take: a build, and the checkout before it.
const MESSAGE_TIMEOUT: u32 = 3 * 60 * 60;

/// How much of a failed build's log its event carries. The whole log is an artifact.
const TAIL_LINES: usize = 50;
const TAIL_LINE: usize = 500;

struct Buildbot;

impl Bot for Buildbot {
    fn describe() -> Description {
        let text = |name, placeholder, help| OptionBuilder::new(name, OptionKind::Text, help).placeholder(placeholder);
        Description::new(
            "buildbot",
            env!("CARGO_PKG_VERSION"),
            "builds Debian packages from announced commits",
        )
        .reads("watch", "commits", "pub/buildbot")
        .publishes("publish-to", "builds")
        .option(
            text(
                "build-branch",
                "BRANCH",
                "build only commits on this branch (`*` stands for any text)",
            )
            .repeatable(),
        )
        .option(
            text(
                "autobump",
                "BRANCH",
                "give each commit on this branch a version of its own (`*` stands for any text)",
            )
            .repeatable(),
        )
        .option(OptionBuilder::new(
            "allow-unsigned",
            OptionKind::Flag,
            "build commits that no trusted key has signed",
        ))
        .option(
            text(
                "repository",
                "SOURCE",
                "take build dependencies also from this APT source",
            )
            .repeatable(),
        )
        .option(
            OptionBuilder::new(
                "keyring",
                OptionKind::File,
                "check the APT sources given with --repository against this keyring",
            )
            .repeatable(),
        )
        .option(text(
            "suite",
            "SUITE",
            "build for this suite instead of the machine's own",
        ))
        .option(text(
            "arch",
            "ARCH",
            "build for this architecture instead of the machine's own",
        ))
        .option(
            text(
                "kind",
                "KIND",
                "what to build: `full`, `binary`, `any`, `all` or `source`",
            )
            .default("full"),
        )
        .message_timeout(MESSAGE_TIMEOUT)
    }

    fn configure() -> Result<(), String> {
        kind().map(drop)
    }

    fn handle(message: Message) -> Outcome {
        let commit = match Commit::of(&message) {
            Ok(commit) => commit,
            Err(why) => return Outcome::Reject(why),
        };
        if !options::allows("build-branch", &commit.branch) {
            log::debug(format!(
                "not building {}: --build-branch leaves it out",
                name_of(&commit)
            ));
            return Outcome::Done;
        }
        match work(&commit) {
            Ok(report) => announce(commit, report),
            Err(Stop::Later(why)) => retry_after(LATER, why),
            Err(Stop::Never(failure)) => announce_failure(commit, *failure),
        }
    }
}

/// Why there are no packages.
enum Stop {
    /// Not now; another attempt may succeed.
    Later(String),
    /// Not from this commit.
    Never(Box<BuildFailure>),
}

impl Stop {
    fn never(phase: &str, reason: impl Into<String>) -> Self {
        Self::Never(Box::new(BuildFailure {
            phase: phase.to_owned(),
            reason: reason.into(),
            log_tail: Vec::new(),
            log: None,
        }))
    }
}

/// From a commit to its packages.
fn work(commit: &Commit) -> Result<Report, Stop> {
    let source = git::checkout(&commit.repository, &commit.branch, &commit.commit).map_err(checkout_failed)?;
    let info = source.info();
    check_signature(&info.signature)?;
    let request = Request {
        kind: kind().map_err(|why| Stop::never("source", why))?,
        suite: options::one("suite"),
        architecture: options::one("arch"),
        repositories: options::all("repository"),
        keyrings: options::all("keyring"),
        files: bumped_files(&source, &info, &commit.branch)?,
        timeout: None,
    };
    log::info(format!("building {} ({})", name_of(commit), info.summary));
    build::run(&source, &request).map_err(|error| match error {
        build::Error::Failed(failure) => Stop::Never(Box::new(failure)),
        build::Error::Unavailable(why) => Stop::Later(why),
    })
}

fn checkout_failed(error: git::Error) -> Stop {
    match error {
        git::Error::TimedOut(why) | git::Error::Unavailable(why) => Stop::Later(why),
        git::Error::NotGranted(why)
        | git::Error::NotFound(why)
        | git::Error::NoSuchRef(why)
        | git::Error::BadRequest(why) => Stop::never("checkout", why),
    }
}

fn check_signature(signature: &Signature) -> Result<(), Stop> {
    let why = match signature {
        Signature::Trusted(key) => {
            log::info(format!("the commit is signed by {key}"));
            return Ok(());
        }
        Signature::Unsigned => "the commit is not signed".to_owned(),
        Signature::Untrusted(why) => format!("the commit's signature doesn't count: {why}"),
    };
    if options::flag("allow-unsigned") {
        log::warn(format!("{why}; building it anyway (--allow-unsigned)"));
        Ok(())
    } else {
        Err(Stop::never(
            "signature",
            format!("{why} (sign it, or start buildbot with --allow-unsigned)"),
        ))
    }
}

/// The changelog with an entry for this very commit, on branches that want one.
fn bumped_files(source: &Source, info: &CommitInfo, branch: &str) -> Result<Vec<(String, Vec<u8>)>, Stop> {
    const CHANGELOG: &str = "debian/changelog";
    if !options::all("autobump")
        .iter()
        .any(|pattern| options::matches(pattern, branch))
    {
        return Ok(Vec::new());
    }
    let fault = |why: &str| Stop::never("source", format!("cannot bump the version: {why}"));
    let old = match source.read(CHANGELOG) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(fault("there is no debian/changelog")),
        Err(git::Error::BadRequest(why)) => return Err(fault(&why)),
        Err(_) => return Err(Stop::Later("cannot read debian/changelog".to_owned())),
    };
    let entry = bump::Entry {
        commit: &info.id,
        author: &info.author,
        summary: &info.summary,
        stamp: &clock::rfc3339(info.time.saturating_mul(1000)),
        date: &clock::rfc5322(info.time.saturating_mul(1000)),
    };
    let (version, changelog) = bump::bump(&old, &entry).map_err(|why| fault(&why))?;
    log::info(format!("bumped the version to {version}"));
    Ok(vec![(CHANGELOG.to_owned(), changelog)])
}

fn kind() -> Result<Kind, String> {
    match options::one("kind").as_deref() {
        None | Some("full") => Ok(Kind::Full),
        Some("binary") => Ok(Kind::Binary),
        Some("any") => Ok(Kind::Any),
        Some("all") => Ok(Kind::All),
        Some("source") => Ok(Kind::Source),
        Some(other) => Err(format!(
            "--kind {other} is unknown (choose full, binary, any, all or source)"
        )),
    }
}

fn announce(commit: Commit, report: Report) -> Outcome {
    let subject = format!("{} {} ({})", report.source, report.version, report.architecture);
    log::info(format!("built {subject}"));
    let event = Build {
        commit,
        source: report.source,
        version: report.version,
        architecture: report.architecture,
        artifacts: report.artifacts.into_iter().map(Into::into).collect(),
        log: Some(report.log.into()),
        duration_ms: report.duration_ms,
    };
    done_or_reject(publish(event.event(subject)))
}

fn announce_failure(commit: Commit, failure: BuildFailure) -> Outcome {
    let subject = name_of(&commit);
    log::error(format!("cannot build {subject}: {}", failure.reason));
    let skipped = failure.log_tail.len().saturating_sub(TAIL_LINES);
    let event = Failure {
        commit: Some(commit),
        stage: "build".to_owned(),
        phase: Some(failure.phase),
        reason: failure.reason.chars().take(2000).collect(),
        log_tail: failure
            .log_tail
            .iter()
            .skip(skipped)
            .map(|line| line.chars().take(TAIL_LINE).collect())
            .collect(),
        log: failure.log.map(Into::into),
    };
    done_or_reject(publish(event.event(subject)))
}

fn done_or_reject(published: Result<String, String>) -> Outcome {
    match published {
        Ok(_id) => Outcome::Done,
        Err(why) => Outcome::Reject(why),
    }
}

/// What a commit is called in a log.
fn name_of(commit: &Commit) -> String {
    let short: String = commit.commit.chars().take(12).collect();
    format!("{}#{} at {short}", commit.repository, commit.branch)
}

export!(Buildbot);
