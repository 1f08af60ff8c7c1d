//! `datareftx`: a transaction with the proof that it was mined.
//!
//! Source: the node's `src/net/net_processing.cpp`.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::codec::Reader;
use crate::error::DecodeError;
use crate::message::Payload;
use crate::message::proof::MerkleProof;
use crate::message::tx::{Tx, TxScanner};

/// `datareftx`: a transaction that a miner's info document refers to, and the proof that it was
/// mined. The answer to a `getdata` of type 5.
///
/// ```
/// use p2p_proto::{DatarefTx, Hash256, MerkleProof, ProofSubject, ProofTarget, Tx};
///
/// let tx = Tx::new(1, &[], &[], 0)?;
/// let proof = MerkleProof {
///     index: 0,
///     subject: ProofSubject::Txid(tx.txid()),
///     target: ProofTarget::BlockHash(Hash256::of(b"a block of one transaction")),
///     nodes: vec![],
/// };
/// let message = DatarefTx::new(&tx, &proof);
/// assert_eq!(message.tx(), &tx);
/// assert_eq!(message.proof()?, proof);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DatarefTx {
    raw: Bytes,
    tx: Tx,
}

impl DatarefTx {
    /// A transaction and its proof.
    pub fn new(tx: &Tx, proof: &MerkleProof) -> Self {
        let mut raw = BytesMut::with_capacity(tx.len() + proof.encoded_len());
        tx.encode(&mut raw);
        proof.encode(&mut raw);
        Self {
            raw: raw.freeze(),
            tx: tx.clone(),
        }
    }

    /// The transaction.
    pub fn tx(&self) -> &Tx {
        &self.tx
    }

    /// Its proof; that it is about this transaction is not checked.
    ///
    /// # Errors
    /// None for a message that was decoded or made: it was scanned.
    pub fn proof(&self) -> Result<MerkleProof, DecodeError> {
        MerkleProof::decode(&mut Reader::shared(&self.raw.slice(self.tx.len()..)))
    }
}

impl Payload for DatarefTx {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        let mut ahead = reader.clone();
        let (scanner, len) = TxScanner::scan(ahead.take(ahead.remaining(), "transaction")?)?;
        reader.take(len, "transaction")?;
        MerkleProof::scan(reader)?;
        let raw = reader.since(start);
        let tx = scanner.into_tx(raw.slice(..len));
        Ok(Self { raw, tx })
    }

    kept_as_sent!();
}

impl fmt::Debug for DatarefTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatarefTx")
            .field("tx", &self.tx)
            .field("proof", &(self.raw.len() - self.tx.len()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::BlockHeader;
    use crate::message::tx::testing::{
        COINBASE_170_WIRE, HASH_170_WIRE, HEADER_170, PAYMENT_170, PAYMENT_170_WIRE, hex,
    };

    #[test]
    fn datareftx_170_round_trips() {
        let payload = hex(&[
            PAYMENT_170,
            "0001",
            PAYMENT_170_WIRE,
            HASH_170_WIRE,
            "0100",
            COINBASE_170_WIRE,
        ]);
        let message = DatarefTx::decode(&mut Reader::shared(&payload)).unwrap();
        let proof = message.proof().unwrap();
        assert_eq!(message.tx().txid(), proof.txid());
        assert_eq!(proof.index, 1);
        let header = BlockHeader::read(&mut Reader::new(&hex(&[HEADER_170]))).unwrap();
        assert_eq!(proof.merkle_root(), Some(header.merkle_root));
        let mut out = BytesMut::new();
        message.encode(&mut out);
        assert_eq!(out, payload);
        assert_eq!(message.encoded_len(), payload.len());
    }
}
