//! What is being read of a block: the header and the transaction at hand, as their bytes arrive.

use std::collections::VecDeque;
use std::mem;

use bytes::{Bytes, BytesMut};

use super::BlockPart;
use crate::error::DecodeError;
use crate::hash::{Hash256, Sha256d};
use crate::message::{BlockHeader, CompactSizeScanner, TxScanner};

/// The header and the transaction count, as they arrive.
pub(super) struct Head {
    header: [u8; BlockHeader::LEN],
    len: usize,
    tx_count: CompactSizeScanner,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            header: [0; BlockHeader::LEN],
            len: 0,
            tx_count: CompactSizeScanner::default(),
        }
    }
}

impl Head {
    pub(super) fn read(
        &mut self,
        chunk: &mut Bytes,
    ) -> Result<Option<(BlockHeader, u64)>, DecodeError> {
        let missing = &mut self.header[self.len..];
        let bytes = chunk.split_to(missing.len().min(chunk.len()));
        missing[..bytes.len()].copy_from_slice(&bytes);
        self.len += bytes.len();
        let mut at = 0;
        let tx_count = self.tx_count.feed(chunk, &mut at, "transaction count")?;
        drop(chunk.split_to(at));
        Ok(tx_count.map(|tx_count| (BlockHeader::from_bytes(&self.header), tx_count)))
    }

    pub(super) fn truncated(&self) -> DecodeError {
        let missing = self.header.len() - self.len;
        DecodeError::Truncated {
            field: if missing > 0 {
                "block header"
            } else {
                "transaction count"
            },
            needed: missing.max(1) as u64,
            left: 0,
        }
    }
}

/// The transaction at hand: gathered until it is over the limit, passed on from there.
pub(super) struct OpenTx {
    pub(super) scanner: TxScanner,
    pub(super) gathered: BytesMut,
    passed_on: Option<PassedOn>,
}

struct PassedOn {
    hasher: Sha256d,
    length: u64,
}

impl OpenTx {
    pub(super) fn new() -> Self {
        Self {
            scanner: TxScanner::new(),
            gathered: BytesMut::new(),
            passed_on: None,
        }
    }

    /// Takes a piece that does not end it.
    pub(super) fn extend(&mut self, piece: Bytes, max: usize, parts: &mut VecDeque<BlockPart>) {
        if self.fits(&piece, max) {
            self.gathered.extend_from_slice(&piece);
        } else {
            self.pass_on(piece, parts);
        }
    }

    /// Takes the piece that ends it; gives its id.
    pub(super) fn finish(
        mut self,
        last: Bytes,
        max: usize,
        parts: &mut VecDeque<BlockPart>,
    ) -> Hash256 {
        if self.fits(&last, max) {
            let raw = if self.gathered.is_empty() {
                last
            } else {
                self.gathered.extend_from_slice(&last);
                self.gathered.freeze()
            };
            let tx = self.scanner.into_tx(raw);
            let txid = tx.txid();
            parts.push_back(BlockPart::Tx { tx, txid });
            return txid;
        }
        let PassedOn { hasher, length } = self.pass_on(last, parts);
        let (txid, length) = (mem::take(hasher).finish(), *length);
        parts.push_back(BlockPart::TxEnd { txid, length });
        txid
    }

    /// Hands out what was gathered, then the piece.
    fn pass_on(&mut self, piece: Bytes, parts: &mut VecDeque<BlockPart>) -> &mut PassedOn {
        let gathered = mem::take(&mut self.gathered).freeze();
        let passed_on = self.passed_on.get_or_insert_with(|| {
            parts.push_back(BlockPart::TxBegin);
            PassedOn {
                hasher: Sha256d::new(),
                length: 0,
            }
        });
        for bytes in [gathered, piece] {
            if !bytes.is_empty() {
                passed_on.hasher.update(&bytes);
                passed_on.length += bytes.len() as u64;
                parts.push_back(BlockPart::TxChunk(bytes));
            }
        }
        passed_on
    }

    /// Whether it can still come out whole with this piece.
    fn fits(&self, piece: &Bytes, max: usize) -> bool {
        self.passed_on.is_none() && piece.len() <= max.saturating_sub(self.gathered.len())
    }
}
