//! Miner id: `authch`, `authresp`, `revokemid`.
//!
//! Source: the node's `src/net/authconn.h` and `src/net/net_processing.cpp`.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Payload, limited};
use crate::codec::{Reader, WriteExt, compact_size_len, var_bytes_len};
use crate::error::DecodeError;

const KEY_LEN: usize = 33;
const MAX_SIGNATURE: usize = 72;
/// Two DER signatures, each behind a length byte.
const MAX_SIGNATURES: usize = 2 * (1 + MAX_SIGNATURE);

/// `authch`: a challenge that the node sends to everyone; answering is optional.
///
/// ```
/// use p2p_proto::{AuthChallenge, Message};
///
/// let challenge = AuthChallenge { version: 1, challenge: [7; 32] };
/// assert_eq!(Message::AuthChallenge(challenge).payload_len(), 4 + 4 + 32);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthChallenge {
    /// 1.
    pub version: u32,
    /// The random bytes to sign.
    pub challenge: [u8; 32],
}

impl Payload for AuthChallenge {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u32("version")?;
        // A u32, where authresp has CompactSizes.
        let length = reader.u32("challenge length")?;
        if length != 32 {
            return Err(DecodeError::Invalid {
                field: "challenge length",
                value: length.into(),
            });
        }
        Ok(Self {
            version,
            challenge: reader.array("challenge")?,
        })
    }

    fn encoded_len(&self) -> usize {
        40
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.version);
        out.put_u32_le(32);
        out.put_slice(&self.challenge);
    }
}

/// `authresp`: the answer to `authch`.
///
/// The signature is over the double SHA-256 of the challenge and the nonce (little-endian).
///
/// ```
/// use p2p_proto::AuthResponse;
///
/// let response = AuthResponse::new([2; 33], 7, vec![0x30; 71])?;
/// assert_eq!((response.nonce(), response.signature().len()), (7, 71));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthResponse {
    /// A compressed secp256k1 key, 33 bytes.
    public_key: Bytes,
    nonce: u64,
    signature: Bytes,
}

impl AuthResponse {
    /// An answer: a compressed key, our nonce, a DER signature.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] for a signature above 72 bytes.
    pub fn new(
        public_key: [u8; KEY_LEN],
        nonce: u64,
        signature: impl Into<Bytes>,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            public_key: Bytes::copy_from_slice(&public_key),
            nonce,
            signature: limited(signature, MAX_SIGNATURE, "signature")?,
        })
    }

    /// The compressed public key.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The client's nonce.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The DER signature, at most 72 bytes.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl Payload for AuthResponse {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let public_key = reader.var_bytes(KEY_LEN, "public key")?;
        if public_key.len() != KEY_LEN {
            return Err(DecodeError::Invalid {
                field: "public key length",
                value: public_key.len() as u64,
            });
        }
        Ok(Self {
            public_key,
            nonce: reader.u64("client nonce")?,
            signature: reader.var_bytes(MAX_SIGNATURE, "signature")?,
        })
    }

    fn encoded_len(&self) -> usize {
        var_bytes_len(&self.public_key) + 8 + var_bytes_len(&self.signature)
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_var_bytes(&self.public_key);
        out.put_u64_le(self.nonce);
        out.put_var_bytes(&self.signature);
    }
}

/// `revokemid`: a miner id is revoked.
///
/// Both signatures are over the single SHA-256 of the revoked id's 33 bytes.
///
/// ```
/// use bytes::Bytes;
/// use p2p_proto::{Command, Message, RevokeMid};
///
/// let revoked = RevokeMid {
///     version: 0,
///     revocation_key: [2; 33],
///     miner_id: [3; 33],
///     revoked_id: [2; 33],
///     revocation_signature: Bytes::from_static(&[0x30; 70]),
///     miner_signature: Bytes::from_static(&[0x30; 70]),
/// };
/// let payload = Message::RevokeMid(Box::new(revoked.clone())).payload();
/// assert_eq!(Message::decode(Command::REVOKEMID, &payload), Ok(Message::RevokeMid(Box::new(revoked))));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeMid {
    /// 0.
    pub version: u32,
    /// The key that may revoke.
    pub revocation_key: [u8; KEY_LEN],
    /// The miner id in use.
    pub miner_id: [u8; KEY_LEN],
    /// The miner id that is revoked.
    pub revoked_id: [u8; KEY_LEN],
    /// By the revocation key, DER: at most 72 bytes, or no peer reads the message.
    pub revocation_signature: Bytes,
    /// By the miner id, as the other.
    pub miner_signature: Bytes,
}

impl RevokeMid {
    fn signatures_len(&self) -> usize {
        var_bytes_len(&self.revocation_signature) + var_bytes_len(&self.miner_signature)
    }
}

impl Payload for RevokeMid {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u32("version")?;
        let revocation_key = reader.array("revocation key")?;
        let miner_id = reader.array("miner id")?;
        let revoked_id = reader.array("revoked id")?;
        let both = reader.var_bytes(MAX_SIGNATURES, "signatures")?;
        let mut both = Reader::shared(&both);
        let mut signature = |field| both.var_bytes(MAX_SIGNATURE, field);
        Ok(Self {
            version,
            revocation_key,
            miner_id,
            revoked_id,
            revocation_signature: signature("revocation signature")?,
            miner_signature: signature("miner signature")?,
        })
    }

    fn encoded_len(&self) -> usize {
        let both = self.signatures_len();
        4 + 3 * KEY_LEN + compact_size_len(both as u64) + both
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.version);
        out.put_slice(&self.revocation_key);
        out.put_slice(&self.miner_id);
        out.put_slice(&self.revoked_id);
        out.put_compact_size(self.signatures_len() as u64);
        out.put_var_bytes(&self.revocation_signature);
        out.put_var_bytes(&self.miner_signature);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_any_length_is_counted_as_it_is_written() {
        for len in [0, 72, 252, 253, 70_000] {
            let message = RevokeMid {
                version: 0,
                revocation_key: [2; KEY_LEN],
                miner_id: [3; KEY_LEN],
                revoked_id: [2; KEY_LEN],
                revocation_signature: Bytes::from(vec![0x30; len]),
                miner_signature: Bytes::from_static(&[0x30; 70]),
            };
            let mut payload = BytesMut::new();
            message.encode(&mut payload);
            assert_eq!(payload.len(), message.encoded_len(), "{len}");
            let mut reader = Reader::new(&payload[4 + 3 * KEY_LEN..]);
            let both = reader.var_bytes(usize::MAX, "signatures").unwrap();
            assert!(reader.is_empty());
            assert_eq!(both.len(), message.signatures_len());
        }
    }
}
