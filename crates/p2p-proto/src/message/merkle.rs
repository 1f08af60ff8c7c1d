//! Merkle trees: the root of any number of transaction ids, and `merkleblock`.
//!
//! Source: BIP37; the node's `src/merkleblock.cpp`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::message::Payload;
use crate::message::header::BlockHeader;

/// The merkle tree of a block, built one transaction id at a time.
///
/// Holds one hash for each level: 32 of them for four thousand million transactions.
///
/// ```
/// use p2p_proto::{Hash256, MerkleTree};
///
/// let [a, b, c] = [b"a", b"b", b"c"].map(|text| Hash256::of(text));
/// let mut tree = MerkleTree::new();
/// for txid in [a, b, c] {
///     tree.push(txid);
/// }
/// // The last of an odd level is paired with itself.
/// let root = Hash256::of_pair(&Hash256::of_pair(&a, &b), &Hash256::of_pair(&c, &c));
/// assert_eq!(tree.root(), Some(root));
/// assert!(tree.is_root(&root));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MerkleTree {
    /// One root of a full subtree for each bit that is set in `len`, the largest first.
    subtrees: Vec<Hash256>,
    len: u64,
    mutated: bool,
}

impl MerkleTree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next transaction id.
    pub fn push(&mut self, txid: Hash256) {
        let mut node = txid;
        // As when one is added to a binary number: each trailing one carries.
        for _ in 0..self.len.trailing_ones() {
            let Some(left) = self.subtrees.pop() else {
                break;
            };
            self.mutated |= left == node;
            node = Hash256::of_pair(&left, &node);
        }
        self.subtrees.push(node);
        self.len += 1;
    }

    /// The root of what was pushed; `None` when that is nothing.
    pub fn root(&self) -> Option<Hash256> {
        let mut subtrees = self.subtrees.iter().rev();
        let mut node = *subtrees.next()?;
        // On the lowest level with an odd number of nodes: the last of them, and their number.
        let mut full = self.len >> self.len.trailing_zeros();
        if full == 1 {
            return Some(node);
        }
        node = Hash256::of_pair(&node, &node);
        full >>= 1;
        // From here on `node` is the last of its level, right of `full` complete subtrees.
        while full > 0 {
            let left = if full & 1 == 1 {
                *subtrees.next()?
            } else {
                node
            };
            node = Hash256::of_pair(&left, &node);
            full >>= 1;
        }
        Some(node)
    }

    /// Whether this root stands for exactly the transactions that were pushed.
    ///
    /// False for another root, and for a list in which one half of a pair repeats the other:
    /// that list shares its root with a shorter one (CVE-2012-2459), so the root does not tell
    /// which of them is the block.
    pub fn is_root(&self, root: &Hash256) -> bool {
        !self.mutated && self.root().as_ref() == Some(root)
    }

    /// How many were pushed.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Extend<Hash256> for MerkleTree {
    fn extend<I: IntoIterator<Item = Hash256>>(&mut self, txids: I) {
        for txid in txids {
            self.push(txid);
        }
    }
}

impl FromIterator<Hash256> for MerkleTree {
    fn from_iter<I: IntoIterator<Item = Hash256>>(txids: I) -> Self {
        let mut tree = Self::new();
        tree.extend(txids);
        tree
    }
}

/// `merkleblock`: the part of a block's merkle tree that leads to the transactions which matched
/// a filter. Obsolete; sent only in answer to a `getdata` of type 3.
///
/// A view over the payload, kept as it came. The tree is not checked.
///
/// ```
/// use p2p_proto::{BlockHeader, Hash256, MerkleBlock};
///
/// let header = BlockHeader::from_bytes(&[0; 80]);
/// let coinbase = Hash256::of(b"coinbase");
/// let block = MerkleBlock::new(header, 1, [coinbase], &[0b1]);
/// assert!(block.hashes().eq([coinbase]));
/// assert_eq!(block.flags(), [0b1]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct MerkleBlock {
    raw: Bytes,
    header: BlockHeader,
    total: u32,
    hashes: usize,
}

impl MerkleBlock {
    /// The part of a block of `total` transactions that these hashes and flags are.
    pub fn new(
        header: BlockHeader,
        total: u32,
        hashes: impl IntoIterator<Item = Hash256>,
        flags: &[u8],
    ) -> Self {
        let mut list = BytesMut::new();
        for hash in hashes {
            list.put_hash(&hash);
        }
        let hashes = list.len() / 32;
        let mut out = BytesMut::with_capacity(
            HASH_COUNT_AT
                + compact_size_len(hashes as u64)
                + list.len()
                + compact_size_len(flags.len() as u64)
                + flags.len(),
        );
        header.encode(&mut out);
        out.put_u32_le(total);
        out.put_compact_size(hashes as u64);
        out.put_slice(&list);
        out.put_var_bytes(flags);
        Self {
            raw: out.freeze(),
            header,
            total,
            hashes,
        }
    }

    /// The block's header.
    pub fn header(&self) -> BlockHeader {
        self.header
    }

    /// How many transactions the block has.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Hashes of the tree, depth first.
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = Hash256> {
        let bytes = self.raw.get(self.hashes_at()..self.hashes_end());
        let (hashes, _) = bytes.unwrap_or_default().as_chunks();
        hashes.iter().copied().map(Hash256::from_bytes)
    }

    /// One bit for each node, depth first, the lowest bit of a byte first: 1 where a match lies
    /// below.
    pub fn flags(&self) -> &[u8] {
        let rest = self.raw.get(self.hashes_end()..).unwrap_or_default();
        let mut reader = Reader::new(rest);
        let flags = reader
            .count(1, FLAGS)
            .and_then(|len| reader.take(len, FLAGS));
        flags.unwrap_or_default()
    }

    fn hashes_at(&self) -> usize {
        HASH_COUNT_AT + compact_size_len(self.hashes as u64)
    }

    fn hashes_end(&self) -> usize {
        self.hashes_at() + 32 * self.hashes
    }
}

/// Behind the header and the number of transactions.
const HASH_COUNT_AT: usize = BlockHeader::LEN + 4;
const HASHES: &str = "hashes";
const FLAGS: &str = "flags";

impl Payload for MerkleBlock {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        let header = BlockHeader::read(reader)?;
        let total = reader.u32("total transactions")?;
        let hashes = reader.count(32, HASHES)?;
        reader.take(32 * hashes, HASHES)?;
        let flags = reader.count(1, FLAGS)?;
        reader.take(flags, FLAGS)?;
        Ok(Self {
            raw: reader.since(start),
            header,
            total,
            hashes,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for MerkleBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MerkleBlock")
            .field("hash", &self.header.hash())
            .field("total", &self.total)
            .field("hashes", &self.hashes)
            .field("flags", &self.flags().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::tx::testing::{COINBASE_170_ID, HEADER_170, PAYMENT_170_ID, hash, hex};

    #[test]
    fn the_root_of_block_170_is_in_its_header() {
        let header = BlockHeader::read(&mut Reader::new(&hex(&[HEADER_170]))).unwrap();
        let tree: MerkleTree = [COINBASE_170_ID, PAYMENT_170_ID]
            .map(hash)
            .into_iter()
            .collect();
        assert_eq!(tree.root(), Some(header.merkle_root));
        assert!(tree.is_root(&header.merkle_root));
    }

    #[test]
    fn nothing_has_no_root_and_one_is_its_own() {
        assert_eq!(MerkleTree::new().root(), None);
        assert!(!MerkleTree::new().is_root(&Hash256::ZERO));
        let txid = Hash256::of(b"coinbase");
        assert_eq!(MerkleTree::from_iter([txid]).root(), Some(txid));
    }

    #[test]
    fn a_list_that_shares_its_root_with_a_shorter_one_is_refused() {
        for (honest, repeated) in [(3, 1), (6, 2), (5, 1), (12, 4), (7, 1)] {
            let mut txids: Vec<_> = (0..honest).map(leaf).collect();
            let tree = MerkleTree::from_iter(txids.clone());
            let root = tree.root().unwrap();
            assert!(tree.is_root(&root));
            txids.extend_from_within(honest as usize - repeated..);
            let tree = MerkleTree::from_iter(txids);
            assert_eq!(tree.root(), Some(root));
            assert!(!tree.is_root(&root));
        }
    }

    #[test]
    fn merkleblock_170_round_trips() {
        let payload = hex(&[
            HEADER_170,
            "02000000",
            "02",
            "82501c1178fa0b222c1f3d474ec726b832013f0a532b44bb620cce8624a5feb1",
            "169e1e83e930853391bc6f35f605c6754cfead57cf8387639d3b4096c54f18f4",
            "0105",
        ]);
        let block = MerkleBlock::decode(&mut Reader::shared(&payload)).unwrap();
        let hashes = [COINBASE_170_ID, PAYMENT_170_ID].map(hash);
        assert_eq!(block.total(), 2);
        assert!(block.hashes().eq(hashes));
        assert_eq!(block.flags(), [0b101]);
        assert_eq!(block.raw().map(|raw| raw.as_ptr()), Some(payload.as_ptr()));
        assert_eq!(block.raw(), Some(&payload));
        assert_eq!(MerkleBlock::new(block.header(), 2, hashes, &[0b101]), block);
    }

    #[test]
    fn a_merkleblock_that_announces_more_than_it_has_is_truncated() {
        for counts in ["feffffffff", "00feffffffff", "01"] {
            let payload = hex(&[HEADER_170, "02000000", counts]);
            assert!(matches!(
                MerkleBlock::decode(&mut Reader::new(&payload)),
                Err(DecodeError::Truncated { .. })
            ));
        }
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_tree_built_level_by_level(len in 1_u32..600) {
            let mut level: Vec<_> = (0..len).map(leaf).collect();
            let tree = MerkleTree::from_iter(level.iter().copied());
            prop_assert_eq!(tree.len(), u64::from(len));
            prop_assert!(tree.subtrees.len() <= 10);
            while level.len() > 1 {
                level = level
                    .chunks(2)
                    .map(|pair| Hash256::of_pair(&pair[0], pair.last().unwrap()))
                    .collect();
            }
            prop_assert_eq!(tree.root(), Some(level[0]));
            prop_assert!(tree.is_root(&level[0]));
        }
    }

    fn leaf(n: u32) -> Hash256 {
        Hash256::of(&n.to_le_bytes())
    }
}
