//! Reading and writing the primitive types of the wire: integers, CompactSize, strings, hashes.
//!
//! All integers are little-endian unless a name says `be`. Source of every rule here:
//! the node's `src/serialize.h` (shortest form of a CompactSize, `MAX_SIZE`).

use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};

use crate::arena::Arena;
use crate::error::DecodeError;
use crate::hash::Hash256;

/// The largest CompactSize that the node takes as a length or a count (`MAX_SIZE`).
pub const MAX_SIZE: u64 = 0xFFFF_FFFF;

/// A cursor over one payload.
///
/// Made from a `Bytes` it hands out slices that share the payload's memory; made from a plain
/// slice it copies what a message keeps. The frame decoder uses the second form for small
/// payloads, so that a 36-byte `inv` does not keep a whole read buffer alive.
///
/// ```
/// use p2p_proto::codec::Reader;
///
/// let mut reader = Reader::new(&[0x2a, 0, 0, 0, 0xfd, 0xfd, 0x00]);
/// assert_eq!(reader.u32("nonce")?, 42);
/// assert_eq!(reader.compact_size("count")?, 253);
/// assert!(reader.u8("more").is_err());
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    buf: &'a [u8],
    position: usize,
    kept: Kept<'a>,
}

/// Where that is which a message keeps.
#[derive(Debug, Clone, Copy)]
enum Kept<'a> {
    /// In memory of its own.
    Apart,
    /// Where it was read.
    There(&'a Bytes),
    /// With others; behind this payload so many bytes have come.
    Together(&'a RefCell<&'a mut Arena>, usize),
}

impl<'a> Reader<'a> {
    /// Reads from a slice; what is kept is copied.
    pub fn new(buf: &'a [u8]) -> Self {
        Self {
            buf,
            position: 0,
            kept: Kept::Apart,
        }
    }

    /// Reads from shared memory; what is kept shares it.
    pub fn shared(bytes: &'a Bytes) -> Self {
        Self {
            buf: bytes,
            position: 0,
            kept: Kept::There(bytes),
        }
    }

    /// Reads from a slice; what is kept is copied to an arena.
    pub(crate) fn into_arena(
        buf: &'a [u8],
        arena: &'a RefCell<&'a mut Arena>,
        behind: usize,
    ) -> Self {
        Self {
            buf,
            position: 0,
            kept: Kept::Together(arena, behind),
        }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left; so for every method below.
    #[inline]
    pub fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let left = self.remaining();
        if n > left {
            return Err(DecodeError::Truncated {
                field,
                needed: n as u64,
                left: left as u64,
            });
        }
        let slice = &self.buf[self.position..self.position + n];
        self.position += n;
        Ok(slice)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(field)?[0])
    }

    /// A little-endian u16.
    #[inline]
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// A big-endian u16: ports.
    #[inline]
    pub fn u16_be(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    /// A little-endian u32.
    #[inline]
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// A little-endian u64.
    #[inline]
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A little-endian i32.
    #[inline]
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_le_bytes(self.array(field)?))
    }

    /// A little-endian i64.
    #[inline]
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array(field)?))
    }

    /// A bool: any byte but zero is true.
    #[inline]
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        Ok(self.u8(field)? != 0)
    }

    /// A hash in wire order.
    #[inline]
    pub fn hash(&mut self, field: &'static str) -> Result<Hash256, DecodeError> {
        Ok(Hash256::from_bytes(self.array(field)?))
    }

    /// A CompactSize in its shortest form.
    ///
    /// # Errors
    /// [`DecodeError::NonCanonical`] when a shorter form exists.
    #[inline]
    pub fn compact_size(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let (value, least) = match self.u8(field)? {
            0xFD => (u64::from(self.u16(field)?), 0xFD),
            0xFE => (u64::from(self.u32(field)?), 0x1_0000),
            0xFF => (self.u64(field)?, 0x1_0000_0000),
            byte => return Ok(u64::from(byte)),
        };
        if value < least {
            return Err(DecodeError::NonCanonical { field, value });
        }
        Ok(value)
    }

    /// A CompactSize that announces items of at least `least` bytes each (1 or more).
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] when it is over [`MAX_SIZE`], [`DecodeError::Truncated`] when
    /// that many items cannot fit in what is left: nothing need be reserved for what is not there.
    #[inline]
    pub fn count(&mut self, least: usize, field: &'static str) -> Result<usize, DecodeError> {
        let value = self.compact_size(field)?;
        if value > MAX_SIZE {
            return Err(DecodeError::TooLarge {
                field,
                value,
                max: MAX_SIZE,
            });
        }
        let needed = value.saturating_mul(least as u64);
        let left = self.remaining() as u64;
        if needed > left {
            return Err(DecodeError::Truncated {
                field,
                needed,
                left,
            });
        }
        // What fits in memory fits in a usize.
        Ok(value as usize)
    }

    /// As [`count`](Self::count), and no more than `max`.
    #[inline]
    pub fn count_up_to(
        &mut self,
        max: usize,
        least: usize,
        field: &'static str,
    ) -> Result<usize, DecodeError> {
        let mut ahead = self.clone();
        let value = ahead.compact_size(field)?;
        if value > max as u64 {
            return Err(DecodeError::TooLarge {
                field,
                value,
                max: max as u64,
            });
        }
        self.count(least, field)
    }

    /// The next `n` bytes, kept: shared or copied (see the type).
    #[inline]
    pub fn bytes(&mut self, n: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        let start = self.position;
        let slice = self.take(n, field)?;
        Ok(self.keep(slice, start))
    }

    /// A CompactSize length of at most `max`, then that many bytes.
    #[inline]
    pub fn var_bytes(&mut self, max: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        let n = self.count_up_to(max, 1, field)?;
        self.bytes(n, field)
    }

    /// What was read since `start` (a former [`position`](Self::position)), kept; nothing, if
    /// `start` lies ahead.
    pub fn since(&self, start: usize) -> Bytes {
        let start = start.min(self.position);
        self.keep(&self.buf[start..self.position], start)
    }

    /// All that is left, kept.
    pub fn rest(&mut self) -> Bytes {
        let start = self.position;
        self.position = self.buf.len();
        self.since(start)
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.buf.len() - self.position
    }

    /// Whether nothing is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    #[inline]
    fn keep(&self, slice: &[u8], start: usize) -> Bytes {
        match self.kept {
            Kept::Apart => Bytes::copy_from_slice(slice),
            Kept::There(bytes) => bytes.slice(start..start + slice.len()),
            Kept::Together(arena, behind) => arena.borrow_mut().copy(slice, behind),
        }
    }
}

/// The wire types that [`BufMut`] does not know.
///
/// ```
/// use bytes::BytesMut;
/// use p2p_proto::codec::{Reader, WriteExt};
///
/// let mut out = BytesMut::new();
/// out.put_compact_size(300);
/// assert_eq!(out[..], [0xFD, 0x2C, 0x01]);
/// assert_eq!(Reader::new(&out).compact_size("count"), Ok(300));
/// ```
pub trait WriteExt {
    /// A CompactSize, in its shortest form.
    fn put_compact_size(&mut self, value: u64);
    /// A CompactSize length, then the bytes.
    fn put_var_bytes(&mut self, bytes: &[u8]);
    /// A hash, in wire order.
    fn put_hash(&mut self, hash: &Hash256);
    /// One byte, 0 or 1.
    fn put_bool(&mut self, value: bool);
}

impl WriteExt for BytesMut {
    #[inline]
    fn put_compact_size(&mut self, value: u64) {
        match value {
            0..=0xFC => self.put_u8(value as u8),
            0xFD..=0xFFFF => {
                self.put_u8(0xFD);
                self.put_u16_le(value as u16);
            }
            0x1_0000..=0xFFFF_FFFF => {
                self.put_u8(0xFE);
                self.put_u32_le(value as u32);
            }
            _ => {
                self.put_u8(0xFF);
                self.put_u64_le(value);
            }
        }
    }

    fn put_var_bytes(&mut self, bytes: &[u8]) {
        self.put_compact_size(bytes.len() as u64);
        self.put_slice(bytes);
    }

    #[inline]
    fn put_hash(&mut self, hash: &Hash256) {
        self.put_slice(hash.as_bytes());
    }

    fn put_bool(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }
}

/// The bytes that a CompactSize of this value takes: 1, 3, 5 or 9.
pub const fn compact_size_len(value: u64) -> usize {
    match value {
        0..=0xFC => 1,
        0xFD..=0xFFFF => 3,
        0x1_0000..=0xFFFF_FFFF => 5,
        _ => 9,
    }
}

/// The bytes that [`WriteExt::put_var_bytes`] writes.
pub(crate) const fn var_bytes_len(bytes: &[u8]) -> usize {
    compact_size_len(bytes.len() as u64) + bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_size_edges_round_trip_in_their_shortest_form() {
        for value in [
            0,
            0xFC,
            0xFD,
            0xFFFF,
            0x1_0000,
            0xFFFF_FFFF,
            0x1_0000_0000,
            u64::MAX,
        ] {
            let mut out = BytesMut::new();
            out.put_compact_size(value);
            assert_eq!(out.len(), compact_size_len(value));
            let mut reader = Reader::new(&out);
            assert_eq!(reader.compact_size("n"), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn longer_forms_than_needed_are_refused() {
        for bytes in [
            &[0xFD, 0xFC, 0x00][..],
            &[0xFE, 0xFF, 0xFF, 0x00, 0x00],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0],
        ] {
            assert!(matches!(
                Reader::new(bytes).compact_size("n"),
                Err(DecodeError::NonCanonical { .. })
            ));
        }
    }

    #[test]
    fn a_count_that_cannot_fit_is_refused_before_anything_is_reserved() {
        let mut reader = Reader::new(&[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3]);
        assert_eq!(
            reader.count(36, "items"),
            Err(DecodeError::Truncated {
                field: "items",
                needed: 0xFFFF_FFFF * 36,
                left: 3
            })
        );
        let mut reader = Reader::new(&[3, 1, 2, 3]);
        assert!(matches!(
            reader.count(usize::MAX, "items"),
            Err(DecodeError::Truncated { .. })
        ));
        let mut reader = Reader::new(&[0xFF, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert!(matches!(
            reader.count(1, "items"),
            Err(DecodeError::TooLarge { .. })
        ));
    }

    #[test]
    fn what_was_read_since_a_place_ahead_is_nothing() {
        let payload = Bytes::from_static(b"abc");
        let mut reader = Reader::shared(&payload);
        reader.u8("a").unwrap();
        assert_eq!(reader.since(0), b"a"[..]);
        assert_eq!(reader.since(2), b""[..]);
        assert_eq!(reader.since(usize::MAX), b""[..]);
    }

    #[test]
    fn kept_bytes_share_a_shared_payload_and_copy_from_a_slice() {
        let payload = Bytes::from_static(b"\x03abcdef");
        let kept = Reader::shared(&payload).var_bytes(9, "s").unwrap();
        assert_eq!(kept, b"abc"[..]);
        assert_eq!(kept.as_ptr(), payload[1..].as_ptr());
        let kept = Reader::new(&payload).var_bytes(9, "s").unwrap();
        assert_ne!(kept.as_ptr(), payload[1..].as_ptr());
    }
}
