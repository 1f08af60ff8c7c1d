//! The frame decoder against a description of the frame format that knows no pieces.

use bytes::BytesMut;
use p2p_proto::{
    COPY_UP_TO, Command, Decoded, Dropped, FrameDecoder, FrameError, HANDSHAKE_PAYLOAD, Limits,
    Network, PayloadEvent, Trust, checksum,
};

use super::input::{Input, pieces};

/// A stream of frames decodes to what the format says, whole or in any pieces.
///
/// Input: one byte of settings, one that seeds the cuts, then the stream. Checksums are made
/// right when the settings say so.
pub fn frame(data: &[u8]) {
    let mut input = Input::new(data);
    let (setup, seed) = (Setup::new(input.u8()), input.u8());
    let mut wire = input.rest().to_vec();
    if setup.fix_checksums {
        fix_checksums(&setup, &mut wire);
    }
    let (expected, left) = by_the_book(&setup, &wire);
    let whole = decode(&setup, [&wire[..]]);
    assert_eq!(whole, (expected, left));
    let (cut, cut_left) = decode(&setup, pieces(&wire, seed));
    assert_eq!(cut, whole.0);
    if !matches!(cut.last(), Some(Step::Lost(_))) {
        assert_eq!(cut_left, left);
    }
}

struct Setup {
    network: Network,
    limits: Limits,
    trust: Trust,
    stream_above: u64,
    fix_checksums: bool,
}

impl Setup {
    fn new(bits: u8) -> Self {
        Self {
            stream_above: [u64::MAX, 0, 16, 4096][usize::from(bits & 3)],
            trust: match bits & 4 {
                0 => Trust::Peer,
                _ => Trust::Stranger,
            },
            fix_checksums: bits & 8 == 0,
            network: match bits & 16 {
                0 => Network::Regtest,
                _ => Network::Mainnet,
            },
            limits: match bits & 32 {
                0 => Limits::DEFAULT,
                _ => Limits {
                    message: 100,
                    block: 5000,
                },
            },
        }
    }

    fn decoder(&self) -> FrameDecoder {
        let mut decoder =
            FrameDecoder::new(self.network, self.limits).stream_above(self.stream_above);
        decoder.set_trust(self.trust);
        decoder
    }
}

/// What comes out; the pieces of a streamed payload joined.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Frame(Command, Vec<u8>),
    Dropped(Option<Command>, u64, Dropped),
    Begin(Command, u64),
    Streamed(Vec<u8>),
    End(Option<bool>),
    Lost(FrameError),
}

/// The steps, and how many bytes stay in the buffer.
fn decode<'a>(setup: &Setup, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Step>, usize) {
    let mut decoder = setup.decoder();
    let mut buffer = BytesMut::new();
    let mut steps = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let (came, room) = (buffer.len(), buffer.capacity());
            let step = match decoder.decode(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Decoded::Frame { command, body })) => {
                    let bytes = body.as_bytes().to_vec();
                    let start = body.as_bytes().as_ptr();
                    let kept = body.into_bytes();
                    assert_eq!(kept, bytes);
                    if !kept.is_empty() {
                        assert_eq!(kept.as_ptr() != start, kept.len() <= COPY_UP_TO);
                    }
                    Step::Frame(command, bytes)
                }
                Ok(Some(Decoded::Dropped {
                    command,
                    length,
                    why,
                })) => Step::Dropped(command, length, why),
                Ok(Some(Decoded::Payload(PayloadEvent::Begin { command, length }))) => {
                    Step::Begin(command, length)
                }
                Ok(Some(Decoded::Payload(PayloadEvent::Chunk(chunk)))) => {
                    assert!(!chunk.is_empty() && chunk.len() <= came);
                    match steps.last_mut() {
                        Some(Step::Streamed(bytes)) => {
                            bytes.extend_from_slice(&chunk);
                            continue;
                        }
                        _ => Step::Streamed(chunk.to_vec()),
                    }
                }
                Ok(Some(Decoded::Payload(PayloadEvent::End { checksum_ok }))) => {
                    Step::End(checksum_ok)
                }
                Ok(Some(other)) => unreachable!("a step without a description: {other:?}"),
                Err(error) => Step::Lost(error),
            };
            // What a header announces must not be reserved.
            assert!(buffer.capacity() <= room, "the decoder made room");
            steps.push(step);
            if let Some(Step::Lost(error)) = steps.last() {
                assert_eq!(decoder.decode(&mut buffer).err(), Some(*error));
                return (steps, buffer.len());
            }
        }
        let room = buffer.capacity();
        assert!(decoder.decode(&mut buffer).is_ok_and(|more| more.is_none()));
        assert_eq!(buffer.capacity(), room);
    }
    (steps, buffer.len())
}

/// The steps that the frame format asks for, and how many bytes a decoder cannot take yet.
fn by_the_book(setup: &Setup, wire: &[u8]) -> (Vec<Step>, usize) {
    let mut steps = Vec::new();
    let mut wire = wire;
    loop {
        let Some(&received) = wire.first_chunk::<4>() else {
            return (steps, wire.len());
        };
        let expected = setup.network.magic_bytes();
        if received != expected {
            steps.push(Step::Lost(FrameError::BadMagic { expected, received }));
            return (steps, wire.len());
        }
        let Some(header) = Header::read(wire) else {
            return (steps, wire.len());
        };
        wire = &wire[header.len..];
        let limited = header.command.ok().or(Command::new("")).unwrap();
        let limit = setup.limits.of(limited);
        if header.length > limit {
            steps.push(Step::Lost(FrameError::Oversize {
                command: limited,
                length: header.length,
                limit,
            }));
            return (steps, wire.len());
        }
        let there = usize::try_from(header.length).map_or(wire.len(), |n| n.min(wire.len()));
        let whole = there as u64 == header.length;
        let (payload, rest) = wire.split_at(there);
        let good = header.checksum.map(|sum| sum == checksum(payload));
        let skip = match header.command {
            Err(bad) => Some(Dropped::BadCommand(bad)),
            Ok(_) if setup.trust == Trust::Stranger && header.length > HANDSHAKE_PAYLOAD => {
                Some(Dropped::TooLargeYet)
            }
            Ok(_) => None,
        };
        if let Some(why) = skip {
            if !whole {
                return (steps, 0);
            }
            steps.push(Step::Dropped(header.command.ok(), header.length, why));
        } else if setup.streams(header.length) {
            steps.push(Step::Begin(limited, header.length));
            if !payload.is_empty() {
                steps.push(Step::Streamed(payload.to_vec()));
            }
            if !whole {
                return (steps, 0);
            }
            steps.push(Step::End(good));
        } else if !whole {
            return (steps, there);
        } else if good == Some(false) {
            steps.push(Step::Dropped(
                header.command.ok(),
                header.length,
                Dropped::BadChecksum,
            ));
        } else {
            steps.push(Step::Frame(limited, payload.to_vec()));
        }
        wire = rest;
    }
}

impl Setup {
    fn streams(&self, length: u64) -> bool {
        length > self.stream_above.min(isize::MAX as u64)
    }
}

struct Header {
    command: Result<Command, p2p_proto::BadCommand>,
    length: u64,
    checksum: Option<[u8; 4]>,
    len: usize,
}

impl Header {
    /// The header that `wire` begins with, if all of it is there.
    fn read(wire: &[u8]) -> Option<Self> {
        let basic = wire.first_chunk::<24>()?;
        let name = |at: usize| wire.get(at..at + 12)?.try_into().ok();
        if name(4)? != *b"extmsg\0\0\0\0\0\0" {
            return Some(Self {
                command: Command::from_bytes(name(4)?),
                length: u32::from_le_bytes(basic[16..20].try_into().unwrap()).into(),
                checksum: Some(basic[20..].try_into().unwrap()),
                len: 24,
            });
        }
        Some(Self {
            command: Command::from_bytes(name(24)?),
            length: u64::from_le_bytes(wire.get(36..44)?.try_into().unwrap()),
            checksum: None,
            len: 44,
        })
    }
}

/// A fuzzer cannot find a double SHA-256.
fn fix_checksums(setup: &Setup, wire: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = Header::read(&wire[at..]) {
        if wire[at..at + 4] != setup.network.magic_bytes() {
            return;
        }
        let start = at + header.len;
        let Some(end) = usize::try_from(header.length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .filter(|&end| end <= wire.len())
        else {
            return;
        };
        if header.checksum.is_some() {
            let sum = checksum(&wire[start..end]);
            wire[at + 20..start].copy_from_slice(&sum);
        }
        at = end;
    }
}
