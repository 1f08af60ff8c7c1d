//! Frame headers, basic and extended, and frames of ours.

use bytes::{BufMut, BytesMut};

use crate::command::Command;
use crate::hash::checksum;
use crate::message::Message;

/// Bytes of a basic header.
pub const HEADER_LEN: usize = 24;
/// Bytes of an extended header.
pub const EXTENDED_HEADER_LEN: usize = 44;

/// Payloads up to this many bytes are copied, in and out: so that a small message does not keep
/// a whole read buffer alive, and goes out in one piece with its header. At this size a copy
/// costs a twentieth of the hash.
pub const COPY_UP_TO: usize = 4096;

/// The header of a frame.
///
/// A payload above 2^32 - 1 bytes travels under an extended header (`extmsg`), which has no
/// checksum; all others under a basic one. Layout: `src/protocol.h` of the node.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_proto::{Command, FrameHeader, Network, checksum};
///
/// let header = FrameHeader { command: Command::VERACK, length: 0, checksum: Some(checksum(&[])) };
/// let mut out = BytesMut::new();
/// header.encode(Network::Mainnet.magic_bytes(), &mut out);
/// assert_eq!(out.len(), header.wire_len());
/// assert_eq!(out[20..], [0x5d, 0xf6, 0xe0, 0xe2]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame carries.
    pub command: Command,
    /// Bytes of the payload.
    pub length: u64,
    /// The first four bytes of the payload's double SHA-256; `None` in an extended header.
    pub checksum: Option<[u8; 4]>,
}

impl FrameHeader {
    /// Writes the header: basic with a checksum, extended without, or for a length that a basic
    /// one cannot say.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use p2p_proto::{Command, FrameHeader, Network};
    ///
    /// let mut out = BytesMut::new();
    /// FrameHeader { command: Command::BLOCK, length: 1 << 32, checksum: None }
    ///     .encode(Network::Mainnet.magic_bytes(), &mut out);
    /// assert_eq!(out.len(), 44);
    /// ```
    pub fn encode(&self, magic: [u8; 4], out: &mut BytesMut) {
        out.put_slice(&magic);
        match self.basic() {
            Some((length, checksum)) => {
                out.put_slice(self.command.as_bytes());
                out.put_u32_le(length);
                out.put_slice(&checksum);
            }
            None => {
                out.put_slice(Command::EXTMSG.as_bytes());
                out.put_u32_le(u32::MAX);
                out.put_slice(&[0; 4]);
                out.put_slice(self.command.as_bytes());
                out.put_u64_le(self.length);
            }
        }
    }

    /// Bytes of the header on the wire.
    pub const fn wire_len(&self) -> usize {
        match self.basic() {
            Some(_) => HEADER_LEN,
            None => EXTENDED_HEADER_LEN,
        }
    }

    /// The length and checksum of a basic header.
    const fn basic(&self) -> Option<(u32, [u8; 4])> {
        match self.checksum {
            Some(checksum) if self.length <= u32::MAX as u64 => {
                Some((self.length as u32, checksum))
            }
            _ => None,
        }
    }
}

/// A message of ours, encoded and hashed once, to be sent to many.
///
/// Cloning shares the payload.
///
/// ```
/// use p2p_proto::{EncodedMessage, Message, Network, Nonce};
///
/// let frame = EncodedMessage::new(Network::Mainnet, &Message::Ping(Nonce(1)));
/// assert_eq!(frame.len(), 24 + 8);
/// ```
#[derive(Debug, Clone)]
pub struct EncodedMessage {
    pub(crate) magic: [u8; 4],
    pub(crate) header: FrameHeader,
    pub(crate) payload: bytes::Bytes,
}

impl EncodedMessage {
    /// Encodes a message for a network.
    pub fn new(network: crate::Network, message: &Message) -> Self {
        let payload = message.payload();
        Self {
            magic: network.magic_bytes(),
            header: header_of(message.command(), &payload),
            payload,
        }
    }

    /// Bytes of the whole frame.
    pub fn len(&self) -> usize {
        self.header.wire_len() + self.payload.len()
    }

    /// Never: a frame has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// What it carries.
    pub fn command(&self) -> Command {
        self.header.command
    }

    /// Writes header and payload.
    pub fn encode(&self, out: &mut BytesMut) {
        self.header.encode(self.magic, out);
        out.put_slice(&self.payload);
    }
}

/// Writes a message as a frame: header and payload.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_proto::{Message, Network, encode_frame};
///
/// let mut out = BytesMut::new();
/// encode_frame(Network::Regtest, &Message::Verack, &mut out);
/// assert_eq!(out.len(), 24);
/// ```
pub fn encode_frame(network: crate::Network, message: &Message, out: &mut BytesMut) {
    let magic = network.magic_bytes();
    if let Some(raw) = message.raw() {
        header_of(message.command(), raw).encode(magic, out);
        out.put_slice(raw);
        return;
    }
    // Only messages that keep their payload can be longer than a u32.
    let start = out.len();
    out.reserve(HEADER_LEN + message.payload_len());
    out.put_bytes(0, HEADER_LEN);
    message.encode(out);
    let payload = &out[start + HEADER_LEN..];
    let checksum = checksum(payload);
    let length = (payload.len() as u32).to_le_bytes();
    let header = &mut out[start..start + HEADER_LEN];
    header[..4].copy_from_slice(&magic);
    header[4..16].copy_from_slice(message.command().as_bytes());
    header[16..20].copy_from_slice(&length);
    header[20..].copy_from_slice(&checksum);
}

/// The header that a payload travels under.
pub(crate) fn header_of(command: Command, payload: &[u8]) -> FrameHeader {
    let length = payload.len() as u64;
    FrameHeader {
        command,
        length,
        checksum: (length <= u64::from(u32::MAX)).then(|| checksum(payload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Reader;

    #[test]
    fn a_length_over_32_bits_is_never_cut_to_fit_a_basic_header() {
        for (length, checksum, len) in [
            (u64::from(u32::MAX), Some([7; 4]), HEADER_LEN),
            (1 << 32, Some([7; 4]), EXTENDED_HEADER_LEN),
            (1 << 32, None, EXTENDED_HEADER_LEN),
            (0, None, EXTENDED_HEADER_LEN),
        ] {
            let header = FrameHeader {
                command: Command::BLOCK,
                length,
                checksum,
            };
            let mut out = BytesMut::new();
            header.encode([1, 2, 3, 4], &mut out);
            assert_eq!((out.len(), header.wire_len()), (len, len), "{header:?}");
            let announced = match len {
                HEADER_LEN => Reader::new(&out[16..]).u32("length").map(u64::from),
                _ => Reader::new(&out[36..]).u64("length"),
            };
            assert_eq!(announced, Ok(length), "{header:?}");
        }
    }
}
