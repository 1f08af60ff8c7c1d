//! What waits to be sent: control frames first, at the next frame boundary.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::{COPY_UP_TO, FrameHeader};
use crate::message::Message;
use crate::network::Network;

/// The bytes of one connection that are not with the socket yet.
///
/// Small frames are packed side by side into one buffer, so that a burst of them leaves in one
/// write; large payloads are queued as they are. Frames are never mixed: a control frame (pong,
/// ping, reject) overtakes whole frames only.
#[derive(Debug)]
pub(crate) struct SendQueue {
    network: Network,
    control: BytesMut,
    data: VecDeque<Segment>,
    /// Small frames behind all of `data`.
    tail: BytesMut,
    stream: Option<Stream>,
    /// Whether a frame has left in part.
    mid_frame: bool,
    queued: u64,
    taken: u64,
    written: u64,
}

#[derive(Debug)]
struct Segment {
    bytes: Bytes,
    /// What follows these bytes.
    then: Then,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Then {
    /// Another frame.
    Frame,
    /// The payload of a frame whose header ends them: the next segment.
    Payload,
    /// The payload that is being streamed.
    Stream,
}

/// A payload that is given to us in pieces.
#[derive(Debug)]
struct Stream {
    chunks: VecDeque<Bytes>,
    /// Bytes of `chunks`.
    waiting: u64,
    /// Bytes that the caller has not given yet.
    left: u64,
    ended: bool,
    /// Whether its header has left.
    begun: bool,
}

impl SendQueue {
    pub(crate) fn new(network: Network) -> Self {
        Self {
            network,
            control: BytesMut::new(),
            data: VecDeque::new(),
            tail: BytesMut::new(),
            stream: None,
            mid_frame: false,
            queued: 0,
            taken: 0,
            written: 0,
        }
    }

    /// Queues a control frame. Small by nature: the caller bounds how many.
    pub(crate) fn push_control(&mut self, message: &Message) {
        let before = self.control.len();
        crate::frame::encode_frame(self.network, message, &mut self.control);
        self.queued += (self.control.len() - before) as u64;
    }

    /// As [`push_control`](Self::push_control), with a checksum that is known.
    pub(crate) fn push_control_frame(&mut self, header: &FrameHeader, payload: &[u8]) {
        header.encode(self.network.magic_bytes(), &mut self.control);
        self.control.put_slice(payload);
        self.queued += (header.wire_len() + payload.len()) as u64;
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, message: &Message) {
        match message.raw() {
            Some(raw) if raw.len() > COPY_UP_TO => {
                let header = crate::frame::header_of(message.command(), raw);
                self.push_frame(&header, raw);
            }
            _ => {
                let before = self.tail.len();
                crate::frame::encode_frame(self.network, message, &mut self.tail);
                self.queued += (self.tail.len() - before) as u64;
            }
        }
    }

    /// Queues a frame that is encoded already.
    pub(crate) fn push_frame(&mut self, header: &FrameHeader, payload: &Bytes) {
        header.encode(self.network.magic_bytes(), &mut self.tail);
        self.queued += (header.wire_len() + payload.len()) as u64;
        if payload.len() <= COPY_UP_TO {
            self.tail.put_slice(payload);
            return;
        }
        self.cut_tail(Then::Payload);
        self.data.push_back(Segment {
            bytes: payload.clone(),
            then: Then::Frame,
        });
    }

    /// The magic that every frame gets.
    pub(crate) fn magic(&self) -> [u8; 4] {
        self.network.magic_bytes()
    }

    /// Whether a payload is being streamed, or has not left yet.
    pub(crate) fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    /// Queues the header of a payload that is given in pieces.
    pub(crate) fn begin_stream(&mut self, header: &FrameHeader) {
        debug_assert!(self.stream.is_none());
        header.encode(self.network.magic_bytes(), &mut self.tail);
        self.queued += header.wire_len() as u64;
        self.cut_tail(Then::Stream);
        self.stream = Some(Stream {
            chunks: VecDeque::new(),
            waiting: 0,
            left: header.length,
            ended: false,
            begun: false,
        });
    }

    /// Bytes that the streamed payload still lacks; `None` when there is none to be given.
    pub(crate) fn stream_left(&self) -> Option<u64> {
        let stream = self.stream.as_ref()?;
        (!stream.ended).then_some(stream.left)
    }

    /// Queues the next piece, which is not longer than what is left.
    pub(crate) fn push_chunk(&mut self, chunk: Bytes) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if chunk.is_empty() {
            return;
        }
        let length = chunk.len() as u64;
        stream.left = stream.left.saturating_sub(length);
        stream.chunks.push_back(chunk);
        stream.waiting += length;
        self.queued += length;
    }

    /// The streamed payload is complete.
    pub(crate) fn end_stream(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.ended = true;
        }
        self.retire_stream();
    }

    /// The next bytes for the socket.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let bytes = self.next()?;
        self.queued -= bytes.len() as u64;
        self.taken += bytes.len() as u64;
        Some(bytes)
    }

    /// The socket has taken `n` more bytes of what [`take`](Self::take) gave.
    pub(crate) fn written(&mut self, n: usize) {
        self.written = self.taken.min(self.written.saturating_add(n as u64));
    }

    /// Gives up everything that has not been taken.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            taken: self.taken,
            written: self.taken,
            ..Self::new(self.network)
        };
    }

    /// Gives up what has not left in part, control frames apart.
    pub(crate) fn clear_data(&mut self) {
        if let Some(stream) = &self.stream
            && stream.begun
            && !stream.ended
        {
            // The rest of the frame will never come, so nothing may follow it.
            self.clear();
            return;
        }
        let begun = self.stream.take_if(|stream| stream.begun);
        // A payload whose header has left, and which is not the streamed one.
        let rest_of_frame = match self.mid_frame && begun.is_none() {
            true => self.data.pop_front(),
            false => None,
        };
        self.data.clear();
        self.tail.clear();
        self.data.extend(rest_of_frame);
        self.stream = begun;
        let chunks = self.stream.as_ref().map_or(0, |stream| stream.waiting);
        let data = self.data.iter().map(|segment| segment.bytes.len() as u64);
        self.queued = self.control.len() as u64 + chunks + data.sum::<u64>();
    }

    /// Bytes that wait for us or for the socket.
    pub(crate) fn unwritten(&self) -> u64 {
        self.queued + (self.taken - self.written)
    }

    /// Bytes of the streamed payload that wait for us, and all that wait for the socket. What is
    /// queued behind the payload does not count: it waits for the payload itself.
    pub(crate) fn stream_unwritten(&self) -> u64 {
        let waiting = self.stream.as_ref().map_or(0, |stream| stream.waiting);
        waiting + (self.taken - self.written)
    }

    /// Whether the socket's owner holds bytes that the socket has not taken.
    pub(crate) fn in_flight(&self) -> bool {
        self.taken > self.written
    }

    /// Bytes of control frames that wait for a frame boundary.
    pub(crate) fn control_len(&self) -> usize {
        self.control.len()
    }

    /// Bytes given to the socket's owner so far.
    pub(crate) fn taken_total(&self) -> u64 {
        self.taken
    }

    /// Bytes the socket has taken so far.
    pub(crate) fn written_total(&self) -> u64 {
        self.written
    }

    fn next(&mut self) -> Option<Bytes> {
        if !self.mid_frame && !self.control.is_empty() {
            return Some(self.control.split().freeze());
        }
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.begun) {
            let chunk = stream.chunks.pop_front();
            stream.waiting -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            self.retire_stream();
            return chunk;
        }
        if let Some(segment) = self.data.pop_front() {
            self.mid_frame = segment.then != Then::Frame;
            if segment.then == Then::Stream {
                if let Some(stream) = &mut self.stream {
                    stream.begun = true;
                }
                self.retire_stream();
            }
            return Some(segment.bytes);
        }
        (!self.tail.is_empty()).then(|| self.tail.split().freeze())
    }

    /// Forgets a streamed payload that has left in full.
    fn retire_stream(&mut self) {
        let done = |stream: &mut Stream| stream.begun && stream.ended && stream.chunks.is_empty();
        if self.stream.take_if(done).is_some() {
            self.mid_frame = false;
        }
    }

    fn cut_tail(&mut self, then: Then) {
        self.data.push_back(Segment {
            bytes: self.tail.split().freeze(),
            then,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::message::Nonce;
    use crate::{Decoded, FrameDecoder, Limits};

    const NETWORK: Network = Network::Regtest;

    fn large(fill: u8, len: usize) -> Message {
        Message::Unknown {
            command: Command::new("large").unwrap(),
            payload: Bytes::from(vec![fill; len]),
        }
    }

    /// Commands of the frames that leave, in order.
    fn drain(queue: &mut SendQueue) -> Vec<String> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = queue.take() {
            queue.written(piece.len());
            bytes.extend_from_slice(&piece);
        }
        let mut decoder = FrameDecoder::new(NETWORK, Limits::DEFAULT);
        let mut out = Vec::new();
        while let Some(Decoded::Frame { command, .. }) = decoder.decode(&mut bytes).unwrap() {
            out.push(command.to_string());
        }
        assert!(bytes.is_empty());
        out
    }

    #[test]
    fn small_frames_leave_in_one_piece_and_large_payloads_uncopied() {
        let mut queue = SendQueue::new(NETWORK);
        let message = large(1, 5000);
        queue.push(&Message::GetAddr);
        queue.push(&Message::Ping(Nonce(1)));
        queue.push(&message);
        let first = queue.take().unwrap();
        assert_eq!(first.len(), 24 + 32 + 24);
        let second = queue.take().unwrap();
        assert_eq!(second.as_ptr(), message.payload().as_ptr());
        assert_eq!(queue.take(), None);
        assert_eq!(queue.unwritten(), 24 + 32 + 24 + 5000);
        queue.written(24 + 32 + 24 + 5000);
        assert_eq!(queue.unwritten(), 0);
    }

    #[test]
    fn control_frames_overtake_whole_frames_only() {
        let mut queue = SendQueue::new(NETWORK);
        queue.push(&large(1, 5000));
        queue.push(&large(2, 5000));
        let header = queue.take().unwrap();
        queue.push_control(&Message::Pong(Nonce(1)));
        let payload = queue.take().unwrap();
        assert_eq!((header.len(), payload.len()), (24, 5000));
        assert_eq!(drain(&mut queue), ["pong", "large"]);
    }

    #[test]
    fn a_streamed_payload_keeps_its_place_and_is_not_cut_into() {
        let mut queue = SendQueue::new(NETWORK);
        let payload = Bytes::from(vec![5; 100]);
        let header = crate::frame::header_of(Command::BLOCK, &payload);
        queue.push(&Message::GetAddr);
        queue.begin_stream(&header);
        queue.push(&Message::SendHeaders);
        assert_eq!(queue.take().unwrap().len(), 24 + 24);
        queue.push_control(&Message::Pong(Nonce(1)));
        assert_eq!(queue.take(), None, "the payload has not come");
        assert_eq!(queue.stream_left(), Some(100));
        queue.push_chunk(payload.slice(..60));
        assert_eq!(queue.take().unwrap().len(), 60);
        queue.push_chunk(payload.slice(60..));
        queue.end_stream();
        assert_eq!(queue.take().unwrap().len(), 40);
        assert!(!queue.is_streaming());
        assert_eq!(drain(&mut queue), ["pong", "sendheaders"]);
    }

    #[test]
    fn what_waits_behind_a_streamed_payload_does_not_stop_it() {
        let mut queue = SendQueue::new(NETWORK);
        let payload = Bytes::from(vec![5; 100]);
        queue.begin_stream(&crate::frame::header_of(Command::BLOCK, &payload));
        queue.push(&large(1, 5000));
        let header = queue.take().unwrap();
        queue.written(header.len());
        assert_eq!((queue.stream_unwritten(), queue.unwritten()), (0, 5024));
        queue.push_chunk(payload.slice(..60));
        assert_eq!(queue.stream_unwritten(), 60);
        queue.take().unwrap();
        assert_eq!(queue.stream_unwritten(), 60, "until it is with the socket");
        queue.written(60);
        assert_eq!(queue.stream_unwritten(), 0);
    }

    #[test]
    fn clearing_data_keeps_the_frame_that_has_begun_and_control() {
        let mut queue = SendQueue::new(NETWORK);
        queue.push(&large(1, 5000));
        queue.push(&large(2, 5000));
        queue.take().unwrap();
        queue.push_control(&Message::Verack);
        queue.clear_data();
        assert_eq!(queue.take().unwrap().len(), 5000);
        assert_eq!(drain(&mut queue), ["verack"]);
        assert_eq!(queue.unwritten(), 24 + 5000, "what was taken before");
    }

    #[test]
    fn clearing_data_keeps_the_frame_that_has_begun_in_front_of_a_stream() {
        let mut queue = SendQueue::new(NETWORK);
        queue.push(&large(1, 5000));
        queue.begin_stream(&crate::frame::header_of(Command::BLOCK, &[5; 100]));
        queue.take().unwrap();
        queue.push_control(&Message::Verack);
        queue.clear_data();
        assert_eq!(queue.take().unwrap().len(), 5000);
        assert_eq!(drain(&mut queue), ["verack"]);
        assert!(!queue.is_streaming());
    }

    #[test]
    fn clearing_data_gives_up_a_stream_that_cannot_end() {
        let mut queue = SendQueue::new(NETWORK);
        let header = FrameHeader {
            command: Command::BLOCK,
            length: 1 << 33,
            checksum: None,
        };
        queue.begin_stream(&header);
        queue.take().unwrap();
        queue.push_chunk(Bytes::from_static(b"abc"));
        queue.push_control(&Message::Verack);
        queue.clear_data();
        assert_eq!(queue.take(), None);
    }
}
