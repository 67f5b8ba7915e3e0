//! Housekeeping by hand while the host does not run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use time::OffsetDateTime;

use super::Housekeeping;
use super::presence::kept;
use crate::ability::Ability;
use crate::keys::KeyStore;
use crate::ledger::Ledger;
use crate::retention::Report;
use crate::supervisor::identity::LEDGER;
use crate::supervisor::settings::broker_directory;
use crate::supervisor::start::{Purpose, open_services};
use crate::supervisor::{HostConfig, HostError, state_directory};

/// Whether a host has used a state directory.
#[must_use]
pub fn has_ledger(state: &Path) -> bool {
    state.join(LEDGER).is_file()
}

/// Sweep the state directory of a host that does not run; `configured` are the bots of its configuration. No host can start meanwhile. A dry run
/// changes nothing in the directory: to open a ledger of an older version is to bring it to this one, so it looks at a copy.
///
/// # Errors
/// [`HostError`], if a host runs after all, the state directory can't be used, or there is no room for the copy.
pub async fn collect(
    config: &HostConfig,
    configured: BTreeSet<String>,
    dry_run: bool,
) -> Result<Vec<Report>, HostError> {
    let _lock = state_directory::lock(&config.state)?;
    let keys = Arc::new(KeyStore::open(config.state.join("keys"))?);
    let ledger = config.state.join(LEDGER);
    // Its directory is removed after the last reader has gone.
    let (ledger, purpose, _copy) = match dry_run {
        true => {
            let copy = copy_of(&ledger)?;
            (Ledger::open(&copy.path().join(LEDGER))?, Purpose::Look, Some(copy))
        }
        false => (Ledger::open_rewritten(&ledger)?, Purpose::Work, None),
    };
    let services = Arc::new(open_services(config, &ledger, &keys, &Ability::default(), purpose)?);
    let housekeeping = Housekeeping::new(
        config.state.clone(),
        broker_directory(config),
        services,
        config.retention.clone(),
        config.messages.max_age,
    );
    let mut loaded = kept(&config.state);
    loaded.extend(configured);
    Ok(housekeeping.by_hand(loaded, OffsetDateTime::now_utc(), dry_run).await?)
}

/// A copy of a ledger that nobody has open, with the log that a killed host may have left.
fn copy_of(ledger: &Path) -> Result<TempDir, HostError> {
    let failed = |source| HostError::LedgerCopy {
        path: ledger.to_owned(),
        source,
    };
    let directory = tempfile::Builder::new()
        .prefix("foundry-gc-")
        .tempdir()
        .map_err(failed)?;
    for end in ["", "-wal"] {
        let name = format!("{LEDGER}{end}");
        match std::fs::copy(ledger.with_file_name(&name), directory.path().join(&name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.map_err(failed)?),
        }
    }
    Ok(directory)
}
