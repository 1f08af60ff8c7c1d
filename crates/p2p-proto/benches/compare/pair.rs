//! A connection that has shaken hands.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use p2p_proto::{Capacity, Clock, Config, Connection, Event, Params, Side};

use crate::messages::NETWORK;

/// One end of two that are connected, with nothing left to be sent, and the time it is there.
pub(crate) fn connected() -> (Connection, Instant) {
    let now = Instant::now();
    let config = Arc::new(Config::new(NETWORK));
    let params = |nonce| Params {
        remote: ([127, 0, 0, 1], 8333).into(),
        nonce,
        seed: [0; 32],
        clock: Clock::new(now, SystemTime::UNIX_EPOCH),
        capacity: Capacity::Free,
    };
    let mut ours = Connection::new(config.clone(), Side::Outbound, params(1), now);
    let mut peer = Connection::new(config, Side::Inbound, params(2), now);
    while !pass(now, &mut ours, &mut peer) | !pass(now, &mut peer, &mut ours) {}
    assert!(ours.is_connected() && peer.is_connected());
    (ours, now)
}

/// Whether there was nothing to pass on.
fn pass(now: Instant, from: &mut Connection, to: &mut Connection) -> bool {
    let mut wire = BytesMut::new();
    while let Some(bytes) = from.poll_transmit() {
        from.handle_written(now, bytes.len());
        wire.extend_from_slice(&bytes);
    }
    let idle = wire.is_empty();
    loop {
        to.receive(now, &mut wire);
        match to.poll_event() {
            Some(Event::Ready(_)) => to.admit(now),
            Some(_) => {}
            None => return idle,
        }
    }
}
