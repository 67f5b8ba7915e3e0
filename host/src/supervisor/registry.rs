//! The bots of a host by name, and whose turn it is to change what a name stands for.
//!
//! ```text
//!            claim, turn                  put
//!  no entry ------------> turn, no bot --------> bot
//!      ^                    |       ^             |
//!      |  the last turn     |       |    take     |
//!      +---------- ends ----+       +-------------+
//! ```
//!
//! Who loads, replaces or stops a bot has the turn of its name until that is done; others who want the same wait, in the order
//! in which they came. So no bot runs that is not in the table, but for the one in the hands of whoever has the turn. Names do not wait for
//! each other. Once the registry is closed, nothing is put into it any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

/// The table of a host's bots.
pub(super) struct Registry<B> {
    table: Arc<Mutex<Table<B>>>,
}

struct Table<B> {
    names: BTreeMap<String, Entry<B>>,
    is_closed: bool,
}

struct Entry<B> {
    bot: Option<B>,
    queue: Arc<Queue<()>>,
    /// Turns that somebody has or waits for.
    turns: usize,
}

impl<B> Default for Registry<B> {
    fn default() -> Self {
        let table = Table {
            names: BTreeMap::new(),
            is_closed: false,
        };
        Self {
            table: Arc::new(Mutex::new(table)),
        }
    }
}

/// Another handle of the same table.
impl<B> Clone for Registry<B> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
        }
    }
}

impl<B> Registry<B> {
    /// The names of all bots, and those that somebody has a turn of.
    pub(super) fn names(&self) -> Vec<String> {
        lock(&self.table).names.keys().cloned().collect()
    }

    /// The turn of the first of the names that nobody has, if there is one. Does not wait.
    pub(super) fn claim(&self, names: impl IntoIterator<Item = String>) -> Option<Turn<B>> {
        let mut table = lock(&self.table);
        let name = names.into_iter().find(|name| !table.names.contains_key(name))?;
        let (queue, mut turn) = self.enter(&mut table, &name);
        // Nobody else has seen it yet.
        turn.guard = queue.try_lock_owned().ok();
        Some(turn)
    }

    /// The turn of a name, once those are over that came before. Dropping the future gives up the wait.
    pub(super) async fn turn(&self, name: &str) -> Turn<B> {
        let (queue, mut turn) = self.enter(&mut lock(&self.table), name);
        turn.guard = Some(queue.lock_owned().await);
        turn
    }

    fn enter(&self, table: &mut Table<B>, name: &str) -> (Arc<Queue<()>>, Turn<B>) {
        let entry = table.names.entry(name.to_owned()).or_insert_with(|| Entry {
            bot: None,
            queue: Arc::default(),
            turns: 0,
        });
        entry.turns += 1;
        let turn = Turn {
            table: Arc::clone(&self.table),
            name: name.to_owned(),
            guard: None,
        };
        (Arc::clone(&entry.queue), turn)
    }

    /// Something of a bot that is there.
    pub(super) fn of<T>(&self, name: &str, look: impl FnOnce(&B) -> T) -> Option<T> {
        lock(&self.table).names.get(name)?.bot.as_ref().map(look)
    }

    /// Something of all bots, by name.
    pub(super) fn all<T>(&self, look: impl FnMut(&B) -> T) -> Vec<T> {
        let table = lock(&self.table);
        table
            .names
            .values()
            .filter_map(|entry| entry.bot.as_ref())
            .map(look)
            .collect()
    }

    /// Take all bots out, and let none in any more.
    pub(super) fn close(&self) -> Vec<B> {
        let mut table = lock(&self.table);
        table.is_closed = true;
        let bots = table.names.values_mut().filter_map(|entry| entry.bot.take()).collect();
        table.names.retain(|_, entry| entry.turns > 0);
        bots
    }

    /// Wait until the turns are over that somebody has now.
    pub(super) async fn at_rest(&self) {
        let names: Vec<String> = lock(&self.table).names.keys().cloned().collect();
        for name in names {
            drop(self.turn(&name).await);
        }
    }
}

/// The right to change what a name stands for, until it is dropped.
pub(super) struct Turn<B> {
    table: Arc<Mutex<Table<B>>>,
    name: String,
    /// None while it is waited for.
    guard: Option<OwnedMutexGuard<()>>,
}

impl<B> Turn<B> {
    /// The name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Take the bot that is there, if one is.
    pub(super) fn take(&self) -> Option<B> {
        lock(&self.table).names.get_mut(&self.name)?.bot.take()
    }

    /// Put a bot where none is.
    ///
    /// # Errors
    /// The bot again, if the registry is closed.
    pub(super) fn put(&self, bot: B) -> Result<(), B> {
        let mut table = lock(&self.table);
        if table.is_closed {
            return Err(bot);
        }
        match table.names.get_mut(&self.name) {
            Some(entry) => {
                entry.bot = Some(bot);
                Ok(())
            }
            None => Err(bot),
        }
    }
}

impl<B> Drop for Turn<B> {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        let Some(entry) = table.names.get_mut(&self.name) else {
            return;
        };
        entry.turns -= 1;
        if entry.turns == 0 && entry.bot.is_none() {
            table.names.remove(&self.name);
        }
        // The next one in the queue goes on when the guard is dropped, after this.
    }
}

/// Nothing that runs under this lock can panic half-way through a change, so a poisoned table is whole.
fn lock<B>(table: &Mutex<Table<B>>) -> MutexGuard<'_, Table<B>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A bot that says how many of its kind run.
    struct Alive(Arc<AtomicUsize>);

    impl Alive {
        fn new(count: &Arc<AtomicUsize>) -> Self {
            count.fetch_add(1, Ordering::SeqCst);
            Self(Arc::clone(count))
        }
    }

    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn names(number: usize) -> [String; 1] {
        [format!("bot{number}")]
    }

    #[tokio::test]
    async fn a_name_is_claimed_once_and_free_again_without_a_bot() {
        let registry = Registry::<u32>::default();
        let turn = registry.claim(names(1)).unwrap();
        assert!(registry.claim(names(1)).is_none());
        assert_eq!(
            registry.claim(["bot1".to_owned(), "bot1-2".to_owned()]).unwrap().name(),
            "bot1-2"
        );
        drop(turn);
        let turn = registry.claim(names(1)).unwrap();
        turn.put(7).unwrap();
        drop(turn);
        assert!(registry.claim(names(1)).is_none(), "its bot has it");
        assert_eq!(registry.of("bot1", |bot| *bot), Some(7));
        assert_eq!(registry.turn("bot1").await.take(), Some(7));
        assert!(registry.claim(names(1)).is_some());
    }

    #[tokio::test]
    async fn a_closed_registry_takes_nothing_and_waits_for_those_whose_turn_it_is() {
        let registry = Arc::new(Registry::<u32>::default());
        let turn = registry.claim(names(1)).unwrap();
        assert_eq!(registry.close(), Vec::<u32>::new());
        assert_eq!(turn.put(1), Err(1));
        let waiting = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.at_rest().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(turn);
        waiting.await.unwrap();
    }

    /// What one of several callers does.
    #[derive(Debug, Clone)]
    enum Act {
        Load,
        Replace,
        Stop,
        GiveUp,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![Just(Act::Load), Just(Act::Replace), Just(Act::Stop), Just(Act::GiveUp)]
    }

    /// Let the others go on for so many turns of the executor.
    async fn pass(turns: u8) {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    async fn perform(registry: &Registry<Alive>, count: &Arc<AtomicUsize>, number: usize, act: Act, pause: u8) {
        let name = format!("bot{number}");
        let turn = match act {
            Act::Load => match registry.claim([name]) {
                Some(turn) => turn,
                None => return,
            },
            Act::Replace | Act::Stop => registry.turn(&name).await,
            Act::GiveUp => tokio::select! {
                turn = registry.turn(&name) => turn,
                () = pass(pause) => return,
            },
        };
        pass(pause).await;
        let old = turn.take();
        pass(pause).await;
        drop(old);
        if matches!(act, Act::Load | Act::Replace) {
            assert!(turn.put(Alive::new(count)).is_ok());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// However callers overlap: as many bots run as the table has, and one of a name at most.
        #[test]
        fn no_bot_runs_that_the_table_does_not_have(
            acts in prop::collection::vec((0_usize..2, act(), 0_u8..20, 0_u8..10), 1..24),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (registry, count) = (Arc::new(Registry::default()), Arc::new(AtomicUsize::new(0)));
                let callers: Vec<_> = acts
                    .into_iter()
                    .map(|(number, act, begin, pause)| {
                        let (registry, count) = (Arc::clone(&registry), Arc::clone(&count));
                        tokio::spawn(async move {
                            pass(begin).await;
                            perform(&registry, &count, number, act, pause).await;
                        })
                    })
                    .collect();
                for caller in callers {
                    caller.await.unwrap();
                }
                let listed = registry.all(|_| ()).len();
                assert_eq!(count.load(Ordering::SeqCst), listed);
                for number in 0..2 {
                    registry.turn(&format!("bot{number}")).await.take();
                }
                assert_eq!(count.load(Ordering::SeqCst), 0);
                assert!(lock(&registry.table).names.is_empty(), "no entry stays behind");
            });
        }
    }
}
