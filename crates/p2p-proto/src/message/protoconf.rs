//! `protoconf`: the sender's limits.
//!
//! Source: the node's `src/net/net_processing.cpp`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Payload, limited};
use crate::codec::{Reader, WriteExt, compact_size_len, var_bytes_len};
use crate::error::DecodeError;
use crate::text::escaped;

/// The least payload limit that a `protoconf` may announce, and what holds before one came
/// (`LEGACY_MAX_PROTOCOL_PAYLOAD_LENGTH`): 1 MiB.
pub const MIN_ANNOUNCED_PAYLOAD: u32 = 1_048_576;

/// The longest list of stream policies: ten names of 64 bytes and their commas.
const MAX_POLICIES: usize = 650;

/// `protoconf`: how large a message its sender takes, and which stream policies it knows.
///
/// Sent once, right behind verack. Fields that a newer version added are kept as they came.
///
/// ```
/// use p2p_proto::Protoconf;
///
/// let ours = Protoconf::new(2_097_152, "Default")?;
/// assert_eq!(ours.max_payload(), 2_097_152);
/// assert_eq!(ours.stream_policies(), Some(&b"Default"[..]));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Protoconf {
    fields: u64,
    max_payload: u32,
    policies: Bytes,
    newer: Bytes,
}

impl Protoconf {
    /// A `protoconf` of two fields, as the node sends it.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] below [`MIN_ANNOUNCED_PAYLOAD`] (the node would hang up),
    /// [`DecodeError::TooLarge`] for more than 650 bytes of policies.
    pub fn new(max_payload: u32, stream_policies: impl Into<Bytes>) -> Result<Self, DecodeError> {
        Ok(Self {
            fields: 2,
            max_payload: valid_limit(max_payload)?,
            policies: limited(stream_policies, MAX_POLICIES, "stream policies")?,
            newer: Bytes::new(),
        })
    }

    /// Fields announced: 1 or more.
    pub fn fields(&self) -> u64 {
        self.fields
    }

    /// The largest payload that the sender takes, in bytes; blocks and transactions have limits
    /// of their own.
    pub fn max_payload(&self) -> u32 {
        self.max_payload
    }

    /// The stream policies, comma-separated, as the sender wrote them.
    pub fn stream_policies(&self) -> Option<&[u8]> {
        (self.fields >= 2).then_some(&self.policies[..])
    }

    /// The fields that are known here, in memory of their own: what is kept for as long as the
    /// connection lives must not keep whatever came with it.
    pub(crate) fn known(&self) -> Self {
        Self {
            fields: self.fields.min(2),
            max_payload: self.max_payload,
            policies: Bytes::copy_from_slice(&self.policies),
            newer: Bytes::new(),
        }
    }
}

fn valid_limit(max_payload: u32) -> Result<u32, DecodeError> {
    if max_payload < MIN_ANNOUNCED_PAYLOAD {
        return Err(DecodeError::Invalid {
            field: "maxRecvPayloadLength",
            value: max_payload.into(),
        });
    }
    Ok(max_payload)
}

impl Payload for Protoconf {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fields = reader.compact_size("number of fields")?;
        if fields == 0 {
            return Err(DecodeError::Invalid {
                field: "number of fields",
                value: 0,
            });
        }
        let max_payload = valid_limit(reader.u32("maxRecvPayloadLength")?)?;
        let policies = if fields >= 2 {
            reader.var_bytes(MAX_POLICIES, "stream policies")?
        } else {
            Bytes::new()
        };
        let newer = if fields >= 3 {
            reader.rest()
        } else {
            Bytes::new()
        };
        Ok(Self {
            fields,
            max_payload,
            policies,
            newer,
        })
    }

    fn encoded_len(&self) -> usize {
        let policies = match self.stream_policies() {
            Some(policies) => var_bytes_len(policies),
            None => 0,
        };
        compact_size_len(self.fields) + 4 + policies + self.newer.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_compact_size(self.fields);
        out.put_u32_le(self.max_payload);
        if let Some(policies) = self.stream_policies() {
            out.put_var_bytes(policies);
        }
        out.put_slice(&self.newer);
    }
}

impl fmt::Debug for Protoconf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protoconf")
            .field("fields", &self.fields)
            .field("max_payload", &self.max_payload)
            .field("policies", &format_args!("\"{}\"", escaped(&self.policies)))
            .finish()
    }
}
