//! What waits, what goes together, and who is next.

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

    /// Hands over what has found room by now; whether any has.
    fn deliver(&mut self) -> bool {
        let has_room = self.outbox.wait().now_or_never().is_some();
        self.outbox.flush();
        has_room
    }

    fn begin(&mut self) {
        self.publisher.established(self.source, &mut self.outbox);
        self.outbox.flush();
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
fn the_first_event_takes_room_for_what_is_behind_it() {
    let registry = registry(1 << 20);
    let mut events = registry.subscribe_lossless(Filter::all(), 20);
    let mut talker = Talker::new(&registry);
    let free = |events: &LosslessEvents| events.room.free().0;
    talker.begin();
    assert_eq!(take(&mut events, 9).len(), 1);
    // Pings of 32 bytes.
    talker.outbox.expect(4 * 32);
    talker.say([0]);
    assert_eq!(free(&events), 15);
    talker.say(1..5);
    assert_eq!(free(&events), 15, "taken once");
    talker.outbox.flush();
    assert_eq!(free(&events), 15);
    assert_eq!(take(&mut events, 9).len(), 5);
    assert_eq!(free(&events), 20);

    // No more than half, and what was not needed comes back.
    talker.outbox.expect(1000 * 32);
    talker.say([4]);
    assert_eq!(free(&events), 10);
    talker.outbox.flush();
    assert_eq!(free(&events), 19);
}

#[test]
fn one_event_waits_where_there_is_no_room_for_those_behind_it() {
    let registry = registry(1 << 20);
    let mut events = registry.subscribe_lossless(Filter::all(), 20);
    let mut first = Talker::new(&registry);
    first.say(0..14);
    first.outbox.flush();
    let mut second = Talker::new(&registry);
    second.begin();
    assert_eq!(take(&mut events, 99).len(), 16);
    first.say(0..15);
    first.outbox.flush();
    second.outbox.expect(7 * 32);
    second.say([20]);
    assert!(second.outbox.is_blocked());
    second.outbox.flush();
    assert!(!second.deliver());
    assert_eq!(take(&mut events, 99).len(), 15);
    assert!(second.outbox.wait().now_or_never().is_some());
    assert!(!second.outbox.is_blocked());
    // They are one batch, with the room of the first.
    second.say(21..28);
    second.outbox.flush();
    assert_eq!(events.batches.len(), 1);
    assert_eq!(
        numbers(&take(&mut events, 99)),
        [20, 21, 22, 23, 24, 25, 26, 27]
    );
    assert_eq!(events.room.free().0, 20);
}

#[test]
fn one_that_had_to_wait_looks_for_room_before_it_goes_on() {
    let registry = registry(1 << 20);
    let mut events = registry.subscribe_lossless(Filter::all(), 4);
    let mut talker = Talker::new(&registry);
    assert!(talker.outbox.has_room(), "nobody was in its way");
    talker.say(0..4);
    talker.outbox.flush();
    assert!(talker.outbox.is_blocked());
    assert!(!talker.outbox.has_room());
    assert_eq!(take(&mut events, 9).len(), 4);
    assert!(talker.deliver());
    assert!(!talker.outbox.is_blocked());

    // Another has taken all of it.
    let mut other = Talker::new(&registry);
    other.say(0..2);
    other.outbox.flush();
    assert!(!talker.outbox.has_room());
    assert!(talker.outbox.is_blocked(), "without any event");
    assert_eq!(numbers(&take(&mut events, 9)), [3, 0, 1]);
    assert!(talker.outbox.wait().now_or_never().is_some());
    assert!(talker.outbox.has_room());
    assert_eq!(events.room.free().0, 2, "half is kept for it");
    talker.outbox.flush();
    assert_eq!(events.room.free().0, 4);
    assert!(talker.outbox.has_room(), "forgotten");
    assert_eq!(events.room.free().0, 4);
}

#[test]
fn a_place_in_the_queue_is_kept_whatever_else_wakes_a_connection() {
    let registry = registry(1 << 20);
    let mut events = registry.subscribe_lossless(Filter::all(), 2);
    let mut talkers = [(); 3].map(|()| Talker::new(&registry));
    for (n, talker) in talkers.iter_mut().enumerate() {
        talker.begin();
        talker.say([n as u64]);
        talker.outbox.flush();
    }
    // The second is awake more often than the third.
    let [_, second, third] = &mut talkers;
    for talker in [second, third] {
        assert!(!talker.deliver());
    }
    let [_, second, third] = &mut talkers;
    assert!(!second.deliver());
    assert_eq!(take(&mut events, 1).len(), 1);
    assert!(!third.deliver());
    assert!(second.deliver());
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
            let waits = !talker.deliver();
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
    talker.outbox.expect(20 * 32);
    talker.say(0..20);
    talker.outbox.flush();
    assert!(talker.outbox.is_blocked());
    // Half of what was there leaves, and as much comes before the rest has left.
    assert_eq!(take(&mut events, 5).len(), 5);
    assert!(talker.deliver());
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
    assert!(talker.deliver());
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
    assert!(talker.deliver());
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
    while talker.deliver() {
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
    while talker.deliver() && talker.outbox.is_blocked() {
        taken.extend(take(&mut narrow, 9));
    }
    taken.extend(take(&mut narrow, 9));
    assert_eq!(numbers(&taken), [0, 1, 2, 3, 4]);
}
