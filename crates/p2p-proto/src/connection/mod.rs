//! One connection: bytes in, messages out, and the other way round.

mod incoming;
mod outgoing;
mod stats;
mod timers;

pub use stats::{Flow, Stats, Tally};
pub use timers::Timer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::arena::Arena;
use crate::close::CloseReason;
use crate::command::Command;
use crate::config::{Config, PROTOCOL_VERSION, Params, Side};
use crate::decoder::{FrameDecoder, HANDSHAKE_PAYLOAD, Trust};
use crate::event::{Event, Ready};
use crate::handshake::Handshake;
use crate::limits::Limits;
use crate::message::{MIN_ANNOUNCED_PAYLOAD, Protoconf, Reject, Version};
use crate::offence::Budget;
use crate::ping::Pinger;
use crate::send_queue::SendQueue;
use stats::Tallies;
use timers::{PingOut, Timers};

/// How long a closing connection may take to get its last bytes to the socket.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Control frames that may wait before reading stops: two thousand pongs. A peer that asks more
/// without reading the answers waits for itself.
const MAX_CONTROL_BYTES: usize = 64 * 1024;

/// The state machine of one connection: it opens no socket, reads no clock, and waits for nothing.
///
/// # The driving loop
///
/// Inputs: [`receive`](Self::receive), [`handle_written`](Self::handle_written),
/// [`handle_timeout`](Self::handle_timeout), [`admit`](Self::admit), [`hold`](Self::hold),
/// [`configure`](Self::configure), the `send` family and [`close`](Self::close).
/// **After every input, drain the outputs in this order until each is empty**:
/// [`poll_transmit`](Self::poll_transmit) as far as the socket takes bytes,
/// [`poll_event`](Self::poll_event), then ask [`poll_timeout`](Self::poll_timeout) when to wake.
/// After draining events, and after writing, call `receive` again with what it left in the buffer,
/// until it takes no more; only then read more. While [`wants_read`](Self::wants_read) is false,
/// do not read from the socket.
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Instant, SystemTime};
/// use bytes::BytesMut;
/// use p2p_proto::{Capacity, Clock, Config, Connection, Event, Network, Params, Side};
///
/// let now = Instant::now();
/// let config = Arc::new(Config::new(Network::Regtest));
/// let params = |nonce| Params {
///     remote: "127.0.0.1:18444".parse().unwrap(),
///     nonce,
///     seed: [0; 32],
///     clock: Clock::new(now, SystemTime::now()),
///     capacity: Capacity::Free,
/// };
/// let mut dialler = Connection::new(config.clone(), Side::Outbound, params(1), now);
/// let mut listener = Connection::new(config, Side::Inbound, params(2), now);
///
/// // Two connections joined by a perfect wire.
/// let mut ready = 0;
/// for _ in 0..4 {
///     for flip in [false, true] {
///         let (from, to) = match flip {
///             false => (&mut dialler, &mut listener),
///             true => (&mut listener, &mut dialler),
///         };
///         let mut wire = BytesMut::new();
///         while let Some(bytes) = from.poll_transmit() {
///             from.handle_written(now, bytes.len());
///             wire.extend_from_slice(&bytes);
///         }
///         // Up to the next event, until there is none.
///         loop {
///             to.receive(now, &mut wire);
///             match to.poll_event() {
///                 Some(Event::Ready(_)) => {
///                     to.admit(now);
///                     ready += 1;
///                 }
///                 Some(_) => {}
///                 None => break,
///             }
///         }
///     }
/// }
/// assert_eq!(ready, 2);
/// ```
#[derive(Debug)]
pub struct Connection {
    config: Arc<Config>,
    params: Params,
    phase: Phase,
    decoder: FrameDecoder,
    arena: Arena,
    handshake: Handshake,
    pinger: Pinger,
    budget: Budget,
    out: SendQueue,
    events: VecDeque<Event>,
    peer: Peer,
    /// The limit that our protoconf tells, in bytes.
    announced: u32,
    /// Whether the peer's first header is still to be read.
    first_frame: bool,
    /// What the payload belongs to that comes in pieces now.
    streaming: Command,
    timers: Timers,
    ping_out: PingOut,
    /// Whether the driver has no room for events.
    is_held: bool,
    /// Since when nothing is read: the peer's clock stands still.
    blocked_since: Option<Instant>,
    /// The decoder's count of bytes that have excused a late pong.
    excused_bytes: u64,
    stats: Stats,
    tallies: Tallies,
    now: Instant,
}

/// What the peer has told about itself.
#[derive(Debug, Default)]
struct Peer {
    version: Option<Box<Version>>,
    protoconf: Option<Box<Protoconf>>,
    send_headers: bool,
    reject: Option<Box<Reject>>,
}

#[derive(Debug)]
enum Phase {
    Handshaking,
    /// `Some` until the question was handed out.
    AwaitingAdmission(Option<Box<Ready>>),
    Connected,
    Closing(CloseReason),
    Closed,
}

impl Connection {
    /// A connection whose transport has just been established: the handshake's time starts now.
    pub fn new(config: Arc<Config>, side: Side, params: Params, now: Instant) -> Self {
        let mut decoder = FrameDecoder::new(config.network, effective(&config.limits))
            .stream_above(stream_above(&config));
        decoder.set_trust(Trust::Stranger);
        let mut connection = Self {
            decoder,
            arena: Arena::default(),
            handshake: Handshake::new(side),
            pinger: Pinger::new(params.seed, now),
            budget: Budget::new(now),
            out: SendQueue::new(config.network),
            events: VecDeque::new(),
            peer: Peer::default(),
            announced: u32::try_from(effective(&config.limits).message).unwrap_or(u32::MAX),
            first_frame: true,
            streaming: Command::BLOCK,
            timers: Timers {
                handshake: now.checked_add(config.handshake_timeout),
                ..Timers::default()
            },
            ping_out: PingOut::None,
            is_held: false,
            blocked_since: None,
            excused_bytes: 0,
            stats: Stats::default(),
            tallies: Tallies::default(),
            phase: Phase::Handshaking,
            config,
            params,
            now,
        };
        if side == Side::Outbound {
            connection.send_version();
        }
        connection
    }

    // inputs

    /// Takes what it can use from the front of `bytes`, up to the next event, and leaves the rest:
    /// a frame that is not complete, or, when [`wants_read`](Self::wants_read) has turned false,
    /// whatever follows. So messages are decoded one by one, as they are asked for, and an
    /// application that has no time holds bytes and not messages.
    pub fn receive(&mut self, now: Instant, bytes: &mut BytesMut) {
        self.is_held = false;
        self.at(now);
        let before = bytes.len();
        // The end of a payload keeps no memory, and the driver may have no byte left to come back
        // with: it does not wait for room.
        while self.wants_read() || (self.decoder.owes_end() && !self.is_closing()) {
            match self.decoder.decode(bytes) {
                Ok(Some(decoded)) => {
                    self.first_frame = false;
                    self.decoded(decoded);
                }
                Ok(None) => {
                    // An idle connection has no use for it.
                    self.arena.close();
                    break;
                }
                Err(error) => self.framing_failed(error),
            }
        }
        if self.is_closing() {
            bytes.clear();
        }
        self.stats.bytes_received += (before - bytes.len()) as u64;
        self.excuse();
        self.note_blocked();
    }

    /// Nothing will be received for a while: the driver has no room for what may come of it. Until
    /// the next [`receive`](Self::receive) the peer's clock stands still.
    pub fn hold(&mut self, now: Instant) {
        self.at(now);
        self.is_held = true;
        self.note_blocked();
    }

    /// The manager's answer to [`Event::Ready`]: messages may flow, and the first ping goes out.
    pub fn admit(&mut self, now: Instant) {
        self.at(now);
        // Before the question was handed out there is nothing to answer.
        if let Phase::AwaitingAdmission(None) = self.phase {
            self.phase = Phase::Connected;
            self.ping();
        }
    }

    /// Other settings from now on. The network stays what it was.
    pub fn configure(&mut self, now: Instant, config: Arc<Config>) {
        self.at(now);
        let mut limits = effective(&config.limits);
        // The peer may go on sending what our protoconf said that we take.
        limits.message = limits.message.max(self.announced.into());
        self.decoder.set_limits(limits);
        self.decoder.set_stream_above(stream_above(&config));
        self.pinger.reschedule(now, config.ping_interval);
        self.config = config;
    }

    /// Ends the connection; the first reason wins. This is also how the driver reports the end
    /// of the transport ([`CloseReason::Network`]).
    ///
    /// What is queued still leaves, for at most a second, if it can and should: all of it when
    /// we hang up in good order, `reject` and the like when the peer did wrong.
    pub fn close(&mut self, now: Instant, reason: CloseReason) {
        self.at(now);
        let network_is_gone = matches!(reason, CloseReason::Network(_));
        if network_is_gone {
            self.out.clear();
        }
        if self.is_closing() {
            return;
        }
        let reason = match self.peer.reject.take() {
            Some(reject) if network_is_gone => CloseReason::RejectedByPeer(reject),
            _ => reason,
        };
        if !reason.flushes_data() {
            self.out.clear_data();
        }
        if !matches!(self.phase, Phase::Connected) {
            self.events.clear();
        }
        self.timers = Timers {
            flush: (self.out.unwritten() > 0).then(|| now + FLUSH_TIMEOUT),
            ..Timers::default()
        };
        self.phase = Phase::Closing(reason);
    }

    // outputs

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        match &mut self.phase {
            Phase::Handshaking | Phase::Closed => None,
            Phase::AwaitingAdmission(ready) => ready.take().map(Event::Ready),
            Phase::Connected => self.events.pop_front(),
            Phase::Closing(reason) => {
                if self.events.is_empty() && self.out.unwritten() == 0 {
                    let reason = reason.clone();
                    self.phase = Phase::Closed;
                    self.timers = Timers::default();
                    return Some(Event::Closed(reason));
                }
                self.events.pop_front()
            }
        }
    }

    /// The next count of messages that went over the connection since the last time: for those
    /// who keep statistics. Bounded, whether anybody asks or not, and there after the end too.
    pub fn poll_tally(&mut self) -> Option<Tally> {
        self.tallies.take()
    }

    // getters

    /// Whether bytes from the socket are wanted now: not while an event waits or the driver
    /// [holds](Self::hold), nor while the peer does not read what it has asked for.
    pub fn wants_read(&self) -> bool {
        !self.is_closing() && !self.is_blocked() && self.out.control_len() < MAX_CONTROL_BYTES
    }

    /// Whether the connection has ended or is about to.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_) | Phase::Closed)
    }

    /// Whether messages flow.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// What the peer said of itself.
    pub fn peer_version(&self) -> Option<&Version> {
        self.peer.version.as_deref()
    }

    /// The peer's limits, if it told them; of its `protoconf` the fields that are known here.
    pub fn peer_protoconf(&self) -> Option<&Protoconf> {
        self.peer.protoconf.as_deref()
    }

    /// The protocol version spoken: the lower of both.
    pub fn negotiated_version(&self) -> i32 {
        self.peer
            .version
            .as_ref()
            .map_or(PROTOCOL_VERSION, |peer| peer.version.min(PROTOCOL_VERSION))
    }

    /// Whether the peer asked for blocks to be announced by `headers`.
    pub fn send_headers_mode(&self) -> bool {
        self.peer.send_headers
    }

    /// The last round-trip time of a ping.
    pub fn latency(&self) -> Option<Duration> {
        self.pinger.latency()
    }

    /// Bytes that are queued, or given to the driver and not yet taken by the socket.
    pub fn unsent_bytes(&self) -> u64 {
        self.out.unwritten()
    }

    /// What went over the connection so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The peer's address, as given at construction.
    pub fn remote(&self) -> std::net::SocketAddr {
        self.params.remote
    }
}

/// The limits in force: what we announce must be no less than the protocol's minimum.
fn effective(limits: &Limits) -> Limits {
    Limits {
        message: limits.message.max(MIN_ANNOUNCED_PAYLOAD.into()),
        ..*limits
    }
}

/// The payload that comes out in pieces: never one that the connection itself has to read.
fn stream_above(config: &Config) -> u64 {
    config.stream_above.max(HANDSHAKE_PAYLOAD)
}
