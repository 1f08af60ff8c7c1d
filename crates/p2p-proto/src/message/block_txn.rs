//! The transactions that a compact block left out: `getblocktxn`, `blocktxn`.
//!
//! Source: BIP152; the node's `src/blockencodings.cpp`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::message::block::{Txs, put_txs, read_tx_count, txs_encoded_len};
use crate::message::indexes::Indexes;
use crate::message::tx::Tx;
use crate::message::{Payload, first};

/// `getblocktxn`: asks for the transactions of a compact block that were not at hand.
///
/// A view over the payload, scanned once: an index is read when the iterator comes to it.
///
/// ```
/// use p2p_proto::{GetBlockTxn, Hash256};
///
/// let request = GetBlockTxn::new(Hash256::of(b"a block"), [1, 4, 305])?;
/// assert!(request.indexes().eq([1, 4, 305]));
/// assert!(GetBlockTxn::new(Hash256::of(b"a block"), [4, 1]).is_err());
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct GetBlockTxn {
    /// The hash of a block at least.
    raw: Bytes,
    len: usize,
}

impl GetBlockTxn {
    /// Asks for the transactions at these places in the block, from 0.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when they do not ascend: the wire cannot say that.
    pub fn new(
        block_hash: Hash256,
        indexes: impl IntoIterator<Item = u32>,
    ) -> Result<Self, DecodeError> {
        let mut list = BytesMut::new();
        let mut seen = Indexes::default();
        let mut len = 0;
        for index in indexes {
            list.put_compact_size(seen.difference(index)?);
            len += 1;
        }
        let mut out = BytesMut::with_capacity(32 + compact_size_len(len as u64) + list.len());
        out.put_hash(&block_hash);
        out.put_compact_size(len as u64);
        out.put_slice(&list);
        Ok(Self {
            raw: out.freeze(),
            len,
        })
    }

    /// The block.
    pub fn block_hash(&self) -> Hash256 {
        Hash256::from_bytes(first(&self.raw))
    }

    /// How many transactions are asked for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Places in the block, from 0, ascending; that the block has them is not known here.
    pub fn indexes(&self) -> impl Iterator<Item = u32> {
        let start = 32 + compact_size_len(self.len as u64);
        let mut reader = Reader::new(self.raw.get(start..).unwrap_or_default());
        let mut indexes = Indexes::default();
        // All were scanned: none is wrong.
        (0..self.len).map_while(move |_| indexes.read(&mut reader).ok())
    }
}

impl Payload for GetBlockTxn {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        reader.hash("block hash")?;
        let len = reader.count(1, "transaction indexes")?;
        let mut indexes = Indexes::default();
        for _ in 0..len {
            indexes.read(reader)?;
        }
        Ok(Self {
            raw: reader.since(start),
            len,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for GetBlockTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetBlockTxn")
            .field("block_hash", &self.block_hash())
            .field("indexes", &self.len)
            .finish_non_exhaustive()
    }
}

/// `blocktxn`: the answer to `getblocktxn`.
///
/// A view over the payload, kept as it came; the transactions are scanned when
/// [`txs`](Self::txs) comes to them.
///
/// ```
/// use p2p_proto::{BlockTxn, Hash256, Tx};
///
/// let tx = Tx::new(1, &[], &[], 0)?;
/// let answer = BlockTxn::new(Hash256::of(b"a block"), &[tx.clone()]);
/// assert_eq!(answer.txs().next(), Some(Ok(tx)));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BlockTxn {
    /// The hash of a block at least.
    raw: Bytes,
    tx_count: u64,
}

impl BlockTxn {
    /// The transactions that were asked for, in the order of the request.
    pub fn new(block_hash: Hash256, txs: &[Tx]) -> Self {
        let mut out = BytesMut::with_capacity(32 + txs_encoded_len(txs));
        out.put_hash(&block_hash);
        put_txs(txs, &mut out);
        Self {
            raw: out.freeze(),
            tx_count: txs.len() as u64,
        }
    }

    /// The block.
    pub fn block_hash(&self) -> Hash256 {
        Hash256::from_bytes(first(&self.raw))
    }

    /// The announced number of transactions.
    pub fn tx_count(&self) -> u64 {
        self.tx_count
    }

    /// The transactions, in the order of the request, sharing the payload's memory.
    pub fn txs(&self) -> Txs {
        let start = 32 + compact_size_len(self.tx_count);
        Txs::new(self.raw.slice(start..), self.tx_count)
    }
}

impl Payload for BlockTxn {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        reader.hash("block hash")?;
        let tx_count = read_tx_count(reader)?;
        reader.take(reader.remaining(), "transactions")?;
        Ok(Self {
            raw: reader.since(start),
            tx_count,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for BlockTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockTxn")
            .field("block_hash", &self.block_hash())
            .field("tx_count", &self.tx_count)
            .field("len", &self.raw.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::message::tx::testing::{
        HASH_170, HASH_170_WIRE, PAYMENT_170, PAYMENT_170_ID, any_hash, hash, hex,
    };

    #[test]
    fn getblocktxn_indexes_are_differences() {
        let payload = hex(&[HASH_170_WIRE, "030102fd2c01"]);
        let message = GetBlockTxn::decode(&mut Reader::shared(&payload)).unwrap();
        assert_eq!(message.block_hash(), hash(HASH_170));
        assert_eq!(message.len(), 3);
        assert!(message.indexes().eq([1, 4, 305]));
        assert_eq!(
            message.raw().map(|raw| raw.as_ptr()),
            Some(payload.as_ptr())
        );
        assert_eq!(message.raw(), Some(&payload));
    }

    #[test]
    fn getblocktxn_indexes_over_32_bits_are_invalid() {
        let decode = |indexes: &str| {
            let payload = hex(&[HASH_170_WIRE, indexes]);
            let message = GetBlockTxn::decode(&mut Reader::new(&payload))?;
            Ok(message.indexes().collect::<Vec<_>>())
        };
        assert_eq!(decode("01feffffffff"), Ok(vec![u32::MAX]));
        for overflow in [
            "01ff0000000001000000",
            "02feffffffff00",
            "0201ffffffffffffffffff",
        ] {
            assert!(matches!(decode(overflow), Err(DecodeError::Invalid { .. })));
        }
        assert!(matches!(
            decode("feffffffff00"),
            Err(DecodeError::Truncated { .. })
        ));
    }

    #[test]
    fn blocktxn_170_reads_as_it_is_known() {
        let payload = hex(&[HASH_170_WIRE, "01", PAYMENT_170]);
        let message = BlockTxn::decode(&mut Reader::shared(&payload)).unwrap();
        assert_eq!(message.block_hash(), hash(HASH_170));
        let txs: Vec<_> = message.txs().map(Result::unwrap).collect();
        assert_eq!(txs[0].txid(), hash(PAYMENT_170_ID));
        assert_eq!(txs[0].as_bytes().as_ptr(), payload[33..].as_ptr());
        assert_eq!(BlockTxn::new(message.block_hash(), &txs), message);
        let payload = hex(&[HASH_170_WIRE, "feffffffff", PAYMENT_170]);
        assert!(BlockTxn::decode(&mut Reader::shared(&payload)).is_err());
    }

    proptest! {
        #[test]
        fn getblocktxn_round_trips(
            block_hash in any_hash(),
            indexes in prop::collection::btree_set(any::<u32>(), 0..50),
            dense in prop::collection::btree_set(0_u32..600, 0..50),
        ) {
            let indexes: BTreeSet<_> = indexes.union(&dense).copied().collect();
            let message = GetBlockTxn::new(block_hash, indexes.iter().copied()).unwrap();
            prop_assert_eq!(message.len(), indexes.len());
            prop_assert!(message.indexes().eq(indexes));
            let mut payload = BytesMut::new();
            message.encode(&mut payload);
            prop_assert_eq!(payload.len(), message.encoded_len());
            prop_assert_eq!(GetBlockTxn::decode(&mut Reader::new(&payload)), Ok(message));
        }
    }
}
