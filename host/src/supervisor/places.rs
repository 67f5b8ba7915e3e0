//! A bot's places: how many messages it works on at a time, and how many it holds, with those that wait for another attempt or
//! for a host.
//!
//! A message that waits gives its place to the next one, always. Were the last one to keep it, nobody could work until that one's wait is over; and
//! if it waits for another host whose last message waits for one of those here that are ready and find no place, never. So the
//! bound is on what is let in, not on what waits. What waits stays unacknowledged, so that the broker gives it to another
//! member of its group should this host die.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Messages that a bot holds beyond those that it works on.
const WAITING: u16 = 16;

/// The places of one bot.
pub(super) struct Places {
    at_work: u16,
    /// Held by each message, from its first place to its end.
    room: Arc<Semaphore>,
    free: Arc<Semaphore>,
    /// Messages that wait; changes together with what can be held.
    waiting: AtomicU16,
    /// How many messages the bot can hold by now.
    held: watch::Sender<u16>,
}

/// A message's place.
pub(super) struct Place {
    places: Arc<Places>,
    permit: Option<OwnedSemaphorePermit>,
    /// Held while others have the place.
    beside: Option<Beside>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// Places to work on so many messages at a time.
    pub(super) fn new(at_work: u16) -> Arc<Self> {
        let most = usize::from(at_work) + usize::from(WAITING);
        Arc::new(Self {
            at_work,
            room: Arc::new(Semaphore::new(most)),
            free: Arc::new(Semaphore::new(usize::from(at_work))),
            waiting: AtomicU16::new(0),
            held: watch::channel(at_work).0,
        })
    }

    /// How many messages there can be at most, those that wait among them.
    pub(super) fn most(&self) -> u16 {
        self.at_work.saturating_add(WAITING)
    }

    /// How many messages the bot can hold, now and as it changes: its places, and those that wait.
    pub(super) fn held(&self) -> watch::Receiver<u16> {
        self.held.subscribe()
    }

    /// A place for one more message, once there is one. Those that are held already come first: they queue for a place alone.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        // The semaphores are never closed.
        let room = Arc::clone(&self.room).acquire_owned().await.ok();
        Place {
            permit: self.permit().await,
            places: Arc::clone(self),
            beside: None,
            _room: room,
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// One more message waits, or one less.
    fn count(&self, change: impl FnOnce(u16) -> u16) {
        // Under the lock of what is told, so that the last one to change it tells the last number.
        self.held.send_if_modified(|now| {
            let waiting = change(self.waiting.load(Ordering::Relaxed));
            self.waiting.store(waiting, Ordering::Relaxed);
            let held = self.at_work.saturating_add(waiting).min(self.most());
            std::mem::replace(now, held) != held
        });
    }
}

impl Place {
    /// Let others have the place for so long.
    pub(super) async fn pause(&mut self, pause: Duration) {
        self.aside(tokio::time::sleep(pause)).await;
        self.back().await;
    }

    /// Let others have the place while something is waited for, and from then on.
    pub(super) async fn aside<T>(&mut self, wait: impl Future<Output = T>) -> T {
        if self.beside.is_none() {
            self.beside = Some(Beside::of(&self.places));
            self.permit = None;
        }
        wait.await
    }

    /// Take a place to go on, once there is one.
    pub(super) async fn back(&mut self) {
        if let Some(beside) = self.beside.take() {
            self.permit = self.places.permit().await;
            drop(beside);
        }
    }
}

/// A message that waits, until this is dropped.
struct Beside(Arc<Places>);

impl Beside {
    fn of(places: &Arc<Places>) -> Self {
        places.count(|waiting| waiting.saturating_add(1));
        Self(Arc::clone(places))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.count(|waiting| waiting.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_message_that_waits_lets_the_next_one_work_and_queues_for_a_place_again() {
        let places = Places::new(1);
        let mut held = places.held();
        let mut first = places.take().await;
        assert!(places.take().now_or_never().is_none());
        let waiting = tokio::spawn(async move {
            first.pause(SHORT).await;
            first
        });
        held.changed().await.unwrap();
        assert_eq!(*held.borrow_and_update(), 2);
        let second = places.take().await;
        tokio::time::sleep(3 * SHORT).await;
        assert!(!waiting.is_finished(), "one at a time");
        drop(second);
        let first = waiting.await.unwrap();
        assert_eq!(*held.borrow(), 1);
        assert!(places.take().now_or_never().is_none());
        drop(first);
        assert!(places.take().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_message_that_is_done_needs_no_place_to_end() {
        let places = Places::new(1);
        let mut first = places.take().await;
        first.aside(std::future::ready(())).await;
        let second = places.take().now_or_never().unwrap();
        assert_eq!(*places.held().borrow(), 2, "the first is in hand until it is let go of");
        drop(first);
        assert_eq!(*places.held().borrow(), 1);
        assert!(places.take().now_or_never().is_none(), "the second is at work");
        drop(second);
    }

    /// As many as there is room for, all of which wait for something.
    async fn full(places: &Arc<Places>, waits: &mut tokio::task::JoinSet<()>) {
        let mut held = places.held();
        for _ in 0..places.most() {
            let mut place = places.take().await;
            waits.spawn(async move { place.pause(LONG).await });
        }
        held.wait_for(|held| *held == places.most()).await.unwrap();
    }

    #[tokio::test]
    async fn no_more_messages_are_held_than_the_bound() {
        let (places, mut waits) = (Places::new(1), tokio::task::JoinSet::new());
        full(&places, &mut waits).await;
        assert!(places.take().now_or_never().is_none(), "all wait, and there is no room");
        waits.shutdown().await;
        assert_eq!(*places.held().borrow(), 1, "one that is let go of waits no longer");
        assert!(places.take().now_or_never().is_some());
    }

    #[tokio::test]
    async fn one_that_is_ready_can_work_however_many_others_wait() {
        let (places, mut waits) = (Places::new(1), tokio::task::JoinSet::new());
        let mut ready = places.take().await;
        ready.aside(std::future::ready(())).await;
        for _ in 1..places.most() {
            let mut place = places.take().await;
            waits.spawn(async move { place.pause(LONG).await });
        }
        let back = tokio::time::timeout(Duration::from_secs(60), ready.back());
        back.await.expect("it has a place");
        assert!(
            places.take().now_or_never().is_none(),
            "there is no room for another one"
        );
        waits.shutdown().await;
    }
}
