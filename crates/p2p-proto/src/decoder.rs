//! The frame decoder: bytes in, frames out, whatever way the bytes are cut.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::codec::Reader;
use crate::command::{BadCommand, Command};
use crate::error::DecodeError;
use crate::frame::{COPY_UP_TO, FrameHeader, Limits};
use crate::hash::Sha256d;
use crate::message::Message;

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
    #[error("magic {} where {} was expected", hex(*received), hex(*expected))]
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

pub(crate) fn hex(bytes: [u8; 4]) -> impl std::fmt::Display {
    let [a, b, c, d] = bytes;
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// Why a frame was dropped. The connection goes on with the next one.
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
    /// A payload above `stream_above` begins.
    Begin {
        /// What it carries.
        command: Command,
        /// Bytes to come.
        length: u64,
    },
    /// The next piece of it.
    Chunk(Bytes),
    /// It is complete.
    End {
        /// Whether the checksum was right; `None` under an extended header, which has none.
        checksum_ok: Option<bool>,
    },
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
    buffer: &'a mut BytesMut,
    len: usize,
}

impl Body<'_> {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
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
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.buffer.advance(self.len);
    }
}

/// How much a peer is trusted with.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_proto::{Decoded, Dropped, FrameDecoder, Inventory, Limits, Message, Network, Trust, encode_frame};
/// use p2p_proto::{Hash256, InventoryItem, InventoryKind};
///
/// let item = InventoryItem { kind: InventoryKind::Tx, hash: Hash256::ZERO };
/// let mut bytes = BytesMut::new();
/// encode_frame(Network::Regtest, &Message::Inv(Inventory::new([item; 200])), &mut bytes);
/// let mut decoder = FrameDecoder::new(Network::Regtest, Limits::DEFAULT);
/// decoder.set_trust(Trust::Stranger);
/// let Ok(Some(Decoded::Dropped { why, .. })) = decoder.decode(&mut bytes) else { panic!() };
/// assert_eq!(why, Dropped::TooLargeYet);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Before the handshake is complete: payloads above [`HANDSHAKE_PAYLOAD`] are skipped.
    Stranger,
    /// After it.
    Peer,
}

/// The longest payload taken before the handshake is complete: the longest `version` is under
/// 600 bytes, and nothing else is needed.
pub const HANDSHAKE_PAYLOAD: u64 = 4096;

/// Cuts a stream of bytes into frames.
///
/// The caller owns the buffer: it reads into it, and calls [`decode`](Self::decode) until that
/// returns `None`. A partial payload stays in the buffer, hashed so far, and is never looked at
/// twice: the work is linear in the bytes however they are cut. The decoder reserves no memory
/// at all; what a header announces costs nothing until it comes.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_proto::{Decoded, FrameDecoder, Limits, Message, Network, Nonce, encode_frame};
///
/// let mut bytes = BytesMut::new();
/// encode_frame(Network::Regtest, &Message::Ping(Nonce(42)), &mut bytes);
///
/// let mut decoder = FrameDecoder::new(Network::Regtest, Limits::DEFAULT);
/// let Some(Decoded::Frame { command, body }) = decoder.decode(&mut bytes)? else { panic!() };
/// assert_eq!(body.decode(command), Ok(Message::Ping(Nonce(42))));
/// assert!(bytes.is_empty());
/// # Ok::<(), p2p_proto::FrameError>(())
/// ```
#[derive(Debug)]
pub struct FrameDecoder {
    magic: [u8; 4],
    limits: Limits,
    trust: Trust,
    stream_above: u64,
    state: State,
    partial: u64,
}

#[derive(Debug)]
enum State {
    Header,
    /// The payload gathers at the front of the caller's buffer.
    Gather {
        header: FrameHeader,
        hasher: Sha256d,
        hashed: usize,
    },
    /// The payload is handed on as it comes.
    Stream {
        expected: Option<[u8; 4]>,
        hasher: Sha256d,
        left: u64,
    },
    Skip {
        command: Option<Command>,
        length: u64,
        left: u64,
        why: Dropped,
    },
    Lost(FrameError),
}

impl FrameDecoder {
    /// A decoder that trusts its peer and gathers every payload whole.
    pub fn new(network: crate::Network, limits: Limits) -> Self {
        Self {
            magic: network.magic_bytes(),
            limits,
            trust: Trust::Peer,
            stream_above: u64::MAX,
            state: State::Header,
            partial: 0,
        }
    }

    /// Payloads above this many bytes come out in pieces from now on.
    #[must_use]
    pub fn stream_above(mut self, bytes: u64) -> Self {
        self.set_stream_above(bytes);
        self
    }

    /// As [`stream_above`](Self::stream_above), on the way; the frame that has begun stays as it is.
    pub fn set_stream_above(&mut self, bytes: u64) {
        self.stream_above = bytes;
    }

    /// Payloads may be this long from now on; the frame that has begun stays as it is.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// What the peer is trusted with from now on.
    pub fn set_trust(&mut self, trust: Trust) {
        self.trust = trust;
    }

    /// The next thing in `buffer`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`], at every further call too: what follows a bad header means nothing.
    pub fn decode<'a>(
        &mut self,
        buffer: &'a mut BytesMut,
    ) -> Result<Option<Decoded<'a>>, FrameError> {
        if let State::Header = self.state {
            return self.start(buffer);
        }
        self.go_on(buffer)
    }

    /// Whether a frame has begun and not ended.
    pub fn is_mid_frame(&self) -> bool {
        !matches!(self.state, State::Header | State::Lost(_))
    }

    /// Payload bytes seen so far of frames that did not come whole: what a peer that sends one
    /// large frame shows for its silence.
    pub fn partial_bytes(&self) -> u64 {
        self.partial
    }

    // private

    /// Begins the next frame, if its header is there.
    #[inline]
    fn start<'a>(&mut self, buffer: &'a mut BytesMut) -> Result<Option<Decoded<'a>>, FrameError> {
        let mut reader = Reader::new(buffer);
        // The magic is judged as soon as it is there: a peer of another protocol may wait for
        // us to speak after fewer bytes than a header has.
        let Ok(received) = reader.array::<4>("magic") else {
            return Ok(None);
        };
        if received != self.magic {
            return self.lost(FrameError::BadMagic {
                expected: self.magic,
                received,
            });
        }
        let (Ok(name), Ok(length), Ok(checksum)) = (
            reader.array::<12>("command"),
            reader.u32("length"),
            reader.array::<4>("checksum"),
        ) else {
            return Ok(None);
        };
        let mut command = Command::from_bytes(name);
        let mut length = u64::from(length);
        let mut checksum = Some(checksum);
        if command == Ok(Command::EXTMSG) {
            let (Ok(name), Ok(extended)) = (reader.array::<12>("command"), reader.u64("length"))
            else {
                return Ok(None);
            };
            command = Command::from_bytes(name);
            length = extended;
            checksum = None;
        }
        let header_len = reader.position();
        buffer.advance(header_len);

        let known = command.unwrap_or(NO_COMMAND);
        let limit = self.limits.of(known);
        if length > limit {
            return self.lost(FrameError::Oversize {
                command: known,
                length,
                limit,
            });
        }
        let command = match command {
            Ok(command) if self.trust == Trust::Peer || length <= HANDSHAKE_PAYLOAD => command,
            other => {
                self.state = State::Skip {
                    command: other.ok(),
                    length,
                    left: length,
                    why: other.map_or_else(Dropped::BadCommand, |_| Dropped::TooLargeYet),
                };
                return self.go_on(buffer);
            }
        };
        // A buffer has at most isize::MAX bytes.
        if length > self.stream_above.min(isize::MAX as u64) {
            self.state = State::Stream {
                expected: checksum,
                hasher: Sha256d::new(),
                left: length,
            };
            return Ok(Some(Decoded::Begin { command, length }));
        }
        let header = FrameHeader {
            command,
            length,
            checksum,
        };
        if (buffer.len() as u64) < length {
            self.state = State::Gather {
                header,
                hasher: Sha256d::new(),
                hashed: 0,
            };
            return self.go_on(buffer);
        }
        let found = checksum.map(|_| crate::hash::checksum(&buffer[..length as usize]));
        Ok(Some(whole(&header, found, buffer)))
    }

    fn lost<'a>(&mut self, error: FrameError) -> Result<Option<Decoded<'a>>, FrameError> {
        self.state = State::Lost(error);
        Err(error)
    }

    /// Goes on with the payload of a frame that has begun.
    fn go_on<'a>(&mut self, buffer: &'a mut BytesMut) -> Result<Option<Decoded<'a>>, FrameError> {
        match &mut self.state {
            State::Header => Ok(None),
            State::Lost(error) => Err(*error),
            State::Gather {
                header,
                hasher,
                hashed,
            } => {
                let end = buffer.len().min(header.length as usize);
                if header.checksum.is_some() {
                    hasher.update(&buffer[*hashed..end]);
                }
                self.partial += (end - *hashed) as u64;
                *hashed = end;
                if (end as u64) < header.length {
                    return Ok(None);
                }
                let header = *header;
                let found = std::mem::take(hasher).checksum();
                self.state = State::Header;
                Ok(Some(whole(&header, Some(found), buffer)))
            }
            State::Stream {
                expected,
                hasher,
                left,
            } => {
                if *left == 0 {
                    let found = std::mem::take(hasher).checksum();
                    let checksum_ok = expected.map(|expected| expected == found);
                    self.state = State::Header;
                    return Ok(Some(Decoded::End { checksum_ok }));
                }
                let n = at_most(*left, buffer.len());
                if n == 0 {
                    return Ok(None);
                }
                let chunk = buffer.split_to(n).freeze();
                if expected.is_some() {
                    hasher.update(&chunk);
                }
                *left -= n as u64;
                self.partial += n as u64;
                Ok(Some(Decoded::Chunk(chunk)))
            }
            State::Skip {
                command,
                length,
                left,
                why,
            } => {
                let n = at_most(*left, buffer.len());
                buffer.advance(n);
                *left -= n as u64;
                self.partial += n as u64;
                if *left > 0 {
                    return Ok(None);
                }
                let dropped = Decoded::Dropped {
                    command: *command,
                    length: *length,
                    why: *why,
                };
                self.state = State::Header;
                Ok(Some(dropped))
            }
        }
    }
}

/// Stands in for bytes that are no command: limited and shown as one without a name.
const NO_COMMAND: Command = match Command::new("") {
    Some(command) => command,
    None => panic!("not a command name"),
};

/// A frame whose payload is all at the front of the buffer.
#[inline]
fn whole<'a>(
    header: &FrameHeader,
    found: Option<[u8; 4]>,
    buffer: &'a mut BytesMut,
) -> Decoded<'a> {
    let body = Body {
        buffer,
        len: header.length as usize,
    };
    if header.checksum.is_some() && header.checksum != found {
        drop(body);
        return Decoded::Dropped {
            command: Some(header.command),
            length: header.length,
            why: Dropped::BadChecksum,
        };
    }
    Decoded::Frame {
        command: header.command,
        body,
    }
}

/// The smaller of the two.
fn at_most(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EncodedMessage, HEADER_LEN, Network, Nonce, encode_frame};

    /// Everything that comes out, as text, when the bytes come in pieces of `step`.
    fn decode_in_steps(decoder: FrameDecoder, bytes: &[u8], step: usize) -> Vec<String> {
        let mut decoder = decoder;
        let mut buffer = BytesMut::new();
        let mut out = Vec::new();
        let mut streamed = Vec::new();
        for piece in bytes.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(None) => break,
                    Ok(Some(Decoded::Chunk(chunk))) => streamed.extend_from_slice(&chunk),
                    Ok(Some(Decoded::Frame { command, body })) => {
                        out.push(format!("{command} {:?}", body.as_bytes()));
                    }
                    Ok(Some(other)) => out.push(format!("{other:?}")),
                    Err(error) => {
                        out.push(error.to_string());
                        return out;
                    }
                }
            }
        }
        out.push(format!("streamed {streamed:?}, left {}", buffer.len()));
        out
    }

    fn a_session() -> BytesMut {
        let mut bytes = BytesMut::new();
        let network = Network::Regtest;
        encode_frame(network, &Message::Ping(Nonce(1)), &mut bytes);
        encode_frame(network, &Message::Verack, &mut bytes);
        encode_frame(network, &unknown(100), &mut bytes);
        FrameHeader {
            command: Command::PONG,
            length: 8,
            checksum: None,
        }
        .encode(network.magic_bytes(), &mut bytes);
        bytes.extend_from_slice(&[9; 8]);
        let bad = bytes.len() + HEADER_LEN;
        encode_frame(network, &unknown(5), &mut bytes);
        bytes[bad] ^= 1;
        let bad = bytes.len() + 15;
        encode_frame(network, &unknown(7), &mut bytes);
        bytes[bad] = b'x';
        bytes
    }

    fn unknown(len: usize) -> Message {
        Message::Unknown {
            command: Command::new("whatever").unwrap(),
            payload: (0..len).map(|i| i as u8).collect(),
        }
    }

    #[test]
    fn any_chunking_gives_the_same_frames() {
        let bytes = a_session();
        let decoder = || FrameDecoder::new(Network::Regtest, Limits::DEFAULT).stream_above(50);
        let whole = decode_in_steps(decoder(), &bytes, bytes.len());
        assert_eq!(whole.len(), 8);
        for step in 1..bytes.len() {
            assert_eq!(
                decode_in_steps(decoder(), &bytes, step),
                whole,
                "step {step}"
            );
        }
    }

    #[test]
    fn a_bad_magic_is_seen_in_four_bytes_and_for_ever() {
        let mut decoder = FrameDecoder::new(Network::Mainnet, Limits::DEFAULT);
        let mut buffer = BytesMut::from(&b"GET"[..]);
        assert!(decoder.decode(&mut buffer).unwrap().is_none());
        buffer.extend_from_slice(b" ");
        let error = decoder.decode(&mut buffer).unwrap_err();
        assert_eq!(
            error.to_string(),
            "magic 47455420 where e3e1f3e8 was expected"
        );
        let mut buffer = BytesMut::new();
        encode_frame(Network::Mainnet, &Message::Verack, &mut buffer);
        assert_eq!(decoder.decode(&mut buffer).unwrap_err(), error);
    }

    #[test]
    fn limits_by_command_are_judged_on_the_header_alone() {
        let limits = Limits {
            message: 2_097_152,
            block: 4_000_000_000,
        };
        let judge = |command, length: u64| {
            let mut buffer = BytesMut::new();
            let checksum = (length <= u64::from(u32::MAX)).then_some([0; 4]);
            FrameHeader {
                command,
                length,
                checksum,
            }
            .encode(Network::Stn.magic_bytes(), &mut buffer);
            let mut decoder = FrameDecoder::new(Network::Stn, limits).stream_above(1 << 22);
            decoder.decode(&mut buffer).map(|_| ())
        };
        for (command, limit) in [
            (Command::PING, 2_097_152),
            (Command::new("whatever").unwrap(), 2_097_152),
            (Command::PROTOCONF, 1_048_576),
            (Command::TX, 1_000_000_000),
            (Command::DATAREFTX, 1_000_000_000),
            (Command::BLOCK, 4_000_000_000),
            (Command::CMPCTBLOCK, 4_000_000_000),
            (Command::BLOCKTXN, 4_000_000_000),
            (Command::HDRSEN, 4_000_000_000),
            (Command::GETBLOCKTXN, 4_000_000_000 / 215 * 6 + 24),
        ] {
            assert_eq!(judge(command, limit), Ok(()), "{command}");
            let length = limit + 1;
            assert_eq!(
                judge(command, length),
                Err(FrameError::Oversize {
                    command,
                    length,
                    limit
                })
            );
        }
    }

    #[test]
    fn a_stranger_may_send_little() {
        let mut decoder = FrameDecoder::new(Network::Regtest, Limits::DEFAULT);
        decoder.set_trust(Trust::Stranger);
        let mut bytes = BytesMut::new();
        encode_frame(Network::Regtest, &unknown(4097), &mut bytes);
        encode_frame(Network::Regtest, &unknown(4096), &mut bytes);
        let out = decode_in_steps(decoder, &bytes, 1000);
        assert!(out[0].contains("TooLargeYet"), "{out:?}");
        assert!(out[1].starts_with("whatever "), "{out:?}");
    }

    #[test]
    fn a_frame_encoded_once_is_the_same_as_one_encoded_in_place() {
        for message in [Message::Verack, Message::Ping(Nonce(7)), unknown(5000)] {
            let mut one = BytesMut::new();
            encode_frame(Network::Testnet, &message, &mut one);
            let mut other = BytesMut::new();
            EncodedMessage::new(Network::Testnet, &message).encode(&mut other);
            assert_eq!(one, other);
        }
    }
}
