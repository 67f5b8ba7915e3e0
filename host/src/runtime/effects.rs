//! What a message comes to, until it is settled: nothing of it is true before, and all of it at once.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::budget::{Budget, TooMuch};
use crate::event::OutgoingEvent;

/// One write to the bot's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The key.
    pub key: String,
    /// The new value; none removes the key.
    pub value: Option<Vec<u8>>,
}

/// Something of the bot's state that it saw.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// The value of a key.
    Value(String),
    /// Which keys begin so.
    Keys(String),
}

/// What a sight was, as a digest: whether it still is so is asked when the message is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen([u8; 32]);

impl Seen {
    /// A value, or none.
    #[must_use]
    pub fn value(value: Option<&[u8]>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([u8::from(value.is_some())]);
        hasher.update(value.unwrap_or_default());
        Self(hasher.finalize().into())
    }

    /// Sorted keys.
    #[must_use]
    pub fn keys(keys: &[String]) -> Self {
        let mut hasher = Sha256::new();
        for key in keys {
            hasher.update((key.len() as u64).to_be_bytes());
            hasher.update(key);
        }
        Self(hasher.finalize().into())
    }
}

/// What takes effect together with the outcome `done`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Events, in the order of their sending.
    pub events: Vec<OutgoingEvent>,
    /// State writes, the last one for each key.
    writes: BTreeMap<String, Option<Vec<u8>>>,
    /// What it saw of the state that others may change, when it looked first.
    sights: BTreeMap<Sight, Seen>,
    /// What the message has used up, also by what takes effect at once.
    pub budget: Budget,
}

impl Effects {
    /// Hold an event of so many bytes.
    ///
    /// # Errors
    /// [`TooMuch`]; the event is not held then.
    pub fn send(&mut self, event: OutgoingEvent, bytes: usize) -> Result<(), TooMuch> {
        self.budget.hold(bytes)?;
        self.events.push(event);
        Ok(())
    }

    /// Hold a write, in the place of an earlier one of the same key.
    ///
    /// # Errors
    /// [`TooMuch`]; the earlier one stays then.
    pub fn write(&mut self, key: String, value: Option<Vec<u8>>) -> Result<(), TooMuch> {
        let bytes = |value: &Option<Vec<u8>>| key.len() + value.as_ref().map_or(0, Vec::len);
        let mut budget = self.budget.clone();
        if let Some(before) = self.writes.get(&key) {
            budget.release(bytes(before));
        }
        budget.hold(bytes(&value))?;
        self.budget = budget;
        self.writes.insert(key, value);
        Ok(())
    }

    /// Note what was seen of the state, of so many bytes, which are looked at again when the message is settled. What was seen first
    /// counts.
    ///
    /// # Errors
    /// [`TooMuch`]; it is not noted then, and must not be told to the bot.
    pub fn saw(&mut self, sight: Sight, bytes: usize, seen: impl FnOnce() -> Seen) -> Result<(), TooMuch> {
        if self.sights.contains_key(&sight) {
            return Ok(());
        }
        let (Sight::Value(text) | Sight::Keys(text)) = &sight;
        self.budget.hold(text.len() + bytes)?;
        self.sights.insert(sight, seen());
        Ok(())
    }

    /// What a key is to be, if it was written: none in it means that the key is removed.
    #[must_use]
    pub fn written(&self, key: &str) -> Option<&Option<Vec<u8>>> {
        self.writes.get(key)
    }

    /// The writes, by key.
    pub fn writes(&self) -> impl Iterator<Item = (&String, &Option<Vec<u8>>)> {
        self.writes.iter()
    }

    /// The writes as a list.
    pub fn state_writes(&self) -> impl Iterator<Item = StateWrite> + '_ {
        self.writes.iter().map(|(key, value)| StateWrite {
            key: key.clone(),
            value: value.clone(),
        })
    }

    /// What it saw, and what that was.
    #[must_use]
    pub fn sights(&self) -> Vec<(Sight, Seen)> {
        self.sights.iter().map(|(sight, seen)| (sight.clone(), *seen)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::{MAX_EFFECTS, MAX_HELD};
    use super::*;

    #[test]
    fn what_a_message_has_the_host_hold_is_bounded_by_number_and_by_bytes() {
        let mut effects = Effects::default();
        for number in 0..MAX_EFFECTS {
            effects.write(format!("k{number}"), None).unwrap();
        }
        assert_eq!(effects.write("one more".into(), None), Err(TooMuch));
        assert_eq!(
            effects.saw(Sight::Value("k".into()), 0, || Seen::value(None)),
            Err(TooMuch)
        );
        let mut effects = Effects::default();
        effects.write("k".into(), Some(vec![0; MAX_HELD / 2])).unwrap();
        assert_eq!(effects.write("l".into(), Some(vec![0; MAX_HELD / 2])), Err(TooMuch));
        assert_eq!(effects.written("l"), None);
    }

    #[test]
    fn a_key_that_is_written_again_and_again_counts_once() {
        let mut effects = Effects::default();
        for byte in 0..100 {
            effects.write("k".into(), Some(vec![byte; MAX_HELD / 2])).unwrap();
        }
        assert_eq!(effects.state_writes().count(), 1);
        assert_eq!(effects.write("k".into(), Some(vec![0; MAX_HELD])), Err(TooMuch));
        assert_eq!(
            effects.written("k"),
            Some(&Some(vec![99; MAX_HELD / 2])),
            "the earlier one stays"
        );
        effects.write("k".into(), None).unwrap();
        effects.write("l".into(), Some(vec![0; MAX_HELD / 2])).unwrap();
    }

    #[test]
    fn sights_tell_nothing_from_an_empty_value_and_keys_from_each_other() {
        assert_ne!(Seen::value(None), Seen::value(Some(b"")));
        let keys = |keys: &[&str]| Seen::keys(&keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
        assert_ne!(keys(&["a", "b"]), keys(&["ab"]));
        assert_ne!(keys(&[]), keys(&[""]));
        assert_eq!(keys(&["a"]), keys(&["a"]));
    }
}
