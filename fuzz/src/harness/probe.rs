//! A connection under a driver that checks the contract at every step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use p2p_proto::{
    Capacity, CloseReason, Command, Config, Connection, Decoded, EncodedMessage, Event,
    FrameDecoder, HANDSHAKE_PAYLOAD, Limits, Message, PayloadEvent, SendError, Side, Stats,
    checksum,
};

use super::message::LONGEST_DEBUG;
use super::traffic::{NETWORK, params};

/// Control frames that may wait, twice over: some in the driver's hands, some behind them.
const CONTROL_BYTES: u64 = 2 * 64 * 1024;
/// Headers, and the answer that went over a limit.
const SLACK: u64 = 4096;
/// More steps than a connection may take to end by itself.
const MANY_STEPS: usize = 1000;

pub(super) struct Probe {
    pub(super) connection: Connection,
    /// What came out, chunks joined.
    pub(super) events: Vec<Event>,
    /// What the application has sent and the wire has not carried yet, in order.
    accepted: VecDeque<(Command, Bytes)>,
    /// All that the application has sent.
    pub(super) sent: Vec<(Command, Bytes)>,
    /// Of a payload that the application has begun: what is still to be given.
    stream: Option<Bytes>,
    bounds: Bounds,
    stage: Stage,
    payload_left: Option<u64>,
    /// Read from the socket, not yet taken.
    buffer: BytesMut,
    longest_read: u64,
    fed: u64,
    /// Taken from the connection, not yet written to the socket.
    pending: Bytes,
    taken: u64,
    out: BytesMut,
    out_decoder: FrameDecoder,
    stats: Stats,
}

/// The largest of all settings that the connection has had.
struct Bounds {
    events: usize,
    event_bytes: u64,
    unsent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Handshake,
    /// Asked, not answered.
    Ready,
    Admitted,
    Closed,
}

/// What the driver answers to `Ready`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Admit,
    Later,
}

impl Probe {
    pub(super) fn new(config: Config, side: Side, capacity: Capacity, now: Instant) -> Self {
        let limits = Limits {
            message: u64::MAX,
            block: u64::MAX,
        };
        let nonce = match side {
            Side::Inbound => 1,
            Side::Outbound => 2,
        };
        let bounds = Bounds {
            events: 0,
            event_bytes: 0,
            unsent: CONTROL_BYTES + SLACK,
        };
        let mut probe = Self {
            bounds: bounds.widened(&config),
            connection: Connection::new(Arc::new(config), side, params(nonce, now, capacity), now),
            events: Vec::new(),
            accepted: VecDeque::new(),
            sent: Vec::new(),
            stream: None,
            stage: Stage::Handshake,
            payload_left: None,
            buffer: BytesMut::new(),
            longest_read: 0,
            fed: 0,
            pending: Bytes::new(),
            taken: 0,
            out: BytesMut::new(),
            out_decoder: FrameDecoder::new(NETWORK, limits),
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
        let before = self.buffer.clone();
        self.longest_read = self.longest_read.max(before.len() as u64);
        let wanted = self.connection.wants_read();
        self.connection.receive(now, &mut self.buffer);
        if self.connection.is_closing() {
            assert!(self.buffer.is_empty());
        } else {
            assert!(before.ends_with(&self.buffer), "taken from the front");
            assert!(wanted || before.len() == self.buffer.len());
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
            self.stage = Stage::Admitted;
        }
        self.check();
    }

    pub(super) fn configure(&mut self, now: Instant, config: Config) {
        let bounds = std::mem::replace(
            &mut self.bounds,
            Bounds {
                events: 0,
                event_bytes: 0,
                unsent: 0,
            },
        );
        self.bounds = bounds.widened(&config);
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
            self.bounds.unsent = self
                .bounds
                .unsent
                .max(CONTROL_BYTES + SLACK + payload.len() as u64);
            self.accepted.push_back((command, payload.clone()));
            self.sent.push((command, payload));
        }
        self.check();
    }

    /// What a send may say depends on how far the connection is.
    fn check_send(&self, result: Result<(), SendError>) {
        let closed = self.connection.is_closing();
        let open = self.connection.is_connected();
        assert_eq!(result == Err(SendError::Closed), closed);
        assert_eq!(result == Err(SendError::NotReady), !open && !closed);
    }

    /// Begins to stream a payload.
    pub(super) fn stream_begin(&mut self, now: Instant, command: Command, payload: Bytes) {
        let sum = Some(checksum(&payload));
        let length = payload.len() as u64;
        let begun = self.connection.send_begin(now, command, length, sum);
        if begun.is_ok() {
            assert!(self.stream.is_none());
            self.accepted.push_back((command, payload.clone()));
            self.sent.push((command, payload.clone()));
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
                // An empty queue takes a piece of any size.
                self.bounds.unsent = self
                    .bounds
                    .unsent
                    .max(CONTROL_BYTES + SLACK + chunk.len() as u64);
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
        self.out.extend_from_slice(&bytes);
        self.pending = bytes;
        self.check_frames_out();
        true
    }

    /// What leaves are whole frames: the application's in its order, and ours between them.
    fn check_frames_out(&mut self) {
        while let Some(decoded) = self.out_decoder.decode(&mut self.out).unwrap() {
            let Decoded::Frame { command, body } = decoded else {
                panic!("{decoded:?} leaves")
            };
            let payload = body.into_bytes();
            match self.accepted.front() {
                Some(next) if *next == (command, payload) => {
                    self.accepted.pop_front();
                }
                Some(_) | None => assert!(is_control(command), "{command} leaves unasked"),
            }
        }
    }

    /// Drains the events, and has the connection read on, until neither gives more.
    pub(super) fn drain(&mut self, now: Instant, answer: Answer) {
        loop {
            let (mut count, mut bytes) = (0, 0);
            while let Some(event) = self.connection.poll_event() {
                count += 1;
                bytes += self.event(event);
                if self.stage == Stage::Ready && answer == Answer::Admit {
                    self.admit(now);
                }
            }
            // The question and the end are no queued events.
            assert!(count <= self.bounds.events + 2, "{count} events");
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

    /// Checks an event against what came before; its bytes.
    fn event(&mut self, event: Event) -> u64 {
        assert_ne!(self.stage, Stage::Closed, "{event:?} after the end");
        assert!(format!("{event:?}").len() <= LONGEST_DEBUG);
        let mut bytes = 0;
        match &event {
            Event::Ready(_) => {
                assert_eq!(self.stage, Stage::Handshake);
                self.stage = Stage::Ready;
            }
            Event::Message(message) => {
                assert!(self.stage == Stage::Admitted && self.payload_left.is_none());
                bytes = message.payload_len() as u64;
            }
            Event::Discarded(_) => {
                assert!(self.stage == Stage::Admitted && self.payload_left.is_none());
            }
            Event::Payload(PayloadEvent::Begin { length, .. }) => {
                assert_eq!(self.stage, Stage::Admitted);
                assert_eq!(self.payload_left.replace(*length), None);
            }
            Event::Payload(PayloadEvent::Chunk(chunk)) => {
                bytes = chunk.len() as u64;
                let left = self.payload_left.unwrap().checked_sub(bytes);
                assert!(bytes > 0 && left.is_some(), "more than was announced");
                self.payload_left = left;
            }
            Event::Payload(PayloadEvent::End { .. }) => {
                assert_eq!(self.payload_left.take(), Some(0));
            }
            Event::Closed(reason) => {
                assert!(reason.to_string().len() < 2000);
                self.stage = Stage::Closed;
            }
            _ => unreachable!("an event without a check: {event:?}"),
        }
        self.log(event);
        bytes
    }

    fn log(&mut self, event: Event) {
        if let Event::Payload(PayloadEvent::Chunk(more)) = &event
            && let Some(Event::Payload(PayloadEvent::Chunk(bytes))) = self.events.last_mut()
        {
            let joined = [&bytes[..], more].concat();
            *bytes = joined.into();
            return;
        }
        self.events.push(event);
    }

    // getters

    /// Whether all that the application sent has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.accepted.is_empty() && self.connection.unsent_bytes() == 0
    }

    /// What came from the peer's application: commands and payloads, whole or streamed.
    pub(super) fn received(&self) -> Vec<(Command, Bytes)> {
        let mut received: Vec<(Command, Bytes)> = Vec::new();
        for event in &self.events {
            match event {
                Event::Message(message) => {
                    received.push((message.command(), message.payload()));
                }
                Event::Payload(PayloadEvent::Begin { command, .. }) => {
                    received.push((*command, Bytes::new()));
                }
                Event::Payload(PayloadEvent::Chunk(bytes)) => {
                    received.last_mut().unwrap().1 = bytes.clone();
                }
                _ => {}
            }
        }
        received
    }

    /// Left alone the connection ends, in few steps, whether its peer reads or not.
    pub(super) fn finish(mut self, now: Instant, peer_reads: bool) -> (Vec<Event>, Stats) {
        let mut now = now;
        if self.stream.is_some() {
            self.close(now, CloseReason::Requested);
        }
        if self.stage == Stage::Ready {
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
            if self.stage == Stage::Closed {
                assert!(matches!(self.events.last(), Some(Event::Closed(_))));
                return (self.events, self.connection.stats());
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
        assert!(connection.unsent_bytes() <= self.bounds.unsent);
        if self.stage == Stage::Closed {
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
        assert!(
            connection
                .latency()
                .is_none_or(|rtt| rtt < Duration::from_secs(1 << 40))
        );
        self.stats = stats;
    }
}

impl Bounds {
    fn widened(self, config: &Config) -> Self {
        let queue = CONTROL_BYTES + SLACK + config.send_queue_bytes as u64;
        Self {
            events: self.events.max(config.event_queue_len.max(1)),
            event_bytes: self
                .event_bytes
                .max(config.stream_above)
                .max(HANDSHAKE_PAYLOAD),
            unsent: self.unsent.max(queue),
        }
    }
}

/// What a connection sends of itself.
pub(super) fn is_control(command: Command) -> bool {
    [
        Command::VERSION,
        Command::VERACK,
        Command::PROTOCONF,
        Command::SENDHEADERS,
        Command::PING,
        Command::PONG,
        Command::REJECT,
    ]
    .contains(&command)
}
