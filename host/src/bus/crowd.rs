//! The bots of all hosts, as they present themselves, within a bound: whoever may publish can present any number.

use std::collections::BTreeMap;

use super::observer::Presence;

/// Bots that are known at a time: four on each of 1,024 hosts.
const MOST: usize = 4096;

/// Largest presence, in bytes. One of a bot with a hundred topics has a tenth of it.
pub(super) const MAX_PRESENCE: usize = 64 * 1024;

/// The bots that are known, by topic. Of those that are gone, the ones that went first make room for newcomers; nobody
/// that is there does.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    bots: BTreeMap<String, (u64, Presence)>,
    /// How many changes there have been.
    changes: u64,
}

/// No room is left for one more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Crowd {
    /// A bot presents itself. Returns how it did before.
    pub(super) fn enter(&mut self, topic: &str, presence: Presence) -> Result<Option<Presence>, Full> {
        if self.bots.len() >= MOST && !self.bots.contains_key(topic) {
            let gone = self.longest_gone().ok_or(Full)?;
            self.bots.remove(&gone);
        }
        self.changes += 1;
        let before = self.bots.insert(topic.to_owned(), (self.changes, presence));
        Ok(before.map(|(_, presence)| presence))
    }

    /// A bot takes its leave. Returns how it had presented itself.
    pub(super) fn leave(&mut self, topic: &str) -> Option<Presence> {
        self.bots.remove(topic).map(|(_, presence)| presence)
    }

    /// All of them, by host and name.
    pub(super) fn all(&self) -> impl Iterator<Item = &Presence> {
        self.bots.values().map(|(_, presence)| presence)
    }

    fn longest_gone(&self) -> Option<String> {
        let gone = self.bots.iter().filter(|(_, (_, bot))| bot.status == "offline");
        let longest = gone.min_by_key(|(_, (change, _))| *change)?;
        Some(longest.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(host: &str, status: &str) -> (String, Presence) {
        let presence = serde_json::json!({
            "host": host, "bot": "b", "component": "c", "status": status, "since": "2026-11-01T00:00:00Z",
        });
        (format!("bots/{host}/b"), serde_json::from_value(presence).unwrap())
    }

    fn enter(crowd: &mut Crowd, host: &str, status: &str) -> bool {
        let (topic, presence) = bot(host, status);
        crowd.enter(&topic, presence).is_ok()
    }

    fn is_known(crowd: &Crowd, host: &str) -> bool {
        crowd.all().any(|bot| bot.host == host)
    }

    #[test]
    fn those_that_went_first_make_room_for_newcomers() {
        let mut crowd = Crowd::default();
        for host in ["first", "there", "second"] {
            assert!(enter(&mut crowd, host, "running"));
        }
        for host in ["first", "second"] {
            assert!(enter(&mut crowd, host, "offline"));
        }
        for number in 3..MOST {
            assert!(enter(&mut crowd, &number.to_string(), "running"));
        }
        assert!(enter(&mut crowd, "newcomer", "running"));
        assert!(!is_known(&crowd, "first") && is_known(&crowd, "second"));
        assert_eq!(crowd.all().count(), MOST);
    }

    #[test]
    fn a_flood_of_presence_puts_out_nobody_that_is_there() {
        let mut crowd = Crowd::default();
        assert!(enter(&mut crowd, "there", "running"));
        let let_in = (0..2 * MOST)
            .filter(|n| enter(&mut crowd, &format!("x{n}"), "running"))
            .count();
        assert_eq!(let_in, MOST - 1);
        assert!(is_known(&crowd, "there"));
        assert!(enter(&mut crowd, "there", "quarantined"), "what is known may change");
        crowd.leave("bots/x0/b");
        assert!(enter(&mut crowd, "newcomer", "running"), "one left");
    }
}
