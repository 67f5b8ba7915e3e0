//! A bot's places: how many messages it works on at a time, and how many may wait beside them for another attempt.
//!
//! A message that waits gives its place to the next one. It stays unacknowledged, so that the broker gives it to another
//! member of its group should this host die.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Messages of a bot that may wait at a time. One more keeps its place while it waits.
const WAITING: u16 = 16;

/// The places of one bot.
pub(super) struct Places {
    at_work: u16,
    free: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// How many messages the bot can hold by now.
    held: watch::Sender<u16>,
}

/// A message's place.
pub(super) struct Place {
    places: Arc<Places>,
    permit: Option<OwnedSemaphorePermit>,
    /// Held while others have the place.
    beside: Option<Beside>,
}

impl Places {
    /// Places to work on so many messages at a time.
    pub(super) fn new(at_work: u16) -> Arc<Self> {
        Arc::new(Self {
            at_work,
            free: Arc::new(Semaphore::new(usize::from(at_work))),
            waiting: Arc::new(Semaphore::new(usize::from(WAITING))),
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

    /// A place, once there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        Place {
            permit: self.permit().await,
            places: Arc::clone(self),
            beside: None,
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    fn announce(&self) {
        let waiting = usize::from(WAITING).saturating_sub(self.waiting.available_permits());
        let held = self.at_work.saturating_add(u16::try_from(waiting).unwrap_or(WAITING));
        self.held.send_if_modified(|now| std::mem::replace(now, held) != held);
    }
}

impl Place {
    /// Let others have the place for so long.
    pub(super) async fn pause(&mut self, pause: Duration) {
        self.aside(tokio::time::sleep(pause)).await;
        self.back().await;
    }

    /// Let others have the place while something is waited for, and from then on. If too many wait already, keep it.
    pub(super) async fn aside<T>(&mut self, wait: impl Future<Output = T>) -> T {
        if self.beside.is_none()
            && let Ok(waiting) = Arc::clone(&self.places.waiting).try_acquire_owned()
        {
            let beside = Beside {
                places: Arc::clone(&self.places),
                waiting: Some(waiting),
            };
            beside.places.announce();
            self.beside = Some(beside);
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
struct Beside {
    places: Arc<Places>,
    waiting: Option<OwnedSemaphorePermit>,
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.waiting = None;
        self.places.announce();
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

    #[tokio::test]
    async fn no_more_messages_wait_than_the_bound() {
        let places = Places::new(1);
        let mut waiting = tokio::task::JoinSet::new();
        let mut held = places.held();
        for _ in 0..WAITING {
            let mut place = places.take().await;
            waiting.spawn(async move { place.pause(LONG).await });
        }
        held.wait_for(|held| *held == places.most()).await.unwrap();
        let mut one_more = places.take().await;
        let pause = one_more.pause(LONG);
        tokio::pin!(pause);
        assert!(pause.as_mut().now_or_never().is_none());
        assert!(
            places.take().now_or_never().is_none(),
            "it keeps its place while it waits"
        );
        waiting.shutdown().await;
        assert_eq!(*places.held().borrow(), 1, "one that is let go of waits no longer");
    }
}
