//! Bloom filters (`filterload`, `filteradd`) and `mempool`.
//!
//! Source: BIP35, BIP37; the node's `src/net/mempool_msg.h` and `src/net/net_processing.cpp`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Payload, limited};
use crate::codec::{Reader, WriteExt, var_bytes_len};
use crate::error::DecodeError;

/// The largest bloom filter in bytes.
pub const MAX_FILTER: usize = 36_000;
/// The largest element of a bloom filter in bytes.
pub const MAX_FILTER_ELEMENT: usize = 520;

/// `filterload`: relay only what matches. Obsolete: a node without bloom filters bans for it.
///
/// ```
/// use p2p_proto::FilterLoad;
///
/// let filter = FilterLoad::new(vec![0xff; 8], 11, 0, 0)?;
/// assert_eq!((filter.filter().len(), filter.hash_functions()), (8, 11));
/// assert!(FilterLoad::new(vec![0; 36_001], 11, 0, 0).is_err());
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct FilterLoad {
    filter: Bytes,
    hash_functions: u32,
    tweak: u32,
    flags: u8,
}

impl FilterLoad {
    /// A filter.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] above [`MAX_FILTER`] bytes.
    pub fn new(
        filter: impl Into<Bytes>,
        hash_functions: u32,
        tweak: u32,
        flags: u8,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            filter: limited(filter, MAX_FILTER, "filter")?,
            hash_functions,
            tweak,
            flags,
        })
    }

    /// The filter's bits, at most 36,000 bytes.
    pub fn filter(&self) -> &[u8] {
        &self.filter
    }

    /// The number of hash functions; the node takes at most 50.
    pub fn hash_functions(&self) -> u32 {
        self.hash_functions
    }

    /// Added to the seed of every hash function.
    pub fn tweak(&self) -> u32 {
        self.tweak
    }

    /// How matches update the filter.
    pub fn flags(&self) -> u8 {
        self.flags
    }
}

impl Payload for FilterLoad {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            filter: reader.var_bytes(MAX_FILTER, "filter")?,
            hash_functions: reader.u32("hash functions")?,
            tweak: reader.u32("tweak")?,
            flags: reader.u8("flags")?,
        })
    }

    fn encoded_len(&self) -> usize {
        var_bytes_len(&self.filter) + 9
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_var_bytes(&self.filter);
        out.put_u32_le(self.hash_functions);
        out.put_u32_le(self.tweak);
        out.put_u8(self.flags);
    }
}

impl fmt::Debug for FilterLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterLoad")
            .field("filter", &self.filter.len())
            .field("hash_functions", &self.hash_functions)
            .field("tweak", &self.tweak)
            .field("flags", &self.flags)
            .finish()
    }
}

/// `filteradd`: one more element for the filter.
///
/// ```
/// use p2p_proto::FilterAdd;
///
/// assert_eq!(FilterAdd::new(&b"a public key"[..])?.element(), b"a public key");
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterAdd {
    element: Bytes,
}

impl FilterAdd {
    /// An element.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] above [`MAX_FILTER_ELEMENT`] bytes.
    pub fn new(element: impl Into<Bytes>) -> Result<Self, DecodeError> {
        Ok(Self {
            element: limited(element, MAX_FILTER_ELEMENT, "filter element")?,
        })
    }

    /// The element, at most 520 bytes.
    pub fn element(&self) -> &[u8] {
        &self.element
    }
}

impl Payload for FilterAdd {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            element: reader.var_bytes(MAX_FILTER_ELEMENT, "filter element")?,
        })
    }

    fn encoded_len(&self) -> usize {
        var_bytes_len(&self.element)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_var_bytes(&self.element);
    }
}

/// `mempool`: a request for the ids of unconfirmed transactions, in either of its layouts.
///
/// A node disconnects for the old form unless the sender is whitelisted.
///
/// ```
/// use p2p_proto::{Mempool, Message};
///
/// assert_eq!(Message::Mempool(Mempool::All).payload_len(), 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mempool {
    /// The old form: an empty payload.
    All,
    /// Bitcoin SV's form: only what is at most this many seconds old, if given.
    Recent {
        /// Seconds.
        age: Option<i64>,
    },
}

impl Payload for Mempool {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.is_empty() {
            return Ok(Self::All);
        }
        let age = match reader.u8("age present")? {
            0 => None,
            1 => Some(reader.i64("age")?),
            other => {
                return Err(DecodeError::Invalid {
                    field: "age present",
                    value: other.into(),
                });
            }
        };
        Ok(Self::Recent { age })
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Recent { age: None } => 1,
            Self::Recent { age: Some(_) } => 9,
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        match *self {
            Self::All => {}
            Self::Recent { age: None } => out.put_u8(0),
            Self::Recent { age: Some(age) } => {
                out.put_u8(1);
                out.put_i64_le(age);
            }
        }
    }
}
