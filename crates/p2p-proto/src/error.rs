//! What can be wrong: with a payload, with a frame, with a peer, with a call of ours.

use thiserror::Error;

/// A payload that does not hold what its command says.
///
/// The peer is answered with `reject(command, 0x01, "error parsing message")` and kept.
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

/// Text that is not a hash.
///
/// ```
/// use p2p_proto::Hash256;
///
/// assert!("00ff".parse::<Hash256>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseHashError {
    /// Not 64 characters long.
    #[error("a hash has 64 hex digits, not {found}")]
    Length {
        /// Bytes in the text.
        found: usize,
    },
    /// Something else than a hex digit.
    #[error("character {at} is not a hex digit")]
    Digit {
        /// Its position, from 0.
        at: usize,
    },
}
