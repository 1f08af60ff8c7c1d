//! Why a connection ends: a closed list, and who ended it.

use std::io;

use thiserror::Error;

use crate::decoder::{FrameError, hex};
use crate::error::DecodeError;
use crate::message::Reject;
use crate::offence::Offence;
use crate::text::UserAgent;

/// Why a connection ended. There is one for every connection, and the first one wins.
///
/// ```
/// use p2p_proto::{CloseReason, Initiator, NetworkFailure};
///
/// let reason = CloseReason::from(NetworkFailure::Eof);
/// assert_eq!(reason.to_string(), "closed by the peer");
/// assert_eq!(reason.initiator(), Initiator::Remote);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer broke a rule that is worth a ban.
    #[error("protocol violation: {0}")]
    Violation(Violation),
    /// The peer speaks too old a protocol.
    #[error("protocol version {version}, at least {least} needed")]
    ObsoleteVersion {
        /// The peer's version.
        version: i32,
        /// Our minimum.
        least: i32,
    },
    /// The policy does not want this peer, through no fault of the peer's.
    #[error("unwanted: {why}")]
    Unwanted {
        /// What the policy says.
        why: &'static str,
    },
    /// A bad header came after the first frame: what follows it means nothing.
    #[error("framing lost: {0}")]
    FramingLost(FrameError),
    /// Minor offences used up their budget; this was the last.
    #[error("too many offences, the last: {0}")]
    Misbehavior(Offence),
    /// The handshake took too long.
    #[error("handshake timed out")]
    HandshakeTimeout,
    /// A pong took too long, and no large frame excused it.
    #[error("ping timed out")]
    PingTimeout,
    /// The peer took none of our bytes for too long.
    #[error("peer does not read")]
    WriteTimeout,
    /// The peer rejected our version and hung up.
    #[error("rejected by the peer: {0}")]
    RejectedByPeer(Reject),
    /// The transport ended.
    #[error("{0}")]
    Network(NetworkFailure),
    /// There is no room for the peer; it was told so.
    #[error("no room")]
    OverCapacity,
    /// The nonce is ours: we dialled ourselves.
    #[error("connected to ourselves")]
    SelfConnection,
    /// There is another connection to the same peer.
    #[error("duplicate connection")]
    Duplicate,
    /// The peer's IP is banned.
    #[error("banned")]
    Banned,
    /// The peer made room for another.
    #[error("evicted")]
    Evicted,
    /// The user asked for it.
    #[error("disconnect requested")]
    Requested,
    /// The node is shutting down.
    #[error("shutting down")]
    Shutdown,
}

impl From<NetworkFailure> for CloseReason {
    fn from(failure: NetworkFailure) -> Self {
        Self::Network(failure)
    }
}

/// Who ended a connection.
///
/// ```
/// use p2p_proto::{CloseReason, Initiator};
///
/// assert_eq!(CloseReason::Requested.initiator(), Initiator::Local);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Initiator {
    /// We hung up.
    Local,
    /// The peer hung up, or the network between us failed.
    Remote,
}

impl CloseReason {
    /// Who ended the connection.
    pub fn initiator(&self) -> Initiator {
        match self {
            Self::Network(_) | Self::RejectedByPeer(_) => Initiator::Remote,
            Self::Violation(_)
            | Self::ObsoleteVersion { .. }
            | Self::Unwanted { .. }
            | Self::FramingLost(_)
            | Self::Misbehavior(_)
            | Self::HandshakeTimeout
            | Self::PingTimeout
            | Self::WriteTimeout
            | Self::OverCapacity
            | Self::SelfConnection
            | Self::Duplicate
            | Self::Banned
            | Self::Evicted
            | Self::Requested
            | Self::Shutdown => Initiator::Local,
        }
    }

    /// Whether what the application has queued should still reach the peer.
    pub(crate) fn flushes_data(&self) -> bool {
        matches!(
            self,
            Self::Duplicate | Self::Evicted | Self::Requested | Self::Shutdown
        )
    }
}

/// What is worth a ban.
///
/// ```
/// use p2p_proto::Violation;
///
/// // A node of BTC.
/// let (expected, received) = ([0xe3, 0xe1, 0xf3, 0xe8], [0xf9, 0xbe, 0xb4, 0xd9]);
/// assert_eq!(
///     Violation::NetworkMismatch { expected, received }.to_string(),
///     "of another network: magic f9beb4d9 where e3e1f3e8 was expected",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// The peer's first frame is of another network.
    #[error("of another network: magic {} where {} was expected", hex(*received), hex(*expected))]
    NetworkMismatch {
        /// Our magic, wire order.
        expected: [u8; 4],
        /// The peer's, wire order.
        received: [u8; 4],
    },
    /// The user agent names another chain.
    #[error("user agent {user_agent:?} is of another chain")]
    OtherChain {
        /// The agent.
        user_agent: UserAgent,
    },
    /// The user agent is on the operator's list.
    #[error("user agent {user_agent:?} is banned")]
    BannedUserAgent {
        /// The agent.
        user_agent: UserAgent,
    },
    /// A stranger announced more than its command may have.
    #[error("before the handshake was complete: {0}")]
    Oversize(FrameError),
    /// The `version` message cannot be read.
    #[error("malformed version: {0}")]
    MalformedVersion(DecodeError),
}

/// How the transport ended, as far as anyone can tell.
///
/// ```
/// use std::io::ErrorKind;
/// use p2p_proto::NetworkFailure;
///
/// assert_eq!(NetworkFailure::from(ErrorKind::ConnectionReset), NetworkFailure::Reset);
/// assert_eq!(NetworkFailure::from(ErrorKind::UnexpectedEof), NetworkFailure::Eof);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
#[non_exhaustive]
pub enum NetworkFailure {
    /// The peer closed its side in good order.
    #[error("closed by the peer")]
    Eof,
    /// The connection was reset.
    #[error("connection reset")]
    Reset,
    /// The peer closed while we wrote.
    #[error("broken pipe")]
    BrokenPipe,
    /// The transport gave up waiting.
    #[error("connection timed out")]
    TimedOut,
    /// Anything else.
    #[error("i/o error: {0}")]
    Other(io::ErrorKind),
}

impl From<io::ErrorKind> for NetworkFailure {
    fn from(kind: io::ErrorKind) -> Self {
        if kind == io::ErrorKind::UnexpectedEof {
            Self::Eof
        } else if kind == io::ErrorKind::ConnectionReset || kind == io::ErrorKind::ConnectionAborted
        {
            Self::Reset
        } else if kind == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else if kind == io::ErrorKind::TimedOut {
            Self::TimedOut
        } else {
            Self::Other(kind)
        }
    }
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
