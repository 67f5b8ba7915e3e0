//! Whether a build may provide its packages, by the archive's records of names.

use std::collections::BTreeSet;

use apt_repository::failure::Failure;
use apt_repository::host::Host as _;
use apt_repository::names::claim::{self, Claim, Claimed};
use apt_repository::names::held::Held;
use apt_repository::names::recorded_name;
use apt_repository::names::store::Records;
use apt_repository::settings::Settings;
use foundry_sdk::events::Sign;

use crate::build::Build;
use crate::config::Config;
use crate::guest::{Sandbox, SiteTransaction};
use crate::suites::ask_all;

/// Let a build provide its packages. The records are returned with the names that it took, and not written.
///
/// # Errors
/// [`Failure::Names`] if others provide one of them.
pub(crate) fn admit(
    build: &Build,
    transaction: &SiteTransaction,
    config: &Config,
    sign: &Sign,
) -> Result<Records, Failure> {
    let claim = claim_of(build, sign);
    let mut records = Records::default();
    let names = claim.binaries.iter().map(|binary| binary.package.as_str());
    records.read(transaction, names.chain(claim.sources.iter().map(String::as_str)))?;
    let unknown: BTreeSet<_> = claim
        .binaries
        .iter()
        .filter(|binary| records.names.is_unknown(&binary.package))
        .flat_map(|binary| [binary.package.as_str(), recorded_name(&binary.package)])
        .collect();
    if !unknown.is_empty() {
        records.names.remember(&held(&unknown, transaction, &config.settings)?);
    }
    // A package may move between sources of its repository: whose are those that it comes from?
    let provided = records.names.binaries().values().flat_map(|provided| &provided.sources);
    let sources: BTreeSet<_> = provided.cloned().collect();
    records.read(transaction, sources.iter().map(String::as_str))?;
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

/// What the archive's suites have of some names.
fn held(packages: &BTreeSet<&str>, transaction: &SiteTransaction, settings: &Settings) -> Result<Vec<Held>, Failure> {
    let damaged = |codename: &str, why: &str| {
        Sandbox.warn(&format!(
            "{codename} can't be read, so that nothing is known of who provided its packages: {why}"
        ));
    };
    ask_all(transaction, settings, |suite| suite.held(packages), damaged)
}
