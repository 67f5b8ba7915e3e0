//! Groups that nobody comes to any more.

use std::time::Instant;

use super::Worker;
use crate::message::Timestamp;

impl Worker {
    /// Lets go of what is kept no longer. `wall` ages what carries a date of its own. Groups are removed with acknowledged
    /// messages in them, so only time that passed in this process counts against them: neither a wall clock that was set
    /// nor a machine that slept gave a member the chance to come.
    pub(super) fn tick(&mut self, wall: Timestamp, now: Instant) {
        self.trim_backlog(wall);
        let passed = now.saturating_duration_since(self.looked);
        self.looked = now;
        self.groups.pass(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        let Some(retention) = self.config.retention else { return };
        for group in self.groups.deserted(retention.saturating_mul(1000)) {
            let (messages, dead) = self.groups.holds(group);
            if let Some(key) = self.groups.key(group).filter(|_| messages + dead > 0) {
                tracing::warn!(group = %key, messages, dead, retention, "nobody was a member of this group for too long: its messages go with it");
            }
            self.remove(group, wall);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::super::super::engine::{EngineConfig, Filters};
    use super::super::super::types::GroupLimits;
    use super::*;
    use crate::archive::Archive;
    use crate::group::BacklogLimits;
    use crate::message::Message;
    use crate::routing::Hub;
    use crate::topic::Subscribable;

    const RETENTION: u64 = 3600;

    fn config() -> EngineConfig {
        EngineConfig {
            limits: GroupLimits {
                messages: 100,
                bytes: 1 << 20,
                deliveries: 20,
                retry: 1000,
                retry_most: 300_000,
                lease: None,
            },
            leases: BTreeMap::new(),
            groups: 10,
            retention: Some(RETENTION),
            backlog: BacklogLimits {
                age: 0,
                messages: 0,
                bytes: 0,
            },
            backlog_topics: Vec::new(),
            dead_prefix: "$dead".to_owned(),
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_removes_no_group_and_time_without_members_does() {
        let directory = tempfile::tempdir().unwrap();
        let (archive, _) = Archive::start(directory.path()).unwrap();
        let (_hub, handle) = Hub::new(1 << 20, archive.handle());
        let (commands, _receiver) = channel();
        let mut worker = Worker::open(directory.path(), config(), handle, commands, Filters::default()).unwrap();
        let Ok(Subscribable::Shared(key)) = Subscribable::parse("$share/workers/jobs") else {
            panic!("not a group");
        };
        let begin = (Timestamp::now(), Instant::now());
        let group = worker.find_or_create(&key, begin.0).unwrap();
        let message = Message::empty("jobs");
        worker.groups.admit(&message.topic, message.size()).unwrap();
        worker.tick(begin.0.plus_seconds(1000 * 24 * 3600), begin.1 + Duration::from_secs(1));
        assert_eq!(worker.groups.holds(group), (1, 0));
        worker.tick(begin.0, begin.1 + Duration::from_secs(RETENTION + 60));
        assert!(worker.groups.find(&key).is_none());
    }
}
