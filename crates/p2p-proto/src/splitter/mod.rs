//! Takes a streamed block apart: payload chunks in, transactions out, in bounded memory.
//!
//! Source: the node's `src/net/msg_buffer.cpp`. An extended frame has no checksum: the merkle root
//! is what tells that its payload arrived as it was sent.

mod open;
mod part;
#[cfg(test)]
mod tests;

pub use part::{BlockPart, BlockSummary};

use std::collections::VecDeque;
use std::fmt;
use std::mem;

use bytes::Bytes;

use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::message::{BlockHeader, MerkleTree};
use open::{Head, OpenTx};

/// The longest transaction that comes out in one piece unless told otherwise, in bytes: 4 MiB,
/// far above what is usual, and little enough to hold for each of many peers.
pub const MAX_WHOLE_TX: usize = 4 * 1024 * 1024;

/// Turns the payload of a streamed `block` into its transactions.
///
/// The contract: [`push`](Self::push) a chunk, [`poll`](Self::poll) until `None`, and so on;
/// [`finish`](Self::finish) after the last chunk. Chunks may be cut anywhere: which parts come
/// out does not depend on it, only how [`BlockPart::TxChunk`]s are cut.
///
/// A transaction of at most [`MAX_WHOLE_TX`] bytes comes out whole: as a slice of its chunk when
/// it lies inside one, else gathered in memory that grows as its bytes arrive. A longer one comes
/// out in pieces, so no more than one such buffer is held, whatever the block announces. Every
/// byte is scanned once and hashed once.
///
/// ```
/// use bytes::Bytes;
/// use p2p_proto::{Block, BlockHeader, BlockPart, Tx, TxSplitter};
///
/// let coinbase = Tx::new(1, &[], &[], 0)?;
/// let mut header = BlockHeader::from_bytes(&[0; 80]);
/// header.merkle_root = coinbase.txid();
/// let payload = Block::new(header, &[coinbase.clone()]).as_bytes().clone();
///
/// let mut splitter = TxSplitter::new();
/// let mut txs = Vec::new();
/// for chunk in payload.chunks(33) {
///     splitter.push(Bytes::copy_from_slice(chunk));
///     while let Some(part) = splitter.poll()? {
///         if let BlockPart::Tx { tx, .. } = part {
///             txs.push(tx);
///         }
///     }
/// }
/// assert_eq!(txs, [coinbase]);
/// assert!(splitter.finish()?.merkle_ok);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
pub struct TxSplitter {
    chunks: VecDeque<Bytes>,
    parts: VecDeque<BlockPart>,
    max_tx: usize,
    head: Head,
    /// The header and the number of transactions, once they are read.
    block: Option<(BlockHeader, u64)>,
    txs_left: u64,
    tx: OpenTx,
    merkle: MerkleTree,
    failed: Option<DecodeError>,
}

impl TxSplitter {
    /// For one block, with transactions up to [`MAX_WHOLE_TX`] coming out whole.
    pub fn new() -> Self {
        Self::with_max_tx(MAX_WHOLE_TX)
    }

    /// For one block, with transactions up to `max_tx` bytes coming out whole.
    pub fn with_max_tx(max_tx: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            parts: VecDeque::new(),
            max_tx,
            head: Head::default(),
            block: None,
            txs_left: 0,
            tx: OpenTx::new(),
            merkle: MerkleTree::new(),
            failed: None,
        }
    }

    /// The next piece of the payload.
    ///
    /// [`poll`](Self::poll) must have returned `None` or an error before: what is pushed earlier
    /// waits in a queue, which is memory.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() && self.failed.is_none() {
            self.chunks.push_back(chunk);
        }
    }

    /// The next part; `None` asks for more payload, or for [`finish`](Self::finish).
    ///
    /// # Errors
    /// As [`Tx::parse`](crate::Tx::parse) for the transaction at hand, but for its being
    /// incomplete. The block cannot be read on: every later call returns the same error.
    pub fn poll(&mut self) -> Result<Option<BlockPart>, DecodeError> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(Some(part));
            }
            if let Some(error) = self.failed {
                return Err(error);
            }
            let Some(chunk) = self.chunks.pop_front() else {
                return Ok(None);
            };
            if let Err(error) = self.read(chunk) {
                self.failed = Some(error);
                self.chunks.clear();
            }
        }
    }

    /// The end of the payload. Bytes after the last transaction were ignored; parts that were
    /// not polled are dropped.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when the block is not complete, or the error that
    /// [`poll`](Self::poll) returned.
    pub fn finish(mut self) -> Result<BlockSummary, DecodeError> {
        while self.poll()?.is_some() {}
        let Some((header, tx_count)) = self.block else {
            return Err(self.head.truncated());
        };
        if self.txs_left > 0 {
            return Err(self.tx.scanner.truncated());
        }
        Ok(BlockSummary {
            header,
            tx_count,
            merkle_root: self.merkle.root().unwrap_or(Hash256::ZERO),
            merkle_ok: self.merkle.is_root(&header.merkle_root),
        })
    }

    /// Reads a chunk up to the end of the header or transaction at hand, and puts the rest back.
    fn read(&mut self, mut chunk: Bytes) -> Result<(), DecodeError> {
        if self.block.is_none() {
            self.read_head(&mut chunk)?;
        } else if self.txs_left == 0 {
            return Ok(());
        } else if let Some(end) = self.tx.scanner.feed(&chunk)? {
            self.end_tx(chunk.split_to(end));
        } else {
            self.tx
                .extend(mem::take(&mut chunk), self.max_tx, &mut self.parts);
        }
        if !chunk.is_empty() {
            self.chunks.push_front(chunk);
        }
        Ok(())
    }

    fn read_head(&mut self, chunk: &mut Bytes) -> Result<(), DecodeError> {
        if let Some((header, tx_count)) = self.head.read(chunk)? {
            self.block = Some((header, tx_count));
            self.txs_left = tx_count;
            self.parts.push_back(BlockPart::Header { header, tx_count });
        }
        Ok(())
    }

    fn end_tx(&mut self, last: Bytes) {
        let tx = mem::replace(&mut self.tx, OpenTx::new());
        let txid = tx.finish(last, self.max_tx, &mut self.parts);
        self.merkle.push(txid);
        self.txs_left -= 1;
    }
}

impl Default for TxSplitter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TxSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxSplitter")
            .field("block", &self.block.map(|(header, _)| header.hash()))
            .field("txs_left", &self.txs_left)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
