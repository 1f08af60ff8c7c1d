//! What one connection has to tell lossless subscribers.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::PeerEvent;
use super::lossless::{Batch, Gone, Lossless, Space};

/// Events that are gathered before they go: what a queue costs, it costs a batch and not each.
const BATCH: usize = 64;
/// Bytes from which on they go at once: a large payload is worth a batch of its own.
const BATCH_BYTES: usize = 64 << 10;

/// Events of one connection on their way to lossless subscribers, in order. While some of them
/// find no room, nothing further is to be told.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parcels: Vec<Parcel>,
    /// How many events are likely to come.
    expected: usize,
    is_blocked: bool,
}

/// What one subscriber has not got yet.
#[derive(Debug)]
struct Parcel {
    to: Arc<Lossless>,
    events: Vec<PeerEvent>,
    bytes: usize,
}

impl Outbox {
    /// About so many events come before [`flush`](Self::flush).
    pub(crate) fn expect(&mut self, events: usize) {
        self.expected = events.min(BATCH);
    }

    pub(super) fn push(&mut self, to: &Arc<Lossless>, event: PeerEvent) {
        let is_for = |parcel: &Parcel| Arc::ptr_eq(&parcel.to, to);
        let i = match self.parcels.iter().position(is_for) {
            Some(i) => i,
            None => {
                self.parcels.push(Parcel {
                    to: Arc::clone(to),
                    events: Vec::new(),
                    bytes: 0,
                });
                self.parcels.len() - 1
            }
        };
        let parcel = &mut self.parcels[i];
        if parcel.events.is_empty() {
            parcel.events.reserve_exact(self.expected);
        }
        parcel.bytes += event.bytes();
        parcel.events.push(event);
        if parcel.events.len() >= BATCH || parcel.bytes >= BATCH_BYTES {
            self.is_blocked |= !parcel.hand_over();
        }
    }

    /// Hands over what there is room for.
    pub(crate) fn flush(&mut self) {
        self.is_blocked = false;
        for parcel in &mut self.parcels {
            self.is_blocked |= !parcel.hand_over();
        }
    }

    /// Whether events have found no room.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Waits until there is room for some of those that found none, and hands them over. Nothing
    /// is lost if this is dropped before.
    pub(crate) async fn deliver(&mut self) {
        let blocked = self
            .parcels
            .iter_mut()
            .filter(|parcel| !parcel.events.is_empty());
        let mut waits: FuturesUnordered<_> = blocked.map(Parcel::wait).collect();
        // Whoever has room first: one that never reads keeps nothing from the others.
        waits.next().await;
        drop(waits);
        self.flush();
    }

    /// Gives the memory back that an idle connection does not need.
    pub(crate) fn rest(&mut self) {
        if !self.is_blocked {
            self.parcels = Vec::new();
        }
    }
}

impl Parcel {
    /// Hands over what there is room for; whether that is all.
    fn hand_over(&mut self) -> bool {
        while !self.events.is_empty() {
            let (count, space) = self.to.room.batch(&self.events, self.bytes);
            match self.to.room.try_take(space) {
                Ok(true) => self.send(count, space),
                Ok(false) => return false,
                Err(Gone) => self.discard(),
            }
        }
        true
    }

    async fn wait(&mut self) {
        let (count, space) = self.to.room.batch(&self.events, self.bytes);
        match self.to.room.take(space).await {
            Ok(()) => self.send(count, space),
            Err(Gone) => self.discard(),
        }
    }

    /// Puts the first of them into the queue. The room for them is taken.
    fn send(&mut self, count: usize, space: Space) {
        let mut events: Vec<PeerEvent> = if count == self.events.len() {
            std::mem::take(&mut self.events)
        } else {
            self.events.drain(..count).collect()
        };
        // It may wait for long, and others with it.
        if events.len() < events.capacity() / 2 {
            events.shrink_to_fit();
        }
        self.bytes = self.events.iter().map(PeerEvent::bytes).sum();
        // There are no more batches than there are slots: it fits, unless the subscriber has gone.
        let _ = self.to.queue.try_send(Batch { events, space });
    }

    fn discard(&mut self) {
        self.events = Vec::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::FutureExt;
    use p2p_core::BitcoinMessageEvent;
    use p2p_proto::{CloseReason, Message, Nonce};
    use uuid::Uuid;

    use super::*;
    use crate::events::{Filter, LosslessEvents, Publisher, QueueLimits, Registry, Source};

    struct Talker {
        publisher: Publisher,
        outbox: Outbox,
        source: Source,
    }

    impl Talker {
        fn new(registry: &Arc<Registry>) -> Self {
            Self {
                publisher: registry.publisher(),
                outbox: Outbox::default(),
                source: Source {
                    peer_id: Uuid::from_u128(1),
                    address: SocketAddr::from(([127, 0, 0, 1], 8333)),
                },
            }
        }

        fn say(&mut self, numbers: impl IntoIterator<Item = u64>) {
            let Source { peer_id, address } = self.source;
            for n in numbers {
                let message = Message::Ping(Nonce(n));
                let event = BitcoinMessageEvent::new(peer_id, address, message);
                self.publisher.message(event, &mut self.outbox);
            }
        }

        fn end(&mut self) {
            let reason = CloseReason::Shutdown;
            self.publisher.lost(self.source, &reason, &mut self.outbox);
            self.outbox.flush();
        }
    }

    fn registry(bytes: usize) -> Arc<Registry> {
        let limits = QueueLimits { events: 1, bytes };
        Registry::new(limits, Arc::default())
    }

    /// What can be taken out now.
    fn take(events: &mut LosslessEvents, most: usize) -> Vec<PeerEvent> {
        std::iter::from_fn(|| events.recv().now_or_never().flatten())
            .take(most)
            .collect()
    }

    /// The numbers of the pings among them.
    fn numbers(taken: &[PeerEvent]) -> Vec<u64> {
        let number = |event: &PeerEvent| match event {
            PeerEvent::Message(event) => match event.message {
                Message::Ping(Nonce(n)) => Some(n),
                _ => None,
            },
            _ => None,
        };
        taken.iter().filter_map(number).collect()
    }

    #[test]
    fn what_came_at_once_is_one_batch() {
        let registry = registry(1 << 20);
        let mut events = registry.subscribe_lossless(Filter::all(), 1000);
        let mut talker = Talker::new(&registry);
        talker.say(0..10);
        assert!(take(&mut events, 1).is_empty(), "not flushed");
        talker.outbox.flush();
        let taken = take(&mut events, 100);
        assert!(matches!(taken[0], PeerEvent::Established { .. }));
        assert_eq!(numbers(&taken), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_batch_goes_without_being_told_to() {
        let registry = registry(1 << 20);
        let mut events = registry.subscribe_lossless(Filter::all(), 1000);
        let mut talker = Talker::new(&registry);
        talker.say(0..BATCH as u64);
        assert_eq!(take(&mut events, 100).len(), BATCH);
    }

    #[test]
    fn more_than_the_room_waits_in_order_and_all_room_comes_back() {
        for capacity in [1, 2, 3, 8, 50] {
            let registry = registry(1 << 20);
            let mut events = registry.subscribe_lossless(Filter::all(), capacity);
            let mut talker = Talker::new(&registry);
            talker.say(0..100);
            talker.end();
            assert!(talker.outbox.is_blocked());
            let mut taken = Vec::new();
            while talker.outbox.is_blocked() {
                let waits = talker.outbox.deliver().now_or_never().is_none();
                assert!(events.batches.len() <= capacity);
                let some = take(&mut events, 1);
                assert!(
                    !(waits && some.is_empty()),
                    "all of {capacity} waits for ever"
                );
                taken.extend(some);
            }
            taken.extend(take(&mut events, usize::MAX));
            assert_eq!(numbers(&taken), (0..100).collect::<Vec<_>>());
            assert!(matches!(taken.last(), Some(PeerEvent::Lost { .. })));
            assert_eq!(events.room.free(), (capacity, 1 << 20));
        }
    }

    #[test]
    fn a_queue_is_filled_while_it_is_emptied() {
        let registry = registry(1 << 20);
        let mut events = registry.subscribe_lossless(Filter::all(), 10);
        let mut talker = Talker::new(&registry);
        talker.say(0..20);
        talker.outbox.flush();
        assert!(talker.outbox.is_blocked());
        // Half of what was there leaves, and as much comes before the rest has left.
        assert_eq!(take(&mut events, 5).len(), 5);
        talker.outbox.flush();
        assert_eq!(take(&mut events, 10).len(), 10);
    }

    #[test]
    fn an_event_larger_than_all_bytes_goes_alone() {
        // A ping has eight.
        let registry = registry(5);
        let mut events = registry.subscribe_lossless(Filter::all(), 1000);
        let mut talker = Talker::new(&registry);
        talker.say(0..2);
        talker.outbox.flush();
        assert!(talker.outbox.is_blocked());
        assert_eq!(numbers(&take(&mut events, 9)), [0]);
        assert!(talker.outbox.deliver().now_or_never().is_some());
        assert!(!talker.outbox.is_blocked());
        assert_eq!(numbers(&take(&mut events, 9)), [1]);
    }

    #[test]
    fn nobody_waits_for_a_subscriber_that_has_gone() {
        let registry = registry(1 << 20);
        let events = registry.subscribe_lossless(Filter::all(), 1);
        let mut talker = Talker::new(&registry);
        talker.say(0..3);
        talker.outbox.flush();
        assert!(talker.outbox.is_blocked());
        drop(events);
        assert!(talker.outbox.deliver().now_or_never().is_some());
        assert!(!talker.outbox.is_blocked());
        talker.outbox.rest();
        assert!(talker.outbox.parcels.is_empty());
    }

    #[test]
    fn one_that_never_reads_keeps_nothing_from_another() {
        let registry = registry(1 << 20);
        let _idle = registry.subscribe_lossless(Filter::all(), 1);
        let mut reader = registry.subscribe_lossless(Filter::all(), 1);
        let mut talker = Talker::new(&registry);
        talker.say(0..3);
        talker.outbox.flush();
        let mut taken = take(&mut reader, 1);
        while talker.outbox.deliver().now_or_never().is_some() {
            taken.extend(take(&mut reader, 1));
        }
        assert_eq!(numbers(&taken), [0, 1, 2]);
    }

    #[test]
    fn each_subscriber_gets_all_of_it() {
        let registry = registry(1 << 20);
        let mut wide = registry.subscribe_lossless(Filter::all(), 1000);
        let mut narrow = registry.subscribe_lossless(Filter::all(), 2);
        let mut talker = Talker::new(&registry);
        talker.say(0..5);
        talker.outbox.flush();
        assert!(talker.outbox.is_blocked());
        assert_eq!(numbers(&take(&mut wide, 9)), [0, 1, 2, 3, 4]);
        let mut taken = take(&mut narrow, 9);
        while talker.outbox.deliver().now_or_never().is_some() && talker.outbox.is_blocked() {
            taken.extend(take(&mut narrow, 9));
        }
        taken.extend(take(&mut narrow, 9));
        assert_eq!(numbers(&taken), [0, 1, 2, 3, 4]);
    }
}
