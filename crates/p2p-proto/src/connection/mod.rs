//! One connection: bytes in, messages out, and the other way round.

mod incoming;
mod outgoing;
mod tally;

pub use outgoing::PeerLimits;
pub use tally::{Flow, Tally};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::close::{CloseReason, SendError};
use crate::command::Command;
use crate::config::{Capacity, Config, PROTOCOL_VERSION, Params, Side};
use crate::decoder::{FrameDecoder, HANDSHAKE_PAYLOAD, Trust};
use crate::event::{Event, Ready};
use crate::frame::{EncodedMessage, FrameHeader, Limits};
use crate::handshake::Handshake;
use crate::message::{MIN_ANNOUNCED_PAYLOAD, Message, Protoconf, Reject, Version};
use crate::offence::Budget;
use crate::ping::Pinger;
use crate::send_queue::SendQueue;
use tally::Tallies;

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
/// [`handle_timeout`](Self::handle_timeout), [`admit`](Self::admit),
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
///         to.receive(now, &mut wire);
///         while let Some(event) = to.poll_event() {
///             if let Event::Ready(_) = event {
///                 to.admit(now);
///                 ready += 1;
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
    handshake: Handshake,
    pinger: Pinger,
    budget: Budget,
    out: SendQueue,
    events: VecDeque<(Event, usize)>,
    event_bytes: usize,
    peer: Peer,
    /// The limit that our protoconf tells, in bytes.
    announced: u32,
    /// Whether the peer's first header is still to be read.
    first_frame: bool,
    /// What the payload belongs to that comes in pieces now.
    streaming: Command,
    timers: Timers,
    ping_out: PingOut,
    /// Since when events are too many to read on: the peer's clock stands still.
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
    protoconf: Option<Protoconf>,
    send_headers: bool,
    reject: Option<Reject>,
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

/// Deadlines that are facts of their own; the others follow from the pinger.
#[derive(Debug, Default)]
struct Timers {
    handshake: Option<Instant>,
    write: Option<Instant>,
    flush: Option<Instant>,
}

/// Where our ping is on its way to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PingOut {
    None,
    Queued,
    /// Taken; with the socket once this many bytes are.
    Taken(u64),
}

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

/// What went over a connection.
///
/// ```
/// use p2p_proto::Stats;
///
/// let stats = Stats::default();
/// assert_eq!((stats.bytes_received, stats.messages_sent), (0, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes taken from the driver's buffer.
    pub bytes_received: u64,
    /// Bytes that the socket has taken.
    pub bytes_sent: u64,
    /// Whole and streamed messages received, the handshake's included.
    pub messages_received: u64,
    /// Messages queued to be sent, the handshake's included.
    pub messages_sent: u64,
    /// Frames dropped.
    pub discarded: u64,
    /// Pongs that answered no ping of the connection's own.
    pub unknown_pongs: u64,
}

impl Connection {
    /// A connection whose transport has just been established: the handshake's time starts now.
    pub fn new(config: Arc<Config>, side: Side, params: Params, now: Instant) -> Self {
        let mut decoder = FrameDecoder::new(config.network, effective(&config.limits))
            .stream_above(stream_above(&config));
        decoder.set_trust(Trust::Stranger);
        let mut connection = Self {
            decoder,
            handshake: Handshake::new(side),
            pinger: Pinger::new(params.seed, now),
            budget: Budget::new(now),
            out: SendQueue::new(config.network),
            events: VecDeque::new(),
            event_bytes: 0,
            peer: Peer::default(),
            announced: u32::try_from(effective(&config.limits).message).unwrap_or(u32::MAX),
            first_frame: true,
            streaming: Command::BLOCK,
            timers: Timers {
                handshake: Some(now + config.handshake_timeout),
                ..Timers::default()
            },
            ping_out: PingOut::None,
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

    /// Takes what it can use from the front of `bytes` and leaves the rest: a frame that is not
    /// complete, or, when [`wants_read`](Self::wants_read) has turned false, whatever follows.
    pub fn receive(&mut self, now: Instant, bytes: &mut BytesMut) {
        self.at(now);
        let before = bytes.len();
        while self.wants_read() {
            match self.decoder.decode(bytes) {
                Ok(Some(decoded)) => {
                    self.first_frame = false;
                    self.decoded(decoded);
                }
                Ok(None) => break,
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

    /// The socket has taken `n` more bytes of what [`poll_transmit`](Self::poll_transmit) gave.
    /// The clock of a ping and of a peer that does not read depends on it.
    pub fn handle_written(&mut self, now: Instant, n: usize) {
        self.at(now);
        self.out.written(n);
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(n as u64);
        // Once it ends, the flush has a deadline of its own.
        let waits = self.out.in_flight() && !self.is_closing();
        self.timers.write = waits.then(|| now + self.config.ping_timeout);
        if let PingOut::Taken(end) = self.ping_out
            && self.out.written_total() >= end
        {
            self.ping_out = PingOut::None;
            self.pinger.handed_over(now);
        }
    }

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
        if passed(self.handshake_deadline()) {
            self.close(now, CloseReason::HandshakeTimeout);
        } else if passed(self.timers.write) {
            self.close(now, CloseReason::WriteTimeout);
        } else if passed(self.pong_deadline()) {
            self.close(now, CloseReason::PingTimeout);
        } else if passed(self.ping_due()) {
            self.ping();
        }
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

    /// Queues a message.
    ///
    /// # Errors
    /// [`SendError::Full`] until the peer has read some of what waits; the others say what is
    /// wrong with the call.
    pub fn send(&mut self, now: Instant, message: &Message) -> Result<(), SendError> {
        self.at(now);
        let length = message.payload_len() as u64;
        self.check_send(message.command(), length)?;
        self.out.push(message);
        self.count_sent(message.command(), length);
        Ok(())
    }

    /// Queues a message that was encoded once for many connections.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_encoded(
        &mut self,
        now: Instant,
        message: &EncodedMessage,
    ) -> Result<(), SendError> {
        self.at(now);
        if message.magic != self.out.magic() {
            return Err(SendError::OtherNetwork);
        }
        self.check_send(message.command(), message.header.length)?;
        self.out.push_frame(&message.header, &message.payload);
        self.count_sent(message.command(), message.header.length);
        Ok(())
    }

    /// Begins a payload that is given in pieces; [`send_chunk`](Self::send_chunk) and
    /// [`send_end`](Self::send_end) follow.
    ///
    /// Up to 2^32 - 1 bytes the header carries the checksum, so it must be known now; above, the
    /// frame is an `extmsg`, which has none. Until the payload is complete no other frame can
    /// leave, pongs included: give it without delay.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`SendError::Checksum`], [`SendError::Streaming`].
    pub fn send_begin(
        &mut self,
        now: Instant,
        command: Command,
        length: u64,
        checksum: Option<[u8; 4]>,
    ) -> Result<(), SendError> {
        self.at(now);
        if checksum.is_some() != (length <= u64::from(u32::MAX)) {
            return Err(SendError::Checksum);
        }
        if self.out.is_streaming() {
            return Err(SendError::Streaming);
        }
        self.check_send(command, 0)?;
        self.check_peer_limit(command, length)?;
        self.out.begin_stream(&FrameHeader {
            command,
            length,
            checksum,
        });
        self.count_sent(command, length);
        Ok(())
    }

    /// The next piece of the payload.
    ///
    /// # Errors
    /// [`SendError::Full`] until the peer has read some of what waits, [`SendError::WrongLength`]
    /// when it is longer than what was announced, [`SendError::NotStreaming`].
    pub fn send_chunk(&mut self, now: Instant, chunk: Bytes) -> Result<(), SendError> {
        self.at(now);
        self.check_open()?;
        let left = self.out.stream_left().ok_or(SendError::NotStreaming)?;
        let length = chunk.len() as u64;
        if length > left {
            return Err(SendError::WrongLength {
                by: length - left,
                over: true,
            });
        }
        self.check_room(self.out.stream_unwritten(), length)?;
        self.out.push_chunk(chunk);
        Ok(())
    }

    /// The payload is complete.
    ///
    /// # Errors
    /// [`SendError::WrongLength`] when pieces are missing, [`SendError::NotStreaming`].
    pub fn send_end(&mut self, now: Instant) -> Result<(), SendError> {
        self.at(now);
        self.check_open()?;
        match self.out.stream_left() {
            None => Err(SendError::NotStreaming),
            Some(0) => {
                self.out.end_stream();
                Ok(())
            }
            Some(by) => Err(SendError::WrongLength { by, over: false }),
        }
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
            self.event_bytes = 0;
        }
        self.timers = Timers {
            flush: (self.out.unwritten() > 0).then(|| now + FLUSH_TIMEOUT),
            ..Timers::default()
        };
        self.phase = Phase::Closing(reason);
    }

    // outputs

    /// The next bytes for the socket, headers and payloads uncopied. Call it when the socket can
    /// take some, and report what it took by [`handle_written`](Self::handle_written).
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let was_in_flight = self.out.in_flight();
        let bytes = self.out.take()?;
        if !was_in_flight && !self.is_closing() {
            self.timers.write = Some(self.now + self.config.ping_timeout);
        }
        if self.ping_out == PingOut::Queued && self.out.control_len() == 0 {
            self.ping_out = PingOut::Taken(self.out.taken_total());
        }
        Some(bytes)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        match &mut self.phase {
            Phase::Handshaking | Phase::Closed => None,
            Phase::AwaitingAdmission(ready) => ready.take().map(Event::Ready),
            Phase::Connected => self.pop_event(),
            Phase::Closing(reason) => {
                if self.events.is_empty() && self.out.unwritten() == 0 {
                    let reason = reason.clone();
                    self.phase = Phase::Closed;
                    self.timers = Timers::default();
                    return Some(Event::Closed(reason));
                }
                self.pop_event()
            }
        }
    }

    /// The next count of messages that went over the connection since the last time: for those
    /// who keep statistics. Bounded, whether anybody asks or not, and there after the end too.
    pub fn poll_tally(&mut self) -> Option<Tally> {
        self.tallies.take()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        [
            (self.handshake_deadline(), Timer::Handshake),
            (self.ping_due(), Timer::Ping),
            (self.pong_deadline(), Timer::Pong),
            (self.timers.write, Timer::Write),
            (self.timers.flush, Timer::Flush),
        ]
        .into_iter()
        .filter_map(|(at, timer)| Some((at?, timer)))
        .min()
    }

    // getters

    /// Whether bytes from the socket are wanted now.
    pub fn wants_read(&self) -> bool {
        !self.is_closing() && !self.is_blocked() && self.out.control_len() < MAX_CONTROL_BYTES
    }

    /// Events that wait for [`poll_event`](Self::poll_event).
    pub fn waiting_events(&self) -> usize {
        self.events.len()
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

    /// The peer's limits, if it told them.
    pub fn peer_protoconf(&self) -> Option<&Protoconf> {
        self.peer.protoconf.as_ref()
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

    // private

    /// Time moves on; if it stood still for the peer, its deadlines move too.
    fn at(&mut self, now: Instant) {
        debug_assert!(now >= self.now, "time goes backwards");
        self.now = now;
        if self.is_blocked() {
            return;
        }
        if let Some(since) = self.blocked_since.take() {
            self.pinger.stood_still(since, now);
            if let Some(deadline) = &mut self.timers.handshake {
                *deadline += now.saturating_duration_since(since);
            }
        }
    }

    fn is_blocked(&self) -> bool {
        // Nothing can be drained yet: a wait would never end. One protoconf is all that is kept.
        if matches!(self.phase, Phase::Handshaking) {
            return false;
        }
        self.events.len() >= self.config.event_queue_len.max(1)
            || self.event_bytes as u64 > self.config.stream_above
    }

    fn note_blocked(&mut self) {
        if self.is_blocked() {
            self.blocked_since.get_or_insert(self.now);
        }
    }

    /// Counts the bytes of a frame in progress in favour of a late pong.
    fn excuse(&mut self) {
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

    fn handshake_deadline(&self) -> Option<Instant> {
        self.timers
            .handshake
            .filter(|_| self.blocked_since.is_none())
    }

    fn pong_deadline(&self) -> Option<Instant> {
        if !self.is_connected() || self.blocked_since.is_some() {
            return None;
        }
        self.pinger.deadline(self.config.ping_timeout)
    }

    fn ping_due(&self) -> Option<Instant> {
        self.is_connected().then(|| self.pinger.next())
    }

    fn ping(&mut self) {
        if let Some(nonce) = self.pinger.ping(self.now, self.config.ping_interval) {
            self.control(&Message::Ping(nonce));
            self.ping_out = PingOut::Queued;
        }
    }

    fn count_received(&mut self, command: Command, length: u64) {
        self.stats.messages_received += 1;
        self.tallies.count(Flow::Received, command, length);
    }

    fn count_sent(&mut self, command: Command, length: u64) {
        self.stats.messages_sent += 1;
        self.tallies.count(Flow::Sent, command, length);
    }

    fn push_event(&mut self, event: Event, bytes: usize) {
        self.event_bytes += bytes;
        self.events.push_back((event, bytes));
    }

    fn pop_event(&mut self) -> Option<Event> {
        let (event, bytes) = self.events.pop_front()?;
        self.event_bytes -= bytes;
        Some(event)
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
