//! Block headers, and `headers`, the message that carries up to 2000 of them.
//!
//! Source: the node's `src/primitives/block.h` and `src/net/net_processing.cpp`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::message::Payload;

/// The most headers that one `headers` may hold: the node scores a peer that sends more.
pub const MAX_HEADERS: usize = 2000;

/// A block header: 80 bytes on the wire, and nothing more to know about a block's work.
///
/// ```
/// use p2p_proto::{BlockHeader, Hash256};
///
/// let genesis = BlockHeader {
///     version: 1,
///     prev: Hash256::ZERO,
///     merkle_root: "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b".parse()?,
///     time: 1_231_006_505,
///     bits: 0x1d00_ffff,
///     nonce: 2_083_236_893,
/// };
/// assert_eq!(
///     genesis.hash().to_string(),
///     "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
/// );
/// assert_eq!(BlockHeader::from_bytes(&genesis.to_bytes()), genesis);
/// # Ok::<(), p2p_proto::ParseHashError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockHeader {
    /// Block version; miners use its bits freely.
    pub version: i32,
    /// Hash of the block before this one.
    pub prev: Hash256,
    /// Root of the merkle tree of the block's transaction ids.
    pub merkle_root: Hash256,
    /// When the miner says it was mined, Unix seconds.
    pub time: u32,
    /// The target that the hash must not exceed, in compact form.
    pub bits: u32,
    /// What the miner varied.
    pub nonce: u32,
}

impl BlockHeader {
    /// Bytes on the wire.
    pub const LEN: usize = 80;

    /// From the bytes as they are on the wire; any 80 bytes are a header.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self {
            version: i32::from_le_bytes(part(bytes, 0)),
            prev: Hash256::from_bytes(part(bytes, 4)),
            merkle_root: Hash256::from_bytes(part(bytes, 36)),
            time: u32::from_le_bytes(part(bytes, 68)),
            bits: u32::from_le_bytes(part(bytes, 72)),
            nonce: u32::from_le_bytes(part(bytes, 76)),
        }
    }

    /// The bytes as they are on the wire.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..36].copy_from_slice(self.prev.as_bytes());
        bytes[36..68].copy_from_slice(self.merkle_root.as_bytes());
        bytes[68..72].copy_from_slice(&self.time.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.bits.to_le_bytes());
        bytes[76..].copy_from_slice(&self.nonce.to_le_bytes());
        bytes
    }

    /// Appends the 80 bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.to_bytes());
    }

    /// The block's hash. Computed at each call.
    pub fn hash(&self) -> Hash256 {
        Hash256::of(&self.to_bytes())
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self::from_bytes(&reader.array("block header")?))
    }
}

/// `N` bytes of a header, from a constant offset that leaves room for them.
fn part<const N: usize>(bytes: &[u8; BlockHeader::LEN], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

/// `headers`: the answer to `getheaders`, and an announcement of blocks after `sendheaders`.
///
/// A view over the payload: a header is read when the iterator comes to it. The transaction
/// count behind each header is ignored, as the node does.
///
/// ```
/// use p2p_proto::{BlockHeader, Headers};
///
/// let header = BlockHeader::from_bytes(&[7; 80]);
/// let headers = Headers::new([header; 3])?;
/// assert_eq!(headers.len(), 3);
/// assert!(headers.iter().all(|each| each == header));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Headers {
    raw: Bytes,
    len: usize,
}

impl Headers {
    /// A message of these headers, oldest first.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] for more than [`MAX_HEADERS`].
    pub fn new(headers: impl IntoIterator<Item = BlockHeader>) -> Result<Self, DecodeError> {
        let headers: Vec<_> = headers.into_iter().take(MAX_HEADERS + 1).collect();
        let len = headers.len();
        if len > MAX_HEADERS {
            return Err(DecodeError::TooLarge {
                field: "headers",
                value: len as u64,
                max: MAX_HEADERS as u64,
            });
        }
        let mut out = BytesMut::with_capacity(3 + len * MIN_ITEM_LEN);
        out.put_compact_size(len as u64);
        for header in &headers {
            header.encode(&mut out);
            out.put_u8(0);
        }
        Ok(Self {
            raw: out.freeze(),
            len,
        })
    }

    /// How many there are; a full message of 2000 says that the peer has more.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the peer had nothing to give.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The headers, oldest first. That they chain is not checked.
    pub fn iter(&self) -> impl Iterator<Item = BlockHeader> {
        let start = compact_size_len(self.len as u64);
        let mut reader = Reader::new(self.raw.get(start..).unwrap_or_default());
        // All were scanned: none is wrong.
        (0..self.len).map_while(move |_| read_item(&mut reader).ok())
    }
}

impl Payload for Headers {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        let len = reader.count_up_to(MAX_HEADERS, MIN_ITEM_LEN, "headers")?;
        for _ in 0..len {
            reader.take(BlockHeader::LEN, "block header")?;
            reader.compact_size(TX_COUNT)?;
        }
        Ok(Self {
            raw: reader.since(start),
            len,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Headers")
            .field("len", &self.len)
            .field("first", &self.iter().next().map(|header| header.hash()))
            .finish_non_exhaustive()
    }
}

/// A header and the least transaction count.
const MIN_ITEM_LEN: usize = BlockHeader::LEN + 1;

const TX_COUNT: &str = "transaction count of a header";

fn read_item(reader: &mut Reader<'_>) -> Result<BlockHeader, DecodeError> {
    let header = BlockHeader::read(reader)?;
    reader.compact_size(TX_COUNT)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tx::testing::{BLOCK_170, hex};

    #[test]
    fn the_header_of_block_170_has_its_hash_and_fields() {
        let payload = hex(BLOCK_170);
        let header = BlockHeader::read(&mut Reader::new(&payload)).unwrap();
        assert_eq!(
            header.hash().to_string(),
            "00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee"
        );
        assert_eq!(header.version, 1);
        assert_eq!(header.bits, 0x1d00_ffff);
        assert_eq!(header.to_bytes()[..], payload[..80]);
    }

    #[test]
    fn headers_share_the_payload_and_leave_what_follows() {
        let made = Headers::new((0..3).map(numbered)).unwrap();
        let mut payload = BytesMut::from(&made.raw[..]);
        payload.put_slice(b"tail");
        let payload = payload.freeze();
        let mut reader = Reader::shared(&payload);
        let read = Headers::decode(&mut reader).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.raw.as_ptr(), payload.as_ptr());
        assert_eq!(reader.remaining(), 4);
        assert!(read.iter().eq((0..3).map(numbered)));
    }

    #[test]
    fn the_transaction_count_is_ignored_but_must_be_canonical() {
        let with_count = |count: &[u8]| {
            let mut payload = BytesMut::new();
            payload.put_u8(2);
            for nonce in 0..2 {
                numbered(nonce).encode(&mut payload);
                payload.put_slice(count);
            }
            Headers::decode(&mut Reader::new(&payload)).map(|headers| {
                assert!(headers.iter().eq((0..2).map(numbered)));
                headers.len()
            })
        };
        assert_eq!(with_count(&[0]), Ok(2));
        assert_eq!(with_count(&[0xFD, 0xFD, 0]), Ok(2));
        assert_eq!(with_count(&[0xFF, 0, 0, 0, 0, 1, 0, 0, 0]), Ok(2));
        assert!(matches!(
            with_count(&[0xFD, 1, 0]),
            Err(DecodeError::NonCanonical { .. })
        ));
    }

    #[test]
    fn at_most_2000_come_in_or_go_out() {
        let full = Headers::new((0..2000).map(numbered)).unwrap();
        assert_eq!(full.encoded_len(), 3 + 2000 * 81);
        assert_eq!(full.iter().count(), 2000);
        assert!(matches!(
            Headers::new(std::iter::repeat(numbered(0))),
            Err(DecodeError::TooLarge { max: 2000, .. })
        ));
        let mut payload = BytesMut::from(&[0xFD, 0xD1, 0x07][..]);
        payload.put_bytes(0, 2001 * 81);
        assert!(matches!(
            Headers::decode(&mut Reader::new(&payload)),
            Err(DecodeError::TooLarge { value: 2001, .. })
        ));
    }

    #[test]
    fn a_count_over_what_is_there_is_truncated() {
        assert!(matches!(
            Headers::decode(&mut Reader::new(&[2; 100])),
            Err(DecodeError::Truncated { .. })
        ));
        assert!(Headers::decode(&mut Reader::new(&[0])).unwrap().is_empty());
    }

    fn numbered(nonce: u32) -> BlockHeader {
        let mut header = BlockHeader::from_bytes(&[9; 80]);
        header.nonce = nonce;
        header
    }
}
