//! `dsdetected`: two branches of the chain hold transactions that spend the same output.
//!
//! Source: the node's `src/double_spend/dsdetected_message.h`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::message::Payload;
use crate::message::header::BlockHeader;
use crate::message::proof::MerkleProof;
use crate::message::tx::MIN_TX_LEN;

/// The proof of a double spend between branches of the chain.
///
/// A view over the payload, scanned once: a block is read when the iterator comes to it.
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
/// let message = DsDetected::new(1, &[block.clone(), block.clone()]);
/// assert_eq!(message.len(), 2);
/// assert!(message.blocks().all(|each| each == block));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DsDetected {
    raw: Bytes,
    version: u16,
    len: usize,
}

/// A block with one of the conflicting transactions of a [`DsDetected`].
///
/// ```
/// use p2p_proto::{BlockHeader, ConflictingBlock, MerkleProof, ProofSubject, ProofTarget, Tx};
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
/// assert_eq!(block.headers[0].hash(), header.hash());
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConflictingBlock {
    /// From this block's header back to that of the common ancestor's child.
    pub headers: Vec<BlockHeader>,
    /// That the transaction is in the block; holds the transaction.
    pub proof: MerkleProof,
}

impl DsDetected {
    /// A message of these blocks, one on each branch.
    pub fn new(version: u16, blocks: &[ConflictingBlock]) -> Self {
        let blocks_len = blocks.iter().map(ConflictingBlock::encoded_len);
        let len = blocks.len();
        let mut out = BytesMut::with_capacity(
            BLOCK_COUNT_AT + compact_size_len(len as u64) + blocks_len.sum::<usize>(),
        );
        out.put_u16_le(version);
        out.put_compact_size(len as u64);
        for block in blocks {
            block.encode(&mut out);
        }
        Self {
            raw: out.freeze(),
            version,
            len,
        }
    }

    /// Version of the message: 1.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The blocks, one on each branch; their transactions share the payload's memory.
    pub fn blocks(&self) -> impl Iterator<Item = ConflictingBlock> {
        let start = BLOCK_COUNT_AT + compact_size_len(self.len as u64);
        let mut rest = self.raw.slice(start..);
        // All were scanned: none is wrong.
        (0..self.len).map_while(move |_| {
            let mut reader = Reader::shared(&rest);
            let block = ConflictingBlock::decode(&mut reader).ok()?;
            rest = reader.rest();
            Some(block)
        })
    }
}

/// Behind the version.
const BLOCK_COUNT_AT: usize = 2;
const HEADERS: &str = "conflicting headers";

impl ConflictingBlock {
    /// No headers, and the shortest proof: flags, index, transaction behind its length, target,
    /// no nodes.
    const MIN_LEN: usize = 1 + 1 + 1 + (1 + MIN_TX_LEN) + 32 + 1;

    /// Reads over a block that [`decode`](Payload::decode) would take, keeping nothing.
    fn scan(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let count = reader.count(BlockHeader::LEN, HEADERS)?;
        reader.take(BlockHeader::LEN * count, HEADERS)?;
        MerkleProof::scan(reader)
    }
}

impl Payload for DsDetected {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        let version = reader.u16("dsdetected version")?;
        let len = reader.count(ConflictingBlock::MIN_LEN, "conflicting blocks")?;
        for _ in 0..len {
            ConflictingBlock::scan(reader)?;
        }
        Ok(Self {
            raw: reader.since(start),
            version,
            len,
        })
    }

    kept_as_sent!();
}

impl Payload for ConflictingBlock {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(BlockHeader::LEN, HEADERS)?;
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
            .field("blocks", &self.len)
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
    use crate::message::proof::{ProofSubject, ProofTarget};
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
        assert_eq!((message.version(), message.len()), (1, 2));
        let blocks: Vec<_> = message.blocks().collect();
        let [first, second] = &blocks[..] else {
            panic!("two blocks")
        };
        assert_eq!(first.headers.len(), 1);
        assert_eq!(first.proof.index, 1);
        assert!(matches!(&first.proof.subject, ProofSubject::Tx(tx) if tx.len() == 10));
        assert!(matches!(first.proof.target, ProofTarget::MerkleRoot(_)));
        assert_eq!((first.proof.nodes.len(), second.proof.nodes.len()), (0, 1));
        assert_eq!(
            message.raw().map(|raw| raw.as_ptr()),
            Some(payload.as_ptr())
        );
        assert_eq!(message.raw(), Some(&payload));
        assert_eq!(DsDetected::new(1, &blocks), message);
    }

    #[test]
    fn a_block_that_cannot_be_read_is_seen_at_decoding() {
        let decode = |proof: &[&str]| {
            let payload = [&["0100", "01", "01", HEADER], proof].concat();
            DsDetected::decode(&mut Reader::new(&hex(&payload))).map(|message| {
                assert_eq!(message.blocks().count(), 1);
                message.len()
            })
        };
        let invalid = |field| DecodeError::Invalid { field, value: 2 };
        assert_eq!(decode(&["0501", TX, HASH, "0100", HASH]), Ok(1));
        assert_eq!(
            decode(&["0201", TX, HASH, "0100", HASH]),
            Err(invalid("proof flags"))
        );
        assert_eq!(
            decode(&["0501", TX, HASH, "0102", HASH]),
            Err(invalid("proof node type"))
        );
        let longer = ["0b", &TX[2..], "00"].concat();
        assert!(matches!(
            decode(&["0501", &longer, HASH, "0100", HASH]),
            Err(DecodeError::Invalid { value: 11, .. })
        ));
        assert!(matches!(
            decode(&["0501", TX, HASH, "0200", HASH]),
            Err(DecodeError::Truncated { .. })
        ));
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
