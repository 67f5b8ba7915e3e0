//! What a build made, on its way into the artifact store.
//!
//! A build is dear, and a store that is away comes back. So what was built stays where it is, and only its storing is tried again, for as long
//! as the call may last. Its place among the bot's messages is taken meanwhile: nothing else is built that could not be stored either.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::{Artifact, ArtifactKind, BuildReport};
use crate::capability::{ArtifactError, ArtifactStore, Level, LogHub};
use crate::objects::Reached;
use crate::runtime::wit;

use wit::build::{Error, Report};

/// The media type of a log.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// First and longest pause before storing is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Time that the bot has left when storing is given up, to say so.
const MARGIN: Duration = Duration::from_secs(10);

/// Whose build it is, and until when the call may last.
pub(super) struct Caller<'a> {
    pub artifacts: &'a ArtifactStore,
    pub logs: &'a LogHub,
    pub bot: &'a str,
    pub run: Option<&'a str>,
    pub until: Instant,
}

impl Caller<'_> {
    fn log(&self, text: &str) {
        self.logs.write(self.bot, self.run, Level::Warn, text);
    }

    /// Moves what a build made into the artifact store.
    ///
    /// # Errors
    /// `unavailable`, if the store refuses this host, or is away for too long.
    pub async fn store(&self, report: BuildReport, duration: Duration) -> Result<Report, Error> {
        let mut pause = PAUSE.0;
        // Before the call's time is over: a call that ends by that counts as the bot's fault.
        let margin = MARGIN.min(self.until.saturating_duration_since(Instant::now()) / 2);
        let end = self.until.checked_sub(margin).unwrap_or(self.until);
        loop {
            let error = match timeout_at(end.into(), self.try_to_store(&report, duration)).await {
                Ok(Ok(stored)) => return Ok(stored),
                Ok(Err(error)) => error,
                Err(_) => return Err(too_slow()),
            };
            let is_over = Instant::now() + pause + MARGIN > self.until;
            // Whom it refuses it refuses the next time as well, and another host may be let in.
            if is_over || !is_away(self.artifacts).await {
                return Err(Error::Unavailable(format!("cannot store what was built: {error}")));
            }
            self.log(&format!(
                "cannot store what was built: {error}; trying again in {} s, without building again",
                pause.as_secs()
            ));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn try_to_store(&self, report: &BuildReport, duration: Duration) -> Result<Report, ArtifactError> {
        let store = self.artifacts;
        let mut artifacts = Vec::new();
        for artifact in &report.artifacts {
            let kept = store
                .put_file(&artifact.name, media_type(artifact), &artifact.path)
                .await?;
            artifacts.push(kept.into());
        }
        let log = store.put_file(&log_name(report), TEXT, &report.log).await?;
        Ok(Report {
            source: report.source.clone(),
            version: report.version.clone(),
            architecture: report.architecture.clone(),
            artifacts,
            log: log.into(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

fn too_slow() -> Error {
    Error::Unavailable("cannot store what was built: the artifact store is too slow, or away".to_owned())
}

async fn is_away(store: &ArtifactStore) -> bool {
    match store.reach().await {
        // It may have come back just now.
        Reached::Usable | Reached::Away(_) => true,
        Reached::Absent | Reached::Refused(_) => false,
    }
}

fn log_name(report: &BuildReport) -> String {
    // An epoch's colon has no place in a file name.
    let version = report
        .version
        .split_once(':')
        .map_or(report.version.as_str(), |(_, rest)| rest);
    format!("{}_{version}_{}.build", report.source, report.architecture)
}

fn media_type(artifact: &Artifact) -> &'static str {
    match artifact.kind {
        ArtifactKind::Deb | ArtifactKind::Ddeb | ArtifactKind::Udeb => "application/vnd.debian.binary-package",
        ArtifactKind::Changes | ArtifactKind::Buildinfo | ArtifactKind::Dsc => TEXT,
        ArtifactKind::Source | ArtifactKind::Other => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::Backend;
    use super::*;
    use crate::objects::{Bucket, Credentials, Location, parse_endpoint};

    fn report(directory: &std::path::Path) -> BuildReport {
        let log = directory.join("log");
        std::fs::write(&log, "made\n").unwrap();
        BuildReport {
            source: "hello".to_owned(),
            version: "1:2.0-1".to_owned(),
            distribution: "unstable".to_owned(),
            architecture: "amd64".to_owned(),
            architectures: vec!["amd64".to_owned()],
            artifacts: Vec::new(),
            log,
            backend: Backend::HostRoot,
            phases: Vec::new(),
        }
    }

    /// A service that takes connections, and says nothing on them.
    fn silent_bucket(listener: &TcpListener) -> Location {
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        Location::Bucket(Box::new(Bucket {
            name: "b".to_owned(),
            endpoint: Some(parse_endpoint(&endpoint).unwrap()),
            credentials: Some(Credentials {
                access_key_id: "id".to_owned(),
                secret_access_key: "hush".to_owned(),
                session_token: None,
            }),
            ..Bucket::default()
        }))
    }

    /// Otherwise the call would be ended at that time, and that counts as the bot's fault. Silence alone ends a request only after half a minute.
    #[tokio::test]
    async fn storing_that_hangs_ends_before_the_call_does_and_blames_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let artifacts = ArtifactStore::open(&silent_bucket(&listener)).unwrap();
        let logs = LogHub::new(directory.path().join("logs"));
        let caller = Caller {
            artifacts: &artifacts,
            logs: &logs,
            bot: "build",
            run: None,
            until: Instant::now() + Duration::from_secs(8),
        };
        let stored = caller.store(report(directory.path()), Duration::ZERO).await;
        let Err(Error::Unavailable(why)) = stored else {
            panic!("{stored:?}");
        };
        assert!(why.contains("too slow, or away"), "{why}");
        assert!(listener.accept().is_ok(), "it was asked");
    }
}
