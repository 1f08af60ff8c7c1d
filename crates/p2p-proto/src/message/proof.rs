//! Merkle proofs in the TSC format: `hdrsen`, `datareftx` and `dsdetected` carry them.
//!
//! Source: the node's `src/merkleproof.h`.

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len, var_bytes_len};
use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::message::Payload;
use crate::message::tx::{Tx, TxScanner};

/// Flag bit 0: the transaction itself, not its id.
const FLAG_TX: u8 = 0b001;
/// Flag bits 1 and 2: a merkle root as the target; neither set: a block hash.
const FLAG_MERKLE_ROOT: u8 = 0b100;
/// Type, then hash.
const NODE_LEN: usize = 1 + 32;
/// The node writes no other type.
const NODE_TYPE_HASH: u8 = 0;

/// That a transaction is in a block: a branch of the block's merkle tree.
///
/// ```
/// use p2p_proto::{Hash256, MerkleProof, ProofSubject, ProofTarget};
///
/// let [first, second] = [b"first txid ", b"second txid"].map(|text| Hash256::of(text));
/// let proof = MerkleProof {
///     index: 1,
///     subject: ProofSubject::Txid(second),
///     target: ProofTarget::BlockHash(Hash256::of(b"a block")),
///     nodes: vec![first],
/// };
/// assert_eq!(proof.merkle_root(), Some(Hash256::of_pair(&first, &second)));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct MerkleProof {
    /// The transaction's place in the block; 0 is the coinbase.
    pub index: u64,
    /// What is proved to be in the block.
    pub subject: ProofSubject,
    /// The block.
    pub target: ProofTarget,
    /// The hashes beside the way from the transaction to the root, lowest first.
    pub nodes: Vec<Hash256>,
}

/// What a [`MerkleProof`] is about.
///
/// ```
/// use p2p_proto::{ProofSubject, Tx};
///
/// let subject = ProofSubject::Tx(Tx::new(1, &[], &[], 0)?);
/// assert!(matches!(subject, ProofSubject::Tx(_)));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofSubject {
    /// A transaction by its id, as in `hdrsen` and `datareftx`.
    Txid(Hash256),
    /// The whole transaction, as in `dsdetected`.
    Tx(Tx),
}

/// How a [`MerkleProof`] names its block. The TSC standard has a third way, the whole header,
/// which the node does not know.
///
/// ```
/// use p2p_proto::{BlockHeader, MerkleProof, ProofTarget};
///
/// /// Whether a proof is about this block, and holds.
/// fn proves(proof: &MerkleProof, header: &BlockHeader) -> bool {
///     let is_of_block = match proof.target {
///         ProofTarget::BlockHash(hash) => hash == header.hash(),
///         ProofTarget::MerkleRoot(root) => root == header.merkle_root,
///         _ => false,
///     };
///     is_of_block && proof.merkle_root() == Some(header.merkle_root)
/// }
/// # let _ = proves;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofTarget {
    /// By its hash, as in `hdrsen` and `datareftx`.
    BlockHash(Hash256),
    /// By its merkle root, as in `dsdetected`.
    MerkleRoot(Hash256),
}

impl MerkleProof {
    /// The id of the transaction.
    pub fn txid(&self) -> Hash256 {
        match &self.subject {
            ProofSubject::Txid(txid) => *txid,
            ProofSubject::Tx(tx) => tx.txid(),
        }
    }

    /// The root that the branch leads to: the proof holds when it is the block's. `None` when
    /// no tree of this height has the index.
    pub fn merkle_root(&self) -> Option<Hash256> {
        let mut index = self.index;
        let mut node = self.txid();
        for beside in &self.nodes {
            node = if index & 1 == 1 {
                Hash256::of_pair(beside, &node)
            } else {
                Hash256::of_pair(&node, beside)
            };
            index >>= 1;
        }
        (index == 0).then_some(node)
    }

    /// Reads over a proof that [`decode`](Payload::decode) would take, keeping nothing.
    pub(crate) fn scan(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let flags = read_flags(reader)?;
        reader.compact_size(INDEX)?;
        if flags & FLAG_TX == 0 {
            reader.hash(TXID)?;
        } else {
            scan_measured_tx(reader)?;
        }
        reader.hash(TARGET)?;
        for _ in 0..reader.count(NODE_LEN, NODES)? {
            read_node(reader)?;
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let subject = match self.subject {
            ProofSubject::Txid(_) => 0,
            ProofSubject::Tx(_) => FLAG_TX,
        };
        let target = match self.target {
            ProofTarget::BlockHash(_) => 0,
            ProofTarget::MerkleRoot(_) => FLAG_MERKLE_ROOT,
        };
        subject | target
    }
}

impl Payload for MerkleProof {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = read_flags(reader)?;
        let index = reader.compact_size(INDEX)?;
        let subject = if flags & FLAG_TX == 0 {
            ProofSubject::Txid(reader.hash(TXID)?)
        } else {
            ProofSubject::Tx(read_measured_tx(reader)?)
        };
        let target = reader.hash(TARGET)?;
        let target = if flags & FLAG_MERKLE_ROOT == 0 {
            ProofTarget::BlockHash(target)
        } else {
            ProofTarget::MerkleRoot(target)
        };
        let count = reader.count(NODE_LEN, NODES)?;
        let mut nodes = Vec::with_capacity(count);
        for _ in 0..count {
            nodes.push(read_node(reader)?);
        }
        Ok(Self {
            index,
            subject,
            target,
            nodes,
        })
    }

    fn encoded_len(&self) -> usize {
        let subject = match &self.subject {
            ProofSubject::Txid(_) => 32,
            ProofSubject::Tx(tx) => var_bytes_len(tx.as_bytes()),
        };
        1 + compact_size_len(self.index)
            + subject
            + 32
            + compact_size_len(self.nodes.len() as u64)
            + NODE_LEN * self.nodes.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.flags());
        out.put_compact_size(self.index);
        match &self.subject {
            ProofSubject::Txid(txid) => out.put_hash(txid),
            ProofSubject::Tx(tx) => out.put_var_bytes(tx.as_bytes()),
        }
        match &self.target {
            ProofTarget::BlockHash(hash) | ProofTarget::MerkleRoot(hash) => out.put_hash(hash),
        }
        out.put_compact_size(self.nodes.len() as u64);
        for node in &self.nodes {
            out.put_u8(NODE_TYPE_HASH);
            out.put_hash(node);
        }
    }
}

impl fmt::Debug for MerkleProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MerkleProof")
            .field("index", &self.index)
            .field("subject", &self.subject)
            .field("target", &self.target)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

const INDEX: &str = "proof index";
const TXID: &str = "proof txid";
const TARGET: &str = "proof target";
const NODES: &str = "proof nodes";

fn read_flags(reader: &mut Reader<'_>) -> Result<u8, DecodeError> {
    let flags = reader.u8("proof flags")?;
    // Every other bit announces another layout.
    if flags & !(FLAG_TX | FLAG_MERKLE_ROOT) != 0 {
        return Err(DecodeError::Invalid {
            field: "proof flags",
            value: u64::from(flags),
        });
    }
    Ok(flags)
}

fn read_node(reader: &mut Reader<'_>) -> Result<Hash256, DecodeError> {
    let kind = reader.u8("proof node type")?;
    if kind != NODE_TYPE_HASH {
        return Err(DecodeError::Invalid {
            field: "proof node type",
            value: u64::from(kind),
        });
    }
    reader.hash("proof node")
}

fn read_measured_tx(reader: &mut Reader<'_>) -> Result<Tx, DecodeError> {
    let (scanner, len) = scan_measured_tx(reader)?;
    Ok(scanner.into_tx(reader.since(reader.position() - len)))
}

/// Reads over a transaction behind its length, which it returns. Both say where it ends: they
/// must agree, or two readers could see two different proofs.
fn scan_measured_tx(reader: &mut Reader<'_>) -> Result<(TxScanner, usize), DecodeError> {
    let len = reader.count(1, "proof transaction")?;
    let (scanner, end) = TxScanner::scan(reader.take(len, "proof transaction")?)?;
    if end != len {
        return Err(DecodeError::Invalid {
            field: "length of the proof transaction",
            value: len as u64,
        });
    }
    Ok((scanner, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tx::testing::{
        COINBASE_170_ID, COINBASE_170_WIRE, HASH_170, HASH_170_WIRE, PAYMENT_170, PAYMENT_170_ID,
        PAYMENT_170_WIRE, hash, hex,
    };

    #[test]
    fn proofs_of_another_layout_are_invalid() {
        let decode = |parts: &[&str]| MerkleProof::decode(&mut Reader::new(&hex(parts)));
        for (flags, node_type, fine) in [
            ("00", "00", true),
            ("04", "00", true),
            ("02", "00", false),
            ("06", "00", false),
            ("08", "00", false),
            ("10", "00", false),
            ("00", "01", false),
        ] {
            let parts = [
                flags,
                "00",
                PAYMENT_170_WIRE,
                HASH_170_WIRE,
                "01",
                node_type,
                COINBASE_170_WIRE,
            ];
            match decode(&parts) {
                Ok(_) => assert!(fine, "{flags} {node_type}"),
                Err(error) => {
                    assert!(!fine && matches!(error, DecodeError::Invalid { .. }));
                }
            }
        }
        // 275 bytes of transaction, 276 announced.
        let parts = ["0500fd1401", PAYMENT_170, "00", HASH_170_WIRE, "00"];
        assert!(matches!(
            decode(&parts),
            Err(DecodeError::Invalid { value: 276, .. })
        ));
        let many = ["0000", PAYMENT_170_WIRE, HASH_170_WIRE, "feffffffff"];
        assert!(matches!(decode(&many), Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn an_index_outside_of_the_tree_proves_nothing() {
        let proof = MerkleProof {
            index: 2,
            subject: ProofSubject::Txid(hash(PAYMENT_170_ID)),
            target: ProofTarget::BlockHash(hash(HASH_170)),
            nodes: vec![hash(COINBASE_170_ID)],
        };
        assert_eq!(proof.merkle_root(), None);
    }
}
