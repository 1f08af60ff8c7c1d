//! One subscriber that must miss nothing, as those see it who have something to tell.

use std::sync::Arc;

use p2p_proto::PayloadEvent;
use tokio::sync::{AcquireError, Semaphore, TryAcquireError, mpsc};

use super::{Filter, PeerEvent};

/// A subscriber that must not miss anything: a connection whose events do not fit waits.
#[derive(Debug)]
pub(crate) struct Lossless {
    pub(super) filter: Filter,
    pub(super) queue: mpsc::Sender<Batch>,
    pub(super) room: Arc<Room>,
}

/// Room in its queue: for so many events, of so many bytes.
#[derive(Debug)]
pub(super) struct Room {
    slots: Semaphore,
    all_slots: u32,
    bytes: Semaphore,
    all_bytes: u32,
}

/// What events take of the room.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Space {
    slots: u32,
    bytes: u32,
}

/// What one connection has to tell at once: one event at least.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) events: Vec<PeerEvent>,
    pub(super) space: Space,
}

/// The subscriber has gone: nobody needs to be told.
#[derive(Debug)]
pub(super) struct Gone;

impl Room {
    pub(super) fn new(slots: u32, bytes: u32) -> Self {
        Self {
            slots: Semaphore::new(slots as usize),
            all_slots: slots,
            bytes: Semaphore::new(bytes as usize),
            all_bytes: bytes,
        }
    }

    /// A batch was taken out. Its room is given back with that of others, half of all at once:
    /// a connection that waits is woken for many events and not for each.
    pub(super) fn took(&self, batch: Space, taken: &mut Space) {
        taken.add(batch);
        if self.is_half_of_it(*taken) {
            self.give_back(taken);
        }
    }

    pub(super) fn give_back(&self, taken: &mut Space) {
        let Space { slots, bytes } = std::mem::take(taken);
        // Not for nothing: it locks.
        if slots > 0 {
            self.slots.add_permits(slots as usize);
        }
        if bytes > 0 {
            self.bytes.add_permits(bytes as usize);
        }
    }

    /// The subscriber has gone: nobody waits for it.
    pub(super) fn close(&self) {
        self.slots.close();
        self.bytes.close();
    }

    /// What an event takes: one with more bytes than there are goes alone.
    pub(super) fn of(&self, event: &PeerEvent) -> Space {
        let bytes = u32::try_from(event.bytes()).unwrap_or(u32::MAX);
        Space {
            slots: 1,
            bytes: bytes.min(self.all_bytes),
        }
    }

    /// Room for so many events of so many bytes, but no more than half of all.
    pub(super) fn half_at_most(&self, events: usize, bytes: usize) -> Space {
        let at_most = |n: usize, most: u32| u32::try_from(n).map_or(most, |n| n.min(most));
        Space {
            slots: at_most(events, self.half_of_slots()),
            bytes: at_most(bytes, self.half_of_bytes()),
        }
    }

    /// Whether that is half of all there is, or more.
    pub(super) fn is_half_of_it(&self, space: Space) -> bool {
        space.slots >= self.half_of_slots() || space.bytes >= self.half_of_bytes()
    }

    /// Takes room if it is there; whether it was.
    pub(super) fn try_take(&self, space: Space) -> Result<bool, Gone> {
        let taken = self.slots.try_acquire_many(space.slots).and_then(|slots| {
            let bytes = self.bytes.try_acquire_many(space.bytes)?;
            slots.forget();
            bytes.forget();
            Ok(())
        });
        match taken {
            Ok(()) => Ok(true),
            Err(TryAcquireError::NoPermits) => Ok(false),
            Err(TryAcquireError::Closed) => Err(Gone),
        }
    }

    /// Waits for room, and takes it. Nothing is taken if this is dropped before.
    pub(super) async fn take(&self, space: Space) -> Result<(), Gone> {
        let gone = |_: AcquireError| Gone;
        let bytes = self.bytes.acquire_many(space.bytes).await.map_err(gone)?;
        let slots = self.slots.acquire_many(space.slots).await.map_err(gone)?;
        bytes.forget();
        slots.forget();
        Ok(())
    }

    /// Slots and bytes that nobody has taken.
    #[cfg(test)]
    pub(super) fn free(&self) -> (usize, usize) {
        (
            self.slots.available_permits(),
            self.bytes.available_permits(),
        )
    }

    fn half_of_slots(&self) -> u32 {
        self.all_slots.div_ceil(2)
    }

    fn half_of_bytes(&self) -> u32 {
        self.all_bytes.div_ceil(2)
    }
}

impl Space {
    pub(super) fn events(self) -> usize {
        self.slots as usize
    }

    pub(super) fn covers(self, other: Self) -> bool {
        self.slots >= other.slots && self.bytes >= other.bytes
    }

    pub(super) fn max(self, other: Self) -> Self {
        Self {
            slots: self.slots.max(other.slots),
            bytes: self.bytes.max(other.bytes),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.slots = self.slots.saturating_add(other.slots);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.slots = self.slots.saturating_sub(other.slots);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

impl PeerEvent {
    /// Bytes that it keeps.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Message(event) => event.message.payload_len(),
            Self::Payload {
                event: PayloadEvent::Chunk(bytes),
                ..
            } => bytes.len(),
            Self::Established { .. } | Self::Payload { .. } | Self::Lost { .. } => 0,
        }
    }
}
