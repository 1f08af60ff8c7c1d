//! Carries what one connection counts to the counters of all.

use std::sync::Arc;
use std::time::Instant;

use p2p_proto::{Connection, Flow, Side};
use tracing::{Span, info_span};

use super::Counters;

/// What a connection's task counts with. Once a turn, however many messages that had.
#[derive(Debug)]
pub(crate) struct Meter {
    counters: Arc<Counters>,
    side: Side,
    started: Instant,
    /// Boxed: most of a connection's life there is none.
    handshake: Option<Box<Span>>,
    bytes_received: u64,
    bytes_sent: u64,
    dropped: u64,
}

impl Meter {
    /// For a connection that is being made.
    pub(crate) fn new(counters: Arc<Counters>, side: Side, now: Instant) -> Self {
        Self {
            counters,
            side,
            started: now,
            handshake: None,
            bytes_received: 0,
            bytes_sent: 0,
            dropped: 0,
        }
    }

    /// The transport is there: the handshake begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.started = now;
        let span = info_span!(target: "p2p_tokio", "handshake");
        self.handshake = (!span.is_disabled()).then(|| Box::new(span));
    }

    /// The handshake is complete.
    pub(crate) fn ready(&mut self, now: Instant) {
        self.handshake = None;
        let took = now.saturating_duration_since(self.started);
        self.counters.handshake(self.side, took);
    }

    /// Counts what came and went since the last time.
    pub(crate) fn count(&mut self, connection: &mut Connection) {
        while let Some(tally) = connection.poll_tally() {
            self.counters.messages(tally);
        }
        let stats = connection.stats();
        let received = grown(&mut self.bytes_received, stats.bytes_received);
        if received > 0 {
            self.counters.wire(Flow::Received, received);
        }
        let sent = grown(&mut self.bytes_sent, stats.bytes_sent);
        if sent > 0 {
            self.counters.wire(Flow::Sent, sent);
        }
        let dropped = grown(&mut self.dropped, stats.discarded);
        if dropped > 0 {
            self.counters.dropped(dropped);
        }
    }
}

/// By how much a total has grown, and notes the total.
fn grown(before: &mut u64, total: u64) -> u64 {
    total.saturating_sub(std::mem::replace(before, total))
}
