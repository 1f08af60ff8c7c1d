//! One subscriber, as those see it who have something to tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Event, Filter, PeerEvent};

/// Something in a queue.
#[derive(Debug)]
pub(super) struct Queued<T> {
    pub(super) event: T,
    /// Events that were missed before it.
    pub(super) missed: u64,
    /// Its bytes, until it is taken out.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// What a subscriber that may miss something wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Control,
    Messages,
    Everything,
}

/// A subscriber that nobody waits for.
#[derive(Debug)]
pub(super) struct Lossy {
    pub(super) wants: Wants,
    pub(super) queue: mpsc::Sender<Queued<Event>>,
    pub(super) room: Arc<Semaphore>,
    pub(super) missed: Arc<AtomicU64>,
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
                self.missed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // Whoever drops a subscription takes it out of the list; it was read before that.
            Err(TrySendError::Closed(())) => return,
        };
        let (event, room) = match permits(bytes) {
            0 => (event(), None),
            wanted => match Arc::clone(&self.room).try_acquire_many_owned(wanted) {
                Ok(room) => (event(), Some(room)),
                Err(_) => (skipped(), None),
            },
        };
        place.send(Queued {
            event,
            missed: self.missed.swap(0, Ordering::Relaxed),
            _room: room,
        });
    }
}

/// A subscriber that must not miss anything: a connection whose event does not fit waits.
#[derive(Debug)]
pub(crate) struct Lossless {
    pub(super) filter: Filter,
    pub(super) queue: mpsc::Sender<Queued<PeerEvent>>,
    pub(super) room: Arc<Semaphore>,
    /// All the bytes that may wait: larger ones go alone.
    pub(super) capacity: u32,
}

impl Lossless {
    /// Puts an event into the queue; hands it back if it does not fit.
    pub(super) fn try_deliver(&self, event: PeerEvent) -> Option<PeerEvent> {
        let wanted = self.wanted(&event);
        let place = match self.queue.try_reserve() {
            Ok(place) => place,
            Err(TrySendError::Full(())) => return Some(event),
            Err(TrySendError::Closed(())) => return None,
        };
        let room = match wanted {
            0 => None,
            wanted => match Arc::clone(&self.room).try_acquire_many_owned(wanted) {
                Ok(room) => Some(room),
                Err(_) => return Some(event),
            },
        };
        place.send(Queued {
            event,
            missed: 0,
            _room: room,
        });
        None
    }

    /// Waits until the event fits. Nothing happens if this is dropped before.
    pub(super) async fn room_for(&self, event: &PeerEvent) -> Place<'_> {
        let wanted = self.wanted(event);
        let room = match wanted {
            0 => None,
            // The semaphore is never closed.
            wanted => Arc::clone(&self.room).acquire_many_owned(wanted).await.ok(),
        };
        Place {
            place: self.queue.reserve().await.ok(),
            room,
        }
    }

    fn wanted(&self, event: &PeerEvent) -> u32 {
        permits(bytes_of(event)).min(self.capacity)
    }
}

/// Room for one event; none if the subscriber has gone.
pub(super) struct Place<'a> {
    place: Option<mpsc::Permit<'a, Queued<PeerEvent>>>,
    room: Option<OwnedSemaphorePermit>,
}

impl Place<'_> {
    pub(super) fn put(self, event: PeerEvent) {
        if let Some(place) = self.place {
            place.send(Queued {
                event,
                missed: 0,
                _room: self.room,
            });
        }
    }
}

fn bytes_of(event: &PeerEvent) -> usize {
    match event {
        PeerEvent::Message(event) => event.message.payload_len(),
        PeerEvent::Payload {
            event: p2p_proto::PayloadEvent::Chunk(bytes),
            ..
        } => bytes.len(),
        PeerEvent::Established { .. } | PeerEvent::Payload { .. } | PeerEvent::Lost { .. } => 0,
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
