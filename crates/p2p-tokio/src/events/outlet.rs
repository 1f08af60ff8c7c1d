//! One subscriber that may miss something, as those see it who have something to tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Event;
use crate::observe::Counters;

/// Something in the queue of a subscriber that may miss something.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) event: Event,
    /// Events that were missed before it.
    pub(super) missed: u64,
    /// What it takes of the room, until it is taken out.
    pub(super) bytes: usize,
}

/// What a subscriber that may miss something wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Control,
    Messages,
    Everything,
}

/// What waits for such a subscriber, as it and those who have something to tell it count it.
#[derive(Debug)]
pub(super) struct Backlog {
    missed: AtomicU64,
    /// Bytes that may still wait.
    room: AtomicUsize,
}

impl Backlog {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            missed: AtomicU64::new(0),
            room: AtomicUsize::new(bytes),
        }
    }

    /// How many were missed since this was asked last.
    pub(super) fn take_missed(&self) -> u64 {
        // All connections write to one place otherwise, although nothing was missed.
        match self.missed.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.missed.swap(0, Ordering::Relaxed),
        }
    }

    pub(super) fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.room.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |room: usize| room.checked_sub(bytes);
        let order = Ordering::Relaxed;
        bytes == 0 || self.room.fetch_update(order, order, less).is_ok()
    }
}

/// A subscriber that nobody waits for.
#[derive(Debug)]
pub(super) struct Lossy {
    pub(super) wants: Wants,
    pub(super) queue: mpsc::Sender<Queued>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) counters: Arc<Counters>,
}

impl Lossy {
    /// Puts an event into the queue, or counts it as missed. One whose `bytes` do not fit is put
    /// there as what `skipped` makes of it.
    pub(super) fn offer(
        &self,
        bytes: usize,
        event: impl FnOnce() -> Event,
        skipped: impl FnOnce() -> Event,
    ) {
        let place = match self.queue.try_reserve() {
            Ok(place) => place,
            Err(TrySendError::Full(())) => {
                self.backlog.missed.fetch_add(1, Ordering::Relaxed);
                self.counters.lagged();
                return;
            }
            // Whoever drops a subscription takes it out of the list; it was read before that.
            Err(TrySendError::Closed(())) => return,
        };
        let (event, bytes) = match self.backlog.take(bytes) {
            true => (event(), bytes),
            false => (skipped(), 0),
        };
        if let Event::Skipped(_) = event {
            self.counters.skipped();
        }
        place.send(Queued {
            event,
            missed: self.backlog.take_missed(),
            bytes,
        });
    }
}
