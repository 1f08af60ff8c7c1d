//! Why a connection ends: a closed list, and who ended it.

use std::io;

use thiserror::Error;

use crate::decoder::FrameError;
use crate::error::DecodeError;
use crate::message::Reject;
use crate::network::magic_text;
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
    RejectedByPeer(Box<Reject>),
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

impl CloseReason {
    /// Every [`name`](Self::name).
    pub const NAMES: &'static [&'static str] = &[
        "network_mismatch",
        "other_chain",
        "banned_user_agent",
        "oversize",
        "malformed_version",
        "obsolete_version",
        "unwanted",
        "framing_lost",
        "misbehavior",
        "handshake_timeout",
        "ping_timeout",
        "write_timeout",
        "rejected_by_peer",
        "eof",
        "reset",
        "broken_pipe",
        "timed_out",
        "io_error",
        "over_capacity",
        "self_connection",
        "duplicate",
        "banned",
        "evicted",
        "requested",
        "shutdown",
    ];

    /// What kind of end it is, in a word: for counters and labels, so without anything that a
    /// peer can choose.
    ///
    /// ```
    /// use p2p_proto::{CloseReason, NetworkFailure};
    ///
    /// assert_eq!(CloseReason::Network(NetworkFailure::Eof).name(), "eof");
    /// ```
    pub fn name(&self) -> &'static str {
        match self {
            Self::Violation(Violation::NetworkMismatch { .. }) => "network_mismatch",
            Self::Violation(Violation::OtherChain { .. }) => "other_chain",
            Self::Violation(Violation::BannedUserAgent { .. }) => "banned_user_agent",
            Self::Violation(Violation::Oversize(_)) => "oversize",
            Self::Violation(Violation::MalformedVersion(_)) => "malformed_version",
            Self::ObsoleteVersion { .. } => "obsolete_version",
            Self::Unwanted { .. } => "unwanted",
            Self::FramingLost(_) => "framing_lost",
            Self::Misbehavior(_) => "misbehavior",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::PingTimeout => "ping_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::RejectedByPeer(_) => "rejected_by_peer",
            Self::Network(NetworkFailure::Eof) => "eof",
            Self::Network(NetworkFailure::Reset) => "reset",
            Self::Network(NetworkFailure::BrokenPipe) => "broken_pipe",
            Self::Network(NetworkFailure::TimedOut) => "timed_out",
            Self::Network(NetworkFailure::Other(_)) => "io_error",
            Self::OverCapacity => "over_capacity",
            Self::SelfConnection => "self_connection",
            Self::Duplicate => "duplicate",
            Self::Banned => "banned",
            Self::Evicted => "evicted",
            Self::Requested => "requested",
            Self::Shutdown => "shutdown",
        }
    }

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

impl Initiator {
    /// Every [`name`](Self::name).
    pub const NAMES: &'static [&'static str] = &["local", "remote"];

    /// In a word, for counters and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
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
    #[error("of another network: magic {} where {} was expected", magic_text(*received), magic_text(*expected))]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::message::RejectCode;

    #[test]
    fn every_end_has_a_name_of_its_own_in_the_list() {
        let agent = UserAgent::from_static("/x/");
        let oversize = FrameError::Oversize {
            command: Command::TX,
            length: 2,
            limit: 1,
        };
        let malformed = DecodeError::Invalid {
            field: "version",
            value: 1,
        };
        let reject = Reject::new(Command::VERSION, RejectCode::TOO_BUSY, "full");
        let ends = [
            CloseReason::Violation(Violation::NetworkMismatch {
                expected: [0; 4],
                received: [1; 4],
            }),
            CloseReason::Violation(Violation::OtherChain {
                user_agent: agent.clone(),
            }),
            CloseReason::Violation(Violation::BannedUserAgent { user_agent: agent }),
            CloseReason::Violation(Violation::Oversize(oversize)),
            CloseReason::Violation(Violation::MalformedVersion(malformed)),
            CloseReason::ObsoleteVersion {
                version: 1,
                least: 2,
            },
            CloseReason::Unwanted { why: "so" },
            CloseReason::FramingLost(oversize),
            CloseReason::Misbehavior(Offence::Early(Command::TX)),
            CloseReason::HandshakeTimeout,
            CloseReason::PingTimeout,
            CloseReason::WriteTimeout,
            CloseReason::RejectedByPeer(Box::new(reject)),
            NetworkFailure::Eof.into(),
            NetworkFailure::Reset.into(),
            NetworkFailure::BrokenPipe.into(),
            NetworkFailure::TimedOut.into(),
            NetworkFailure::Other(io::ErrorKind::Other).into(),
            CloseReason::OverCapacity,
            CloseReason::SelfConnection,
            CloseReason::Duplicate,
            CloseReason::Banned,
            CloseReason::Evicted,
            CloseReason::Requested,
            CloseReason::Shutdown,
        ];
        let names: Vec<_> = ends.iter().map(CloseReason::name).collect();
        assert_eq!(names, CloseReason::NAMES);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
