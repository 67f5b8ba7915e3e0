//! Which of several hosts handles a message that more than one of them may have.
//!
//! A message comes a second time when its publisher or its member died at the wrong moment, and then perhaps to another
//! host, whose ledger knows nothing of the first time. So a host that gets such a message asks the group's other hosts
//! before it lets the message take effect. This is the logic of question and answer, without I/O: mutual exclusion as of
//! Ricart and Agrawala (1981), for each message by itself, among hosts that may die and forget what they had promised.

use std::collections::{BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Promises that are remembered here: enough for those that are not in the ledger yet.
const PROMISES: usize = 10_000;

/// A group and an event's id.
pub(super) type Key = (String, String);

/// When a host asked first, by Lamport's clock. Who asked earlier goes ahead.
pub(super) type Moment = u64;

/// What a host says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    /// Its effects are in my ledger.
    Settled,
    /// I am handling it, or asked earlier than you.
    Mine,
    /// Go ahead; if it comes to me, I will ask you.
    Free,
}

/// What an answer means to the host that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing to fear from that host.
    GoAhead,
    /// Ask it again.
    Wait,
    /// The message has had its effects.
    Settled,
}

#[derive(Debug, Default)]
struct Claim {
    handling: usize,
    asking: usize,
    since: Moment,
    /// Another host was told that it may go ahead.
    promised: bool,
    /// Hosts that have let this one go ahead, while it asks.
    granted: BTreeSet<String>,
}

impl Claim {
    fn is_empty(&self) -> bool {
        self.asking == 0 && self.handling == 0 && !self.promised
    }
}

/// What this host has in hand, and what it has promised. Promises are also in the ledger, where they survive the host;
/// here is what was promised just now.
#[derive(Debug, Default)]
pub(super) struct Claims {
    own: String,
    clock: Moment,
    claims: HashMap<Key, Claim>,
    promises: VecDeque<Key>,
}

impl Claims {
    pub(super) fn of(own: &str) -> Self {
        Self {
            own: own.to_owned(),
            ..Self::default()
        }
    }

    /// A message came. Returns whether it has to be asked about: because it may have come before, or since another host
    /// was promised it. `now` keeps a clock that was reset from being far behind.
    pub(super) fn take(&mut self, key: &Key, again: bool, now: Moment) -> bool {
        let since = self.tick(now);
        let claim = self.claims.entry(key.clone()).or_default();
        let must_ask = again || claim.promised;
        if must_ask {
            if claim.asking == 0 {
                claim.since = since;
            }
            claim.asking += 1;
        } else {
            claim.handling += 1;
        }
        must_ask
    }

    /// When this host asked.
    pub(super) fn since(&self, key: &Key) -> Moment {
        self.claims.get(key).map_or(0, |claim| claim.since)
    }

    /// Ask all over again, as if the message had come just now: hosts whose clocks differed can have come to wait for
    /// each other in a circle.
    pub(super) fn ask_anew(&mut self, key: &Key, now: Moment) {
        let since = self.tick(now);
        if let Some(claim) = self.claims.get_mut(key) {
            claim.since = since;
            claim.granted.clear();
        }
    }

    /// All others have said that it may be handled.
    pub(super) fn cleared(&mut self, key: &Key) {
        if let Some(claim) = self.claims.get_mut(key) {
            claim.asking = claim.asking.saturating_sub(1);
            claim.handling += 1;
        }
    }

    /// It is settled, or given back.
    pub(super) fn let_go(&mut self, key: &Key, was_asking: bool) {
        if let Some(claim) = self.claims.get_mut(key) {
            let count = if was_asking {
                &mut claim.asking
            } else {
                &mut claim.handling
            };
            *count = count.saturating_sub(1);
            if claim.asking == 0 {
                claim.granted.clear();
            }
            if claim.is_empty() {
                self.claims.remove(key);
            }
        }
    }

    /// What to tell a host that asked at some moment, as far as it isn't a matter of the ledger: [`Standing::Free`] has
    /// to become [`Standing::Settled`] if the ledger says so.
    pub(super) fn answer(&mut self, key: &Key, asker: &str, asked: Moment) -> Standing {
        self.clock = self.clock.max(asked);
        let claim = self.claims.entry(key.clone()).or_default();
        let earlier = claim.asking > 0 && (claim.since, self.own.as_str()) < (asked, asker);
        // One that has let this host go ahead has died since if it asks for the same, whatever its clock says.
        if claim.handling > 0 || earlier || (claim.asking > 0 && claim.granted.contains(asker)) {
            return Standing::Mine;
        }
        if !std::mem::replace(&mut claim.promised, true) {
            self.promises.push_back(key.clone());
            self.forget_old_promises();
        }
        Standing::Free
    }

    /// What another host's answer to a question of some moment means. Answers to earlier questions mean nothing.
    pub(super) fn weigh(&mut self, key: &Key, peer: &str, asked: Moment, standing: Standing) -> Meaning {
        let claim = self.claims.get_mut(key).filter(|claim| claim.since == asked);
        match (standing, claim) {
            (Standing::Settled, _) => Meaning::Settled,
            (Standing::Free, Some(claim)) => {
                claim.granted.insert(peer.to_owned());
                Meaning::GoAhead
            }
            (Standing::Mine, _) | (Standing::Free, None) => Meaning::Wait,
        }
    }

    fn tick(&mut self, now: Moment) -> Moment {
        self.clock = now.max(self.clock + 1);
        self.clock
    }

    fn forget_old_promises(&mut self) {
        while self.promises.len() > PROMISES {
            let Some(key) = self.promises.pop_front() else { return };
            if let Some(claim) = self.claims.get_mut(&key) {
                claim.promised = false;
                if claim.is_empty() {
                    self.claims.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        ("group".to_owned(), "message".to_owned())
    }

    /// A host of the model: its claims, and what its peers have answered so far.
    struct Model {
        name: &'static str,
        claims: Claims,
        settled: bool,
        promised: bool,
        /// The message came, and whether it has to be asked about.
        has: Option<bool>,
        clear: BTreeSet<&'static str>,
        handling: bool,
        effects: usize,
    }

    const NAMES: [&str; 3] = ["a", "b", "c"];

    impl Model {
        fn new(name: &'static str) -> Self {
            Self {
                name,
                claims: Claims::of(name),
                settled: false,
                promised: false,
                has: None,
                clear: BTreeSet::new(),
                handling: false,
                effects: 0,
            }
        }

        fn deliver(&mut self, again: bool) {
            if self.has.is_none() && !self.settled {
                let must_ask = self.claims.take(&key(), again || self.promised, 0);
                self.has = Some(must_ask);
                self.handling = !must_ask;
                self.clear.clear();
            }
        }

        fn ask_anew(&mut self) {
            if self.has == Some(true) && !self.handling {
                self.claims.ask_anew(&key(), 0);
                self.clear.clear();
            }
        }

        fn let_go(&mut self) {
            if self.has.take().is_some() {
                self.claims.let_go(&key(), !self.handling);
                self.handling = false;
            }
        }

        fn settle(&mut self) {
            if self.handling {
                self.effects += 1;
                self.settled = true;
                self.let_go();
            }
        }

        /// It dies: what it had is forgotten; what is in its ledger, promises among it, is not.
        fn die(&mut self) {
            *self = Self {
                settled: self.settled,
                promised: self.promised,
                effects: self.effects,
                ..Self::new(self.name)
            };
        }
    }

    /// `asker` asks `peer`, and hears the answer.
    fn ask(hosts: &mut [Model], asker: usize, peer: usize) {
        if asker == peer || hosts[asker].has != Some(true) || hosts[asker].handling {
            return;
        }
        let asked = hosts[asker].claims.since(&key());
        let mut standing = hosts[peer].claims.answer(&key(), NAMES[asker], asked);
        if standing == Standing::Free {
            if hosts[peer].settled {
                standing = Standing::Settled;
            }
            hosts[peer].promised = true;
        }
        let host = &mut hosts[asker];
        match host.claims.weigh(&key(), NAMES[peer], asked, standing) {
            Meaning::GoAhead => {
                host.clear.insert(NAMES[peer]);
                if host.clear.len() == NAMES.len() - 1 {
                    host.claims.cleared(&key());
                    host.handling = true;
                }
            }
            Meaning::Wait => {}
            Meaning::Settled => {
                host.settled = true;
                host.let_go();
            }
        }
    }

    proptest! {
        /// One copy comes unsuspected, at some time; every other is known to come again. Whatever happens in whichever
        /// order, deaths among it, the message has one effect; and it has one in the end.
        #[test]
        fn a_message_with_many_copies_has_one_effect(
            (first, when) in (0usize..3, 0usize..60),
            steps in prop::collection::vec((0u8..6, 0usize..3, 0usize..3), 0..60),
        ) {
            let mut hosts = NAMES.map(Model::new);
            for (number, (step, a, b)) in steps.into_iter().enumerate() {
                if number == when {
                    hosts[first].deliver(false);
                }
                match step {
                    0 => hosts[a].deliver(true),
                    1 | 2 => ask(&mut hosts, a, b),
                    3 => hosts[a].settle(),
                    4 => hosts[a].ask_anew(),
                    _ => hosts[a].die(),
                }
                prop_assert!(hosts.iter().filter(|host| host.handling).count() <= 1);
            }
            // In peace, it comes to an end.
            for _ in 0..3 {
                for host in &mut hosts {
                    host.deliver(true);
                    host.ask_anew();
                }
                for _ in 0..4 {
                    for a in 0..3 {
                        for b in 0..3 {
                            ask(&mut hosts, a, b);
                        }
                        hosts[a].settle();
                    }
                }
            }
            prop_assert_eq!(hosts.iter().map(|host| host.effects).sum::<usize>(), 1);
        }
    }

    #[test]
    fn of_two_that_ask_at_the_same_time_one_goes_ahead() {
        let (mut a, mut b) = (Claims::of("a"), Claims::of("b"));
        assert!(a.take(&key(), true, 7) && b.take(&key(), true, 7));
        assert_eq!(a.answer(&key(), "b", 7), Standing::Mine);
        assert_eq!(b.answer(&key(), "a", 7), Standing::Free);
    }

    #[test]
    fn a_promise_counts_for_more_than_a_name() {
        let (mut a, mut b) = (Claims::of("a"), Claims::of("b"));
        b.take(&key(), true, 7);
        assert_eq!(a.answer(&key(), "b", 7), Standing::Free);
        assert!(a.take(&key(), false, 0), "what was promised has to be asked about");
        assert_eq!(b.answer(&key(), "a", a.since(&key())), Standing::Mine);
        assert_eq!(a.answer(&key(), "b", 7), Standing::Free);
    }

    #[test]
    fn old_promises_are_forgotten() {
        let mut claims = Claims::of("a");
        for n in 0..=PROMISES {
            claims.answer(&("g".to_owned(), n.to_string()), "b", 0);
        }
        assert_eq!(claims.claims.len(), PROMISES);
        assert!(!claims.take(&("g".to_owned(), "0".to_owned()), false, 0));
        assert!(claims.take(&("g".to_owned(), "1".to_owned()), false, 0));
    }
}
