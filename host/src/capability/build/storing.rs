//! What a build made, on its way into the artifact store.
//!
//! A build is dear, and a store that is away comes back. So what was built stays where it is, and only its storing is tried again, for as long
//! as the call may last. Its place among the bot's messages is taken meanwhile: nothing else is built that could not be stored either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::{Artifact, ArtifactKind, BuildReport};
use crate::capability::{ArtifactError, Level, Services};
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
    pub services: &'a Arc<Services>,
    pub bot: &'a str,
    pub run: Option<&'a str>,
    pub until: Instant,
}

impl Caller<'_> {
    fn log(&self, text: &str) {
        self.services.logs.write(self.bot, self.run, Level::Warn, text);
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
            if is_over || !is_away(self.services).await {
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
        let store = &self.services.artifacts;
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

async fn is_away(services: &Services) -> bool {
    match services.artifacts.reach().await {
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
