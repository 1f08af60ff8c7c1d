//! Compact blocks, version 1: `sendcmpct`, `cmpctblock`.
//!
//! Source: BIP152; the node's `src/blockencodings.cpp`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::message::header::BlockHeader;
use crate::message::indexes::Indexes;
use crate::message::short_id::{ShortId, ShortIdKeys};
use crate::message::tx::{MIN_TX_LEN, Tx};
use crate::message::{Payload, until_error};

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
    pub fn header(&self) -> BlockHeader {
        self.header
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tx::testing::{
        COINBASE_170, COINBASE_170_ID, HASH_170, HEADER_170, PAYMENT_170, PAYMENT_170_ID, hash, hex,
    };

    const NONCE: &str = "0102030405060708";
    const SHORT_ID: &str = "ee772aebf2f9";

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
        let mut payload = BytesMut::new();
        message.encode(&mut payload);
        assert_eq!(payload, hex(&["010100000000000000"]));
        assert_eq!(payload.len(), message.encoded_len());
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
        let again = CmpctBlock::new(block.header(), block.nonce(), &ids, &prefilled);
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
}
