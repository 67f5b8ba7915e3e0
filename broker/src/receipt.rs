//! What a publisher waits for before it is acknowledged.
//!
//! A publish can have several parties that must be done with it: the groups' engine and the archive (on disk) and the
//! hub (routed).
//! Each gets a [`Completion`]; the connection keeps the [`Receipt`] and is woken when the last one is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::codec::reason;
use crate::session::Mailbox;

#[derive(Debug)]
struct Inner {
    outstanding: AtomicU32,
    reason: AtomicU8,
    mailbox: Arc<Mailbox>,
}

/// The publisher's end.
#[derive(Debug)]
pub struct Receipt(Arc<Inner>);

/// One party's end. Dropped without an answer it refuses, so that a party that dies cannot hang a publisher.
#[derive(Debug)]
pub struct Completion(Option<Arc<Inner>>);

/// A receipt for one party; the connection that reads `mailbox` is woken.
pub fn receipt(mailbox: &Arc<Mailbox>) -> (Receipt, Completion) {
    let inner = Arc::new(Inner {
        outstanding: AtomicU32::new(1),
        reason: AtomicU8::new(reason::SUCCESS),
        mailbox: Arc::clone(mailbox),
    });
    (Receipt(Arc::clone(&inner)), Completion(Some(inner)))
}

impl Receipt {
    /// The reason code, once all parties have answered.
    pub fn outcome(&self) -> Option<u8> {
        (self.0.outstanding.load(Ordering::Acquire) == 0).then(|| self.0.reason.load(Ordering::Relaxed))
    }

    /// Another party.
    pub fn another(&self) -> Completion {
        self.0.outstanding.fetch_add(1, Ordering::Relaxed);
        Completion(Some(Arc::clone(&self.0)))
    }
}

impl Completion {
    /// Another party that this one calls in.
    pub fn another(&self) -> Self {
        if let Some(inner) = &self.0 {
            inner.outstanding.fetch_add(1, Ordering::Relaxed);
        }
        Self(self.0.clone())
    }

    /// This party has what it needs.
    pub fn done(mut self) {
        self.finish(reason::SUCCESS);
    }

    /// This party does not take the message.
    pub fn refuse(mut self, code: u8) {
        self.finish(code);
    }

    fn finish(&mut self, code: u8) {
        let Some(inner) = self.0.take() else { return };
        if code != reason::SUCCESS {
            inner.reason.store(code, Ordering::Relaxed);
        }
        if inner.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            inner.mailbox.wake();
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.finish(reason::SERVER_UNAVAILABLE);
    }
}
