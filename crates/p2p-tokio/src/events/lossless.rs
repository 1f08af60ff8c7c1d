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
        taken.slots = taken.slots.saturating_add(batch.slots);
        taken.bytes = taken.bytes.saturating_add(batch.bytes);
        if taken.slots >= self.half_of_slots() || taken.bytes >= self.half_of_bytes() {
            self.give_back(taken);
        }
    }

    pub(super) fn give_back(&self, taken: &mut Space) {
        let Space { slots, bytes } = std::mem::take(taken);
        self.slots.add_permits(slots as usize);
        self.bytes.add_permits(bytes as usize);
    }

    /// The subscriber has gone: nobody waits for it.
    pub(super) fn close(&self) {
        self.slots.close();
        self.bytes.close();
    }

    /// How many of these events, which have so many bytes together, may go into the queue as one
    /// batch, and what they take: one at least, and no more than half of the room, so that it is
    /// filled while it is emptied.
    pub(super) fn batch(&self, events: &[PeerEvent], all_bytes: usize) -> (usize, Space) {
        let all = Space {
            slots: u32::try_from(events.len()).unwrap_or(u32::MAX),
            bytes: u32::try_from(all_bytes).unwrap_or(u32::MAX),
        };
        if all.slots <= self.half_of_slots() && all.bytes <= self.half_of_bytes() {
            return (events.len(), all);
        }
        let mut space = Space::default();
        for event in events {
            let bytes = space.bytes.saturating_add(self.bytes_of(event));
            let fits = space.slots < self.half_of_slots() && bytes <= self.half_of_bytes();
            if space.slots > 0 && !fits {
                break;
            }
            space.bytes = bytes;
            space.slots += 1;
        }
        (space.slots as usize, space)
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

    /// What an event takes of the bytes: one that is larger than all of them goes alone.
    fn bytes_of(&self, event: &PeerEvent) -> u32 {
        u32::try_from(event.bytes()).map_or(self.all_bytes, |bytes| bytes.min(self.all_bytes))
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
