//! What a connection tells its driver.

use std::fmt;

use bytes::Bytes;

use crate::close::CloseReason;
use crate::command::Command;
use crate::config::PROTOCOL_VERSION;
use crate::decoder::Dropped;
use crate::message::{Message, Version};

/// What happened on a connection, in order: `Ready`, then messages, then `Closed`.
///
/// ```
/// use p2p_proto::{Event, Message};
///
/// fn count_transactions(events: &[Event]) -> usize {
///     events.iter().filter(|event| matches!(event, Event::Message(Message::Tx(_)))).count()
/// }
/// assert_eq!(count_transactions(&[Event::Message(Message::GetAddr)]), 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The handshake is complete. A question: the manager answers with
    /// [`admit`](crate::Connection::admit) or [`close`](crate::Connection::close).
    Ready(Box<Ready>),
    /// A message came. Pings among them are answered already.
    Message(Message),
    /// A payload too large to be kept whole: it comes in pieces.
    Payload(PayloadEvent),
    /// A frame was dropped. The peer's budget of offences was charged.
    Discarded(Discarded),
    /// The connection has ended, and its last bytes are with the socket. Always the last event.
    Closed(CloseReason),
}

/// A completed handshake.
///
/// ```
/// use p2p_proto::{NetworkAddress, Ready, Version};
///
/// let old = Version::minimal(70012, 0, NetworkAddress::UNSPECIFIED);
/// assert_eq!(Ready::new(old, 7).negotiated_version, 70012);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ready {
    /// What the peer said; its nonce tells a connection to ourselves.
    pub version: Version,
    /// The nonce that we sent.
    pub our_nonce: u64,
    /// The version spoken from now on: the lower of the two.
    pub negotiated_version: i32,
}

impl Ready {
    /// The end of a handshake with a peer of this version.
    pub fn new(version: Version, our_nonce: u64) -> Self {
        Self {
            negotiated_version: version.version.min(PROTOCOL_VERSION),
            version,
            our_nonce,
        }
    }
}

/// A payload in pieces: one `Begin`, `Chunk`s that add up to its length, one `End`.
///
/// ```
/// use bytes::Bytes;
/// use p2p_proto::{Command, PayloadEvent};
///
/// let pieces = [
///     PayloadEvent::Begin { command: Command::BLOCK, length: 3 },
///     PayloadEvent::Chunk(Bytes::from_static(b"ab")),
///     PayloadEvent::Chunk(Bytes::from_static(b"c")),
///     PayloadEvent::End { checksum_ok: Some(true) },
/// ];
/// let bytes = pieces.iter().map(|piece| match piece {
///     PayloadEvent::Chunk(chunk) => chunk.len(),
///     _ => 0,
/// });
/// assert_eq!(bytes.sum::<usize>(), 3);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadEvent {
    /// It begins.
    Begin {
        /// What the payload belongs to.
        command: Command,
        /// Bytes to come.
        length: u64,
    },
    /// The next piece, never empty.
    Chunk(Bytes),
    /// It is complete.
    End {
        /// Whether the checksum was right; `None` for a frame without one (`extmsg`), whose
        /// content must prove itself. Nothing is to be believed before this is known.
        checksum_ok: Option<bool>,
    },
}

impl fmt::Debug for PayloadEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin { command, length } => f
                .debug_struct("Begin")
                .field("command", command)
                .field("length", length)
                .finish(),
            Self::Chunk(bytes) => f.debug_tuple("Chunk").field(&bytes.len()).finish(),
            Self::End { checksum_ok } => f
                .debug_struct("End")
                .field("checksum_ok", checksum_ok)
                .finish(),
        }
    }
}

/// A frame that was dropped.
///
/// ```
/// use p2p_proto::{Command, DiscardReason, Discarded};
///
/// let second = Discarded::new(Some(Command::VERACK), 0, DiscardReason::Repeated);
/// assert_eq!(second.why.to_string(), "repeated");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discarded {
    /// Its command, if it had one.
    pub command: Option<Command>,
    /// Bytes of its payload.
    pub length: u64,
    /// Why.
    pub why: DiscardReason,
}

impl Discarded {
    /// A dropped frame.
    pub const fn new(command: Option<Command>, length: u64, why: DiscardReason) -> Self {
        Self {
            command,
            length,
            why,
        }
    }
}

/// Why a frame was dropped.
///
/// ```
/// use p2p_proto::{DiscardReason, Dropped};
///
/// assert_eq!(DiscardReason::Frame(Dropped::BadChecksum).to_string(), "bad checksum");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscardReason {
    /// The frame was bad.
    #[error("{0}")]
    Frame(Dropped),
    /// The payload was.
    #[error("{0}")]
    Payload(crate::error::DecodeError),
    /// It comes once, and came twice.
    #[error("repeated")]
    Repeated,
}
