//! What can be wrong with a payload, and with a call of the application's.

use thiserror::Error;

/// A payload that does not hold what its command says.
///
/// A connection answers the peer with `reject(command, 0x01, "error parsing message")` and keeps
/// it. Also what is wrong with a message that the application makes.
///
/// ```
/// use p2p_proto::{Command, Message};
///
/// let error = Message::decode(Command::PING, &[1, 2, 3]).unwrap_err();
/// assert!(error.to_string().contains("nonce"), "{error}");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload ends inside a field, or cannot hold the items that it announces.
    #[error("{field}: {needed} bytes needed, {left} left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Bytes that the field needs.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// A CompactSize that is not in its shortest form.
    #[error("{field}: non-canonical CompactSize of {value}")]
    NonCanonical {
        /// The field that was being read.
        field: &'static str,
        /// The value it stands for.
        value: u64,
    },
    /// A length or count over what the protocol allows.
    #[error("{field}: {value} is over the limit of {max}")]
    TooLarge {
        /// The field that was being read.
        field: &'static str,
        /// The announced length or count.
        value: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// A value that means nothing in this field.
    #[error("{field}: {value} is not a valid value")]
    Invalid {
        /// The field that was being read.
        field: &'static str,
        /// The value.
        value: u64,
    },
}

/// A call of the application's that cannot be carried out.
///
/// ```
/// use p2p_proto::{Command, PeerLimits, SendError};
///
/// let limits = PeerLimits::default();
/// assert_eq!(
///     limits.check(Command::INV, 2_000_000),
///     Err(SendError::TooLarge { length: 2_000_000, limit: 1_048_576 }),
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is not admitted yet.
    #[error("the connection is not ready")]
    NotReady,
    /// The send queue has no room now; it will when the peer has read.
    #[error("the send queue is full")]
    Full,
    /// The connection is closed or closing.
    #[error("the connection is closed")]
    Closed,
    /// The peer would not take a payload of this size.
    #[error("a payload of {length} bytes, the peer takes {limit}")]
    TooLarge {
        /// Its length in bytes.
        length: u64,
        /// The peer's limit for the command, in bytes.
        limit: u64,
    },
    /// The command belongs to the handshake or to framing, which are not the application's.
    #[error("not the application's to send: part of the handshake or of framing")]
    Reserved,
    /// The message was encoded for another network.
    #[error("encoded for another network")]
    OtherNetwork,
    /// A streamed payload of up to 2^32 - 1 bytes needs its checksum first; a longer one has none.
    #[error("a streamed payload needs a checksum up to 2^32 - 1 bytes, and has none above")]
    Checksum,
    /// A payload is being streamed: finish it first.
    #[error("another payload is being streamed")]
    Streaming,
    /// No payload is being streamed.
    #[error("no payload is being streamed")]
    NotStreaming,
    /// The pieces do not add up to what was announced.
    #[error("the streamed payload is {by} bytes {}", if *.over { "too long" } else { "too short" })]
    WrongLength {
        /// By how many bytes.
        by: u64,
        /// Whether it is too long, not too short.
        over: bool,
    },
}

impl SendError {
    /// Whether the same call may work later: when the connection is admitted, when the peer has
    /// read.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotReady | Self::Full)
    }

    /// Whether a peer is to be banned for it: never, the call is ours.
    pub fn is_ban_worthy(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_may_work_later_when_there_is_room_or_the_peer_is_admitted() {
        for (error, retryable) in [
            (SendError::NotReady, true),
            (SendError::Full, true),
            (SendError::Closed, false),
            (SendError::Reserved, false),
            (SendError::OtherNetwork, false),
            (SendError::Checksum, false),
            (SendError::Streaming, false),
            (SendError::NotStreaming, false),
        ] {
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert!(!error.is_ban_worthy(), "{error}");
        }
    }
}
