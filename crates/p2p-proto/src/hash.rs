//! Double SHA-256: hashes, checksums, and the incremental form of both.

use std::fmt;
use std::str::FromStr;

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A 256-bit hash: of a block, a transaction or a merkle node.
///
/// Kept in wire order; shown, parsed and serialised the way people write it, as reversed hex.
///
/// ```
/// use p2p_proto::Hash256;
///
/// let genesis = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
/// let hash: Hash256 = genesis.parse()?;
/// assert_eq!(hash.as_bytes()[31], 0x00);
/// assert_eq!(hash.to_string(), genesis);
/// # Ok::<(), p2p_proto::ParseHashError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash256([u8; 32]);

impl Hash256 {
    /// The all-zero hash: "no stop" in a locator, the parent of the genesis block.
    pub const ZERO: Self = Self([0; 32]);

    /// From the bytes as they are on the wire.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes as they are on the wire.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The double SHA-256 of `data`.
    pub fn of(data: &[u8]) -> Self {
        Self(of_digest(&state_of(data)))
    }

    /// The double SHA-256 of two hashes side by side: their parent in a merkle tree.
    pub fn of_pair(left: &Self, right: &Self) -> Self {
        let mut pair = [0; 64];
        pair[..32].copy_from_slice(&left.0);
        pair[32..].copy_from_slice(&right.0);
        Self::of(&pair)
    }
}

impl fmt::Display for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0.iter().rev()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash256 {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return Err(ParseHashError::Length { found: text.len() });
        }
        let digit = |at: usize| match text[at] {
            byte @ b'0'..=b'9' => Ok(byte - b'0'),
            byte @ b'a'..=b'f' => Ok(byte - b'a' + 10),
            byte @ b'A'..=b'F' => Ok(byte - b'A' + 10),
            _ => Err(ParseHashError::Digit { at }),
        };
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().rev().enumerate() {
            *byte = digit(2 * i)? << 4 | digit(2 * i + 1)?;
        }
        Ok(Self(bytes))
    }
}

/// Text that is not a hash.
///
/// ```
/// use p2p_proto::Hash256;
///
/// assert!("00ff".parse::<Hash256>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseHashError {
    /// Not 64 characters long.
    #[error("a hash has 64 hex digits, not {found}")]
    Length {
        /// Bytes in the text.
        found: usize,
    },
    /// Something else than a hex digit.
    #[error("character {at} is not a hex digit")]
    Digit {
        /// Its position, from 0.
        at: usize,
    },
}

/// Double SHA-256 of data that comes in pieces.
///
/// ```
/// use p2p_proto::{Hash256, Sha256d};
///
/// let mut hasher = Sha256d::new();
/// hasher.update(b"he");
/// hasher.update(b"llo");
/// assert_eq!(hasher.finish(), Hash256::of(b"hello"));
/// ```
#[derive(Clone, Default)]
pub struct Sha256d(Sha256);

impl Sha256d {
    /// An empty hasher.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> Hash256 {
        let digest = self.0.finalize();
        let (words, _) = digest.as_chunks();
        let mut state = State::default();
        for (word, bytes) in state.iter_mut().zip(words) {
            *word = u32::from_be_bytes(*bytes);
        }
        Hash256(of_digest(&state))
    }

    /// The frame checksum of all pieces: the first four bytes of the hash.
    pub fn checksum(self) -> [u8; 4] {
        first_four(&self.finish())
    }
}

impl fmt::Debug for Sha256d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sha256d").finish_non_exhaustive()
    }
}

/// The checksum of a frame's payload: the first four bytes of its double SHA-256.
///
/// ```
/// assert_eq!(p2p_proto::checksum(b""), [0x5d, 0xf6, 0xe0, 0xe2]);
/// ```
#[inline]
pub fn checksum(payload: &[u8]) -> [u8; 4] {
    first_four(&Hash256::of(payload))
}

/// What SHA-256 works on: a digest, once all blocks have been through it.
type State = [u32; 8];

/// What it begins with (FIPS 180-4, 5.3.3).
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
const BLOCK: usize = 64;
/// Where the length stands that ends the last block.
const LENGTH_AT: usize = BLOCK - 8;

/// SHA-256 of data that is all there.
///
/// Most messages are a few blocks long, and a hasher that may be given more at any time takes as
/// long to end as a block takes: here the padding is written where it belongs at once.
fn state_of(data: &[u8]) -> State {
    let mut state = INITIAL;
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    compress256(&mut state, blocks);
    let mut last = [[0; BLOCK]; 2];
    let bytes = last.as_flattened_mut();
    bytes[..rest.len()].copy_from_slice(rest);
    bytes[rest.len()] = 0x80;
    // The length takes a block of its own where no room is left for it.
    let count = 1 + usize::from(rest.len() >= LENGTH_AT);
    let bits = 8 * data.len() as u64;
    bytes[count * BLOCK - 8..count * BLOCK].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, &last[..count]);
    state
}

/// SHA-256 of a digest: one block.
fn of_digest(digest: &State) -> [u8; 32] {
    let mut block = [0; BLOCK];
    put_words(digest, &mut block);
    block[32] = 0x80;
    block[LENGTH_AT..].copy_from_slice(&256_u64.to_be_bytes());
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    let mut hash = [0; 32];
    put_words(&state, &mut hash);
    hash
}

fn put_words(state: &State, out: &mut [u8]) {
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

fn first_four(hash: &Hash256) -> [u8; 4] {
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_reversed_hex_both_ways() {
        let mut bytes = [0; 32];
        bytes[0] = 0xAB;
        let hash = Hash256::from_bytes(bytes);
        assert!(hash.to_string().ends_with("00ab"));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
        assert_eq!(format!("{hash:?}"), hash.to_string());
    }

    #[test]
    fn data_of_every_length_has_the_hash_that_the_library_finds() {
        let data: Vec<u8> = (0..400).map(|i| i as u8).collect();
        for end in 0..data.len() {
            let data = &data[..end];
            let expected: [u8; 32] = Sha256::digest(Sha256::digest(data)).into();
            assert_eq!(Hash256::of(data).as_bytes(), &expected, "{end}");
            let mut hasher = Sha256d::new();
            let (one, other) = data.split_at(end / 3);
            hasher.update(one);
            hasher.update(other);
            assert_eq!(hasher.finish().as_bytes(), &expected, "{end}");
        }
    }

    #[test]
    fn bad_text_says_what_is_wrong() {
        assert_eq!(
            "00".parse::<Hash256>(),
            Err(ParseHashError::Length { found: 2 })
        );
        let text = format!("{}g", "0".repeat(63));
        assert_eq!(
            text.parse::<Hash256>(),
            Err(ParseHashError::Digit { at: 63 })
        );
    }
}
