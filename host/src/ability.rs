//! What keeps this host's bots from taking work: reasons by name, and whom each concerns.
//!
//! Whoever finds a reason adds it, and removes it once it has passed: the comparison with the broker's clock, a build that this
//! machine could not do, a watch over the disk. A bot that a reason concerns is not connected, so that its group's messages go to
//! other members; without any they wait in the group.
//!
//! ```text
//!            lose                    a reason for it
//!   able ───────────▶ unable ◀─────────────────────┐
//!     ▲                 │    the last one has passed │
//!     └─────────────────┴── regain ──────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// Whom a reason concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// All bots.
    All,
    /// Bots that may build packages.
    Builders,
    /// One bot, by its name on this host.
    Bot(String),
}

/// The name of the reason that the disk is full.
pub const DISK: &str = "disk";

type Reasons = BTreeMap<(Whom, &'static str), String>;

/// The reasons of one host. Clones share them. There are as many as there are names, and bots, at most.
#[derive(Debug, Clone)]
pub struct Ability {
    reasons: Arc<watch::Sender<Reasons>>,
}

impl Default for Ability {
    fn default() -> Self {
        Self {
            reasons: Arc::new(watch::Sender::new(Reasons::new())),
        }
    }
}

impl Ability {
    /// Adds a reason, in words for the operator that say what would help. Returns whether there was none of that name.
    pub fn lose(&self, whom: Whom, name: &'static str, why: String) -> bool {
        let mut is_new = false;
        self.reasons.send_if_modified(|reasons| {
            let before = reasons.insert((whom, name), why.clone());
            is_new = before.is_none();
            before.is_none_or(|before| before != why)
        });
        is_new
    }

    /// Puts a reason that is still there in other words.
    pub fn restate(&self, whom: Whom, name: &'static str, why: String) {
        self.reasons
            .send_if_modified(|reasons| match reasons.get_mut(&(whom, name)) {
                Some(before) if *before != why => {
                    *before = why;
                    true
                }
                _ => false,
            });
    }

    /// Removes a reason, if it is there.
    pub fn regain(&self, whom: Whom, name: &'static str) {
        self.reasons
            .send_if_modified(|reasons| reasons.remove(&(whom, name)).is_some());
    }

    /// Removes all reasons that concern one bot alone, which has been stopped.
    pub fn forget(&self, bot: &str) {
        let is_of_bot = |whom: &Whom| matches!(whom, Whom::Bot(name) if name == bot);
        self.reasons.send_if_modified(|reasons| {
            let before = reasons.len();
            reasons.retain(|(whom, _), _| !is_of_bot(whom));
            reasons.len() != before
        });
    }

    /// A reason, if it is there.
    #[must_use]
    pub fn why(&self, whom: Whom, name: &'static str) -> Option<String> {
        self.reasons.borrow().get(&(whom, name)).cloned()
    }

    /// What an operator is told: each reason once, with the bots that it concerns, unless it concerns all.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let reasons = self.reasons.borrow();
        let told = reasons.iter().map(|((whom, _), why)| match whom {
            Whom::All => why.clone(),
            Whom::Builders => format!("builds: {why}"),
            Whom::Bot(name) => format!("{name}: {why}"),
        });
        told.collect()
    }

    /// The reasons that concern a bot, which may build packages or not.
    #[must_use]
    pub fn of_bot(&self, name: &str, builds: bool) -> BotAbility {
        BotAbility {
            ability: self.clone(),
            name: name.to_owned(),
            builds,
        }
    }
}

/// Whether one bot can work.
#[derive(Debug, Clone)]
pub struct BotAbility {
    ability: Ability,
    name: String,
    builds: bool,
}

impl BotAbility {
    /// What keeps it from work, if anything does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.among(&self.ability.reasons.borrow())
    }

    /// Whether an attempt that it made says nothing of the work, since this machine is to blame. That the disk is full is no excuse: the attempt
    /// itself may have filled it.
    #[must_use]
    pub fn is_excused(&self) -> bool {
        let reasons = self.ability.reasons.borrow();
        reasons.keys().any(|(whom, name)| *name != DISK && self.is_meant(whom))
    }

    /// Waits until nothing keeps it from work.
    pub async fn regained(&self) {
        let mut reasons = self.ability.reasons.subscribe();
        // The sender is in `self`.
        let _ = reasons.wait_for(|reasons| self.among(reasons).is_none()).await;
    }

    /// Waits until something keeps it from work, and tells what. A reason that passes at once may go unnoticed.
    pub async fn lost(&self) -> String {
        let mut reasons = self.ability.reasons.subscribe();
        let lost = reasons.wait_for(|reasons| self.among(reasons).is_some()).await;
        // The sender is in `self`.
        lost.ok().and_then(|reasons| self.among(&reasons)).unwrap_or_default()
    }

    fn among(&self, reasons: &Reasons) -> Option<String> {
        let mut all = reasons.iter().filter(|((whom, _), _)| self.is_meant(whom));
        let first = all.next()?.1.clone();
        Some(all.fold(first, |told, (_, why)| format!("{told}; {why}")))
    }

    fn is_meant(&self, whom: &Whom) -> bool {
        match whom {
            Whom::All => true,
            Whom::Builders => self.builds,
            Whom::Bot(name) => *name == self.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_reason_concerns_those_that_it_is_for() {
        let ability = Ability::default();
        let (builder, signer) = (ability.of_bot("build", true), ability.of_bot("sign", false));
        ability.lose(Whom::Builders, "disk", "the disk is full".to_owned());
        assert_eq!(builder.trouble().unwrap(), "the disk is full");
        assert_eq!(signer.trouble(), None);
        ability.lose(Whom::All, "clock", "the clock is wrong".to_owned());
        assert_eq!(signer.trouble().unwrap(), "the clock is wrong");
        assert_eq!(builder.trouble().unwrap(), "the clock is wrong; the disk is full");
        assert_eq!(ability.all(), ["the clock is wrong", "builds: the disk is full"]);
    }

    #[test]
    fn a_full_disk_keeps_a_bot_from_work_and_excuses_no_attempt() {
        let ability = Ability::default();
        let bot = ability.of_bot("build", true);
        assert!(!bot.is_excused());
        ability.lose(Whom::Builders, DISK, "the disk is full".to_owned());
        assert!(bot.trouble().is_some() && !bot.is_excused());
        ability.lose(Whom::Bot("other".to_owned()), "machine", "no sandbox".to_owned());
        assert!(!bot.is_excused());
        ability.lose(Whom::Bot("build".to_owned()), "machine", "no sandbox".to_owned());
        assert!(bot.is_excused());
    }

    #[test]
    fn a_bot_works_again_when_the_last_reason_has_passed() {
        let ability = Ability::default();
        let bot = ability.of_bot("build", true);
        assert!(ability.lose(Whom::Builders, "disk", "full".to_owned()));
        assert!(ability.lose(Whom::Bot("build".to_owned()), "machine", "no sandbox".to_owned()));
        assert!(
            !ability.lose(Whom::Builders, "disk", "still full".to_owned()),
            "not a new one"
        );
        ability.regain(Whom::Builders, "disk");
        assert!(bot.regained().now_or_never().is_none());
        assert_eq!(bot.lost().now_or_never().unwrap(), "no sandbox");
        ability.forget("build");
        assert!(bot.regained().now_or_never().is_some());
        assert!(bot.lost().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let ability = Ability::default();
        let bot = ability.of_bot("build", true);
        let lost = tokio::spawn({
            let bot = bot.clone();
            async move { bot.lost().await }
        });
        ability.lose(Whom::All, "clock", "wrong".to_owned());
        assert_eq!(lost.await.unwrap(), "wrong");
        let regained = tokio::spawn(async move { bot.regained().await });
        ability.regain(Whom::All, "clock");
        regained.await.unwrap();
    }
}
