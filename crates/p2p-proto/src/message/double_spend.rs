//! `dsdetected`: two branches of the chain hold transactions that spend the same output.
//!
//! Source: `protocol.md` section 3.9; the node's `src/double_spend/dsdetected_message.h`.

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::message::Payload;
use crate::message::enriched::MerkleProof;
use crate::message::header::BlockHeader;

/// The proof of a double spend between branches of the chain.
///
/// Only the layout is checked. The node also wants version 1, two or more blocks, headers that
/// chain down to a common ancestor, and whole transactions that conflict, none a coinbase; it
/// relays what holds.
///
/// ```
/// use p2p_proto::{BlockHeader, ConflictingBlock, DsDetected, MerkleProof, ProofSubject, ProofTarget, Tx};
///
/// let header = BlockHeader::from_bytes(&[0; 80]);
/// let block = ConflictingBlock {
///     headers: vec![header],
///     proof: MerkleProof {
///         index: 1,
///         subject: ProofSubject::Tx(Tx::new(1, &[], &[], 0)?),
///         target: ProofTarget::MerkleRoot(header.merkle_root),
///         nodes: vec![],
///     },
/// };
/// let message = DsDetected { version: 1, blocks: vec![block.clone(), block] };
/// assert_eq!(message.blocks.len(), 2);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DsDetected {
    /// Version of the message: 1.
    pub version: u16,
    /// One block on each branch.
    pub blocks: Vec<ConflictingBlock>,
}

/// A block with one of the conflicting transactions of a [`DsDetected`].
#[derive(Clone, PartialEq, Eq)]
pub struct ConflictingBlock {
    /// From this block's header back to that of the common ancestor's child.
    pub headers: Vec<BlockHeader>,
    /// That the transaction is in the block; holds the transaction.
    pub proof: MerkleProof,
}

impl ConflictingBlock {
    /// No headers, and the shortest proof: flags, index, txid, target, no nodes.
    const MIN_LEN: usize = 1 + 1 + 1 + 10 + 1 + 32;
}

impl Payload for DsDetected {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u16("dsdetected version")?;
        let count = reader.count(ConflictingBlock::MIN_LEN, "conflicting blocks")?;
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            blocks.push(ConflictingBlock::decode(reader)?);
        }
        Ok(Self { version, blocks })
    }

    fn encoded_len(&self) -> usize {
        let blocks = self.blocks.iter().map(ConflictingBlock::encoded_len);
        2 + compact_size_len(self.blocks.len() as u64) + blocks.sum::<usize>()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(self.version);
        out.put_compact_size(self.blocks.len() as u64);
        for block in &self.blocks {
            block.encode(out);
        }
    }
}

impl Payload for ConflictingBlock {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(BlockHeader::LEN, "conflicting headers")?;
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            headers.push(BlockHeader::read(reader)?);
        }
        Ok(Self {
            headers,
            proof: MerkleProof::decode(reader)?,
        })
    }

    fn encoded_len(&self) -> usize {
        compact_size_len(self.headers.len() as u64)
            + BlockHeader::LEN * self.headers.len()
            + self.proof.encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_compact_size(self.headers.len() as u64);
        for header in &self.headers {
            header.encode(out);
        }
        self.proof.encode(out);
    }
}

impl fmt::Debug for DsDetected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DsDetected")
            .field("version", &self.version)
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ConflictingBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConflictingBlock")
            .field("hash", &self.headers.first().map(BlockHeader::hash))
            .field("headers", &self.headers.len())
            .field("proof", &self.proof)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::enriched::{ProofSubject, ProofTarget};
    use crate::message::tx::testing::hex;

    const HASH: &str = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00";
    const HEADER: &str = concat!(
        "02000000",
        "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00",
        "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00",
        "000000000000000000000000"
    );
    const TX: &str = "0a02000000000000000000";

    #[test]
    fn the_nodes_unit_test_reads_and_round_trips() {
        let payload = hex(&[
            "010002", "01", HEADER, "0501", TX, HASH, "00", "01", HEADER, "0501", TX, HASH, "0100",
            HASH,
        ]);
        let message = DsDetected::decode(&mut Reader::shared(&payload)).unwrap();
        assert_eq!(message.version, 1);
        let [first, second] = &message.blocks[..] else {
            panic!("two blocks")
        };
        assert_eq!(first.headers.len(), 1);
        assert_eq!(first.proof.index, 1);
        assert!(matches!(&first.proof.subject, ProofSubject::Tx(tx) if tx.len() == 10));
        assert!(matches!(first.proof.target, ProofTarget::MerkleRoot(_)));
        assert_eq!((first.proof.nodes.len(), second.proof.nodes.len()), (0, 1));
        let mut out = BytesMut::new();
        message.encode(&mut out);
        assert_eq!(out, payload);
        assert_eq!(message.encoded_len(), payload.len());
    }

    #[test]
    fn counts_are_checked_against_what_is_there() {
        for counts in ["feffffffff", "01feffffffff", "01", "0102"] {
            let payload = hex(&["0100", counts, HASH, HASH]);
            assert!(matches!(
                DsDetected::decode(&mut Reader::new(&payload)),
                Err(DecodeError::Truncated { .. })
            ));
        }
    }
}
