//! Builds of recorded worlds. What a build made is part of the recording, since bots may read it.

use crate::capability::tape::{
    Answer, Build, BuildAsked, BuildFailure, Built, BuiltFile, Content, Exchange, FailedBuild,
};
use crate::capability::{Artifact, ArtifactError, Services};
use crate::runtime::wit::build::{Error, Failure, Kind, Report, Request};
use crate::runtime::wit::types;

/// A request, as it is compared with recorded ones.
pub(super) fn asked(commit: &str, request: &Request) -> BuildAsked {
    let kind = match request.kind {
        Kind::Full => "full",
        Kind::Binary => "binary",
        Kind::Any => "any",
        Kind::All => "all",
        Kind::Source => "source",
    };
    BuildAsked {
        commit: commit.to_owned(),
        kind: kind.to_owned(),
        suite: request.suite.clone(),
        architecture: request.architecture.clone(),
    }
}

/// A recorded answer, with its files in the artifact store.
pub(super) async fn answer(
    services: &Services,
    answer: Answer<Built, BuildFailure>,
) -> wasmtime::Result<Result<Report, Error>> {
    Ok(match answer {
        Answer::Answer(built) => {
            let mut artifacts = Vec::new();
            for file in built.artifacts {
                artifacts.push(put(services, file).await?);
            }
            Ok(Report {
                source: built.source,
                version: built.version,
                architecture: built.architecture,
                artifacts,
                log: put(services, built.log).await?,
                duration_ms: built.duration_ms,
            })
        }
        Answer::Error(BuildFailure::Unavailable(why)) => Err(Error::Unavailable(why)),
        Answer::Error(BuildFailure::Failed(failed)) => {
            let log = match failed.log {
                Some(log) => Some(put(services, log).await?),
                None => None,
            };
            Err(Error::Failed(Failure {
                phase: failed.phase,
                reason: failed.reason,
                log_tail: failed.log_tail,
                log,
            }))
        }
    })
}

/// Write an answer down, with the files that it names.
pub(super) async fn record(
    services: &Services,
    asked: BuildAsked,
    outcome: &Result<Report, Error>,
) -> Result<(), ArtifactError> {
    let answer = match outcome {
        Ok(report) => {
            let mut artifacts = Vec::new();
            for artifact in &report.artifacts {
                artifacts.push(get(services, artifact).await?);
            }
            Answer::Answer(Built {
                source: report.source.clone(),
                version: report.version.clone(),
                architecture: report.architecture.clone(),
                artifacts,
                log: get(services, &report.log).await?,
                duration_ms: report.duration_ms,
            })
        }
        Err(Error::Unavailable(why)) => Answer::Error(BuildFailure::Unavailable(why.clone())),
        Err(Error::Failed(failure)) => Answer::Error(BuildFailure::Failed(FailedBuild {
            phase: failure.phase.clone(),
            reason: failure.reason.clone(),
            log_tail: failure.log_tail.clone(),
            log: match &failure.log {
                Some(log) => Some(get(services, log).await?),
                None => None,
            },
        })),
    };
    services.tape.record::<Build>(|| Exchange { asked, answer });
    Ok(())
}

async fn put(services: &Services, file: BuiltFile) -> Result<types::Artifact, ArtifactError> {
    let bytes = file.content.0.into();
    let stored = services.artifacts.put(&file.name, &file.media_type, bytes).await?;
    Ok(stored.into())
}

async fn get(services: &Services, artifact: &types::Artifact) -> Result<BuiltFile, ArtifactError> {
    let reference = Artifact::from(artifact.clone());
    let bytes = services.artifacts.get(&reference).await?;
    Ok(BuiltFile {
        name: reference.name,
        media_type: reference.media_type,
        content: Content(bytes.to_vec()),
    })
}
