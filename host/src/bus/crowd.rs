//! The bots of all hosts, as they present themselves, within bounds: a host can present any number.

use std::collections::BTreeMap;

use super::presence::{GONE, OFFLINE, Presence, Rank, Word};

/// Bots that are known at a time: four on each of 1,024 hosts.
const MOST: usize = 4096;

/// Bots of one host that are known at a time.
const MOST_OF_HOST: usize = 256;

/// The bots that are known. One that took its leave is remembered without being shown, so that an old word of it, sent again,
/// does not bring it back. Of those that are offline or took their leave, the ones that went first make room for newcomers;
/// nobody that is there does.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    bots: BTreeMap<(String, String), Member>,
    /// The latest start that each host spoke in. Hosts are as many as there are keys that are believed.
    starts: BTreeMap<String, Rank>,
    /// How many changes there have been.
    changes: u64,
}

#[derive(Debug)]
struct Member {
    word: Word<Presence>,
    change: u64,
}

/// What a word changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Who is there now as it was not before.
    pub(super) now: Option<Presence>,
    /// How one had presented itself that took its leave.
    pub(super) left: Option<Presence>,
    /// Why it is not known who presented himself.
    pub(super) full: Option<Full>,
}

/// No room is left for one more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There are too many bots.
    All,
    /// There are too many bots of that host.
    OfHost(String),
}

impl Crowd {
    /// A bot presents itself, or takes its leave. A word that was outdone changes nothing.
    pub(super) fn hear(&mut self, word: Word<Presence>) -> Change {
        self.begins(&word.what.host, word.rank);
        let mut change = Change::default();
        let key = (word.what.host.clone(), word.what.bot.clone());
        let known = self.bots.get(&key);
        if self.is_of_earlier_start(&word) || known.is_some_and(|known| !word.replaces(&known.word)) {
            return change;
        }
        if known.is_none() {
            change.full = self.make_room(&word.what.host).err();
        }
        if change.full.is_none() {
            let now = word.what.clone();
            let before = self.put(key, word);
            match is_there(&now) {
                true => change.now = Some(now),
                false => change.left = before,
            }
        }
        change
    }

    /// Returns how the bot had presented itself, if it was there.
    fn put(&mut self, key: (String, String), word: Word<Presence>) -> Option<Presence> {
        self.changes += 1;
        let change = self.changes;
        let before = self.bots.insert(key, Member { word, change })?.word.what;
        is_there(&before).then_some(before)
    }

    /// A host spoke in a start. Bots of its earlier starts that did not come back are not shown any more. They did not take
    /// their leave either: what they settled is asked about.
    pub(super) fn begins(&mut self, host: &str, rank: Rank) {
        let known = self.starts.entry(host.to_owned()).or_insert(rank);
        if rank.start == known.start {
            known.began = known.began.max(rank.began);
        } else if rank.is_of_later_start(known) {
            *known = rank;
            self.bots.retain(|(of, _), _| of != host);
        }
    }

    /// All that are there or offline, by host and name.
    pub(super) fn all(&self) -> impl Iterator<Item = &Presence> {
        self.bots
            .values()
            .map(|member| &member.word.what)
            .filter(|bot| is_there(bot))
    }

    fn is_of_earlier_start(&self, word: &Word<Presence>) -> bool {
        let latest = self.starts.get(&word.what.host);
        latest.is_some_and(|latest| latest.start != word.rank.start)
    }

    /// Room for one more bot of a host: its own that went first makes it, or anybody's, where all are too many.
    fn make_room(&mut self, host: &str) -> Result<(), Full> {
        let of_host = self.bots.keys().filter(|(of, _)| of == host).count();
        if of_host >= MOST_OF_HOST {
            let gone = self
                .longest_gone(Some(host))
                .ok_or_else(|| Full::OfHost(host.to_owned()))?;
            self.bots.remove(&gone);
        } else if self.bots.len() >= MOST {
            let gone = self.longest_gone(None).ok_or(Full::All)?;
            self.bots.remove(&gone);
        }
        Ok(())
    }

    fn longest_gone(&self, host: Option<&str>) -> Option<(String, String)> {
        let may_go = |member: &Member| [OFFLINE, GONE].contains(&member.word.what.status.as_str());
        let gone = self.bots.iter().filter(|((of, _), member)| {
            let is_asked = host.is_none_or(|host| of == host);
            is_asked && may_go(member)
        });
        let longest = gone.min_by_key(|(_, member)| member.change)?;
        Some(longest.0.clone())
    }
}

fn is_there(bot: &Presence) -> bool {
    bot.status != GONE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(host: &str, bot: &str, status: &str, (began, start, turn): (u64, u64, u64)) -> Word<Presence> {
        let presence = serde_json::json!({
            "host": host, "bot": bot, "component": "c", "status": status, "since": "2026-11-01T00:00:00Z",
            "began": began, "start": start, "turn": turn,
        });
        serde_json::from_value(presence).unwrap()
    }

    fn hear(crowd: &mut Crowd, host: &str, bot: &str, status: &str, turn: u64) -> bool {
        crowd.hear(word(host, bot, status, (1, 1, turn))).full.is_none()
    }

    fn bots(crowd: &Crowd) -> Vec<(&str, &str)> {
        crowd.all().map(|bot| (bot.bot.as_str(), bot.status.as_str())).collect()
    }

    fn is_known(crowd: &Crowd, host: &str) -> bool {
        crowd.all().any(|bot| bot.host == host)
    }

    #[test]
    fn an_old_word_sent_again_changes_nothing() {
        let mut crowd = Crowd::default();
        for (status, turn) in [("running", 1), ("offline", 1), ("running", 2)] {
            hear(&mut crowd, "h", "b", status, turn);
        }
        for (status, turn) in [("running", 1), ("offline", 1), ("running", 2)] {
            let change = crowd.hear(word("h", "b", status, (1, 1, turn)));
            assert_eq!(change, Change::default(), "{status} {turn}");
            assert_eq!(bots(&crowd), [("b", "running")]);
        }
    }

    #[test]
    fn a_bot_that_took_its_leave_is_not_brought_back_by_an_old_word() {
        let mut crowd = Crowd::default();
        hear(&mut crowd, "h", "b", "running", 1);
        let change = crowd.hear(word("h", "b", "gone", (1, 1, 2)));
        assert_eq!(change.left.unwrap().status, "running");
        assert_eq!(bots(&crowd), []);
        hear(&mut crowd, "h", "b", "running", 1);
        assert_eq!(bots(&crowd), []);
        hear(&mut crowd, "h", "b", "running", 3);
        assert_eq!(bots(&crowd), [("b", "running")], "it was loaded again");
    }

    #[test]
    fn bots_of_an_earlier_start_are_not_shown_once_the_host_speaks_in_a_later_one() {
        let mut crowd = Crowd::default();
        for bot in ["stays", "goes"] {
            crowd.hear(word("h", bot, "offline", (1, 9, 1)));
        }
        crowd.hear(word("other", "b", "running", (1, 4, 1)));
        let change = crowd.hear(word("h", "stays", "running", (2, 3, 1)));
        assert_eq!(change.left, None, "what they settled is still asked about");
        assert_eq!(bots(&crowd), [("stays", "running"), ("b", "running")]);
        // Of a bot that this crowd does not know.
        crowd.hear(word("h", "older", "running", (1, 9, 7)));
        assert_eq!(bots(&crowd).len(), 2);
    }

    #[test]
    fn those_that_went_first_make_room_for_newcomers() {
        let mut crowd = Crowd::default();
        for host in ["first", "there", "second"] {
            assert!(hear(&mut crowd, host, "b", "running", 1));
        }
        for host in ["first", "second"] {
            assert!(hear(&mut crowd, host, "b", "offline", 1));
        }
        for number in 3..MOST {
            assert!(hear(&mut crowd, &number.to_string(), "b", "running", 1));
        }
        assert!(hear(&mut crowd, "newcomer", "b", "running", 1));
        assert!(!is_known(&crowd, "first") && is_known(&crowd, "second"));
        assert_eq!(crowd.all().count(), MOST);
    }

    #[test]
    fn a_flood_by_one_host_leaves_out_the_newest_of_its_own_and_nobody_elses() {
        let mut crowd = Crowd::default();
        assert!(hear(&mut crowd, "there", "b", "running", 1));
        let known = (0..2 * MOST as u64).filter(|n| hear(&mut crowd, "h", &format!("x{n}"), "running", n + 1));
        assert_eq!(known.count(), MOST_OF_HOST);
        let beyond = crowd.hear(word("h", "beyond", "running", (1, 1, 9999)));
        assert_eq!(beyond.full, Some(Full::OfHost("h".to_owned())));
        assert!(crowd.all().any(|bot| bot.bot == "x0"), "the first ones are in");
        assert!(is_known(&crowd, "there"));
        assert!(hear(&mut crowd, "late", "b", "running", 1), "there is room for others");
        assert!(
            hear(&mut crowd, "h", "x0", "quarantined", 10_000),
            "what is known may change"
        );
        assert!(hear(&mut crowd, "h", "x1", "gone", 10_001));
        assert!(hear(&mut crowd, "h", "beyond", "running", 10_002), "one left");
    }
}
