//! Short transaction ids of compact blocks: SipHash-2-4, cut to 48 bits.
//!
//! Source: BIP152; the node's `src/blockencodings.cpp`.

use std::fmt;

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;

use crate::hash::Hash256;
use crate::message::header::BlockHeader;

/// The SipHash key of the short ids of one `cmpctblock`.
///
/// ```
/// use p2p_proto::{BlockHeader, ShortIdKeys};
///
/// let header = BlockHeader::from_bytes(&[0; 80]);
/// assert_ne!(ShortIdKeys::new(&header, 1), ShortIdKeys::new(&header, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortIdKeys {
    /// First half.
    pub k0: u64,
    /// Second half.
    pub k1: u64,
}

impl ShortIdKeys {
    /// The key for a header and a nonce: the first 16 bytes of their single SHA-256.
    pub fn new(header: &BlockHeader, nonce: u64) -> Self {
        let digest = Sha256::new()
            .chain_update(header.to_bytes())
            .chain_update(nonce.to_le_bytes())
            .finalize();
        let digest: [u8; 32] = digest.into();
        let (words, _) = digest.as_chunks();
        Self {
            k0: words.first().copied().map_or(0, u64::from_le_bytes),
            k1: words.get(1).copied().map_or(0, u64::from_le_bytes),
        }
    }
}

/// The name of a transaction in one `cmpctblock`: 48 bits, so that two may share it.
///
/// Shown as hex of the number that it is, high byte first.
///
/// ```
/// use p2p_proto::{BlockHeader, Hash256, ShortId, ShortIdKeys};
///
/// let keys = ShortIdKeys::new(&BlockHeader::from_bytes(&[0; 80]), 7);
/// let id = ShortId::of(&keys, &Hash256::of(b"a transaction"));
/// assert_eq!(id.as_bytes().len(), 6);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId([u8; Self::LEN]);

impl ShortId {
    /// Bytes on the wire.
    pub const LEN: usize = 6;

    /// From the bytes as they are on the wire.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as they are on the wire.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The short id of a transaction.
    pub fn of(keys: &ShortIdKeys, txid: &Hash256) -> Self {
        let hash = SipHasher24::new_with_keys(keys.k0, keys.k1).hash(txid.as_bytes());
        let [a, b, c, d, e, f, _, _] = hash.to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .rev()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Block 170 with the first payment, as `protocol-vectors.json` has it (`cmpctblock_170`).
    #[test]
    fn the_id_of_the_first_payment_comes_out() {
        let keys = ShortIdKeys {
            k0: 0x36e9_c2d2_ba75_3dd3,
            k1: 0x01a8_fbaf_8459_eef2,
        };
        let txid = "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16";
        let id = ShortId::of(&keys, &txid.parse().unwrap());
        assert_eq!(id.to_string(), "f9f2eb2a77ee");
    }
}
