//! From the reason why a connection ended to what becomes of the peer.

use p2p_proto::{CloseReason, NetworkFailure, Side};

use crate::peer::BanReason;

/// What becomes of a peer whose connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Dialled again at once, while restarts are left.
    Restart,
    /// Dialled again later; each time later still.
    Backoff,
    /// Written off for now, and revisited.
    Inaccessible,
    /// Its IP is banned.
    Ban(BanReason),
    /// It is ourselves: never dialled again.
    Ours,
    /// Nothing is held against it.
    Nothing,
}

/// Judges the end of a connection that was there; a dial that failed is a `Backoff`.
///
/// Peers that dialled us have no address that we could dial: of them only bans are kept.
pub(crate) fn verdict(reason: &CloseReason, side: Side, established: bool) -> Verdict {
    if let CloseReason::Violation(violation) = reason {
        return Verdict::Ban(violation.into());
    }
    if side == Side::Inbound {
        return Verdict::Nothing;
    }
    match reason {
        CloseReason::Network(_) if established => Verdict::Restart,
        // What a busy node does to a dialler, or a middlebox in between.
        CloseReason::Network(NetworkFailure::Reset | NetworkFailure::TimedOut) => Verdict::Backoff,
        // A broken stream is no better than a broken line.
        CloseReason::FramingLost(_) | CloseReason::Misbehavior(_) if established => {
            Verdict::Restart
        }
        CloseReason::Network(_)
        | CloseReason::FramingLost(_)
        | CloseReason::Misbehavior(_)
        | CloseReason::RejectedByPeer(_)
        | CloseReason::ObsoleteVersion { .. }
        | CloseReason::Unwanted { .. }
        | CloseReason::HandshakeTimeout
        | CloseReason::PingTimeout
        | CloseReason::WriteTimeout => Verdict::Inaccessible,
        CloseReason::SelfConnection => Verdict::Ours,
        CloseReason::Violation(_)
        | CloseReason::Duplicate
        | CloseReason::OverCapacity
        | CloseReason::Banned
        | CloseReason::Evicted
        | CloseReason::Requested
        | CloseReason::Shutdown => Verdict::Nothing,
        // A reason that this version does not know.
        _ => Verdict::Inaccessible,
    }
}

/// Whether a connection that we dialled and that was never admitted ended as a dial that fails: the
/// line may be to blame, and not the peer. A captive portal takes every connection and hangs up.
pub(crate) fn is_failed_dial(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Network(_) | CloseReason::HandshakeTimeout
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_proto::{Command, FrameError, Offence, Reject, RejectCode, UserAgent, Violation};

    #[test]
    fn test_network_vs_non_network_error_handling() {
        use Verdict::{Backoff, Inaccessible, Nothing, Ours, Restart};
        let network = CloseReason::Network;
        let (expected, received) = ([1; 4], [2; 4]);
        let magic = FrameError::BadMagic { expected, received };
        let reject = Reject::new(Command::VERSION, RejectCode(0x44), "no room");
        for (reason, outbound, established, inbound) in [
            (network(NetworkFailure::Eof), Inaccessible, Restart, Nothing),
            (network(NetworkFailure::Reset), Backoff, Restart, Nothing),
            (
                network(NetworkFailure::BrokenPipe),
                Inaccessible,
                Restart,
                Nothing,
            ),
            (network(NetworkFailure::TimedOut), Backoff, Restart, Nothing),
            (
                CloseReason::HandshakeTimeout,
                Inaccessible,
                Inaccessible,
                Nothing,
            ),
            (
                CloseReason::PingTimeout,
                Inaccessible,
                Inaccessible,
                Nothing,
            ),
            (
                CloseReason::WriteTimeout,
                Inaccessible,
                Inaccessible,
                Nothing,
            ),
            (
                CloseReason::FramingLost(magic),
                Inaccessible,
                Restart,
                Nothing,
            ),
            (
                CloseReason::Misbehavior(Offence::Early(Command::TX)),
                Inaccessible,
                Restart,
                Nothing,
            ),
            (
                CloseReason::Unwanted { why: "no blocks" },
                Inaccessible,
                Inaccessible,
                Nothing,
            ),
            (
                CloseReason::RejectedByPeer(Box::new(reject)),
                Inaccessible,
                Inaccessible,
                Nothing,
            ),
            (CloseReason::SelfConnection, Ours, Ours, Nothing),
            (CloseReason::Duplicate, Nothing, Nothing, Nothing),
            (CloseReason::OverCapacity, Nothing, Nothing, Nothing),
            (CloseReason::Banned, Nothing, Nothing, Nothing),
            (CloseReason::Evicted, Nothing, Nothing, Nothing),
            (CloseReason::Requested, Nothing, Nothing, Nothing),
            (CloseReason::Shutdown, Nothing, Nothing, Nothing),
            (
                CloseReason::ObsoleteVersion {
                    version: 1,
                    least: 2,
                },
                Inaccessible,
                Inaccessible,
                Nothing,
            ),
        ] {
            assert_eq!(
                verdict(&reason, Side::Outbound, false),
                outbound,
                "{reason}"
            );
            assert_eq!(
                verdict(&reason, Side::Outbound, true),
                established,
                "{reason}"
            );
            assert_eq!(verdict(&reason, Side::Inbound, true), inbound, "{reason}");
        }
    }

    #[test]
    fn a_violation_is_a_ban_whoever_dialled() {
        let reason = CloseReason::Violation(Violation::OtherChain {
            user_agent: UserAgent::from_static("/x/"),
        });
        for side in [Side::Inbound, Side::Outbound] {
            assert_eq!(
                verdict(&reason, side, false),
                Verdict::Ban(BanReason::BlockchainMismatch {
                    user_agent: "/x/".into()
                })
            );
        }
    }
}
