//! Order that nobody outside can foresee: SipHash-2-4 under the book's secret.
//!
//! Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF". The standard library's is
//! 1-3 with an algorithm that may change, and order must not.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;

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
    let mut hasher = SipHasher24::new_with_keys(k0, k1);
    for word in words {
        hasher.write(&word.to_le_bytes());
    }
    hasher.finish()
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
