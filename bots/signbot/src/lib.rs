//! signbot: signs copies of a build's packages.
//!
//! Each .deb gets a `_gpgorigin` member, as debsigs makes it; .dsc, .buildinfo and .changes are clear-signed, as debsign
//! does it: in this order, since each names the checksums of those before it.
//!
//! At last it signs a statement of what it signed: distbot publishes nothing that is in none.
//!
//! All signatures of a build are of its source's time. So the same files and key give the same signed copies, whoever builds
//! and signs them, and when.

mod checksums;
mod date;
mod digest;
mod unsigned;

use std::collections::BTreeMap;
use std::time::Duration;

use checksums::Checksums;
use foundry_sdk::events::{Artifact, Build, EventData as _, Failure, Sign};
use foundry_sdk::signing::{self, Error as SigningError};
use foundry_sdk::statement::{self, Origin};
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

/// The option that names the topics on which the commits of its builds are announced.
const ANNOUNCED_ON: &str = "announced-on";

struct Signbot;

impl Bot for Signbot {
    fn describe() -> Description {
        Description::new("signbot", env!("CARGO_PKG_VERSION"), "signs the packages of a build")
            .reads("watch", "builds", "pub/signbot")
            .publishes("publish-to", "signs")
            .option(OptionBuilder::new(
                    "gpg-key",
                    OptionKind::Key,
                    "sign with this key of the host's store, or else of its user's GnuPG ring: key id, fingerprint, address \
                     or user id",
                )
                .required())
            .option(
                OptionBuilder::new(
                    "sign-branch",
                    OptionKind::Text,
                    "sign only builds of this branch (`*` stands for any text)",
                )
                .placeholder("BRANCH")
                .repeatable(),
            )
            // The host verifies announcements, before this bot gets the build.
            .option(
                OptionBuilder::new(
                    ANNOUNCED_ON,
                    OptionKind::Text,
                    "sign builds of commits that were announced on this topic",
                )
                .placeholder("TOPIC")
                .default("commits")
                .repeatable(),
            )
            .message_timeout(30 * 60)
    }

    fn configure() -> Result<(), String> {
        if let Some(bad) = options::all(ANNOUNCED_ON).iter().find(|topic| !is_topic(topic)) {
            return Err(format!(
                "--{ANNOUNCED_ON} {bad:?}: write a topic without prefix, + and #"
            ));
        }
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
        let origin = Origin {
            builder: host_of(&message.source).to_owned(),
            build: message.id,
        };
        match sign(build.clone(), &origin) {
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

/// Whether a topic is one, as bots name them.
fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.starts_with('/') && !topic.contains(['+', '#'])
}

fn key() -> String {
    options::one("gpg-key").unwrap_or_default()
}

/// The host of a bot that published: `builder-1` of `builder-1/buildbot`.
fn host_of(source: &str) -> &str {
    source.split_once('/').map_or(source, |(host, _)| host)
}

/// The event of a build's signed copies.
fn sign(build: Build, origin: &Origin) -> Result<Sign, Stop> {
    let key = key();
    let mut artifacts = build.artifacts;
    let known = by_name(&artifacts)?;
    let mut changed = BTreeMap::new();
    let fingerprint = signing::fingerprint(&key)?;
    let time = source_time(&artifacts)?;
    for artifact in artifacts.iter_mut().filter(|artifact| is_package(&artifact.name)) {
        let signed = signing::sign_package_dated(&key, &artifact.clone().into(), time);
        *artifact = signed.map_err(|error| Stop::over(&artifact.name, error))?.into();
        changed.insert(artifact.name.clone(), digest::of(artifact)?);
    }
    for suffix in DESCRIPTIONS {
        for artifact in artifacts.iter_mut().filter(|artifact| artifact.name.ends_with(suffix)) {
            *artifact = description_signed(&key, time, artifact, &known, &changed)?;
            changed.insert(artifact.name.clone(), digest::of(artifact)?);
        }
    }
    let sign = Sign {
        commit: build.commit,
        source: build.source,
        version: build.version,
        architecture: build.architecture,
        key: fingerprint,
        artifacts,
        statement: None,
    };
    stated(sign, origin, &key, time)
}

/// The event with a signed statement of its files.
fn stated(mut sign: Sign, origin: &Origin, key: &str, time: Option<u64>) -> Result<Sign, Stop> {
    let text = statement::text(&sign, origin).map_err(Stop::Never)?;
    let signed = signing::clear_sign_dated(key, text.as_bytes(), time)?;
    sign.statement = Some(String::from_utf8_lossy(&signed).into_owned());
    Ok(sign)
}

fn is_package(name: &str) -> bool {
    [".deb", ".udeb", ".ddeb"].iter().any(|suffix| name.ends_with(suffix))
}

/// The time of the build's source, in milliseconds since 1970, as its .changes states it. Without a .changes, or if it states
/// no time, there is none: the host then dates the signatures by the key, which depends on nothing else either.
fn source_time(artifacts: &[Artifact]) -> Result<Option<u64>, Stop> {
    let mut earliest: Option<u64> = None;
    for artifact in artifacts.iter().filter(|artifact| artifact.name.ends_with(".changes")) {
        let text = description(artifact)?;
        // Signed, it would be believed in place of what signbot itself states.
        if is_statement(&text) {
            return Err(unsignable(
                artifact,
                "it has the form of a statement, which signbot alone makes",
            ));
        }
        let time = date::of_changes(&text).map(|seconds| seconds * 1000);
        // Of several, the earliest: their order is nothing that two builds share.
        earliest = earliest.into_iter().chain(time).min();
    }
    Ok(earliest)
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
    time: Option<u64>,
    artifact: &Artifact,
    known: &BTreeMap<String, (u64, String)>,
    changed: &BTreeMap<String, Checksums>,
) -> Result<Artifact, Stop> {
    let text = description(artifact)?;
    // A .dsc may name the original tarball without the build having it; a .changes names what the build has made.
    let complete = artifact.name.ends_with(".changes");
    if let Some(why) = checksums::contradiction(&text, known, complete) {
        return Err(unsignable(artifact, &why));
    }
    let signed = signing::clear_sign_dated(key, checksums::update(&text, changed).as_bytes(), time)?;
    let stored = artifacts::store(&artifact.name, &artifact.media_type, &signed)?;
    Ok(stored.into())
}

/// Whether a text could be taken for a statement of what was signed.
fn is_statement(text: &str) -> bool {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("format") && value.trim().to_ascii_lowercase().starts_with("foundry")
    })
}

/// A description's text without a signature that it came with.
fn description(artifact: &Artifact) -> Result<String, Stop> {
    if artifact.size > MAX_DESCRIPTION {
        let why = format!("it is larger than {MAX_DESCRIPTION} bytes");
        return Err(unsignable(artifact, &why));
    }
    let text = String::from_utf8(digest::read(artifact)?);
    let text = text.map_err(|_| unsignable(artifact, "it is not UTF-8 text"))?;
    unsigned::unsigned(&text).ok_or_else(|| unsignable(artifact, "it has text outside of its signature"))
}

fn unsignable(artifact: &Artifact, why: &str) -> Stop {
    Stop::Never(format!("cannot sign {}: {why}", artifact.name))
}

export!(Signbot);

#[cfg(test)]
mod tests {
    use super::is_statement;

    #[test]
    fn what_could_be_taken_for_a_statement_is_known_wherever_its_format_stands() {
        let forged = "Format: foundry-statement-1\nRepository: https://example.org/a.git\n";
        for text in [
            forged.to_owned(),
            format!("\n{forged}"),
            format!("Source: x\n{}", forged.to_uppercase()),
        ] {
            assert!(is_statement(&text), "{text:?}");
        }
        for text in [
            "Format: 3.0 (native)\nSource: foundry\n",
            "Format: 1.8\n",
            "Description: Format of foundry\n",
        ] {
            assert!(!is_statement(text), "{text:?}");
        }
    }
}
