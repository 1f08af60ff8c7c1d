//! How a connection fails, and what follows from it.

use std::io;

use p2p_proto::{CloseReason, Initiator, NetworkFailure};
use thiserror::Error;

/// Why a connection to a peer could not be made or kept.
///
/// ```
/// use p2p_core::{CloseReason, ConnectionError, DialFailure};
///
/// assert!(ConnectionError::Dial(DialFailure::Refused).is_retryable());
/// assert!(!ConnectionError::from(CloseReason::HandshakeTimeout).is_retryable());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The transport was never there.
    #[error("{0}")]
    Dial(DialFailure),
    /// The connection ended.
    #[error("{0}")]
    Closed(CloseReason),
}

/// Why a dial failed.
///
/// ```
/// use std::io::ErrorKind;
/// use p2p_core::DialFailure;
///
/// assert_eq!(DialFailure::from(ErrorKind::ConnectionRefused), DialFailure::Refused);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialFailure {
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// Nobody answered in time.
    #[error("connect timed out")]
    TimedOut,
    /// The peer reset the connection while it was made.
    #[error("connection reset while connecting")]
    Reset,
    /// Anything else: no route, no permission, no file descriptor.
    #[error("cannot connect: {0}")]
    Other(io::ErrorKind),
}

impl From<io::ErrorKind> for DialFailure {
    fn from(kind: io::ErrorKind) -> Self {
        if kind == io::ErrorKind::ConnectionRefused {
            Self::Refused
        } else if kind == io::ErrorKind::TimedOut {
            Self::TimedOut
        } else if kind == io::ErrorKind::ConnectionReset {
            Self::Reset
        } else {
            Self::Other(kind)
        }
    }
}

impl From<CloseReason> for ConnectionError {
    fn from(reason: CloseReason) -> Self {
        Self::Closed(reason)
    }
}

impl DialFailure {
    /// Every [`name`](Self::name).
    pub const NAMES: &'static [&'static str] =
        &["dial_refused", "dial_timed_out", "dial_reset", "dial_error"];

    /// In a word, for counters and labels.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused => "dial_refused",
            Self::TimedOut => "dial_timed_out",
            Self::Reset => "dial_reset",
            Self::Other(_) => "dial_error",
        }
    }
}

impl ConnectionError {
    /// What kind of failure it is, in a word: one of [`DialFailure::NAMES`] or
    /// [`CloseReason::NAMES`]. For counters and labels, so without anything that a peer can
    /// choose.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dial(failure) => failure.name(),
            Self::Closed(reason) => reason.name(),
        }
    }

    /// Who ended it: a dial that failed was the peer's, or the network's in between.
    pub fn initiator(&self) -> Initiator {
        match self {
            Self::Dial(_) => Initiator::Remote,
            Self::Closed(reason) => reason.initiator(),
        }
    }

    /// Whether it says nothing about the peer but that it, or the line to it, was not there just
    /// then: trying again soon may do. What the manager does depends on more than that: it restarts
    /// what was established whatever the network did to it, and backs off from every dial that
    /// fails.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Dial(failure) => !matches!(failure, DialFailure::Other(_)),
            Self::Closed(reason) => matches!(
                reason,
                CloseReason::Network(NetworkFailure::Reset | NetworkFailure::TimedOut)
            ),
        }
    }

    /// Whether the peer's IP is to be banned.
    pub fn is_ban_worthy(&self) -> bool {
        matches!(self, Self::Closed(CloseReason::Violation(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_proto::Violation;

    #[test]
    fn every_dial_that_fails_has_a_name_of_its_own_in_the_list() {
        let failures = [
            DialFailure::Refused,
            DialFailure::TimedOut,
            DialFailure::Reset,
            DialFailure::Other(io::ErrorKind::Other),
        ];
        let names = failures.map(|failure| ConnectionError::Dial(failure).name());
        assert_eq!(names, *DialFailure::NAMES);
        let taken = |name| CloseReason::NAMES.contains(name);
        assert!(!names.iter().any(taken), "{names:?}");
    }

    #[test]
    fn test_retryable_vs_non_retryable_errors() {
        let violation = Violation::OtherChain {
            user_agent: p2p_proto::UserAgent::default(),
        };
        let closed = ConnectionError::Closed;
        for (error, retryable, ban_worthy) in [
            (ConnectionError::Dial(DialFailure::Refused), true, false),
            (ConnectionError::Dial(DialFailure::TimedOut), true, false),
            (ConnectionError::Dial(DialFailure::Reset), true, false),
            (
                ConnectionError::Dial(io::ErrorKind::HostUnreachable.into()),
                false,
                false,
            ),
            (closed(NetworkFailure::Reset.into()), true, false),
            (closed(CloseReason::HandshakeTimeout), false, false),
            (
                closed(CloseReason::ObsoleteVersion {
                    version: 1,
                    least: 31800,
                }),
                false,
                false,
            ),
            (closed(CloseReason::Violation(violation)), false, true),
        ] {
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert_eq!(error.is_ban_worthy(), ban_worthy, "{error}");
        }
    }
}
