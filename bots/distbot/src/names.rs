//! Whether a build may provide its packages, by the archive's records of names.

use std::collections::BTreeSet;

use apt_repository::failure::Failure;
use apt_repository::names::claim::{self, Claim, Claimed, Unread};
use apt_repository::names::held::Held;
use apt_repository::names::recorded_name;
use apt_repository::names::store::Records;
use foundry_sdk::events::Sign;

use crate::build::Build;
use crate::config::Config;
use crate::guest::SiteTransaction;
use crate::suites::ask_all;

/// Let a build provide its packages. The records are returned with the names that it took, and not written.
///
/// # Errors
/// [`Failure::Names`] if others provide one of them; [`Failure::Later`] if that can't be known now.
pub(crate) fn admit(
    build: &Build,
    transaction: &SiteTransaction,
    config: &Config,
    sign: &Sign,
) -> Result<Records, Failure> {
    let claim = claim_of(build, sign);
    let mut records = Records::default();
    let names = claim.binaries.iter().map(|binary| binary.package.as_str());
    let read = records.read(transaction, names.chain(claim.sources.iter().map(String::as_str)));
    read.map_err(for_now)?;
    let unknown = claim
        .binaries
        .iter()
        .filter(|binary| records.names.is_unknown(&binary.package));
    let unknown: Vec<_> = unknown.collect();
    if !unknown.is_empty() {
        let held = held(&unknown, &claim.repository, transaction, config).map_err(for_now)?;
        records.names.remember(&held);
    }
    // A package may move between sources of its repository: whose are those that it comes from?
    let provided = records.names.binaries().values().flat_map(|provided| &provided.sources);
    let sources: BTreeSet<_> = provided.cloned().collect();
    let read = records.read(transaction, sources.iter().map(String::as_str));
    read.map_err(for_now)?;
    let admitted = records.names.admit(&claim);
    admitted.map_err(|refusals| Failure::Names(claim::told(&refusals, &config.directory)))?;
    Ok(records)
}

fn claim_of(build: &Build, sign: &Sign) -> Claim {
    let binaries: Vec<_> = build.binaries.iter().map(|(binary, _)| Claimed::of(binary)).collect();
    let named = binaries.iter().map(|binary| binary.source.clone());
    let sources = build.sources.iter().map(|(source, _)| source.package.clone());
    Claim {
        repository: sign.commit.repository.clone(),
        sources: named.chain(sources).collect(),
        binaries,
    }
}

/// What the archive's suites have of names of which nothing is recorded. All have to be readable: what one can't tell may be
/// another's.
fn held(
    unknown: &[&Claimed],
    repository: &str,
    transaction: &SiteTransaction,
    config: &Config,
) -> Result<Vec<Held>, Failure> {
    let names = unknown
        .iter()
        .flat_map(|claimed| [claimed.package.as_str(), recorded_name(&claimed.package)]);
    let names: BTreeSet<_> = names.collect();
    let mut unread = Vec::new();
    let held = ask_all(
        transaction,
        &config.settings,
        |suite| suite.held(&names),
        |codename, why| {
            unread.push(Unread {
                codename: codename.to_owned(),
                why: why.to_owned(),
            });
        },
    )?;
    if unread.is_empty() {
        return Ok(held);
    }
    let why = claim::undecided(unknown, repository, &unread, &config.directory);
    Err(Failure::Later(why))
}

/// What can't be read now may be mended, and the commit is not to be lost over it.
fn for_now(failure: Failure) -> Failure {
    match failure {
        Failure::Repository(why) => Failure::Later(why),
        other => other,
    }
}
