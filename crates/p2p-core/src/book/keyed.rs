//! Order that nobody outside can foresee: SipHash-2-4 under the book's secret.
//!
//! Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF". The standard library's is
//! 1-3 with an algorithm that may change, and order must not.

use std::net::{IpAddr, SocketAddr};

use crate::netgroup::NetGroup;

/// A netgroup, at the place on the ring of all that the secret gives it.
///
/// What is sorted by it is visited in the order in which it lies in memory: the next group's turn
/// finds the upper nodes of every index in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    ring: u64,
    group: NetGroup,
}

impl Place {
    pub(super) const FIRST: Self = Self {
        ring: 0,
        group: NetGroup::UNROUTABLE,
    };
}

/// The secret, as two keys: what is learned of the order of addresses tells nothing of groups.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    addresses: [u64; 2],
    groups: [u64; 2],
}

impl Keys {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        let (words, _) = secret.as_chunks();
        let word = |at: usize| words.get(at).copied().map_or(0, u64::from_le_bytes);
        Self {
            addresses: [word(0), word(1)],
            groups: [word(2), word(3)],
        }
    }

    /// Where an address is among those of its group.
    pub(super) fn rank(&self, address: SocketAddr) -> u64 {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let (high, low) = ((ip.to_bits() >> 64) as u64, ip.to_bits() as u64);
        siphash24(self.addresses, &[high, low, u64::from(address.port())])
    }

    /// Where the group of an IP is among all.
    pub(super) fn place(&self, ip: IpAddr) -> Place {
        let group = NetGroup::of(ip);
        let ring = siphash24(self.groups, &[group.to_u64()]);
        Place { ring, group }
    }

    /// The `index`th draw of a sample: evenly from `0..below`, which is not empty.
    pub(super) fn draw(&self, seed: u64, index: u64, below: u32) -> u32 {
        let hash = siphash24(self.groups, &[seed, index]);
        ((u128::from(hash) * u128::from(below)) >> 64) as u32
    }
}

/// SipHash-2-4 of the words' little-endian bytes.
fn siphash24([k0, k1]: [u64; 2], words: &[u64]) -> u64 {
    let mut state = State([
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]);
    for word in words {
        state.absorb(*word);
    }
    // The last word has the length's low byte on top.
    state.absorb((words.len() as u64 * 8) << 56);

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

    /// The paper's key, and its vectors for messages of 0, 8 and 16 bytes.
    #[test]
    fn the_reference_vectors_come_out() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        for (words, hash) in [
            (&[][..], 0x726f_db47_dd0e_0e31),
            (&[0x0706_0504_0302_0100], 0x93f5_f579_9a93_2462),
            (
                &[0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
                0x3f2a_cc7f_57c2_9bdb,
            ),
        ] {
            assert_eq!(siphash24(key, words), hash);
        }
    }

    #[test]
    fn every_half_of_the_secret_counts() {
        let address = "1.2.3.4:8333".parse().unwrap();
        let order = |secret| {
            let keys = Keys::new(secret);
            (keys.rank(address), keys.place(address.ip()).ring)
        };
        let base = order([0; 32]);
        for at in 0..32 {
            let mut secret = [0; 32];
            secret[at] = 1;
            let changed = order(secret);
            assert_eq!(changed.0 != base.0, at < 16, "byte {at}");
            assert_eq!(changed.1 != base.1, at >= 16, "byte {at}");
        }
    }
}
