//! A connection under a driver that checks the contract at every step.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use p2p_proto::{
    Capacity, CloseReason, Command, Config, Connection, EncodedMessage, HANDSHAKE_PAYLOAD, Message,
    SendError, Side, Stats, checksum,
};

use super::outbox::Outbox;
use super::traffic::{NETWORK, params};
use super::transcript::Transcript;

/// Control frames that may wait, twice over: some in the driver's hands, some behind them.
const CONTROL_BYTES: u64 = 2 * 64 * 1024;
/// Headers, and the answer that went over a limit.
const SLACK: u64 = 4096;
/// More steps than a connection may take to end by itself.
const MANY_STEPS: usize = 1000;

pub(super) struct Probe {
    pub(super) connection: Connection,
    pub(super) transcript: Transcript,
    pub(super) outbox: Outbox,
    /// Of a payload that the application has begun: what is still to be given.
    stream: Option<Bytes>,
    bounds: Bounds,
    /// Read from the socket, not yet taken.
    buffer: BytesMut,
    longest_read: u64,
    fed: u64,
    /// Taken from the connection, not yet written to the socket.
    pending: Bytes,
    taken: u64,
    stats: Stats,
}

/// The largest of all settings that the connection has had, and of all that it was given.
#[derive(Default)]
struct Bounds {
    event_bytes: u64,
    /// An empty queue takes a message of any size.
    messages: u64,
    /// A streamed payload has a room of its own, and an empty one takes a piece of any size.
    chunks: u64,
}

/// What the driver answers to `Ready`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Admit,
    Later,
}

impl Probe {
    pub(super) fn new(config: Config, side: Side, capacity: Capacity, now: Instant) -> Self {
        let nonce = match side {
            Side::Inbound => 1,
            Side::Outbound => 2,
        };
        let mut bounds = Bounds::default();
        bounds.widen(&config);
        let mut probe = Self {
            bounds,
            connection: Connection::new(Arc::new(config), side, params(nonce, now, capacity), now),
            transcript: Transcript::default(),
            outbox: Outbox::default(),
            stream: None,
            buffer: BytesMut::new(),
            longest_read: 0,
            fed: 0,
            pending: Bytes::new(),
            taken: 0,
            stats: Stats::default(),
        };
        probe.check();
        probe
    }

    // inputs

    /// Bytes come from the socket.
    pub(super) fn feed(&mut self, now: Instant, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.fed += bytes.len() as u64;
        self.receive(now);
    }

    fn receive(&mut self, now: Instant) {
        let before = self.buffer.len();
        let end = self.buffer.last().copied();
        self.longest_read = self.longest_read.max(before as u64);
        let wanted = self.connection.wants_read();
        self.connection.receive(now, &mut self.buffer);
        if self.connection.is_closing() {
            assert!(self.buffer.is_empty());
        } else {
            assert!(self.buffer.is_empty() || self.buffer.last().copied() == end);
            assert!(wanted || self.buffer.len() == before);
        }
        if self.connection.wants_read() {
            let (left, stats) = (self.buffer.len(), self.connection.stats());
            self.connection.receive(now, &mut self.buffer);
            let again = (self.buffer.len(), self.connection.stats());
            assert_eq!(
                again,
                (left, stats),
                "something could have been taken before"
            );
        }
        self.check();
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        self.connection.handle_timeout(now);
        self.check();
        if let Some((at, timer)) = self.connection.poll_timeout() {
            assert!(at > now, "{timer:?} again at once");
        }
    }

    pub(super) fn admit(&mut self, now: Instant) {
        self.connection.admit(now);
        if self.connection.is_connected() {
            self.transcript.admitted();
        }
        self.check();
    }

    pub(super) fn configure(&mut self, now: Instant, config: Config) {
        self.bounds.widen(&config);
        self.connection.configure(now, Arc::new(config));
        self.check();
    }

    pub(super) fn close(&mut self, now: Instant, reason: CloseReason) {
        self.connection.close(now, reason);
        assert!(self.connection.is_closing());
        self.check();
    }

    pub(super) fn send(&mut self, now: Instant, message: &Message) -> Result<(), SendError> {
        let result = self.connection.send(now, message);
        self.note_sent(result, message.command(), message.payload());
        result
    }

    pub(super) fn send_encoded(
        &mut self,
        now: Instant,
        message: &Message,
    ) -> Result<(), SendError> {
        let frame = EncodedMessage::new(NETWORK, message);
        let result = self.connection.send_encoded(now, &frame);
        self.note_sent(result, message.command(), message.payload());
        result
    }

    fn note_sent(&mut self, result: Result<(), SendError>, command: Command, payload: Bytes) {
        self.check_send(result);
        if result.is_ok() {
            self.bounds.messages = self.bounds.messages.max(payload.len() as u64);
            self.outbox.accept(command, payload);
        }
        self.check();
    }

    /// What a send may say depends on how far the connection is.
    fn check_send(&self, result: Result<(), SendError>) {
        let closed = self.connection.is_closing();
        let open = self.connection.is_connected();
        assert_eq!(result == Err(SendError::Closed), closed);
        assert_eq!(result == Err(SendError::NotReady), !open && !closed);
        // An empty queue takes a message of any size.
        assert!(result != Err(SendError::Full) || self.connection.unsent_bytes() > 0);
    }

    /// Begins to stream a payload.
    pub(super) fn stream_begin(&mut self, now: Instant, command: Command, payload: Bytes) {
        let sum = Some(checksum(&payload));
        let length = payload.len() as u64;
        let begun = self.connection.send_begin(now, command, length, sum);
        if begun.is_ok() {
            assert!(self.stream.is_none());
            self.outbox.accept(command, payload.clone());
            self.stream = Some(payload);
        }
        self.check();
    }

    /// Streams at most `n` more bytes, and ends the payload when there are no more.
    pub(super) fn stream_on(&mut self, now: Instant, n: usize) {
        let Some(rest) = &mut self.stream else {
            let result = self.connection.send_chunk(now, Bytes::new());
            assert_ne!(result, Ok(()));
            return;
        };
        let chunk = rest.slice(..n.min(rest.len()));
        let left = rest.len() as u64;
        if left > chunk.len() as u64 {
            assert!(self.connection.send_end(now).is_err(), "bytes are missing");
        }
        let result = self.connection.send_chunk(now, chunk.clone());
        match result {
            Ok(()) => {
                *rest = rest.slice(chunk.len()..);
                self.bounds.chunks = self.bounds.chunks.max(chunk.len() as u64);
                if rest.is_empty() {
                    assert_eq!(self.connection.send_end(now), Ok(()));
                    self.stream = None;
                }
            }
            Err(SendError::Full) => {}
            Err(error) => assert_eq!(error, SendError::Closed),
        }
        self.check();
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    // outputs

    /// The socket takes up to `room` bytes: these.
    pub(super) fn transmit(&mut self, now: Instant, room: usize) -> BytesMut {
        let mut written = BytesMut::new();
        while written.len() < room {
            if self.pending.is_empty() && !self.take() {
                break;
            }
            let n = self.pending.len().min(room - written.len());
            written.extend_from_slice(&self.pending.split_to(n));
            self.connection.handle_written(now, n);
            self.check();
        }
        written
    }

    /// The driver takes bytes; the socket does not.
    fn take(&mut self) -> bool {
        let Some(bytes) = self.connection.poll_transmit() else {
            return false;
        };
        assert!(!bytes.is_empty());
        self.taken += bytes.len() as u64;
        self.outbox.leaves(&bytes);
        self.pending = bytes;
        true
    }

    /// Drains the events, and has the connection read on, until neither gives more.
    pub(super) fn drain(&mut self, now: Instant, answer: Answer) {
        loop {
            let (mut count, mut bytes) = (0, 0);
            while let Some(event) = self.connection.poll_event() {
                count += 1;
                bytes += self.transcript.event(event);
                if self.transcript.asks() && answer == Answer::Admit {
                    self.admit(now);
                }
            }
            // The question, a piece and the end of its payload, the end.
            assert!(count <= 4, "{count} events");
            assert!(
                bytes <= self.bounds.event_bytes + self.longest_read,
                "{bytes} bytes"
            );
            self.check();
            if count == 0 {
                return;
            }
            self.receive(now);
        }
    }

    // getters

    /// Whether all that the application sent has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.outbox.is_empty() && self.connection.unsent_bytes() == 0
    }

    /// Left alone the connection ends, in few steps, whether its peer reads or not.
    pub(super) fn finish(mut self, now: Instant, peer_reads: bool) {
        let mut now = now;
        if self.stream.is_some() {
            self.close(now, CloseReason::Requested);
        }
        if self.transcript.asks() {
            self.admit(now);
        }
        for _ in 0..MANY_STEPS {
            self.drain(now, Answer::Admit);
            match peer_reads {
                true => drop(self.transmit(now, usize::MAX)),
                false if self.pending.is_empty() => drop(self.take()),
                false => {}
            }
            self.drain(now, Answer::Admit);
            if self.transcript.is_closed() {
                return;
            }
            let (at, _) = self.connection.poll_timeout().expect("waits for ever");
            now = now.max(at);
            self.timeout(now);
        }
        panic!("does not end: {:?}", self.connection);
    }

    // private

    /// What holds between any two calls.
    fn check(&mut self) {
        let connection = &self.connection;
        let closing = connection.is_closing();
        assert!(!closing || !connection.wants_read());
        assert!(!(closing && connection.is_connected()));
        assert!(connection.unsent_bytes() <= self.bounds.unsent());
        if self.transcript.is_closed() {
            assert!(closing);
            assert_eq!(connection.poll_timeout(), None);
            assert_eq!(self.connection.poll_event(), None);
            assert_eq!(self.connection.poll_transmit(), None);
            self.pending.clear();
            return;
        }
        if connection.peer_version().is_none() && !closing {
            assert!(
                connection.poll_timeout().is_some(),
                "a stranger may wait for ever"
            );
        }
        let stats = connection.stats();
        assert!(stats.bytes_received >= self.stats.bytes_received);
        assert!(stats.bytes_sent >= self.stats.bytes_sent && stats.bytes_sent <= self.taken);
        assert!(stats.messages_received >= self.stats.messages_received);
        assert!(stats.messages_sent >= self.stats.messages_sent);
        assert!(stats.discarded >= self.stats.discarded);
        assert_eq!(stats.bytes_received + self.buffer.len() as u64, self.fed);
        self.stats = stats;
    }
}

impl Bounds {
    fn widen(&mut self, config: &Config) {
        let stream_above = config.stream_above.max(HANDSHAKE_PAYLOAD);
        let queue = config.send_queue_bytes as u64;
        self.event_bytes = self.event_bytes.max(stream_above);
        self.messages = self.messages.max(queue);
        self.chunks = self.chunks.max(queue);
    }

    fn unsent(&self) -> u64 {
        CONTROL_BYTES + SLACK + self.messages + self.chunks
    }
}
