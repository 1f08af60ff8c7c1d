//! Takes a streamed block apart: payload chunks in, transactions out, in bounded memory.
//!
//! Source: the node's `src/net/msg_buffer.cpp`. An extended frame has no checksum: the merkle root
//! is what tells that its payload arrived as it was sent.

use std::collections::VecDeque;
use std::fmt;
use std::mem;

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;
use crate::hash::{Hash256, Sha256d};
use crate::message::{BlockHeader, CompactSizeScanner, MerkleTree, Tx, TxScanner};

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

/// What comes out of a [`TxSplitter`]: the header, then the transactions in order, each either
/// whole or as begin, chunks, end.
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

/// What a [`TxSplitter`] knows of a block when it is complete.
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
    /// [`MerkleTree::is_root`]).
    pub merkle_ok: bool,
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
    /// As [`Tx::parse`] for the transaction at hand, but for its being incomplete. The block
    /// cannot be read on: every later call returns the same error.
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

/// The header and the transaction count, as they arrive.
struct Head {
    header: [u8; BlockHeader::LEN],
    len: usize,
    tx_count: CompactSizeScanner,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            header: [0; BlockHeader::LEN],
            len: 0,
            tx_count: CompactSizeScanner::default(),
        }
    }
}

impl Head {
    fn read(&mut self, chunk: &mut Bytes) -> Result<Option<(BlockHeader, u64)>, DecodeError> {
        let missing = &mut self.header[self.len..];
        let bytes = chunk.split_to(missing.len().min(chunk.len()));
        missing[..bytes.len()].copy_from_slice(&bytes);
        self.len += bytes.len();
        let mut at = 0;
        let tx_count = self.tx_count.feed(chunk, &mut at, "transaction count")?;
        drop(chunk.split_to(at));
        Ok(tx_count.map(|tx_count| (BlockHeader::from_bytes(&self.header), tx_count)))
    }

    fn truncated(&self) -> DecodeError {
        let missing = self.header.len() - self.len;
        DecodeError::Truncated {
            field: if missing > 0 {
                "block header"
            } else {
                "transaction count"
            },
            needed: missing.max(1) as u64,
            left: 0,
        }
    }
}

/// The transaction at hand: gathered until it is over the limit, passed on from there.
struct OpenTx {
    scanner: TxScanner,
    gathered: BytesMut,
    passed_on: Option<PassedOn>,
}

struct PassedOn {
    hasher: Sha256d,
    length: u64,
}

impl OpenTx {
    fn new() -> Self {
        Self {
            scanner: TxScanner::new(),
            gathered: BytesMut::new(),
            passed_on: None,
        }
    }

    /// Takes a piece that does not end it.
    fn extend(&mut self, piece: Bytes, max: usize, parts: &mut VecDeque<BlockPart>) {
        if self.fits(&piece, max) {
            self.gathered.extend_from_slice(&piece);
        } else {
            self.pass_on(piece, parts);
        }
    }

    /// Takes the piece that ends it; gives its id.
    fn finish(mut self, last: Bytes, max: usize, parts: &mut VecDeque<BlockPart>) -> Hash256 {
        if self.fits(&last, max) {
            let raw = if self.gathered.is_empty() {
                last
            } else {
                self.gathered.extend_from_slice(&last);
                self.gathered.freeze()
            };
            let tx = self.scanner.into_tx(raw);
            let txid = tx.txid();
            parts.push_back(BlockPart::Tx { tx, txid });
            return txid;
        }
        let PassedOn { hasher, length } = self.pass_on(last, parts);
        let (txid, length) = (mem::take(hasher).finish(), *length);
        parts.push_back(BlockPart::TxEnd { txid, length });
        txid
    }

    /// Hands out what was gathered, then the piece.
    fn pass_on(&mut self, piece: Bytes, parts: &mut VecDeque<BlockPart>) -> &mut PassedOn {
        let gathered = mem::take(&mut self.gathered).freeze();
        let passed_on = self.passed_on.get_or_insert_with(|| {
            parts.push_back(BlockPart::TxBegin);
            PassedOn {
                hasher: Sha256d::new(),
                length: 0,
            }
        });
        for bytes in [gathered, piece] {
            if !bytes.is_empty() {
                passed_on.hasher.update(&bytes);
                passed_on.length += bytes.len() as u64;
                parts.push_back(BlockPart::TxChunk(bytes));
            }
        }
        passed_on
    }

    /// Whether it can still come out whole with this piece.
    fn fits(&self, piece: &Bytes, max: usize) -> bool {
        self.passed_on.is_none() && piece.len() <= max.saturating_sub(self.gathered.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::message::tx::testing::{
        BLOCK_170, COINBASE_170_ID, HEADER_170, PAYMENT_170, PAYMENT_170_ID, any_tx, cut, hash, hex,
    };
    use crate::message::{Block, TxOutput};

    #[test]
    fn block_170_in_one_chunk_comes_out_without_a_copy() {
        let payload = hex(BLOCK_170);
        let (parts, summary) = split(TxSplitter::new(), [payload.clone()]);
        let [
            BlockPart::Header {
                header,
                tx_count: 2,
            },
            BlockPart::Tx {
                tx: first,
                txid: first_id,
            },
            BlockPart::Tx {
                tx: second,
                txid: second_id,
            },
        ] = &parts[..]
        else {
            panic!("{parts:?}")
        };
        assert_eq!(first.as_bytes().as_ptr(), payload[81..].as_ptr());
        assert_eq!(
            second.as_bytes().as_ptr(),
            payload[81 + first.len()..].as_ptr()
        );
        assert_eq!(
            [*first_id, *second_id],
            [COINBASE_170_ID, PAYMENT_170_ID].map(hash)
        );
        let summary = summary.unwrap();
        assert_eq!((summary.header, summary.tx_count), (*header, 2));
        assert_eq!(summary.merkle_root, header.merkle_root);
        assert!(summary.merkle_ok);
    }

    #[test]
    fn a_transaction_over_the_limit_comes_out_in_pieces_however_it_is_cut() {
        for (max, whole) in [
            (275, [true, true]),
            (274, [true, false]),
            (0, [false, false]),
        ] {
            for size in [1, 7, 80, 90, 300, 1000] {
                let payload = hex(BLOCK_170);
                let splitter = TxSplitter::with_max_tx(max);
                let (parts, summary) = split(splitter, cut(&payload, &[size]));
                assert!(summary.unwrap().merkle_ok);
                let came_whole: Vec<_> = parts
                    .iter()
                    .filter_map(|part| match part {
                        BlockPart::Tx { .. } => Some(true),
                        BlockPart::TxEnd { .. } => Some(false),
                        BlockPart::Header { .. } | BlockPart::TxBegin | BlockPart::TxChunk(_) => {
                            None
                        }
                    })
                    .collect();
                assert_eq!(came_whole, whole, "limit {max}, chunks of {size}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_by_the_limit_not_by_what_is_announced() {
        // One output with a script of 4 GiB - 1, in a block of 2^64 - 1 transactions.
        let start = hex(&[
            HEADER_170,
            "ffffffffffffffffff",
            "010000000001",
            "0000000000000000",
            "feffffffff",
        ]);
        let mut splitter = TxSplitter::with_max_tx(1000);
        splitter.push(start);
        let script = Bytes::from(vec![0; 64]);
        for _ in 0..1000 {
            while splitter.poll().unwrap().is_some() {}
            assert!(splitter.tx.gathered.capacity() <= 2048);
            assert!(splitter.chunks.is_empty() && splitter.parts.is_empty());
            splitter.push(script.clone());
        }
    }

    #[test]
    fn a_block_that_stops_early_is_truncated() {
        let payload = hex(BLOCK_170);
        for end in 0..payload.len() {
            let (_, summary) = split(TxSplitter::new(), [payload.slice(..end)]);
            assert!(
                matches!(summary, Err(DecodeError::Truncated { .. })),
                "{end}"
            );
        }
    }

    #[test]
    fn bytes_after_the_last_transaction_are_ignored() {
        let payload = hex(&[&BLOCK_170.concat(), PAYMENT_170]);
        for size in [1, 1000] {
            let (parts, summary) = split(TxSplitter::new(), cut(&payload, &[size]));
            assert_eq!(parts.len(), 3);
            assert!(summary.unwrap().merkle_ok);
        }
    }

    #[test]
    fn an_error_is_final_and_comes_after_the_parts_before_it() {
        let payload = hex(&[HEADER_170, "02", "00000000", "fd0100"]);
        let mut splitter = TxSplitter::new();
        splitter.push(payload);
        assert!(matches!(
            splitter.poll(),
            Ok(Some(BlockPart::Header { .. }))
        ));
        let error = splitter.poll().unwrap_err();
        assert!(matches!(error, DecodeError::NonCanonical { value: 1, .. }));
        splitter.push(hex(BLOCK_170));
        assert_eq!(splitter.poll(), Err(error));
        assert_eq!(splitter.finish(), Err(error));
    }

    #[test]
    fn other_transactions_than_the_headers_are_noticed() {
        let block = Block::parse(hex(BLOCK_170)).unwrap();
        let mut txs: Vec<_> = block.txs().map(Result::unwrap).collect();
        let verdict = |txs: &[Tx]| {
            let payload = Block::new(*block.header(), txs).as_bytes().clone();
            split(TxSplitter::new(), [payload]).1.unwrap()
        };
        assert!(verdict(&txs).merkle_ok);
        assert!(!verdict(&[]).merkle_ok);
        txs.swap(0, 1);
        assert!(!verdict(&txs).merkle_ok);
    }

    #[test]
    fn a_list_that_borrows_its_root_from_a_shorter_one_is_noticed() {
        let txs: Vec<_> = (0..3).map(|n| Tx::new(n, &[], &[], 0).unwrap()).collect();
        let mut header = BlockHeader::from_bytes(&[0; 80]);
        let tree: MerkleTree = txs.iter().map(Tx::txid).collect();
        header.merkle_root = tree.root().unwrap();
        let repeated = [&txs[..], &txs[2..]].concat();
        for (txs, fine) in [(txs, true), (repeated, false)] {
            let payload = Block::new(header, &txs).as_bytes().clone();
            let summary = split(TxSplitter::new(), [payload]).1.unwrap();
            assert_eq!(summary.merkle_root, header.merkle_root);
            assert_eq!(summary.merkle_ok, fine);
        }
    }

    #[test]
    fn debug_of_parts_is_short() {
        let script = [7; 5000];
        let output = TxOutput {
            value: 0,
            script: &script,
        };
        let tx = Tx::new(1, &[], &[output], 0).unwrap();
        let chunk = BlockPart::TxChunk(tx.as_bytes().clone());
        let txid = tx.txid();
        let mut splitter = TxSplitter::new();
        splitter.push(tx.as_bytes().clone());
        for text in [
            format!("{chunk:?}"),
            format!("{:?}", BlockPart::Tx { tx, txid }),
            format!("{splitter:?}"),
        ] {
            assert!(text.len() < 200, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_cutting_yields_the_same_transactions(
            txs in vec(any_tx(), 0..12),
            sizes in vec(1_usize..700, 1..8),
            max_tx in 0_usize..800,
        ) {
            let mut header = BlockHeader::from_bytes(&[3; 80]);
            let tree: MerkleTree = txs.iter().map(Tx::txid).collect();
            header.merkle_root = tree.root().unwrap_or_default();
            let payload = Block::new(header, &txs).as_bytes().clone();
            let splitter = TxSplitter::with_max_tx(max_tx);
            let (parts, summary) = split(splitter, cut(&payload, &sizes));
            prop_assert_eq!(gather(&parts, max_tx), (Some((header, txs.len() as u64)), txs));
            let summary = summary.unwrap();
            prop_assert_eq!(summary.merkle_root, header.merkle_root);
            prop_assert_eq!(summary.merkle_ok, !tree.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..400),
            sizes in vec(1_usize..100, 1..4),
        ) {
            let payload = Bytes::from([vec![0; 80], bytes].concat());
            let mut splitter = TxSplitter::with_max_tx(50);
            for chunk in cut(&payload, &sizes) {
                splitter.push(chunk);
                while let Ok(Some(_)) = splitter.poll() {}
            }
            let _ = splitter.finish();
        }
    }

    /// Pushes and polls as the contract says.
    fn split(
        mut splitter: TxSplitter,
        chunks: impl IntoIterator<Item = Bytes>,
    ) -> (Vec<BlockPart>, Result<BlockSummary, DecodeError>) {
        let mut parts = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            while let Some(part) = splitter.poll().unwrap() {
                parts.push(part);
            }
        }
        (parts, splitter.finish())
    }

    /// The block that the parts make, with their grammar, ids and lengths checked.
    fn gather(parts: &[BlockPart], max_tx: usize) -> (Option<(BlockHeader, u64)>, Vec<Tx>) {
        let mut head = None;
        let mut txs = Vec::new();
        let mut open: Option<BytesMut> = None;
        for part in parts {
            match part {
                BlockPart::Header { header, tx_count } => {
                    assert!(head.is_none() && txs.is_empty());
                    head = Some((*header, *tx_count));
                }
                BlockPart::Tx { tx, txid } => {
                    assert!(head.is_some() && open.is_none() && tx.len() <= max_tx);
                    assert_eq!(tx.txid(), *txid);
                    txs.push(tx.clone());
                }
                BlockPart::TxBegin => {
                    assert!(head.is_some() && open.is_none());
                    open = Some(BytesMut::new());
                }
                BlockPart::TxChunk(bytes) => {
                    assert!(!bytes.is_empty());
                    open.as_mut().unwrap().extend_from_slice(bytes);
                }
                BlockPart::TxEnd { txid, length } => {
                    let tx = Tx::parse(open.take().unwrap().freeze()).unwrap();
                    assert!(tx.len() > max_tx);
                    assert_eq!((tx.len() as u64, tx.txid()), (*length, *txid));
                    txs.push(tx);
                }
            }
        }
        assert!(open.is_none());
        (head, txs)
    }
}
