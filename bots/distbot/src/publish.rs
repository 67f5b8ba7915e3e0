//! Publishing a commit's packages: all of them in every suite of their branch, or nothing.

use std::collections::BTreeSet;

use apt_repository::addition::Addition;
use apt_repository::failure::Failure;
use apt_repository::host::Host as _;
use apt_repository::host::Transaction as _;
use apt_repository::index::Key;
use apt_repository::names::store::Records;
use apt_repository::page::Record;
use apt_repository::pieces::Sizes;
use apt_repository::suite::Update;
use foundry_sdk::events::{Dist, Kept, Sign};

use crate::build::Build;
use crate::config::Config;
use crate::guest::{Sandbox, SiteTransaction};
use crate::names;
use crate::pool;
use crate::statement;

/// Where users get the key that signs the repository.
pub const KEY_FILE: &str = "key.asc";

/// See that the key can sign and the directory can be published into.
///
/// # Errors
/// [`Failure`] if not.
pub fn check(config: &Config) -> Result<(), Failure> {
    Sandbox.fingerprint(&config.settings.key)?;
    Sandbox.public_key(&config.settings.key)?;
    statement::check_keys(&config.accepted)?;
    for key in &config.settings.older_keys {
        Sandbox.fingerprint(key)?;
    }
    SiteTransaction::begin(&config.directory).map(drop)
}

/// See that the repository is there and says what the operator wants, with or without packages.
///
/// # Errors
/// [`Failure`] if it can't be made or signed.
pub fn prepare(config: &Config) -> Result<(), Failure> {
    change(config, &config.mapping.all_codenames(), |_| Ok(Coming::default())).map(drop)
}

/// What came of a publication in one suite.
pub struct InSuite {
    /// The event about it.
    pub dist: Dist,
    /// Packages that are not in the suite, since it has newer versions, and keeps no more of them.
    pub superseded: BTreeSet<Key>,
    /// Whether these are all packages.
    pub is_too_late: bool,
}

/// What a publication came to.
pub struct Published {
    /// What is published under each codename; empty if the branch isn't published at all.
    pub suites: Vec<InSuite>,
    /// Files that stayed as they were published before, though the build has others.
    pub kept: Vec<Kept>,
    /// How many files are new in the repository's pool.
    pub new_files: usize,
}

/// Publish a commit's packages.
///
/// # Errors
/// [`Failure`] if nothing was published.
pub fn publish(config: &Config, sign: &Sign) -> Result<Published, Failure> {
    let codenames = config.mapping.codenames(&sign.commit.branch);
    let mut published = Published {
        suites: Vec::new(),
        kept: Vec::new(),
        new_files: 0,
    };
    if codenames.is_empty() {
        return Ok(published);
    }
    statement::check(&config.accepted, sign)?;
    let build = Build::read(config, sign)?;
    let superseded = change(config, &codenames, |transaction| {
        let names = names::admit(&build, transaction, config, sign)?;
        let pooled = pool::add(&build, transaction, &config.settings, sign)?;
        (published.kept, published.new_files) = (pooled.kept, pooled.new_files);
        Ok(Coming {
            additions: pooled.additions,
            names,
        })
    })?;
    let suites = codenames.into_iter().zip(superseded);
    published.suites = suites
        .map(|(codename, superseded)| InSuite {
            dist: build.dist(config, sign, codename, &published.kept, &superseded),
            is_too_late: build.is_within(&superseded),
            superseded,
        })
        .collect();
    Ok(published)
}

/// What a change brings.
#[derive(Default)]
struct Coming {
    additions: Vec<Addition>,
    /// Records with the names that it takes.
    names: Records,
}

/// Change suites in one transaction, with packages whose files are added in it. Returns which of these packages each suite
/// doesn't have, since newer ones supersede them.
fn change(
    config: &Config,
    codenames: &[&str],
    add_files: impl FnOnce(&SiteTransaction) -> Result<Coming, Failure>,
) -> Result<Vec<BTreeSet<Key>>, Failure> {
    let fingerprint = Sandbox.fingerprint(&config.settings.key)?;
    let key = Sandbox.public_key(&config.settings.key)?;
    let transaction = SiteTransaction::begin(&config.directory)?;
    let Coming { additions, names } = add_files(&transaction)?;
    let mut last = Vec::new();
    let mut superseded = Vec::with_capacity(codenames.len());
    let mut expired = false;
    for codename in codenames {
        let update = Update {
            host: &Sandbox,
            transaction: &transaction,
            settings: &config.settings,
            fingerprint: &fingerprint,
            codename,
            sizes: Sizes::default(),
        };
        let of_suite = update.add(&additions)?;
        superseded.push(update.superseded(&additions)?);
        // A suite that changes forgets them by itself.
        expired |= of_suite.is_empty() && update.expire()?;
        last.extend(of_suite);
    }
    let key_changes = transaction.read(KEY_FILE)?.as_deref() != Some(key.as_bytes());
    if key_changes {
        transaction.write(KEY_FILE, key.as_bytes())?;
    }
    let page = Record {
        name: config.name.clone(),
        description: config.settings.description.clone(),
        uri: config.url.clone(),
    };
    let page_changes = page.update(&transaction, &fingerprint, codenames)?;
    // Who comes too late for every suite takes no names.
    let is_there = |of_suite: &BTreeSet<Key>| additions.iter().any(|addition| !of_suite.contains(&addition.key()));
    let names_change = superseded.iter().any(is_there) && names.write(&transaction)?;
    // A package that every suite has already is in the pool as well, and one that none takes need not be there.
    if !last.is_empty() || expired || key_changes || page_changes || names_change {
        transaction.commit(&last)?;
    }
    Ok(superseded)
}
