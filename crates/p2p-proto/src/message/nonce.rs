//! `ping`, `pong`: a nonce, sent and sent back.
//!
//! Source: BIP31; the node's `src/net/net_processing.cpp`.

use std::fmt;

use bytes::{BufMut, BytesMut};

use super::Payload;
use crate::codec::Reader;
use crate::error::DecodeError;

/// The nonce of a `ping` or `pong`; shown as 16 hex digits.
///
/// ```
/// use p2p_proto::{Message, Nonce};
///
/// assert_eq!(Message::Ping(Nonce(258)).payload()[..2], [2, 1]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub u64);

impl Payload for Nonce {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.u64("nonce")?))
    }

    fn encoded_len(&self) -> usize {
        8
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.0);
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
