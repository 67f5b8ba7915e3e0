//! Housekeeping by hand while the host does not run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use time::OffsetDateTime;

use super::Housekeeping;
use super::presence::kept;
use crate::ability::Ability;
use crate::keys::KeyStore;
use crate::ledger::Ledger;
use crate::retention::Report;
use crate::supervisor::identity::LEDGER;
use crate::supervisor::settings::broker_directory;
use crate::supervisor::start::open_services;
use crate::supervisor::{HostConfig, HostError, state_directory};

/// Whether a host has used a state directory.
#[must_use]
pub fn has_ledger(state: &Path) -> bool {
    state.join(LEDGER).is_file()
}

/// Sweep the state directory of a host that does not run; `configured` are the bots of its configuration. No host can start meanwhile.
///
/// # Errors
/// [`HostError`], if a host runs after all, or the state directory can't be used.
pub async fn collect(
    config: &HostConfig,
    configured: BTreeSet<String>,
    dry_run: bool,
) -> Result<Vec<Report>, HostError> {
    let _lock = state_directory::lock(&config.state)?;
    let keys = Arc::new(KeyStore::open(config.state.join("keys"))?);
    let ledger = Ledger::open(&config.state.join(LEDGER))?;
    let services = Arc::new(open_services(config, &ledger, &keys, &Ability::default())?);
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
