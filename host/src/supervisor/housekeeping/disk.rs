//! A watch on the free space of the state directory's file system.
//!
//! ```text
//!            < warn-free               < stop-free
//!   ample ----------------> low ----------------> full
//!     ^                     | ^                     |
//!     +---------------------+ +---------------------+
//!       a tenth above it        a tenth above it
//! ```
//!
//! When the disk is low, the log says so once. When it is full, bots that build take no work: their messages stay in their groups, for other members.
//! What is built goes on its way, since publishing it takes little, and makes room later.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::ability::{Ability, DISK, Whom};
use crate::retention::{Limits, Thresholds};

/// How the disk is. More is worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// There is enough room.
    #[default]
    Ample,
    /// There is less than the first threshold.
    Low,
    /// There is less than the second.
    Full,
}

/// The free space, and from when on it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskStatus {
    /// Bytes that are free for this host's user.
    pub free: u64,
    /// What that means.
    pub level: Level,
    /// Free bytes below which there is a warning.
    pub warn_free: u64,
    /// Free bytes below which no builds are begun.
    pub stop_free: u64,
}

/// The watch. Clones share it.
#[derive(Debug, Clone)]
pub struct DiskWatch {
    level: Arc<watch::Sender<Level>>,
    status: Arc<watch::Sender<Option<DiskStatus>>>,
    ability: Ability,
}

impl DiskWatch {
    /// A watch that takes from bots that build the ability to work while the disk is full.
    pub(in crate::supervisor) fn new(ability: Ability) -> Self {
        Self {
            level: Arc::new(watch::Sender::new(Level::Ample)),
            status: Arc::new(watch::Sender::new(None)),
            ability,
        }
    }

    /// What was found last; `None` before anybody looked.
    #[must_use]
    pub fn status(&self) -> Option<DiskStatus> {
        *self.status.borrow()
    }

    /// The level, and its changes.
    pub(super) fn level(&self) -> watch::Receiver<Level> {
        self.level.subscribe()
    }

    /// Look at the file system of a directory. Blocks, if that is a share whose server is away.
    pub(in crate::supervisor) fn look(&self, directory: &Path, limits: &Limits) {
        match statvfs(directory) {
            Ok(about) => {
                let bytes = |blocks: u64| blocks.saturating_mul(about.f_frsize);
                let thresholds = limits.thresholds(bytes(about.f_blocks));
                self.found(bytes(about.f_bavail), directory, thresholds);
            }
            Err(error) => tracing::debug!(directory = %directory.display(), %error, "cannot see how full the disk is"),
        }
    }

    /// So many bytes are free.
    pub(super) fn found(&self, free: u64, directory: &Path, thresholds: Thresholds) {
        let before = *self.level.borrow();
        let level = judge(before, free, thresholds);
        self.status.send_replace(Some(DiskStatus {
            free,
            level,
            warn_free: thresholds.warn,
            stop_free: thresholds.stop,
        }));
        if level == before {
            return;
        }
        let why = describe(level, free, directory, thresholds);
        match &why {
            Some(why) => tracing::warn!("{why}"),
            None => tracing::info!("there is room on the disk again"),
        }
        match why.filter(|_| level == Level::Full) {
            Some(why) => {
                self.ability.lose(Whom::Builders, DISK, why);
            }
            None => self.ability.regain(Whom::Builders, DISK),
        }
        self.level.send_replace(level);
    }
}

/// Two marks for each threshold, so that a host does not begin and stop with each file.
fn judge(before: Level, free: u64, thresholds: Thresholds) -> Level {
    let is_below = |threshold: u64, was_below: bool| {
        let more = if was_below { threshold / 10 } else { 0 };
        free < threshold.saturating_add(more)
    };
    if is_below(thresholds.stop, before >= Level::Full) {
        Level::Full
    } else if is_below(thresholds.warn, before >= Level::Low) {
        Level::Low
    } else {
        Level::Ample
    }
}

fn describe(level: Level, free: u64, directory: &Path, thresholds: Thresholds) -> Option<String> {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let remedy = "make room there; `foundry-host status` shows what this host keeps, and foundry.toml's [retention] for how long";
    match level {
        Level::Ample => None,
        Level::Low => Some(format!(
            "{} MiB are free in {}, less than retention.warn-free, which is {} MiB ({remedy})",
            mib(free),
            directory.display(),
            mib(thresholds.warn)
        )),
        Level::Full => Some(format!(
            "{} MiB are free in {}, less than retention.stop-free, which is {} MiB: no builds are begun here ({remedy})",
            mib(free),
            directory.display(),
            mib(thresholds.stop)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { warn: 1000, stop: 100 };

    #[test]
    fn a_level_holds_until_there_is_a_tenth_more_than_its_threshold() {
        let mut level = Level::Ample;
        for (free, expected) in [
            (1000, Level::Ample),
            (999, Level::Low),
            (1099, Level::Low),
            (1100, Level::Ample),
            (50, Level::Full),
            (109, Level::Full),
            (110, Level::Low),
            (5000, Level::Ample),
        ] {
            level = judge(level, free, THRESHOLDS);
            assert_eq!(level, expected, "{free} free");
        }
    }

    #[test]
    fn only_a_full_disk_keeps_bots_from_building_and_status_says_why() {
        let ability = Ability::default();
        let disk = DiskWatch::new(ability.clone());
        assert_eq!(disk.status(), None);
        for (free, level, keeps) in [
            (500, Level::Low, false),
            (50, Level::Full, true),
            (500, Level::Low, false),
        ] {
            disk.found(free, Path::new("/srv/state"), THRESHOLDS);
            assert_eq!(
                disk.status().map(|status| (status.free, status.level)),
                Some((free, level))
            );
            let found = ability.why(Whom::Builders, DISK);
            assert_eq!(ability.of_bot("sign", false).trouble(), None, "what is built goes on");
            assert_eq!(found.is_some(), keeps, "{found:?}");
            assert!(found.is_none_or(|why| why.contains("/srv/state") && why.contains("retention.stop-free")));
        }
    }

    #[test]
    fn the_free_space_of_a_real_file_system_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DiskWatch::new(Ability::default());
        disk.look(
            directory.path(),
            &Limits {
                warn_free: Some(u64::MAX),
                stop_free: Some(0),
                ..Limits::default()
            },
        );
        let status = disk.status().unwrap();
        assert!(status.free > 0 && status.level == Level::Low, "{status:?}");
    }
}
