//! What the decoder finds: frames, frames that are dropped, and the end of all frames.

use std::cell::RefCell;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::arena::Arena;
use crate::codec::Reader;
use crate::command::{BadCommand, Command};
use crate::error::DecodeError;
use crate::event::PayloadEvent;
use crate::frame::COPY_UP_TO;
use crate::message::Message;
use crate::network::magic_text;

/// What the decoder found.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_proto::{Decoded, FrameDecoder, Limits, Message, Network, encode_frame};
///
/// let mut bytes = BytesMut::new();
/// encode_frame(Network::Regtest, &Message::GetAddr, &mut bytes);
/// let mut decoder = FrameDecoder::new(Network::Regtest, Limits::DEFAULT);
/// match decoder.decode(&mut bytes)? {
///     Some(Decoded::Frame { command, body }) => assert_eq!(body.decode(command), Ok(Message::GetAddr)),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), p2p_proto::FrameError>(())
/// ```
#[derive(Debug)]
pub enum Decoded<'a> {
    /// A whole frame; its checksum is right.
    Frame {
        /// What it carries.
        command: Command,
        /// The payload, still in the buffer that it was read into.
        body: Body<'a>,
    },
    /// A frame was dropped; its bytes are gone.
    Dropped {
        /// The command, if it was one.
        command: Option<Command>,
        /// Bytes of its payload.
        length: u64,
        /// Why.
        why: Dropped,
    },
    /// The next piece of a payload above [`stream_above`](crate::FrameDecoder::stream_above).
    Payload(PayloadEvent),
}

/// The payload of a frame, at the front of the buffer that it was read into.
///
/// Dropping it takes the payload out of the buffer.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_proto::{Decoded, FrameDecoder, Limits, Message, Network, Nonce, encode_frame};
///
/// let mut bytes = BytesMut::new();
/// encode_frame(Network::Regtest, &Message::Pong(Nonce(2)), &mut bytes);
/// let mut decoder = FrameDecoder::new(Network::Regtest, Limits::DEFAULT);
/// if let Some(Decoded::Frame { body, .. }) = decoder.decode(&mut bytes)? {
///     assert_eq!(body.as_bytes(), 2_u64.to_le_bytes());
/// }
/// assert!(bytes.is_empty());
/// # Ok::<(), p2p_proto::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Body<'a> {
    pub(super) buffer: &'a mut BytesMut,
    pub(super) len: usize,
    pub(super) checksum: Option<[u8; 4]>,
}

impl Body<'_> {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The checksum that was found right; `None` in an extended frame, which has none.
    pub fn checksum(&self) -> Option<[u8; 4]> {
        self.checksum
    }

    /// The bytes, for keeping: small ones copied, large ones shared with the buffer.
    pub fn into_bytes(mut self) -> Bytes {
        if self.len <= COPY_UP_TO {
            return Bytes::copy_from_slice(self.as_bytes());
        }
        let len = std::mem::take(&mut self.len);
        self.buffer.split_to(len).freeze()
    }

    /// Decodes the message; what it keeps of a small payload is copied.
    ///
    /// # Errors
    /// [`DecodeError`], naming the field.
    #[inline]
    pub fn decode(self, command: Command) -> Result<Message, DecodeError> {
        if self.len <= COPY_UP_TO {
            return Message::read(command, &mut Reader::new(self.as_bytes()));
        }
        Message::read(command, &mut Reader::shared(&self.into_bytes()))
    }

    /// As [`decode`](Self::decode), but what is kept of a small payload shares memory with others
    /// that came with it.
    #[inline]
    pub(crate) fn decode_into(
        self,
        arena: &mut Arena,
        command: Command,
    ) -> Result<Message, DecodeError> {
        if self.len > COPY_UP_TO {
            return self.decode(command);
        }
        let behind = self.buffer.len() - self.len;
        let arena = RefCell::new(arena);
        Message::read(
            command,
            &mut Reader::into_arena(self.as_bytes(), &arena, behind),
        )
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.buffer.advance(self.len);
    }
}

/// Why a frame was dropped. Decoding goes on with the next one.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_proto::{Decoded, Dropped, FrameDecoder, Limits, Message, Network, Nonce, encode_frame};
///
/// let mut bytes = BytesMut::new();
/// encode_frame(Network::Regtest, &Message::Ping(Nonce(1)), &mut bytes);
/// bytes[30] ^= 1;
/// let mut decoder = FrameDecoder::new(Network::Regtest, Limits::DEFAULT);
/// let Ok(Some(Decoded::Dropped { why, .. })) = decoder.decode(&mut bytes) else { panic!() };
/// assert_eq!(why, Dropped::BadChecksum);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Dropped {
    /// The command field holds no command.
    #[error("bad command: {0}")]
    BadCommand(BadCommand),
    /// The payload does not have the checksum that its header says.
    #[error("bad checksum")]
    BadChecksum,
    /// Longer than what is taken at this point of the connection.
    #[error("too large before the handshake is complete")]
    TooLargeYet,
}

/// A header after which the rest of the stream means nothing: there is no resynchronisation.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_proto::{FrameDecoder, FrameError, Limits, Network};
///
/// let mut decoder = FrameDecoder::new(Network::Mainnet, Limits::DEFAULT);
/// let error = decoder.decode(&mut BytesMut::from(&b"GET / HTTP/1.1"[..])).unwrap_err();
/// assert!(matches!(error, FrameError::BadMagic { received: [b'G', b'E', b'T', b' '], .. }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer is of another network, or no peer at all.
    #[error("magic {} where {} was expected", magic_text(*received), magic_text(*expected))]
    BadMagic {
        /// Ours, wire order.
        expected: [u8; 4],
        /// What came.
        received: [u8; 4],
    },
    /// The announced payload is over the limit of its command.
    #[error("{command} of {length} bytes, over the limit of {limit}")]
    Oversize {
        /// The command; empty if its bytes are no command.
        command: Command,
        /// The announced length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
}
