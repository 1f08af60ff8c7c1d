//! One subscriber that must miss nothing, as those see it who have something to tell.

use std::collections::VecDeque;
use std::sync::Arc;

use p2p_proto::PayloadEvent;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{AcquireError, Semaphore, TryAcquireError, mpsc};

use super::{Filter, PeerEvent};

/// A subscriber that must not miss anything: a connection whose event does not fit waits.
#[derive(Debug)]
pub(crate) struct Lossless {
    pub(super) filter: Filter,
    pub(super) queue: mpsc::Sender<PeerEvent>,
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

/// What a subscriber has taken out and not given back.
#[derive(Debug, Default)]
pub(super) struct Taken {
    slots: u32,
    bytes: u32,
}

impl Room {
    pub(super) fn new(slots: u32, bytes: u32) -> Self {
        Self {
            slots: Semaphore::new(slots as usize),
            all_slots: slots,
            bytes: Semaphore::new(bytes as usize),
            all_bytes: bytes,
        }
    }

    /// An event was taken out. Its room is given back with that of others, half of all at once:
    /// a connection that waits is woken for many events and not for each.
    pub(super) fn took(&self, event: &PeerEvent, taken: &mut Taken) {
        taken.slots += 1;
        taken.bytes = taken.bytes.saturating_add(self.bytes_of(event));
        if taken.slots >= self.all_slots.div_ceil(2) || taken.bytes >= self.all_bytes.div_ceil(2) {
            self.give_back(taken);
        }
    }

    pub(super) fn give_back(&self, taken: &mut Taken) {
        let Taken { slots, bytes } = std::mem::take(taken);
        self.slots.add_permits(slots as usize);
        self.bytes.add_permits(bytes as usize);
    }

    /// The subscriber has gone: nobody waits for it.
    pub(super) fn close(&self) {
        self.slots.close();
        self.bytes.close();
    }

    /// What an event takes of the bytes: one that is larger than all of them goes alone.
    fn bytes_of(&self, event: &PeerEvent) -> u32 {
        let bytes = match event {
            PeerEvent::Message(event) => event.message.payload_len(),
            PeerEvent::Payload {
                event: PayloadEvent::Chunk(bytes),
                ..
            } => bytes.len(),
            PeerEvent::Established { .. } | PeerEvent::Payload { .. } | PeerEvent::Lost { .. } => 0,
        };
        u32::try_from(bytes).map_or(self.all_bytes, |bytes| bytes.min(self.all_bytes))
    }

    /// Waits for room, and takes it. Nothing is taken if this is dropped before.
    async fn wait(&self, slots: u32, bytes: u32) -> Result<(), AcquireError> {
        let bytes = self.bytes.acquire_many(bytes).await?;
        let slots = self.slots.acquire_many(slots).await?;
        bytes.forget();
        slots.forget();
        Ok(())
    }
}

impl Lossless {
    /// Puts an event into the queue, into a slot that was granted if there is one; hands the event
    /// back if it does not fit. To one that has gone nothing needs to be told.
    fn try_deliver(&self, event: PeerEvent, granted: &mut u32) -> Option<PeerEvent> {
        let bytes = match self.room.bytes.try_acquire_many(self.room.bytes_of(&event)) {
            Ok(bytes) => bytes,
            Err(TryAcquireError::NoPermits) => return Some(event),
            Err(TryAcquireError::Closed) => return None,
        };
        if *granted == 0 {
            match self.room.slots.try_acquire() {
                Ok(slot) => slot.forget(),
                Err(TryAcquireError::NoPermits) => return Some(event),
                Err(TryAcquireError::Closed) => return None,
            }
            *granted = 1;
        }
        match self.queue.try_send(event) {
            Ok(()) => {
                *granted -= 1;
                bytes.forget();
                None
            }
            Err(TrySendError::Full(event)) => Some(event),
            Err(TrySendError::Closed(_)) => None,
        }
    }
}

/// Events of one connection that lossless subscribers have no room for yet, in order. While there
/// are any, nothing further is to be told.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    waiting: VecDeque<(Arc<Lossless>, PeerEvent)>,
    grant: Option<Grant>,
}

/// Slots that were waited for and are not filled yet.
#[derive(Debug)]
struct Grant {
    of: Arc<Lossless>,
    slots: u32,
}

impl Blocked {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Waits until the first of them is delivered, and until there is room for as many more as are
    /// said to be behind it. Nothing is lost if this is dropped before.
    pub(crate) async fn deliver_one(&mut self, behind: usize) {
        let Some((outlet, event)) = self.waiting.front() else {
            return;
        };
        let outlet = Arc::clone(outlet);
        let room = &outlet.room;
        let slots = u32::try_from(behind).map_or(u32::MAX, |behind| behind.saturating_add(1));
        let slots = slots.min(room.all_slots);
        let is_there = room.wait(slots, room.bytes_of(event)).await.is_ok();
        if let Some((_, event)) = self.waiting.pop_front()
            && is_there
        {
            // Whoever has a slot finds room, unless the subscriber has gone.
            let _ = outlet.queue.try_send(event);
            self.settle();
            self.grant = Some(Grant {
                of: outlet,
                slots: slots - 1,
            });
        }
    }

    pub(super) fn deliver(&mut self, outlet: &Arc<Lossless>, event: PeerEvent) {
        // Behind those that wait, or one subscriber would see them in another order.
        let waits = self
            .waiting
            .iter()
            .any(|(other, _)| Arc::ptr_eq(other, outlet));
        if waits {
            self.waiting.push_back((Arc::clone(outlet), event));
            return;
        }
        let mut none = 0;
        let granted = match &mut self.grant {
            Some(grant) if Arc::ptr_eq(&grant.of, outlet) => &mut grant.slots,
            _ => &mut none,
        };
        let refused = outlet.try_deliver(event, granted);
        // One that was taken for this event alone.
        outlet.room.slots.add_permits(none as usize);
        if let Some(event) = refused {
            self.waiting.push_back((Arc::clone(outlet), event));
        }
    }

    /// Gives back what was granted and not needed: others wait for it.
    pub(crate) fn settle(&mut self) {
        if let Some(Grant { of, slots }) = self.grant.take() {
            of.room.slots.add_permits(slots as usize);
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.settle();
    }
}
