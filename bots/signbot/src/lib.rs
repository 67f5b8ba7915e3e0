//! signbot: signs copies of a build's packages.
//!
//! Each .deb gets a `_gpgorigin` member, as debsigs makes it; .dsc, .buildinfo and .changes are clear-signed, as debsign
//! does it: in this order, since each names the checksums of those before it.

mod checksums;
mod digest;
mod unsigned;

use std::collections::BTreeMap;
use std::time::Duration;

use checksums::Checksums;
use foundry_sdk::events::{Artifact, Build, EventData as _, Failure, Sign};
use foundry_sdk::signing::{self, Error as SigningError};
use foundry_sdk::{
    Bot, Description, Message, OptionBuilder, OptionKind, Outcome, artifacts, export, log, options, publish,
    retry_after,
};

/// How long to wait before another attempt when the store or the key isn't available now.
const LATER: Duration = Duration::from_secs(30);

/// Files that describe others, in the order in which they have to be signed.
const DESCRIPTIONS: [&str; 3] = [".dsc", ".buildinfo", ".changes"];

/// A description larger than this is none.
const MAX_DESCRIPTION: u64 = 8 * 1024 * 1024;

struct Signbot;

impl Bot for Signbot {
    fn describe() -> Description {
        Description::new("signbot", env!("CARGO_PKG_VERSION"), "signs the packages of a build")
            .reads("watch", "builds", "pub/signbot")
            .publishes("publish-to", "signs")
            .option(OptionBuilder::new("gpg-key", OptionKind::Key, "sign with this key").required())
            .option(
                OptionBuilder::new(
                    "sign-branch",
                    OptionKind::Text,
                    "sign only builds of this branch (`*` stands for any text)",
                )
                .placeholder("BRANCH")
                .repeatable(),
            )
            .message_timeout(30 * 60)
    }

    fn configure() -> Result<(), String> {
        signing::fingerprint(&key()).map(drop).map_err(|error| text_of(&error))
    }

    fn handle(message: Message) -> Outcome {
        let build = match Build::of(&message) {
            Ok(build) => build,
            Err(why) => return Outcome::Reject(why),
        };
        if !options::allows("sign-branch", &build.commit.branch) {
            log::debug(format!(
                "not signing {}: --sign-branch leaves it out",
                build.commit.branch
            ));
            return Outcome::Done;
        }
        match sign(build.clone()) {
            Ok(signed) => {
                log::info(format!(
                    "signed {} {} with {}",
                    signed.source, signed.version, signed.key
                ));
                let subject = format!("{} {}", signed.source, signed.version);
                announced(publish(signed.event(subject)))
            }
            Err(Stop::Later(why)) => retry_after(LATER, why),
            Err(Stop::Never(reason)) => {
                log::error(&reason);
                let subject = format!("{} {}", build.source, build.version);
                let failure = Failure {
                    commit: Some(build.commit),
                    stage: "sign".to_owned(),
                    phase: None,
                    reason,
                    log_tail: Vec::new(),
                    log: None,
                };
                announced(publish(failure.event(subject)))
            }
        }
    }
}

fn announced(published: Result<String, String>) -> Outcome {
    match published {
        Ok(_) => Outcome::Done,
        Err(why) => Outcome::Reject(why),
    }
}

/// Why there are no signed copies.
enum Stop {
    /// Not now; another attempt may succeed.
    Later(String),
    /// Never of these files.
    Never(String),
}

impl From<SigningError> for Stop {
    fn from(error: SigningError) -> Self {
        let text = text_of(&error);
        match error {
            // The operator may bring the key back, or renew it: the build must not be lost over it.
            SigningError::NoKey(_) | SigningError::Unavailable(_) => Self::Later(text),
            SigningError::NotGranted(_) | SigningError::BadInput(_) => Self::Never(text),
        }
    }
}

impl Stop {
    /// The host's words, with the file that they are about.
    fn over(name: &str, error: SigningError) -> Self {
        match Self::from(error) {
            Self::Later(why) => Self::Later(format!("{name}: {why}")),
            Self::Never(why) => Self::Never(format!("{name}: {why}")),
        }
    }
}

impl From<artifacts::Error> for Stop {
    fn from(error: artifacts::Error) -> Self {
        Self::Later(error.to_string())
    }
}

fn text_of(error: &SigningError) -> String {
    match error {
        SigningError::NotGranted(key) => format!("may not sign with {key}"),
        SigningError::NoKey(why) | SigningError::BadInput(why) | SigningError::Unavailable(why) => why.clone(),
    }
}

fn key() -> String {
    options::one("gpg-key").unwrap_or_default()
}

/// The event of a build's signed copies.
fn sign(build: Build) -> Result<Sign, Stop> {
    let key = key();
    let mut artifacts = build.artifacts;
    let known = by_name(&artifacts)?;
    let mut changed = BTreeMap::new();
    let fingerprint = signing::fingerprint(&key)?;
    for artifact in artifacts.iter_mut().filter(|artifact| is_package(&artifact.name)) {
        let signed = signing::sign_package(&key, &artifact.clone().into());
        *artifact = signed.map_err(|error| Stop::over(&artifact.name, error))?.into();
        changed.insert(artifact.name.clone(), digest::of(artifact)?);
    }
    for suffix in DESCRIPTIONS {
        for artifact in artifacts.iter_mut().filter(|artifact| artifact.name.ends_with(suffix)) {
            *artifact = description_signed(&key, artifact, &known, &changed)?;
            changed.insert(artifact.name.clone(), digest::of(artifact)?);
        }
    }
    Ok(Sign {
        commit: build.commit,
        source: build.source,
        version: build.version,
        architecture: build.architecture,
        key: fingerprint,
        artifacts,
    })
}

fn is_package(name: &str) -> bool {
    [".deb", ".udeb", ".ddeb"].iter().any(|suffix| name.ends_with(suffix))
}

/// Size and SHA-256 of a build's files.
fn by_name(artifacts: &[Artifact]) -> Result<BTreeMap<String, (u64, String)>, Stop> {
    let mut known = BTreeMap::new();
    for artifact in artifacts {
        if known
            .insert(artifact.name.clone(), (artifact.size, artifact.sha256.clone()))
            .is_some()
        {
            return Err(Stop::Never(format!("the build has two files named {}", artifact.name)));
        }
    }
    Ok(known)
}

/// A clear-signed copy with the checksums of the files that were signed before. What contradicts the build's files is
/// not signed: a signature would make people believe it.
fn description_signed(
    key: &str,
    artifact: &Artifact,
    known: &BTreeMap<String, (u64, String)>,
    changed: &BTreeMap<String, Checksums>,
) -> Result<Artifact, Stop> {
    let refuse = |why: &str| Stop::Never(format!("cannot sign {}: {why}", artifact.name));
    if artifact.size > MAX_DESCRIPTION {
        return Err(refuse(&format!("it is larger than {MAX_DESCRIPTION} bytes")));
    }
    let text = String::from_utf8(digest::read(artifact)?).map_err(|_| refuse("it is not UTF-8 text"))?;
    let text = unsigned::unsigned(&text).ok_or_else(|| refuse("it has text outside of its signature"))?;
    // A .dsc may name the original tarball without the build having it; a .changes names what the build has made.
    let complete = artifact.name.ends_with(".changes");
    if let Some(why) = checksums::contradiction(&text, known, complete) {
        return Err(refuse(&why));
    }
    let signed = signing::clear_sign(key, checksums::update(&text, changed).as_bytes())?;
    let stored = artifacts::store(&artifact.name, &artifact.media_type, &signed)?;
    Ok(stored.into())
}

export!(Signbot);
