//! What one connection has to tell lossless subscribers.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::PeerEvent;
use super::lossless::{Batch, Gone, Lossless, Space};

/// Events that are gathered before they go: what a queue costs, it costs a batch and not each.
const BATCH: usize = 64;
/// Bytes from which on they go at once: a large payload is worth a batch of its own.
const BATCH_BYTES: usize = 64 << 10;
/// Events that room is taken for at once: a connection does not make more of them in a row.
pub(crate) const TURN: usize = 2 * BATCH;
/// The header of a message, which is no part of its event.
const HEADER: usize = 24;

/// Events of one connection on their way to lossless subscribers, in order. While one of them
/// finds no room, nothing further is to be told.
///
/// The first event of a batch takes the room for all that is likely to follow it, and a connection
/// that had to wait looks for room before it reads on. So one that waits does so with one event at
/// most, and with bytes that nobody has looked at: to make events of them ahead of time would have
/// them fall out of the caches before they are handed over.
#[derive(Default)]
pub(crate) struct Outbox {
    parcels: Vec<Parcel>,
    /// Bytes that have come, and of which events are still to be made.
    behind: usize,
    /// Who had no room for the last event that had to wait, and what that had of bytes.
    crowded: Option<(Arc<Lossless>, usize)>,
    is_blocked: bool,
}

/// What one subscriber has not got yet.
struct Parcel {
    to: Arc<Lossless>,
    /// Events that have room.
    events: Vec<PeerEvent>,
    /// What they take of it.
    space: Space,
    /// Room for those that are likely to follow.
    ahead: Space,
    /// Events that have found no room.
    waiting: VecDeque<PeerEvent>,
    /// The place in the queue of those who wait for room. It is kept whatever else happens: one
    /// that is often disturbed would never have its turn.
    place: Option<Place>,
}

type Place = Pin<Box<dyn Future<Output = Result<Space, Gone>> + Send>>;

impl Outbox {
    /// So many bytes have come of which the next events will be made.
    pub(crate) fn expect(&mut self, behind: usize) {
        self.behind = behind;
    }

    #[inline]
    pub(super) fn push(&mut self, to: &Arc<Lossless>, event: PeerEvent) {
        let (behind, bytes) = (self.behind, event.bytes());
        let parcel = self.parcel(to);
        parcel.push(event, behind);
        if parcel.is_blocked() {
            self.is_blocked = true;
            self.crowded = Some((Arc::clone(to), bytes));
        }
    }

    /// Whether what is read next is likely to find room. If not there is something to
    /// [wait](Self::wait) for, and the room is taken then.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.is_blocked {
            return false;
        }
        let Some((to, bytes)) = self.crowded.take() else {
            return true;
        };
        let parcel = self.parcel(&to);
        let likely = likely(&to, BATCH_BYTES / (bytes + HEADER), BATCH_BYTES);
        if parcel.ahead.events() > 0 || parcel.has_taken(likely) {
            return true;
        }
        self.is_blocked = true;
        self.crowded = Some((to, bytes));
        false
    }

    /// Hands over all that has room. To be called before anything is waited for: no room is kept
    /// from others meanwhile.
    pub(crate) fn flush(&mut self) {
        for parcel in &mut self.parcels {
            parcel.send();
            parcel.to.room.give_back(&mut parcel.ahead);
        }
    }

    /// Whether an event has found no room, or is likely not to.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Waits until there is room for some of those that found none.
    pub(crate) async fn wait(&mut self) {
        poll_fn(|cx| {
            let mut all = Poll::Pending;
            // Whoever has room first: one that never reads keeps nothing from the others.
            for parcel in &mut self.parcels {
                if parcel.poll_room(cx).is_ready() {
                    all = Poll::Ready(());
                }
            }
            self.is_blocked = self.parcels.iter().any(Parcel::is_blocked);
            all
        })
        .await;
    }

    /// Gives the memory back that an idle connection does not need.
    pub(crate) fn rest(&mut self) {
        if !self.is_blocked {
            self.parcels = Vec::new();
        }
    }

    fn parcel(&mut self, to: &Arc<Lossless>) -> &mut Parcel {
        let is_for = |parcel: &Parcel| Arc::ptr_eq(&parcel.to, to);
        let i = match self.parcels.iter().position(is_for) {
            Some(i) => i,
            None => {
                self.parcels.push(Parcel::new(to));
                self.parcels.len() - 1
            }
        };
        &mut self.parcels[i]
    }
}

impl Parcel {
    fn new(to: &Arc<Lossless>) -> Self {
        Self {
            to: Arc::clone(to),
            events: Vec::new(),
            space: Space::default(),
            ahead: Space::default(),
            waiting: VecDeque::new(),
            place: None,
        }
    }

    fn is_blocked(&self) -> bool {
        self.place.is_some()
    }

    #[inline]
    fn push(&mut self, event: PeerEvent, behind: usize) {
        let space = self.to.room.of(&event);
        let has_room = !self.is_blocked()
            && (self.ahead.covers(space) || {
                let bytes = event.bytes();
                let events = 1 + behind / (bytes + HEADER);
                self.has_taken(likely(&self.to, events, bytes + behind).max(space))
            });
        if has_room {
            self.add(event, space);
        } else {
            self.waiting.push_back(event);
        }
    }

    /// Takes room ahead, or else a place in the queue for it. Whether it was there.
    fn has_taken(&mut self, space: Space) -> bool {
        match self.to.room.try_take(space) {
            Ok(true) => {
                self.ahead.add(space);
                true
            }
            Ok(false) => {
                self.wait_for(space);
                false
            }
            // Nobody needs to be told.
            Err(Gone) => true,
        }
    }

    fn wait_for(&mut self, space: Space) {
        let to = Arc::clone(&self.to);
        self.place = Some(Box::pin(async move {
            to.room.take(space).await?;
            Ok(space)
        }));
    }

    /// Ready when there is room for some of the events that wait, or for those to come.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut all = Poll::Pending;
        while let Some(place) = &mut self.place
            && let Poll::Ready(room) = place.as_mut().poll(cx)
        {
            all = Poll::Ready(());
            match room {
                Ok(space) => self.ahead.add(space),
                Err(Gone) => self.waiting.clear(),
            }
            self.place = None;
            self.admit();
        }
        all
    }

    /// Puts the events that wait to those that have room, as far as what is ahead goes, and takes
    /// a place for the rest.
    fn admit(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            let space = self.to.room.of(&event);
            if !self.ahead.covers(space) {
                self.waiting.push_front(event);
                self.send();
                let bytes = self.waiting.iter().map(PeerEvent::bytes).sum();
                let likely = likely(&self.to, self.waiting.len(), bytes);
                return self.wait_for(likely.max(space));
            }
            self.add(event, space);
        }
    }

    /// Puts an event to those that have room: it takes it from what is ahead.
    #[inline]
    fn add(&mut self, event: PeerEvent, space: Space) {
        if self.events.is_empty() {
            self.events.reserve_exact(self.ahead.events().min(BATCH));
        }
        self.ahead.remove(space);
        self.space.add(space);
        self.events.push(event);
        if self.events.len() >= BATCH || self.to.room.is_half_of_it(self.space) {
            self.send();
        }
    }

    fn send(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let mut events = std::mem::take(&mut self.events);
        // It may wait for long, and others with it.
        if events.len() < events.capacity() / 2 {
            events.shrink_to_fit();
        }
        let space = std::mem::take(&mut self.space);
        // There are no more batches than there are slots: it fits, unless the subscriber has gone.
        let _ = self.to.queue.try_send(Batch { events, space });
    }
}

/// Room for so many events of so many bytes: for no more than are made in a row, nor than half of
/// what there is, so that the queue is filled while it is emptied.
fn likely(to: &Lossless, events: usize, bytes: usize) -> Space {
    to.room
        .half_at_most(events.min(TURN), bytes.min(BATCH_BYTES))
}
