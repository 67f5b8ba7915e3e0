//! Who takes a group's messages when a member leaves the group, at a broker where a group is nothing but its members.
//!
//! Mosquitto hands a group's messages to all of its members, those that are away among them, for as long as their sessions last (a week), and
//! drops what comes while there is no member. So a bot that is stopped, or can't work, leaves its groups, for others to get all of the work, and does that only
//! if there is another one.
//!
//! Two members that are stopped at the same moment, as when all machines are, still see each other. So a bot that is stopped leaves to members alone whose
//! host's name comes before its own host's: the first of them all never leaves.

use super::observer::Observer;
use super::presence::Presence;

/// The status of a bot that takes work.
const RUNNING: &str = "running";

/// Other members of a bot's group.
#[derive(Clone)]
pub struct Heirs {
    observer: Observer,
    own: Presence,
}

impl Heirs {
    /// Those of a bot, as it presents itself.
    #[must_use]
    pub fn of(observer: Observer, own: Presence) -> Self {
        Self { observer, own }
    }

    /// Whether another member works.
    pub(super) fn work(&self) -> bool {
        self.observer.bots().iter().any(|bot| is_heir(bot, &self.own))
    }

    /// Whether another member works that stays, also if it is stopped at this moment.
    pub(super) fn stay(&self) -> bool {
        let mut bots = self.observer.bots().into_iter();
        bots.any(|bot| is_heir(&bot, &self.own) && bot.host < self.own.host)
    }
}

/// Whether a bot of another host takes all that `own` would.
fn is_heir(bot: &Presence, own: &Presence) -> bool {
    bot.host != own.host
        && bot.status == RUNNING
        && bot.group.is_some()
        && bot.group == own.group
        && own.reads.iter().all(|topic| bot.reads.contains(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(host: &str, status: &str, group: &str, reads: &[&str]) -> Presence {
        Presence {
            host: host.to_owned(),
            bot: "build".to_owned(),
            component: "buildbot".to_owned(),
            status: status.to_owned(),
            detail: None,
            group: Some(group.to_owned()),
            reads: reads.iter().map(|topic| (*topic).to_owned()).collect(),
            publishes: Vec::new(),
            since: String::new(),
        }
    }

    #[test]
    fn only_a_running_member_of_the_same_group_on_another_host_takes_a_bots_work() {
        let own = bot("b", RUNNING, "g", &["commits"]);
        assert!(is_heir(&bot("a", RUNNING, "g", &["commits", "signs"]), &own));
        for other in [
            bot("b", RUNNING, "g", &["commits"]),
            bot("a", "offline", "g", &["commits"]),
            bot("a", "unable", "g", &["commits"]),
            bot("a", RUNNING, "h", &["commits"]),
            bot("a", RUNNING, "g", &["signs"]),
        ] {
            assert!(!is_heir(&other, &own), "{other:?}");
        }
        let alone = Presence { group: None, ..own };
        assert!(!is_heir(
            &Presence {
                host: "a".to_owned(),
                ..alone.clone()
            },
            &alone
        ));
    }
}
