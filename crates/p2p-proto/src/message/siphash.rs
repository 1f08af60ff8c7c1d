//! Short transaction ids of compact blocks, and the SipHash-2-4 that makes them.
//!
//! Source: `protocol.md` section 3.5; Aumasson and Bernstein, "SipHash: a fast short-input PRF".
//! The standard library's SipHash is 1-3, or deprecated.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::hash::Hash256;
use crate::message::header::BlockHeader;

/// The SipHash key of the short ids of one `cmpctblock`.
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
        let hash = siphash24(keys.k0, keys.k1, txid.as_bytes());
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

/// SipHash-2-4 of `data` under the key `k0`, `k1`.
fn siphash24(k0: u64, k1: u64, data: &[u8]) -> u64 {
    let mut state = State([
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]);
    let (words, tail) = data.as_chunks::<8>();
    for word in words {
        state.absorb(u64::from_le_bytes(*word));
    }
    // The last word: what is left, and the length's low byte on top.
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    last[7] = data.len() as u8;
    state.absorb(u64::from_le_bytes(last));

    state.0[2] ^= 0xFF;
    for _ in 0..4 {
        state.round();
    }
    let [v0, v1, v2, v3] = state.0;
    v0 ^ v1 ^ v2 ^ v3
}

struct State([u64; 4]);

impl State {
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.0;
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v0;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v2 = v2.rotate_left(32);
        self.0 = [v0, v1, v2, v3];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_vectors_come_out() {
        let data: Vec<u8> = (0..15).collect();
        for (len, hash) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
            assert_eq!(siphash24(k0, k1, &data[..len]), hash);
        }
    }
}
