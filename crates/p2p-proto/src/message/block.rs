//! `block`: a header and all transactions, as a view.
//!
//! Source: the node's `src/primitives/block.h`.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::message::header::BlockHeader;
use crate::message::merkle::MerkleTree;
use crate::message::tx::{MIN_TX_LEN, Tx};
use crate::message::{Payload, first};

/// A block that is whole in memory.
///
/// A view over the payload, kept as it came: decoding looks at the header and at the number of
/// transactions, and costs the same for every size. The transactions are scanned when
/// [`txs`](Self::txs) comes to them. A block too big to be held comes in pieces instead, for
/// [`TxSplitter`](crate::TxSplitter).
///
/// ```
/// use p2p_proto::{Block, BlockHeader, Tx};
///
/// let coinbase = Tx::new(1, &[], &[], 0)?;
/// let mut header = BlockHeader::from_bytes(&[0; 80]);
/// header.merkle_root = coinbase.txid();
///
/// let block = Block::new(header, &[coinbase.clone()]);
/// assert_eq!(block.tx_count(), 1);
/// assert_eq!(block.hash(), header.hash());
/// assert!(block.merkle_tree()?.is_root(&header.merkle_root));
/// for tx in block.txs() {
///     assert_eq!(tx?, coinbase);
/// }
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// A header at least.
    raw: Bytes,
    tx_count: u64,
}

impl Block {
    /// A block of these transactions, coinbase first. The header is taken as it is.
    pub fn new(header: BlockHeader, txs: &[Tx]) -> Self {
        let mut out = BytesMut::with_capacity(BlockHeader::LEN + txs_encoded_len(txs));
        header.encode(&mut out);
        put_txs(txs, &mut out);
        Self {
            raw: out.freeze(),
            tx_count: txs.len() as u64,
        }
    }

    /// The block that these bytes are, sharing their memory: a payload, or a block from a disk.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when the announced number of transactions cannot fit,
    /// [`DecodeError::NonCanonical`] for that number in a longer form than needed.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeError> {
        Self::decode(&mut Reader::shared(&bytes))
    }

    /// The header.
    pub fn header(&self) -> BlockHeader {
        BlockHeader::from_bytes(&first(&self.raw))
    }

    /// The block's hash. Computed at each call.
    pub fn hash(&self) -> Hash256 {
        Hash256::of(&first::<{ BlockHeader::LEN }>(&self.raw))
    }

    /// The announced number of transactions. [`txs`](Self::txs) yields as many, or ends with an
    /// error.
    pub fn tx_count(&self) -> u64 {
        self.tx_count
    }

    /// The transactions, in order, sharing the block's memory.
    pub fn txs(&self) -> Txs {
        let start = BlockHeader::LEN + compact_size_len(self.tx_count);
        Txs::new(self.raw.slice(start..), self.tx_count)
    }

    /// The merkle tree of the transactions, to compare with the header's root. Hashes the whole
    /// block.
    ///
    /// # Errors
    /// That of the first transaction that is wrong.
    pub fn merkle_tree(&self) -> Result<MerkleTree, DecodeError> {
        self.txs().map(|tx| Ok(tx?.txid())).collect()
    }

    /// The payload, with whatever follows the last transaction.
    pub fn as_bytes(&self) -> &Bytes {
        &self.raw
    }
}

impl Payload for Block {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        BlockHeader::read(reader)?;
        let tx_count = read_tx_count(reader)?;
        reader.take(reader.remaining(), "transactions")?;
        Ok(Self {
            raw: reader.since(start),
            tx_count,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("hash", &self.hash())
            .field("tx_count", &self.tx_count)
            .field("len", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// The transactions of a [`Block`] or a [`BlockTxn`](crate::BlockTxn), each a slice of its
/// memory.
///
/// As many as were announced; after an error there are no more.
///
/// ```
/// use p2p_proto::{Block, BlockHeader, Tx};
///
/// let coinbase = Tx::new(1, &[], &[], 0)?;
/// let block = Block::new(BlockHeader::from_bytes(&[0; 80]), &[coinbase.clone()]);
/// let txs: Result<Vec<Tx>, _> = block.txs().collect();
/// assert_eq!(txs?, [coinbase]);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone)]
pub struct Txs {
    rest: Bytes,
    left: u64,
}

impl Txs {
    pub(crate) fn new(bytes: Bytes, count: u64) -> Self {
        Self {
            rest: bytes,
            left: count,
        }
    }
}

impl Iterator for Txs {
    type Item = Result<Tx, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let tx = Tx::split_from(&mut self.rest);
        if tx.is_err() {
            self.left = 0;
        }
        Some(tx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let least = usize::from(self.left > 0);
        (least, usize::try_from(self.left).ok())
    }
}

impl std::iter::FusedIterator for Txs {}

impl fmt::Debug for Txs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Txs")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// A number of transactions that fits what is left. No other limit: a block of more than 4 GiB
/// may hold more than [`MAX_SIZE`](crate::codec::MAX_SIZE).
pub(crate) fn read_tx_count(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let count = reader.compact_size("transaction count")?;
    let needed = count.saturating_mul(MIN_TX_LEN as u64);
    let left = reader.remaining() as u64;
    if needed > left {
        return Err(DecodeError::Truncated {
            field: "transactions",
            needed,
            left,
        });
    }
    Ok(count)
}

/// The bytes that [`put_txs`] writes.
pub(crate) fn txs_encoded_len(txs: &[Tx]) -> usize {
    compact_size_len(txs.len() as u64) + txs.iter().map(Tx::len).sum::<usize>()
}

/// A CompactSize count, then the transactions.
pub(crate) fn put_txs(txs: &[Tx], out: &mut BytesMut) {
    out.put_compact_size(txs.len() as u64);
    for tx in txs {
        tx.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tx::testing::{
        BLOCK_170, COINBASE_170, COINBASE_170_ID, HASH_170, HEADER_170, PAYMENT_170,
        PAYMENT_170_ID, hash, hex,
    };

    #[test]
    fn block_170_reads_as_it_is_known_and_shares_its_memory() {
        let payload = hex(BLOCK_170);
        let block = Block::parse(payload.clone()).unwrap();
        assert_eq!(block.hash(), hash(HASH_170));
        assert_eq!(block.tx_count(), 2);
        let txs: Vec<_> = block.txs().map(Result::unwrap).collect();
        assert_eq!(txs[0].txid(), hash(COINBASE_170_ID));
        assert_eq!(txs[1].txid(), hash(PAYMENT_170_ID));
        assert_eq!(txs[0].as_bytes().as_ptr(), payload[81..].as_ptr());
        assert!(
            block
                .merkle_tree()
                .unwrap()
                .is_root(&block.header().merkle_root)
        );
        assert_eq!(Block::new(block.header(), &txs), block);
    }

    #[test]
    fn the_payload_is_kept_as_it_came() {
        let payload = hex(&[&BLOCK_170.concat(), "abcdef"]);
        let mut reader = Reader::shared(&payload);
        let block = Block::decode(&mut reader).unwrap();
        assert!(reader.is_empty());
        assert_eq!(block.raw(), Some(&payload));
        assert_eq!(block.txs().count(), 2);
    }

    #[test]
    fn a_count_that_cannot_fit_is_refused_at_once() {
        let with_count = |count: &str| Block::parse(hex(&[HEADER_170, count, COINBASE_170]));
        // 134 bytes hold at most 13 transactions.
        assert!(with_count("0d").is_ok());
        for count in ["0e", "feffffffff", "ffffffffffffffffff"] {
            assert!(matches!(
                with_count(count),
                Err(DecodeError::Truncated {
                    field: "transactions",
                    ..
                })
            ));
        }
        assert!(matches!(
            with_count("fd0100"),
            Err(DecodeError::NonCanonical { .. })
        ));
    }

    #[test]
    fn a_wrong_transaction_is_the_last() {
        let block = Block::parse(hex(&[HEADER_170, "03", COINBASE_170, PAYMENT_170])).unwrap();
        let txs: Vec<_> = block.txs().collect();
        assert_eq!(txs.len(), 3);
        assert!(txs[1].is_ok());
        assert!(matches!(txs[2], Err(DecodeError::Truncated { .. })));
        assert!(block.merkle_tree().is_err());
    }

    #[test]
    fn debug_is_short() {
        let block = Block::parse(hex(BLOCK_170)).unwrap();
        assert!(format!("{block:?} {:?}", block.txs()).len() < 250);
    }
}
