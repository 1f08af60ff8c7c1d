//! When a connection wants to be called back, and what for.

use std::time::Instant;

use super::{Connection, Phase};
use crate::close::CloseReason;
use crate::message::Message;

/// Why [`Connection::poll_timeout`] wants to be called back.
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Instant, SystemTime};
/// use p2p_proto::{Capacity, Clock, Config, Connection, Network, Params, Side, Timer};
///
/// let now = Instant::now();
/// let params = Params {
///     remote: "127.0.0.1:18444".parse().unwrap(),
///     nonce: 1,
///     seed: [0; 32],
///     clock: Clock::new(now, SystemTime::now()),
///     capacity: Capacity::Free,
/// };
/// let config = Arc::new(Config::new(Network::Regtest));
/// let connection = Connection::new(config.clone(), Side::Inbound, params, now);
/// assert_eq!(connection.poll_timeout(), Some((now + config.handshake_timeout, Timer::Handshake)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Timer {
    /// The handshake must be complete.
    Handshake,
    /// A ping is due.
    Ping,
    /// A pong is due.
    Pong,
    /// The peer must have taken some of our bytes.
    Write,
    /// The last bytes of a closing connection must have left.
    Flush,
}

impl Connection {
    // inputs

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.at(now);
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if passed(self.timers.flush) {
            self.timers.flush = None;
            self.out.clear();
            return;
        }
        if self.is_closing() {
            return;
        }
        if passed(self.timers.handshake) {
            self.close(now, CloseReason::HandshakeTimeout);
        } else if passed(self.timers.write) {
            self.close(now, CloseReason::WriteTimeout);
        } else if passed(self.pong_deadline()) {
            self.close(now, CloseReason::PingTimeout);
        } else if passed(self.ping_due()) {
            self.ping();
        }
    }

    // outputs

    /// When to call [`handle_timeout`](Self::handle_timeout), and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        [
            (self.timers.handshake, Timer::Handshake),
            (self.ping_due(), Timer::Ping),
            (self.pong_deadline(), Timer::Pong),
            (self.timers.write, Timer::Write),
            (self.timers.flush, Timer::Flush),
        ]
        .into_iter()
        .filter_map(|(at, timer)| Some((at?, timer)))
        .min()
    }

    // private

    /// Time moves on; if it stood still for the peer, its pongs are due later.
    pub(super) fn at(&mut self, now: Instant) {
        debug_assert!(now >= self.now, "time goes backwards");
        self.now = now;
        if self.is_blocked() {
            return;
        }
        if let Some(since) = self.blocked_since.take()
            && since < now
        {
            self.pinger.stood_still(since, now);
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        // Nothing can be drained yet: a wait would never end. One protoconf is all that is kept.
        self.is_held || (!matches!(self.phase, Phase::Handshaking) && !self.events.is_empty())
    }

    pub(super) fn note_blocked(&mut self) {
        if self.is_blocked() {
            self.blocked_since.get_or_insert(self.now);
        }
    }

    /// Counts the bytes of a frame in progress in favour of a late pong.
    pub(super) fn excuse(&mut self) {
        let partial = self.decoder.partial_bytes();
        let fresh = partial - self.excused_bytes;
        self.excused_bytes = partial;
        if fresh > 0 {
            let config = &self.config;
            self.pinger.excuse(
                self.now,
                fresh,
                config.min_payload_rate,
                config.ping_timeout,
            );
        }
    }

    fn pong_deadline(&self) -> Option<Instant> {
        if !self.is_connected() || self.blocked_since.is_some() {
            return None;
        }
        self.pinger.deadline(self.config.ping_timeout)
    }

    fn ping_due(&self) -> Option<Instant> {
        self.pinger.next().filter(|_| self.is_connected())
    }

    pub(super) fn ping(&mut self) {
        if let Some(nonce) = self.pinger.ping(self.now, self.config.ping_interval) {
            self.control(&Message::Ping(nonce));
            self.ping_out = PingOut::Queued;
        }
    }
}

/// Deadlines that are facts of their own; the others follow from the pinger.
#[derive(Debug, Default)]
pub(super) struct Timers {
    pub(super) handshake: Option<Instant>,
    pub(super) write: Option<Instant>,
    pub(super) flush: Option<Instant>,
}

/// Where our ping is on its way to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PingOut {
    None,
    Queued,
    /// Taken; with the socket once this many bytes are.
    Taken(u64),
}
