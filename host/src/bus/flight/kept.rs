//! Rows that the broker has acknowledged, and may yet forget when it dies.
//!
//! Mosquitto acknowledges a message before it is on disk. Nothing in MQTT says when it is; but a broker that is heard of
//! on the same connection some time later has not died meanwhile, and has had that time to write.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ledger::Size;

/// For how long, and how much at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bus) struct Keeping {
    pub(in crate::bus) patience: Duration,
    pub(in crate::bus) most: Size,
}

impl Keeping {
    /// Nothing is kept: what the broker acknowledges is on its disk.
    pub(in crate::bus) const NONE: Self = Self {
        patience: Duration::ZERO,
        most: Size { rows: 0, bytes: 0 },
    };
}

#[derive(Debug)]
pub(super) struct Kept {
    keeping: Keeping,
    rows: VecDeque<(Instant, i64, u64)>,
    size: Size,
}

impl Kept {
    pub(super) fn new(keeping: Keeping) -> Self {
        Self {
            keeping,
            rows: VecDeque::new(),
            size: Size::default(),
        }
    }

    pub(super) fn set(&mut self, keeping: Keeping) {
        self.keeping = keeping;
    }

    /// A row was acknowledged.
    pub(super) fn keep(&mut self, seq: i64, bytes: u64, now: Instant) {
        self.rows.push_back((now, seq, bytes));
        self.size += Size { rows: 1, bytes };
    }

    /// The broker was heard of: the rows that need not be kept any longer.
    pub(super) fn heard(&mut self, now: Instant) -> Vec<i64> {
        let mut over = Vec::new();
        while let Some((at, seq, bytes)) = self.rows.front().copied() {
            let fits = self.size.rows <= self.keeping.most.rows && self.size.bytes <= self.keeping.most.bytes;
            if fits && now - at < self.keeping.patience {
                break;
            }
            self.rows.pop_front();
            self.size.rows -= 1;
            self.size.bytes -= bytes;
            over.push(seq);
        }
        over
    }

    /// The connection ended, and perhaps the broker: all of them.
    pub(super) fn doubted(&mut self) -> impl Iterator<Item = i64> {
        self.size = Size::default();
        std::mem::take(&mut self.rows).into_iter().map(|(_, seq, _)| seq)
    }

    pub(super) fn rows(&self) -> u64 {
        self.size.rows
    }
}
