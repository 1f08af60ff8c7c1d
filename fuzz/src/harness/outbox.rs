//! What leaves a connection, against what its application sent.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use p2p_proto::{Command, Decoded, FrameDecoder, Limits};

use super::traffic::NETWORK;

/// Decodes what leaves: whole frames, the application's in its order, and the connection's own
/// between them.
pub(super) struct Outbox {
    /// All that the application sent.
    pub(super) sent: Vec<(Command, Bytes)>,
    /// What of it has not left yet.
    waiting: VecDeque<(Command, Bytes)>,
    bytes: BytesMut,
    decoder: FrameDecoder,
}

impl Default for Outbox {
    fn default() -> Self {
        let limits = Limits {
            message: u64::MAX,
            block: u64::MAX,
        };
        Self {
            sent: Vec::new(),
            waiting: VecDeque::new(),
            bytes: BytesMut::new(),
            decoder: FrameDecoder::new(NETWORK, limits),
        }
    }
}

impl Outbox {
    /// The application's message was taken.
    pub(super) fn accept(&mut self, command: Command, payload: Bytes) {
        self.sent.push((command, payload.clone()));
        self.waiting.push_back((command, payload));
    }

    /// Bytes leave.
    pub(super) fn leaves(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while let Some(decoded) = self.decoder.decode(&mut self.bytes).unwrap() {
            let Decoded::Frame { command, body } = decoded else {
                panic!("{decoded:?} leaves")
            };
            let payload = body.into_bytes();
            match self.waiting.front() {
                Some(next) if *next == (command, payload) => drop(self.waiting.pop_front()),
                Some(_) | None => assert!(is_control(command), "{command} leaves unasked"),
            }
        }
    }

    /// Whether all that the application sent has left.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
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
