//! What a connection says, and the order that it may say it in.

use bytes::Bytes;
use p2p_proto::{Command, Event, PayloadEvent};

use super::message::LONGEST_DEBUG;

/// The events so far: `Ready`, once admitted what the peer sends, then `Closed`.
#[derive(Default)]
pub(super) struct Transcript {
    /// The chunks of a payload joined.
    pub(super) events: Vec<Event>,
    stage: Stage,
    /// Of a payload that comes in pieces.
    payload_left: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Handshake,
    /// Asked, not answered.
    Ready,
    Admitted,
    Closed,
}

impl Transcript {
    /// Checks an event against what came before; the bytes it holds.
    pub(super) fn event(&mut self, event: Event) -> u64 {
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
            Event::Payload(payload) => {
                assert_eq!(self.stage, Stage::Admitted);
                bytes = self.payload(payload);
            }
            Event::Closed(reason) => {
                assert!(reason.to_string().len() <= LONGEST_DEBUG);
                self.stage = Stage::Closed;
            }
            _ => unreachable!("an event without a check: {event:?}"),
        }
        self.keep(event);
        bytes
    }

    /// The question was answered.
    pub(super) fn admitted(&mut self) {
        assert!(matches!(self.stage, Stage::Ready | Stage::Admitted));
        self.stage = Stage::Admitted;
    }

    /// Whether the question is there and not answered.
    pub(super) fn asks(&self) -> bool {
        self.stage == Stage::Ready
    }

    pub(super) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// What came from the peer: commands and payloads, whole or streamed.
    pub(super) fn received(&self) -> Vec<(Command, Bytes)> {
        let mut received: Vec<(Command, Bytes)> = Vec::new();
        for event in &self.events {
            if let Event::Message(message) = event {
                received.push((message.command(), message.payload()));
            } else if let Event::Payload(PayloadEvent::Begin { command, .. }) = event {
                received.push((*command, Bytes::new()));
            } else if let Event::Payload(PayloadEvent::Chunk(bytes)) = event {
                received.last_mut().unwrap().1 = bytes.clone();
            }
        }
        received
    }

    /// Checks a piece of a payload; its bytes.
    fn payload(&mut self, payload: &PayloadEvent) -> u64 {
        match payload {
            PayloadEvent::Begin { length, .. } => {
                assert_eq!(self.payload_left.replace(*length), None);
                0
            }
            PayloadEvent::Chunk(chunk) => {
                let bytes = chunk.len() as u64;
                let left = self.payload_left.unwrap().checked_sub(bytes);
                assert!(bytes > 0 && left.is_some(), "more than was announced");
                self.payload_left = left;
                bytes
            }
            PayloadEvent::End { .. } => {
                assert_eq!(self.payload_left.take(), Some(0));
                0
            }
            _ => unreachable!("a piece without a check: {payload:?}"),
        }
    }

    fn keep(&mut self, event: Event) {
        if let Event::Payload(PayloadEvent::Chunk(more)) = &event
            && let Some(Event::Payload(PayloadEvent::Chunk(bytes))) = self.events.last_mut()
        {
            let joined = [&bytes[..], more].concat();
            *bytes = joined.into();
            return;
        }
        self.events.push(event);
    }
}
