//! The frame decoder: bytes in, frames out, whatever way the bytes are cut.

mod decoded;
#[cfg(test)]
mod tests;

pub use decoded::{Body, Decoded, Dropped, FrameError};

use bytes::{Buf, BytesMut};

use crate::codec::Reader;
use crate::command::Command;
use crate::event::PayloadEvent;
use crate::frame::FrameHeader;
use crate::hash::Sha256d;
use crate::limits::Limits;
use crate::network::Network;

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
    /// A decoder that trusts its peer and gathers every payload whole: the limits bound the memory
    /// of the caller's buffer. [`Limits::DEFAULT`] have none for blocks: lower that, or have large
    /// payloads come out [in pieces](Self::stream_above).
    pub fn new(network: Network, limits: Limits) -> Self {
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

    /// Whether the end of a payload in pieces is still to be said, which takes no more bytes.
    pub(crate) fn owes_end(&self) -> bool {
        matches!(self.state, State::Stream { left: 0, .. })
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
            let begin = PayloadEvent::Begin { command, length };
            return Ok(Some(Decoded::Payload(begin)));
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
                // A buffer that has lost what was in it: the checksum will be wrong.
                let start = end.min(*hashed);
                if header.checksum.is_some() {
                    hasher.update(&buffer[start..end]);
                }
                self.partial += (end - start) as u64;
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
                    let end = PayloadEvent::End { checksum_ok };
                    return Ok(Some(Decoded::Payload(end)));
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
                Ok(Some(Decoded::Payload(PayloadEvent::Chunk(chunk))))
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
        checksum: header.checksum,
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
