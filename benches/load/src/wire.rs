//! The few messages that are sent, encoded once, and a reader that looks at headers only.

use sha2::{Digest, Sha256};

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 24;
/// A header and the nonce of a `ping`.
const PING: usize = HEADER + 8;
/// What is announced: today's protocol version.
const PROTOCOL_VERSION: i32 = 70016;

/// Four bytes that every frame of a network begins with.
pub(crate) type Magic = [u8; 4];

/// A whole frame.
pub(crate) fn frame(magic: Magic, command: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&magic);
    let mut name = [0; 12];
    name[..command.len()].copy_from_slice(command.as_bytes());
    out.extend_from_slice(&name);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let hash = Sha256::digest(Sha256::digest(payload));
    out.extend_from_slice(&hash[..4]);
    out.extend_from_slice(payload);
    out
}

/// The header of a frame whose payload is given as a length alone: an `extmsg` has no checksum.
pub(crate) fn extended_header(magic: Magic, command: &str, length: u64) -> Vec<u8> {
    let mut out = frame(magic, "extmsg", &[]);
    out[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    out[20..24].copy_from_slice(&[0; 4]);
    let mut name = [0; 12];
    name[..command.len()].copy_from_slice(command.as_bytes());
    out.extend_from_slice(&name);
    out.extend_from_slice(&length.to_le_bytes());
    out
}

/// A `version` of a peer that wants transactions; the nonce tells it from all others.
pub(crate) fn version(magic: Magic, agent: &str, nonce: u64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(128);
    payload.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    payload.extend_from_slice(&0_u64.to_le_bytes());
    payload.extend_from_slice(&unix_time().to_le_bytes());
    // Both addresses, of which nobody makes anything: no services, ::, port 0.
    payload.extend_from_slice(&[0; 26 + 26]);
    payload.extend_from_slice(&nonce.to_le_bytes());
    payload.push(agent.len() as u8);
    payload.extend_from_slice(agent.as_bytes());
    payload.extend_from_slice(&0_i32.to_le_bytes());
    payload.push(1);
    frame(magic, "version", &payload)
}

/// An `inv` of transactions that nobody has.
pub(crate) fn inv(magic: Magic, number: u64, entries: u8) -> Vec<u8> {
    let mut payload = vec![entries];
    for entry in 0..entries {
        payload.extend_from_slice(&1_u32.to_le_bytes());
        payload.extend_from_slice(&Sha256::digest([number.to_le_bytes(), [entry; 8]].concat()));
    }
    frame(magic, "inv", &payload)
}

/// A transaction of `length` bytes with one input and one output, unlike those of other numbers.
pub(crate) fn transaction(number: u32, length: usize) -> Vec<u8> {
    /// Everything but the input's script and its length.
    const AROUND: usize = 4 + 1 + 36 + 4 + 1 + 8 + 1 + 4;
    let mut tx = Vec::with_capacity(length);
    tx.extend_from_slice(&1_i32.to_le_bytes());
    tx.push(1);
    tx.extend_from_slice(&[0x77; 36]);
    let rest = length.saturating_sub(AROUND);
    let script = match rest {
        0..=253 => {
            let script = rest.saturating_sub(1);
            tx.push(script as u8);
            script
        }
        254..=65_538 => {
            let script = rest - 3;
            tx.push(0xfd);
            tx.extend_from_slice(&(script as u16).to_le_bytes());
            script
        }
        _ => {
            let script = rest - 5;
            tx.push(0xfe);
            tx.extend_from_slice(&(script as u32).to_le_bytes());
            script
        }
    };
    tx.resize(tx.len() + script, 0x51);
    tx.extend_from_slice(&u32::MAX.to_le_bytes());
    tx.push(1);
    tx.extend_from_slice(&1000_u64.to_le_bytes());
    tx.push(0);
    tx.extend_from_slice(&number.to_le_bytes());
    tx
}

/// The payload of a block of `length` bytes: a header, and transactions of about 300 bytes.
pub(crate) fn block(length: usize) -> Vec<u8> {
    const TX: usize = 300;
    let count = (length.saturating_sub(80 + 3) / TX).clamp(1, usize::from(u16::MAX));
    let mut block = vec![0; 80];
    block.push(0xfd);
    block.extend_from_slice(&(count as u16).to_le_bytes());
    // The shortest form of a count is the only one that is taken.
    if count < 0xfd {
        block.truncate(80);
        block.push(count as u8);
    }
    for number in 1..count {
        block.extend_from_slice(&transaction(number as u32, TX));
    }
    let last = length.saturating_sub(block.len()).max(TX);
    block.extend_from_slice(&transaction(0, last));
    block
}

fn unix_time() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() as i64)
}

/// What a frame was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Version,
    Verack,
    /// With its nonce, to be answered.
    Ping([u8; 8]),
    Pong,
    Tx,
    Other,
}

/// Finds frames in a stream of bytes. Payloads are passed over unread, a ping's nonce apart.
#[derive(Debug)]
pub(crate) struct FrameReader {
    magic: Magic,
    /// Bytes of a payload that are to be passed over.
    skip: u64,
    /// The beginning of a frame that is not there as a whole.
    partial: [u8; PING],
    held: u8,
    wanted: u8,
}

impl FrameReader {
    pub(crate) fn new(magic: Magic) -> Self {
        Self {
            magic,
            skip: 0,
            partial: [0; PING],
            held: 0,
            wanted: HEADER as u8,
        }
    }

    /// Tells of every frame whose header is complete; an error says what the peer sent instead.
    pub(crate) fn read(
        &mut self,
        mut bytes: &[u8],
        mut tell: impl FnMut(Heard),
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len() as u64);
                self.skip -= n;
                bytes = &bytes[n as usize..];
            } else if self.held == 0 && bytes.len() >= HEADER {
                let (header, rest) = bytes.split_at(HEADER);
                match self.header(header)? {
                    Some(heard) => {
                        tell(heard);
                        bytes = rest;
                    }
                    None => bytes = self.hold(bytes),
                }
            } else {
                bytes = self.hold(bytes);
                if self.held < self.wanted {
                    break;
                }
                if let Some(heard) = self.complete()? {
                    tell(heard);
                }
            }
        }
        Ok(())
    }

    /// What a header announces; nothing for a ping, whose nonce is wanted too.
    fn header(&mut self, header: &[u8]) -> Result<Option<Heard>, String> {
        if header[..4] != self.magic {
            return Err(format!(
                "the peer's frames begin with {:02x?}, not with {:02x?}: is --magic right?",
                &header[..4],
                self.magic
            ));
        }
        let length = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
        let heard = match &header[4..16] {
            b"ping\0\0\0\0\0\0\0\0" if length == 8 => {
                self.wanted = PING as u8;
                return Ok(None);
            }
            b"pong\0\0\0\0\0\0\0\0" => Heard::Pong,
            b"tx\0\0\0\0\0\0\0\0\0\0" => Heard::Tx,
            b"version\0\0\0\0\0" => Heard::Version,
            b"verack\0\0\0\0\0\0" => Heard::Verack,
            b"extmsg\0\0\0\0\0\0" => return Err("the peer sent an extended frame".into()),
            _ => Heard::Other,
        };
        self.skip = length.into();
        Ok(Some(heard))
    }

    /// Keeps as much as is wanted of a frame's beginning; the rest of the bytes.
    fn hold<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let held = usize::from(self.held);
        let n = bytes.len().min(usize::from(self.wanted) - held);
        self.partial[held..held + n].copy_from_slice(&bytes[..n]);
        self.held += n as u8;
        &bytes[n..]
    }

    /// What the bytes are that were held; nothing if more of them are wanted.
    fn complete(&mut self) -> Result<Option<Heard>, String> {
        let partial = self.partial;
        let heard = if usize::from(self.held) == PING {
            let mut nonce = [0; 8];
            nonce.copy_from_slice(&partial[HEADER..]);
            Heard::Ping(nonce)
        } else {
            match self.header(&partial[..HEADER])? {
                Some(heard) => heard,
                None => return Ok(None),
            }
        };
        self.held = 0;
        self.wanted = HEADER as u8;
        Ok(Some(heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: Magic = [0xda, 0xb5, 0xbf, 0xfa];

    fn heard(bytes: &[u8], piece: usize) -> Vec<Heard> {
        let mut reader = FrameReader::new(MAGIC);
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.read(piece, |heard| all.push(heard)).unwrap();
        }
        all
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let mut bytes = version(MAGIC, "/x/", 1);
        bytes.extend(frame(MAGIC, "verack", &[]));
        bytes.extend(frame(MAGIC, "ping", &[7; 8]));
        bytes.extend(inv(MAGIC, 1, 8));
        bytes.extend(frame(MAGIC, "tx", &transaction(1, 300)));
        bytes.extend(frame(MAGIC, "pong", &[7; 8]));
        let all = [
            Heard::Version,
            Heard::Verack,
            Heard::Ping([7; 8]),
            Heard::Other,
            Heard::Tx,
            Heard::Pong,
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(heard(&bytes, piece), all, "in pieces of {piece}");
        }
    }

    #[test]
    fn another_magic_is_an_error() {
        let frame = frame([1, 2, 3, 4], "verack", &[]);
        let read = FrameReader::new(MAGIC).read(&frame, |_| {});
        assert!(read.unwrap_err().contains("--magic"));
    }

    #[test]
    fn lengths_are_as_asked() {
        for length in [100, 250, 300, 307, 308, 309, 1000, 65_590, 65_600, 70_000] {
            assert_eq!(transaction(1, length).len(), length);
        }
        for length in [1000, 100_000, 1 << 20] {
            assert_eq!(block(length).len(), length);
        }
    }
}
