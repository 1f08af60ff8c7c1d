//! Merkle proofs in the TSC format, and the messages that carry them: `hdrsen`, `datareftx`.
//!
//! Source: the node's `src/merkleproof.h`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::hash::Hash256;
use crate::message::Payload;
use crate::message::header::BlockHeader;
use crate::message::tx::{Tx, TxScanner, until_error};

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
/// use p2p_proto::{Hash256, ProofTarget};
///
/// assert_ne!(ProofTarget::BlockHash(Hash256::ZERO), ProofTarget::MerkleRoot(Hash256::ZERO));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            ProofSubject::Tx(tx) => compact_size_len(tx.len() as u64) + tx.len(),
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

/// `hdrsen`: the answer to `gethdrsen`, and an announcement of blocks after `sendhdrsen`.
///
/// A view over the payload, kept as it came: a header is read when the iterator comes to it.
///
/// ```
/// use p2p_proto::{BlockHeader, EnrichedHeader, EnrichedHeaders};
///
/// let header = EnrichedHeader {
///     header: BlockHeader::from_bytes(&[0; 80]),
///     tx_count: 1,
///     no_more_headers: true,
///     coinbase: None,
///     miner_info: None,
/// };
/// let headers = EnrichedHeaders::new(&[header.clone()]);
/// assert_eq!(headers.len(), 1);
/// assert_eq!(headers.iter().next(), Some(Ok(header)));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EnrichedHeaders {
    raw: Bytes,
    len: usize,
}

/// A header of an [`EnrichedHeaders`], and what lets a client trust the block's size.
///
/// ```
/// use p2p_proto::{BlockHeader, EnrichedHeader};
///
/// let tip = EnrichedHeader {
///     header: BlockHeader::from_bytes(&[0; 80]),
///     tx_count: 1,
///     no_more_headers: true,
///     coinbase: None,
///     miner_info: None,
/// };
/// assert!(tip.no_more_headers);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrichedHeader {
    /// The header.
    pub header: BlockHeader,
    /// How many transactions the block has.
    pub tx_count: u64,
    /// Whether this is the tip of the peer's chain.
    pub no_more_headers: bool,
    /// The coinbase and its proof.
    pub coinbase: Option<(Tx, MerkleProof)>,
    /// The transaction with the miner's info document, and its proof.
    pub miner_info: Option<(Tx, MerkleProof)>,
}

impl EnrichedHeader {
    /// Header, transaction count, "no more headers", two absent proofs.
    const MIN_LEN: usize = BlockHeader::LEN + 1 + 1 + 1 + 1;
}

impl EnrichedHeaders {
    /// A message of these headers, oldest first.
    pub fn new(headers: &[EnrichedHeader]) -> Self {
        let mut out = BytesMut::new();
        out.put_compact_size(headers.len() as u64);
        for header in headers {
            header.encode(&mut out);
        }
        Self {
            raw: out.freeze(),
            len: headers.len(),
        }
    }

    /// The announced number of headers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The headers, oldest first, sharing the payload's memory. After an error there are no
    /// more.
    pub fn iter(&self) -> impl Iterator<Item = Result<EnrichedHeader, DecodeError>> {
        let mut rest = self.raw.slice(compact_size_len(self.len as u64)..);
        until_error(self.len as u64, move || {
            let mut reader = Reader::shared(&rest);
            let header = EnrichedHeader::decode(&mut reader)?;
            rest = reader.rest();
            Ok(header)
        })
    }
}

impl Payload for EnrichedHeaders {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        let len = reader.count(EnrichedHeader::MIN_LEN, "enriched headers")?;
        reader.take(reader.remaining(), "enriched headers")?;
        Ok(Self {
            raw: reader.since(start),
            len,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for EnrichedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrichedHeaders")
            .field("headers", &self.len)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

impl Payload for EnrichedHeader {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            header: BlockHeader::read(reader)?,
            tx_count: reader.compact_size("transaction count of a header")?,
            no_more_headers: reader.bool("no more headers")?,
            coinbase: read_proven_tx(reader, "coinbase and proof")?,
            miner_info: read_proven_tx(reader, "miner info and proof")?,
        })
    }

    fn encoded_len(&self) -> usize {
        let proven = [&self.coinbase, &self.miner_info].into_iter().flatten();
        Self::MIN_LEN - 1
            + compact_size_len(self.tx_count)
            + proven
                .map(|(tx, proof)| tx.len() + proof.encoded_len())
                .sum::<usize>()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.header.encode(out);
        out.put_compact_size(self.tx_count);
        out.put_bool(self.no_more_headers);
        for proven in [&self.coinbase, &self.miner_info] {
            out.put_bool(proven.is_some());
            if let Some((tx, proof)) = proven {
                tx.encode(out);
                proof.encode(out);
            }
        }
    }
}

fn read_proven_tx(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<Option<(Tx, MerkleProof)>, DecodeError> {
    if !reader.bool(field)? {
        return Ok(None);
    }
    Ok(Some((Tx::decode(reader)?, MerkleProof::decode(reader)?)))
}

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
    use crate::message::tx::testing::{
        COINBASE_170, COINBASE_170_ID, HASH_170, HEADER_170, PAYMENT_170, PAYMENT_170_ID, hash, hex,
    };

    const HASH_170_WIRE: &str = "eea2d48d2fced4346842835c659e493d323f06d4034469a8905714d100000000";
    const COINBASE_WIRE: &str = "82501c1178fa0b222c1f3d474ec726b832013f0a532b44bb620cce8624a5feb1";
    const PAYMENT_WIRE: &str = "169e1e83e930853391bc6f35f605c6754cfead57cf8387639d3b4096c54f18f4";

    fn hdrsen_170() -> Bytes {
        hex(&[
            "01",
            HEADER_170,
            "02",
            "01",
            "01",
            COINBASE_170,
            "0000",
            COINBASE_WIRE,
            HASH_170_WIRE,
            "0100",
            PAYMENT_WIRE,
            "00",
        ])
    }

    #[test]
    fn hdrsen_170_reads_as_it_is_known() {
        let payload = hdrsen_170();
        let message = EnrichedHeaders::decode(&mut Reader::shared(&payload)).unwrap();
        assert_eq!(message.raw(), Some(&payload));
        let headers: Vec<_> = message.iter().map(Result::unwrap).collect();
        let [header] = &headers[..] else {
            panic!("one header")
        };
        assert_eq!(header.header.hash(), hash(HASH_170));
        assert_eq!((header.tx_count, header.no_more_headers), (2, true));
        assert_eq!(header.miner_info, None);
        let (tx, proof) = header.coinbase.as_ref().unwrap();
        assert_eq!(tx.txid(), hash(COINBASE_170_ID));
        assert_eq!(tx.as_bytes().as_ptr(), payload[84..].as_ptr());
        assert_eq!(proof.subject, ProofSubject::Txid(hash(COINBASE_170_ID)));
        assert_eq!(proof.target, ProofTarget::BlockHash(hash(HASH_170)));
        assert_eq!(proof.nodes, [hash(PAYMENT_170_ID)]);
        assert_eq!(proof.merkle_root(), Some(header.header.merkle_root));
        assert_eq!(header.encoded_len(), payload.len() - 1);
        assert_eq!(EnrichedHeaders::new(&headers), message);
    }

    #[test]
    fn a_header_has_84_bytes_at_least() {
        let least = hex(&["01", HEADER_170, "00000000"]);
        let decode = |bytes: &[u8]| EnrichedHeaders::decode(&mut Reader::new(bytes));
        assert!(decode(&least).unwrap().iter().all(|header| header.is_ok()));
        assert!(matches!(
            decode(&least[..84]),
            Err(DecodeError::Truncated { needed: 84, .. })
        ));
    }

    #[test]
    fn a_wrong_enriched_header_is_the_last() {
        let payload = hex(&[
            "03",
            HEADER_170,
            "00000000",
            HEADER_170,
            "fd01",
            &"00".repeat(99),
        ]);
        let message = EnrichedHeaders::decode(&mut Reader::new(&payload)).unwrap();
        let headers: Vec<_> = message.iter().collect();
        assert_eq!(headers.len(), 2);
        assert!(headers[0].is_ok());
        assert!(matches!(headers[1], Err(DecodeError::NonCanonical { .. })));
    }

    #[test]
    fn datareftx_170_round_trips() {
        let payload = hex(&[
            PAYMENT_170,
            "0001",
            PAYMENT_WIRE,
            HASH_170_WIRE,
            "0100",
            COINBASE_WIRE,
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
                PAYMENT_WIRE,
                HASH_170_WIRE,
                "01",
                node_type,
                COINBASE_WIRE,
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
        let many = ["0000", PAYMENT_WIRE, HASH_170_WIRE, "feffffffff"];
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
