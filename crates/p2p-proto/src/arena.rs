//! Memory that small payloads share.

use bytes::{Bytes, BytesMut};

/// The most memory that payloads share, and so the most that one of them keeps alive: a page,
/// which holds a dozen announcements of eight transactions.
pub const ARENA_BLOCK: usize = 4096;

/// Payloads above this many bytes have memory of their own: a quarter of a block at least is
/// filled before the next is taken.
const SHARE_UP_TO: usize = ARENA_BLOCK / 4;

/// Where the small payloads of one read are copied to, side by side: one allocation serves a
/// dozen of them, and they lie close together for whoever reads them next.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    block: BytesMut,
}

impl Arena {
    /// A copy of bytes behind which `behind` more have come; what those may need is reserved with
    /// it. What comes alone or is long has memory of its own.
    pub(crate) fn copy(&mut self, bytes: &[u8], behind: usize) -> Bytes {
        let len = bytes.len();
        if self.block.capacity() < len {
            let room = ARENA_BLOCK.min(len + behind);
            if len > SHARE_UP_TO || room < 2 * len {
                return Bytes::copy_from_slice(bytes);
            }
            self.block = BytesMut::with_capacity(room);
        }
        self.block.extend_from_slice(bytes);
        self.block.split().freeze()
    }

    /// Lets go of the block: the payloads in it keep it.
    pub(crate) fn close(&mut self) {
        self.block = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_that_come_together_share_a_block() {
        let mut arena = Arena::default();
        let all: Vec<Bytes> = (0..14).map(|n| arena.copy(&[n; 289], 60_000)).collect();
        for (n, payload) in all.iter().enumerate() {
            assert_eq!(payload[..], [n as u8; 289]);
        }
        let start = all[0].as_ptr() as usize;
        for (n, payload) in all.iter().enumerate() {
            assert_eq!(payload.as_ptr() as usize, start + 289 * n);
        }
        // The block is full.
        let next = arena.copy(&[14; 289], 60_000).as_ptr() as usize;
        assert!(!(start..start + ARENA_BLOCK).contains(&next));
    }

    #[test]
    fn no_more_is_reserved_than_has_come() {
        let mut arena = Arena::default();
        let first = arena.copy(&[1; 100], 400);
        assert_eq!(arena.block.capacity(), 400);
        arena.close();
        assert_eq!(arena.block.capacity(), 0);
        assert_eq!(first[..], [1; 100]);
    }

    #[test]
    fn what_comes_alone_or_is_long_has_memory_of_its_own() {
        let mut arena = Arena::default();
        assert_eq!(arena.copy(&[1; 100], 50), [1; 100][..]);
        let long = [1; SHARE_UP_TO + 1];
        assert_eq!(arena.copy(&long, 60_000), long[..]);
        assert_eq!(arena.block.capacity(), 0);
    }
}
