//! What comes out of the splitter, and what it knows at the end.

use std::fmt;

use bytes::Bytes;

use crate::hash::Hash256;
use crate::message::{BlockHeader, Tx};

/// What comes out of a [`TxSplitter`](crate::TxSplitter): the header, then the transactions in
/// order, each either whole or as begin, chunks, end.
///
/// ```
/// use p2p_proto::{Block, BlockHeader, BlockPart, Tx, TxSplitter};
///
/// let block = Block::new(BlockHeader::from_bytes(&[0; 80]), &[Tx::new(1, &[], &[], 0)?]);
/// let mut splitter = TxSplitter::new();
/// splitter.push(block.as_bytes().clone());
/// assert!(matches!(splitter.poll()?, Some(BlockPart::Header { tx_count: 1, .. })));
/// assert!(matches!(splitter.poll()?, Some(BlockPart::Tx { .. })));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockPart {
    /// The header, first.
    Header {
        /// The block's header.
        header: BlockHeader,
        /// The announced number of transactions; it may be more than what comes.
        tx_count: u64,
    },
    /// A whole transaction.
    Tx {
        /// The transaction. Keeping it keeps the chunk that it is a slice of.
        tx: Tx,
        /// Its id.
        txid: Hash256,
    },
    /// A transaction over the limit begins.
    TxBegin,
    /// The next bytes of that transaction. Never empty.
    TxChunk(Bytes),
    /// The transaction is complete and its structure was sound.
    TxEnd {
        /// Its id.
        txid: Hash256,
        /// Its length, in bytes.
        length: u64,
    },
}

/// What a [`TxSplitter`](crate::TxSplitter) knows of a block when it is complete.
///
/// ```
/// use p2p_proto::{Block, BlockHeader, Tx, TxSplitter};
///
/// // The header names another merkle root than these transactions have.
/// let block = Block::new(BlockHeader::from_bytes(&[0; 80]), &[Tx::new(1, &[], &[], 0)?]);
/// let mut splitter = TxSplitter::new();
/// splitter.push(block.as_bytes().clone());
/// while splitter.poll()?.is_some() {}
/// let summary = splitter.finish()?;
/// assert_eq!((summary.tx_count, summary.merkle_ok), (1, false));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockSummary {
    /// The block's header.
    pub header: BlockHeader,
    /// How many transactions there were.
    pub tx_count: u64,
    /// The merkle root of the transactions that came; zero for none.
    pub merkle_root: Hash256,
    /// Whether these are the transactions of the header: the root is the header's, and the list
    /// is not one that borrows its root from a shorter one (see
    /// [`MerkleTree::is_root`](crate::MerkleTree::is_root)).
    pub merkle_ok: bool,
}

impl fmt::Debug for BlockPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { header, tx_count } => f
                .debug_struct("Header")
                .field("hash", &header.hash())
                .field("tx_count", tx_count)
                .finish(),
            Self::Tx { tx, txid } => f
                .debug_struct("Tx")
                .field("txid", txid)
                .field("len", &tx.len())
                .finish(),
            Self::TxBegin => f.write_str("TxBegin"),
            Self::TxChunk(bytes) => f.debug_tuple("TxChunk").field(&bytes.len()).finish(),
            Self::TxEnd { txid, length } => f
                .debug_struct("TxEnd")
                .field("txid", txid)
                .field("length", length)
                .finish(),
        }
    }
}
