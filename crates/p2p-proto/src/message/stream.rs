//! `createstrm`, `streamack`: more than one TCP connection to a peer.
//!
//! Source: the node's `src/net/association.cpp` and `src/net/stream_policy.cpp`.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Payload, limited};
use crate::codec::{Reader, WriteExt, var_bytes_len};
use crate::error::DecodeError;

/// The longest association id: a type byte and 128 bytes.
pub const MAX_ASSOCIATION_ID: usize = 129;

const MAX_POLICY: usize = 64;

/// `createstrm`: makes the connection it is sent on a stream of an association.
///
/// ```
/// use p2p_proto::CreateStream;
///
/// let second = CreateStream::new(vec![0; 17], 2, "BlockPriority")?;
/// assert_eq!((second.stream_type(), second.policy()), (2, &b"BlockPriority"[..]));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateStream {
    association_id: Bytes,
    stream_type: u8,
    policy: Bytes,
}

impl CreateStream {
    /// A request to attach the connection to an association.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] for an id above 129 bytes or a policy above 64.
    pub fn new(
        association_id: impl Into<Bytes>,
        stream_type: u8,
        policy: impl Into<Bytes>,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            association_id: limited(association_id, MAX_ASSOCIATION_ID, "association id")?,
            stream_type,
            policy: limited(policy, MAX_POLICY, "stream policy")?,
        })
    }

    /// The association: in the node's form a zero byte and a UUID; at most 129 bytes.
    pub fn association_id(&self) -> &[u8] {
        &self.association_id
    }

    /// 1 is GENERAL, 2 to 5 are DATA1 to DATA4.
    pub fn stream_type(&self) -> u8 {
        self.stream_type
    }

    /// The policy to use from now on, at most 64 bytes; empty to keep the present one.
    pub fn policy(&self) -> &[u8] {
        &self.policy
    }
}

impl Payload for CreateStream {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            association_id: reader.var_bytes(MAX_ASSOCIATION_ID, "association id")?,
            stream_type: reader.u8("stream type")?,
            policy: reader.var_bytes(MAX_POLICY, "stream policy")?,
        })
    }

    fn encoded_len(&self) -> usize {
        var_bytes_len(&self.association_id) + 1 + var_bytes_len(&self.policy)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_var_bytes(&self.association_id);
        out.put_u8(self.stream_type);
        out.put_var_bytes(&self.policy);
    }
}

/// `streamack`: the answer to `createstrm`, on the new connection.
///
/// ```
/// use p2p_proto::StreamAck;
///
/// let answer = StreamAck::new(vec![0; 17], 2)?;
/// assert_eq!(answer.association_id().len(), 17);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamAck {
    association_id: Bytes,
    stream_type: u8,
}

impl StreamAck {
    /// The answer to a `createstrm` with this id and type.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] for an id above 129 bytes.
    pub fn new(association_id: impl Into<Bytes>, stream_type: u8) -> Result<Self, DecodeError> {
        Ok(Self {
            association_id: limited(association_id, MAX_ASSOCIATION_ID, "association id")?,
            stream_type,
        })
    }

    /// The association, as in `createstrm`.
    pub fn association_id(&self) -> &[u8] {
        &self.association_id
    }

    /// The stream type, as in `createstrm`.
    pub fn stream_type(&self) -> u8 {
        self.stream_type
    }
}

impl Payload for StreamAck {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            association_id: reader.var_bytes(MAX_ASSOCIATION_ID, "association id")?,
            stream_type: reader.u8("stream type")?,
        })
    }

    fn encoded_len(&self) -> usize {
        var_bytes_len(&self.association_id) + 1
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_var_bytes(&self.association_id);
        out.put_u8(self.stream_type);
    }
}
