//! Compact blocks, version 1: `sendcmpct`, `cmpctblock`, `getblocktxn`, `blocktxn`.
//!
//! Source: BIP152; the node's `src/blockencodings.cpp`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::message::Payload;
use crate::message::block::{Txs, put_txs, read_tx_count, txs_encoded_len};
use crate::message::header::BlockHeader;
use crate::message::tx::{MIN_TX_LEN, Tx, until_error};

pub use crate::message::short_id::{ShortId, ShortIdKeys};

/// `sendcmpct`: how the sender wants to hear of blocks.
///
/// ```
/// use p2p_proto::SendCmpct;
///
/// // What a node sends after every verack: it knows compact blocks, and asks for none unasked.
/// let low_bandwidth = SendCmpct { announce: false, version: 1 };
/// assert_ne!(low_bandwidth, SendCmpct { announce: true, ..low_bandwidth });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendCmpct {
    /// Whether to announce by `cmpctblock`, without an `inv` or `headers` before it.
    pub announce: bool,
    /// Version of compact blocks; Bitcoin SV knows 1 and ignores all others.
    pub version: u64,
}

impl Payload for SendCmpct {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            announce: reader.bool("announce")?,
            version: reader.u64("compact block version")?,
        })
    }

    fn encoded_len(&self) -> usize {
        9
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_bool(self.announce);
        out.put_u64_le(self.version);
    }
}

/// `cmpctblock`: a block whose transactions are named by short ids, but for those that the
/// receiver cannot have: at least the coinbase.
///
/// A view over the payload, kept as it came. The short ids are known to be there; the prefilled
/// transactions are scanned when the iterator comes to them.
///
/// ```
/// use p2p_proto::{BlockHeader, CmpctBlock, Hash256, PrefilledTx, ShortId, ShortIdKeys, Tx};
///
/// let header = BlockHeader::from_bytes(&[0; 80]);
/// let nonce = 7;
/// let payment = Hash256::of(b"a txid");
/// let short_id = ShortId::of(&ShortIdKeys::new(&header, nonce), &payment);
/// let coinbase = PrefilledTx { index: 0, tx: Tx::new(1, &[], &[], 0)? };
///
/// let block = CmpctBlock::new(header, nonce, &[short_id], &[coinbase])?;
/// assert_eq!(block.tx_count(), 2);
/// assert!(block.short_ids().eq([ShortId::of(&block.short_id_keys(), &payment)]));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CmpctBlock {
    raw: Bytes,
    header: BlockHeader,
    nonce: u64,
    short_ids: usize,
    prefilled: usize,
}

/// A transaction that a [`CmpctBlock`] holds whole.
///
/// ```
/// use p2p_proto::{PrefilledTx, Tx};
///
/// let coinbase = PrefilledTx { index: 0, tx: Tx::new(1, &[], &[], 0)? };
/// assert_eq!(coinbase.index, 0);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefilledTx {
    /// Its place in the block, from 0; the short ids fill the other places in order.
    pub index: u32,
    /// The transaction.
    pub tx: Tx,
}

impl CmpctBlock {
    /// A compact block of these parts.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when the prefilled indexes do not ascend or lie outside of the
    /// block.
    pub fn new(
        header: BlockHeader,
        nonce: u64,
        short_ids: &[ShortId],
        prefilled: &[PrefilledTx],
    ) -> Result<Self, DecodeError> {
        let mut out = BytesMut::new();
        header.encode(&mut out);
        out.put_u64_le(nonce);
        out.put_compact_size(short_ids.len() as u64);
        for id in short_ids {
            out.put_slice(id.as_bytes());
        }
        out.put_compact_size(prefilled.len() as u64);
        let mut indexes = Indexes::default();
        for (at, PrefilledTx { index, tx }) in prefilled.iter().enumerate() {
            check_place(*index, short_ids.len(), at)?;
            out.put_compact_size(indexes.difference(*index)?);
            tx.encode(&mut out);
        }
        Ok(Self {
            raw: out.freeze(),
            header,
            nonce,
            short_ids: short_ids.len(),
            prefilled: prefilled.len(),
        })
    }

    /// The block's header.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// What makes the short ids of this message differ from those of any other.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// How many transactions the block has: short ids and prefilled ones.
    pub fn tx_count(&self) -> u64 {
        self.short_ids as u64 + self.prefilled as u64
    }

    /// The key of this message's short ids.
    pub fn short_id_keys(&self) -> ShortIdKeys {
        ShortIdKeys::new(&self.header, self.nonce)
    }

    /// The short ids, in the order of the block.
    pub fn short_ids(&self) -> impl ExactSizeIterator<Item = ShortId> {
        let start = self.short_ids_at();
        let bytes = self.raw.get(start..start + ShortId::LEN * self.short_ids);
        let (ids, _) = bytes.unwrap_or_default().as_chunks();
        ids.iter().copied().map(ShortId::from_bytes)
    }

    /// The prefilled transactions, in the order of the block, sharing the payload's memory.
    /// After an error there are no more.
    pub fn prefilled(&self) -> impl Iterator<Item = Result<PrefilledTx, DecodeError>> {
        let start = self.short_ids_at()
            + ShortId::LEN * self.short_ids
            + compact_size_len(self.prefilled as u64);
        let mut rest = self.raw.slice(start..);
        let mut indexes = Indexes::default();
        let mut at = 0;
        until_error(self.prefilled as u64, move || {
            let mut reader = Reader::shared(&rest);
            let index = indexes.absolute(reader.compact_size("prefilled index")?)?;
            check_place(index, self.short_ids, at)?;
            at += 1;
            let tx = Tx::decode(&mut reader)?;
            rest = reader.rest();
            Ok(PrefilledTx { index, tx })
        })
    }

    fn short_ids_at(&self) -> usize {
        BlockHeader::LEN + 8 + compact_size_len(self.short_ids as u64)
    }
}

/// A prefilled transaction cannot stand where too few others are there to stand before it.
fn check_place(index: u32, short_ids: usize, prefilled_before: usize) -> Result<(), DecodeError> {
    if u64::from(index) > short_ids as u64 + prefilled_before as u64 {
        return Err(DecodeError::Invalid {
            field: "prefilled index",
            value: u64::from(index),
        });
    }
    Ok(())
}

impl Payload for CmpctBlock {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        let header = BlockHeader::read(reader)?;
        let nonce = reader.u64("compact block nonce")?;
        let short_ids = reader.count(ShortId::LEN, "short ids")?;
        reader.take(ShortId::LEN * short_ids, "short ids")?;
        let prefilled = reader.count(1 + MIN_TX_LEN, "prefilled transactions")?;
        reader.take(reader.remaining(), "prefilled transactions")?;
        Ok(Self {
            raw: reader.since(start),
            header,
            nonce,
            short_ids,
            prefilled,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for CmpctBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CmpctBlock")
            .field("hash", &self.header.hash())
            .field("short_ids", &self.short_ids)
            .field("prefilled", &self.prefilled)
            .field("len", &self.raw.len())
            .finish_non_exhaustive()
    }
}

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
    raw: Bytes,
    block_hash: Hash256,
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
            block_hash,
            len,
        })
    }

    /// The block.
    pub fn block_hash(&self) -> &Hash256 {
        &self.block_hash
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
        let block_hash = reader.hash("block hash")?;
        let len = reader.count(1, "transaction indexes")?;
        let mut indexes = Indexes::default();
        for _ in 0..len {
            indexes.read(reader)?;
        }
        Ok(Self {
            raw: reader.since(start),
            block_hash,
            len,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for GetBlockTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetBlockTxn")
            .field("block_hash", &self.block_hash)
            .field("indexes", &self.len)
            .finish_non_exhaustive()
    }
}

const INDEX: &str = "transaction index";

/// Ascending places in a block, between what they are and how they are written: each as the
/// number of places that it leaves out after the one before.
#[derive(Default)]
struct Indexes {
    /// The least that the following one can be.
    next: u64,
}

impl Indexes {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
        self.absolute(reader.compact_size(INDEX)?)
    }

    fn absolute(&mut self, difference: u64) -> Result<u32, DecodeError> {
        let index = self.next.checked_add(difference);
        let index = index.and_then(|index| u32::try_from(index).ok());
        let index = index.ok_or(DecodeError::Invalid {
            field: INDEX,
            value: difference,
        })?;
        self.next = u64::from(index) + 1;
        Ok(index)
    }

    fn difference(&mut self, index: u32) -> Result<u64, DecodeError> {
        let index = u64::from(index);
        let difference = index.checked_sub(self.next).ok_or(DecodeError::Invalid {
            field: INDEX,
            value: index,
        })?;
        self.next = index + 1;
        Ok(difference)
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
    raw: Bytes,
    block_hash: Hash256,
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
            block_hash,
            tx_count: txs.len() as u64,
        }
    }

    /// The block.
    pub fn block_hash(&self) -> &Hash256 {
        &self.block_hash
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
        let block_hash = reader.hash("block hash")?;
        let tx_count = read_tx_count(reader)?;
        reader.take(reader.remaining(), "transactions")?;
        Ok(Self {
            raw: reader.since(start),
            block_hash,
            tx_count,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for BlockTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockTxn")
            .field("block_hash", &self.block_hash)
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
        COINBASE_170, COINBASE_170_ID, HASH_170, HEADER_170, PAYMENT_170, PAYMENT_170_ID, any_hash,
        hash, hex,
    };

    const NONCE: &str = "0102030405060708";
    const SHORT_ID: &str = "ee772aebf2f9";
    const HASH_170_WIRE: &str = "eea2d48d2fced4346842835c659e493d323f06d4034469a8905714d100000000";

    #[test]
    fn sendcmpct_round_trips() {
        let message = SendCmpct::decode(&mut Reader::new(&hex(&["010100000000000000"]))).unwrap();
        assert_eq!(
            message,
            SendCmpct {
                announce: true,
                version: 1
            }
        );
        assert_eq!(encoded(&message), hex(&["010100000000000000"]));
    }

    #[test]
    fn cmpctblock_170_reads_as_it_is_known() {
        let payload = hex(&[HEADER_170, NONCE, "01", SHORT_ID, "01", "00", COINBASE_170]);
        let block = CmpctBlock::decode(&mut Reader::shared(&payload)).unwrap();
        assert_eq!(block.header().hash(), hash(HASH_170));
        assert_eq!(block.nonce(), 578_437_695_752_307_201);
        let keys = block.short_id_keys();
        assert_eq!(keys.k0, 0x36e9_c2d2_ba75_3dd3);
        assert_eq!(keys.k1, 0x01a8_fbaf_8459_eef2);
        let ids: Vec<_> = block.short_ids().collect();
        assert_eq!(ids, [ShortId::of(&keys, &hash(PAYMENT_170_ID))]);
        assert_eq!(ids[0].to_string(), "f9f2eb2a77ee");
        let prefilled: Vec<_> = block.prefilled().map(Result::unwrap).collect();
        assert_eq!(prefilled[0].index, 0);
        assert_eq!(prefilled[0].tx.txid(), hash(COINBASE_170_ID));
        assert_eq!(block.raw().map(|raw| raw.as_ptr()), Some(payload.as_ptr()));
        let again = CmpctBlock::new(*block.header(), block.nonce(), &ids, &prefilled);
        assert_eq!(again, Ok(block));
    }

    #[test]
    fn counts_are_checked_against_what_is_there() {
        for counts in [
            "feffffffff",
            "02",
            &format!("01{SHORT_ID}feffffffff"),
            &format!("01{SHORT_ID}0100"),
        ] {
            let payload = hex(&[HEADER_170, NONCE, counts, "0011223344"]);
            let error = CmpctBlock::decode(&mut Reader::new(&payload)).unwrap_err();
            assert!(matches!(error, DecodeError::Truncated { .. }), "{counts}");
        }
    }

    #[test]
    fn prefilled_indexes_are_differences_and_lie_within_the_block() {
        let prefilled = |second: &str| {
            let payload = hex(&[
                HEADER_170,
                NONCE,
                "01",
                SHORT_ID,
                "02",
                "00",
                COINBASE_170,
                second,
                PAYMENT_170,
            ]);
            let block = CmpctBlock::decode(&mut Reader::new(&payload)).unwrap();
            let items: Vec<_> = block.prefilled().collect();
            assert_eq!(items.len(), 2);
            items[1].clone().map(|item| item.index)
        };
        assert_eq!(prefilled("00"), Ok(1));
        assert_eq!(prefilled("01"), Ok(2));
        assert!(matches!(
            prefilled("02"),
            Err(DecodeError::Invalid { value: 3, .. })
        ));
        for overflow in ["feffffffff", "ffffffffffffffffff"] {
            assert!(matches!(
                prefilled(overflow),
                Err(DecodeError::Invalid { .. })
            ));
        }
    }

    #[test]
    fn a_wrong_prefilled_transaction_is_the_last() {
        let payload = hex(&[
            HEADER_170,
            NONCE,
            "00",
            "02",
            "00",
            "01000000",
            &"ff".repeat(20),
        ]);
        let block = CmpctBlock::decode(&mut Reader::new(&payload)).unwrap();
        let items: Vec<_> = block.prefilled().collect();
        assert_eq!(items.len(), 1);
        assert!(items[0].is_err());
    }

    #[test]
    fn getblocktxn_indexes_are_differences() {
        let payload = hex(&[HASH_170_WIRE, "030102fd2c01"]);
        let message = GetBlockTxn::decode(&mut Reader::shared(&payload)).unwrap();
        assert_eq!(message.block_hash(), &hash(HASH_170));
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
        assert_eq!(message.block_hash(), &hash(HASH_170));
        let txs: Vec<_> = message.txs().map(Result::unwrap).collect();
        assert_eq!(txs[0].txid(), hash(PAYMENT_170_ID));
        assert_eq!(txs[0].as_bytes().as_ptr(), payload[33..].as_ptr());
        assert_eq!(BlockTxn::new(*message.block_hash(), &txs), message);
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
            let payload = encoded(&message);
            prop_assert_eq!(GetBlockTxn::decode(&mut Reader::new(&payload)), Ok(message));
        }
    }

    fn encoded(message: &impl Payload) -> BytesMut {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        assert_eq!(out.len(), message.encoded_len());
        out
    }
}
