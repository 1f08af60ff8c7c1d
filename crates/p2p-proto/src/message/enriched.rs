//! `hdrsen`: headers with what proves the size of their blocks.
//!
//! Source: the node's `src/net/net_processing.cpp`.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;
use crate::message::header::BlockHeader;
use crate::message::proof::MerkleProof;
use crate::message::tx::Tx;
use crate::message::{Payload, until_error};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::proof::{ProofSubject, ProofTarget};
    use crate::message::tx::testing::{
        COINBASE_170, COINBASE_170_ID, COINBASE_170_WIRE, HASH_170, HASH_170_WIRE, HEADER_170,
        PAYMENT_170_ID, PAYMENT_170_WIRE, hash, hex,
    };

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

    fn hdrsen_170() -> Bytes {
        hex(&[
            "01",
            HEADER_170,
            "02",
            "01",
            "01",
            COINBASE_170,
            "0000",
            COINBASE_170_WIRE,
            HASH_170_WIRE,
            "0100",
            PAYMENT_170_WIRE,
            "00",
        ])
    }
}
