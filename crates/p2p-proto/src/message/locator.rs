//! `getblocks`, `getheaders`, `gethdrsen`: where in the chain to start and stop.
//!
//! Source: the node's `src/chain.cpp` and `src/net/net_processing.cpp`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::Payload;
use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;

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
    version: u32,
    hashes: Bytes,
    stop: Hash256,
}

impl BlockLocator {
    /// A locator: hashes newest first.
    pub fn new(version: u32, hashes: impl IntoIterator<Item = Hash256>, stop: Hash256) -> Self {
        let mut list = BytesMut::new();
        for hash in hashes {
            list.put_hash(&hash);
        }
        Self {
            version,
            hashes: list.freeze(),
            stop,
        }
    }

    /// The sender's protocol version; readers ignore it.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The locator hashes, newest first.
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = Hash256> + '_ {
        self.hashes.chunks_exact(32).map(|chunk| {
            let mut hash = [0; 32];
            hash.copy_from_slice(chunk);
            Hash256::from_bytes(hash)
        })
    }

    /// The last block wanted; zero for none.
    pub fn stop(&self) -> Hash256 {
        self.stop
    }
}

impl Payload for BlockLocator {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u32("version")?;
        let count = reader.count(32, "locator count")?;
        Ok(Self {
            version,
            hashes: reader.bytes(count * 32, "locator hashes")?,
            stop: reader.hash("stop hash")?,
        })
    }

    fn encoded_len(&self) -> usize {
        4 + compact_size_len(self.hashes.len() as u64 / 32) + self.hashes.len() + 32
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.version);
        out.put_compact_size(self.hashes.len() as u64 / 32);
        out.put_slice(&self.hashes);
        out.put_hash(&self.stop);
    }
}

impl fmt::Debug for BlockLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockLocator")
            .field("version", &self.version)
            .field("hashes", &(self.hashes.len() / 32))
            .field("first", &self.hashes().next())
            .field("stop", &self.stop)
            .finish()
    }
}
