//! `getblocks`, `getheaders`, `gethdrsen`: where in the chain to start and stop.
//!
//! Source: the node's `src/chain.cpp` and `src/net/net_processing.cpp`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Payload, first};
use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;

const HASH_LEN: usize = 32;

/// The payload of `getblocks`, `getheaders` and `gethdrsen`.
///
/// The responder starts after the first locator hash that is on its chain, and stops at `stop`
/// (zero: as far as it goes). Teranode refuses more than 500 locator hashes.
///
/// ```
/// use p2p_proto::{BlockLocator, Hash256};
///
/// let from_genesis = BlockLocator::new(70016, [Hash256::of(b"a block")], Hash256::ZERO);
/// assert_eq!(from_genesis.hashes().count(), 1);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BlockLocator {
    /// Version, count, hashes, and the one to stop at.
    raw: Bytes,
    len: usize,
}

impl BlockLocator {
    /// A locator: hashes newest first.
    pub fn new(version: u32, hashes: impl IntoIterator<Item = Hash256>, stop: Hash256) -> Self {
        let mut list = BytesMut::new();
        for hash in hashes {
            list.put_hash(&hash);
        }
        let len = list.len() / HASH_LEN;
        let mut raw =
            BytesMut::with_capacity(4 + compact_size_len(len as u64) + list.len() + HASH_LEN);
        raw.put_u32_le(version);
        raw.put_compact_size(len as u64);
        raw.put_slice(&list);
        raw.put_hash(&stop);
        Self {
            raw: raw.freeze(),
            len,
        }
    }

    /// The sender's protocol version; readers ignore it.
    pub fn version(&self) -> u32 {
        u32::from_le_bytes(first(&self.raw))
    }

    /// The locator hashes, newest first.
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = Hash256> + '_ {
        let start = 4 + compact_size_len(self.len as u64);
        let (hashes, _) = self.raw[start..].as_chunks();
        hashes[..self.len].iter().copied().map(Hash256::from_bytes)
    }

    /// The last block wanted; zero for none.
    pub fn stop(&self) -> Hash256 {
        let start = self.raw.len() - HASH_LEN;
        Hash256::from_bytes(first(&self.raw[start..]))
    }
}

impl Payload for BlockLocator {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        reader.u32("version")?;
        let len = reader.count(HASH_LEN, "locator count")?;
        reader.take(len * HASH_LEN, "locator hashes")?;
        reader.hash("stop hash")?;
        Ok(Self {
            raw: reader.since(start),
            len,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for BlockLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockLocator")
            .field("version", &self.version())
            .field("hashes", &self.len)
            .field("first", &self.hashes().next())
            .field("stop", &self.stop())
            .finish()
    }
}
