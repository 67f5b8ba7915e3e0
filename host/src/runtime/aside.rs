//! Bots that compute for long do it aside, on threads of their own.
//!
//! A message begins on the thread of the host that has it in hand: most are over before another thread would have woken
//! up. One that still computes at its first deadline moves, with its half-finished instance, to a thread of its own, so that
//! what shares the host's few threads (sessions, acknowledgements, other bots' messages) never queues behind it. From
//! there on the system's scheduler divides the processors, and prefers whoever seldom asks for one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// Work that can move to another thread.
pub(super) type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How much a thread that computes for long gives way to others.
const NICE: i32 = 5;

/// How long a thread without work stays.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Set by work that has computed for long.
#[derive(Debug, Clone, Default)]
pub(super) struct Heavy(Arc<AtomicBool>);

impl Heavy {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The threads.
pub(super) struct Aside {
    /// Only its threads for blocking work are used; none exists before it is needed. Always there until the drop.
    threads: Option<Runtime>,
}

impl Aside {
    /// Room for so many at a time.
    pub(super) fn new(most: u32) -> std::io::Result<Self> {
        let threads = Builder::new_current_thread()
            .max_blocking_threads(usize::try_from(most).unwrap_or(usize::MAX))
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name("foundry-bot")
            .on_thread_start(|| {
                // Where the system doesn't let us, the bot competes like everybody else.
                let _ = rustix::process::nice(NICE);
            })
            .build()?;
        Ok(Self { threads: Some(threads) })
    }

    /// Work here as long as it is light, and aside from when it says that it is heavy. None if it panicked there.
    ///
    /// Whoever drops this ends the work, at the latest at its next deadline.
    pub(super) async fn run<T: Send + 'static>(&self, mut work: Work<T>, heavy: &Heavy) -> Option<T> {
        let here = std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if heavy.is_set() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match here.await {
            Some(value) => Some(value),
            None => self.continue_aside(work).await,
        }
    }

    async fn continue_aside<T: Send + 'static>(&self, work: Work<T>) -> Option<T> {
        // Its timers and connections are those of the runtime that it began in.
        let host = Handle::current();
        let (mut answer, answered) = oneshot::channel();
        let continued = move || {
            host.block_on(async move {
                tokio::select! {
                    biased;
                    () = answer.closed() => {}
                    value = work => {
                        let _ = answer.send(value);
                    }
                }
            });
        };
        self.threads.as_ref()?.spawn_blocking(continued);
        answered.await.ok()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Gives way so often, and says at the third time that it is heavy. Returns the threads that it was on.
    fn work(heavy: Heavy, turns: usize) -> Work<Vec<thread::ThreadId>> {
        Box::pin(async move {
            let mut threads = Vec::new();
            for turn in 0..turns {
                threads.push(thread::current().id());
                if turn == 2 {
                    heavy.set();
                }
                tokio::task::yield_now().await;
            }
            threads
        })
    }

    #[tokio::test]
    async fn light_work_stays_and_heavy_work_moves_once() {
        let aside = Aside::new(2).unwrap();
        let here = thread::current().id();
        let heavy = Heavy::default();
        let threads = aside.run(work(heavy.clone(), 2), &heavy).await.unwrap();
        assert_eq!(threads, [here; 2]);
        let threads = aside.run(work(heavy.clone(), 6), &heavy).await.unwrap();
        assert_eq!(threads[..3], [here; 3]);
        assert!(threads[3] != here && threads[3..] == [threads[3]; 3], "{threads:?}");
    }

    #[tokio::test]
    async fn heavy_work_has_the_timers_of_the_host() {
        let aside = Aside::new(1).unwrap();
        let heavy = Heavy::default();
        heavy.set();
        let work = Box::pin(async {
            tokio::task::yield_now().await;
            tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await
        });
        assert!(aside.run(work, &heavy).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_ends() {
        let aside = Aside::new(1).unwrap();
        let heavy = Heavy::default();
        heavy.set();
        let (alive, dead) = oneshot::channel::<()>();
        let endless = Box::pin(async move {
            let _alive = alive;
            loop {
                tokio::task::yield_now().await;
            }
        });
        let run = aside.run::<()>(endless, &heavy);
        assert!(tokio::time::timeout(Duration::from_millis(20), run).await.is_err());
        assert!(dead.await.is_err(), "dropped, and with it what it held");
    }

    #[tokio::test]
    async fn a_panic_aside_is_no_answer() {
        let aside = Aside::new(1).unwrap();
        let heavy = Heavy::default();
        heavy.set();
        let work = Box::pin(async {
            tokio::task::yield_now().await;
            panic!("told to");
        });
        assert_eq!(aside.run::<()>(work, &heavy).await, None);
    }
}
