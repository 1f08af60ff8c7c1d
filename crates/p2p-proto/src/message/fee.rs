//! `feefilter`: the least fee that is worth an announcement.
//!
//! Source: BIP133; the node's `src/net/net_processing.cpp`.

use bytes::{BufMut, BytesMut};

use super::Payload;
use crate::codec::Reader;
use crate::error::DecodeError;

/// `feefilter`: do not offer transactions that pay less.
///
/// The node ignores rates outside 0 ..= 21e14; a huge one means "no transactions, please".
///
/// ```
/// use p2p_proto::{FeeFilter, Message};
///
/// let nothing_please = FeeFilter { satoshi_per_kb: 100_000_000 };
/// assert_eq!(Message::FeeFilter(nothing_please).payload_len(), 8);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeeFilter {
    /// Satoshi per 1000 bytes.
    pub satoshi_per_kb: i64,
}

impl Payload for FeeFilter {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            satoshi_per_kb: reader.i64("fee rate")?,
        })
    }

    fn encoded_len(&self) -> usize {
        8
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i64_le(self.satoshi_per_kb);
    }
}
