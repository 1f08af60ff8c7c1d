//! A connection without a socket.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use p2p_core::{Clock, CloseReason};
use p2p_proto::{
    Capacity, Config, Connection, Decoded, Event, FrameDecoder, Limits, Message, Params, Side,
    encode_frame,
};

use crate::{NETWORK, epoch, source, unix, version};

/// One connection that was accepted, and its time.
pub(crate) struct Wire {
    pub(crate) connection: Connection,
    pub(crate) now: Instant,
    rest: BytesMut,
    events: Vec<Event>,
}

impl Wire {
    pub(crate) fn new() -> Self {
        let now = epoch();
        let config = Config::new(NETWORK);
        let params = Params {
            remote: source(1),
            nonce: 7,
            seed: [7; 32],
            clock: Clock::new(now, SystemTime::UNIX_EPOCH + unix(0)),
            capacity: Capacity::Free,
        };
        Self {
            connection: Connection::new(Arc::new(config), Side::Inbound, params, now),
            now,
            rest: BytesMut::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn established() -> Self {
        let mut wire = Self::new();
        wire.receive(Message::Version(Box::new(version(1, 0))));
        wire.receive(Message::Verack);
        wire.sent();
        assert!(matches!(wire.events.pop(), Some(Event::Ready(_))));
        wire.connection.admit(wire.now);
        wire
    }

    pub(crate) fn receive(&mut self, message: Message) {
        let mut bytes = BytesMut::new();
        encode_frame(NETWORK, &message, &mut bytes);
        self.bytes(&bytes);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        self.connection.receive(self.now, &mut self.rest);
        while let Some(event) = self.connection.poll_event() {
            self.events.push(event);
            self.connection.receive(self.now, &mut self.rest);
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.connection.handle_timeout(self.now);
    }

    /// What it has to say.
    pub(crate) fn sent(&mut self) -> Vec<Message> {
        let mut bytes = BytesMut::new();
        while let Some(sent) = self.connection.poll_transmit() {
            self.connection.handle_written(self.now, sent.len());
            bytes.extend_from_slice(&sent);
        }
        let mut decoder = FrameDecoder::new(NETWORK, Limits::DEFAULT);
        let mut messages = Vec::new();
        while let Some(Decoded::Frame { command, body }) = decoder.decode(&mut bytes).unwrap() {
            messages.push(body.decode(command).unwrap());
        }
        messages
    }

    pub(crate) fn closed(&mut self) -> Option<CloseReason> {
        self.sent();
        let rest = std::iter::from_fn(|| self.connection.poll_event());
        self.events
            .drain(..)
            .chain(rest)
            .find_map(|event| match event {
                Event::Closed(reason) => Some(reason),
                _ => None,
            })
    }
}
