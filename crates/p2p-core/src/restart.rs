//! How often a connection that was lost may be made again at once.

use std::time::Duration;

use crate::peer::Peer;
use crate::timestamp::Timestamp;

/// Counts a restart of a lost connection, if one more is allowed within the window.
///
/// The count is reset by its window alone, not by a connection that works: a peer that completes
/// handshakes and drops at once would be dialled for ever.
pub(crate) fn restart(
    peer: &mut Peer,
    now: Timestamp,
    max_restarts: u32,
    window: Duration,
) -> Option<u32> {
    let within = peer
        .restart_window_start
        .is_some_and(|start| now.since(start) < window && start <= now);
    if !within {
        peer.restart_window_start = Some(now);
        peer.restart_count = 0;
    }
    if peer.restart_count >= max_restarts {
        return None;
    }
    peer.restart_count += 1;
    Some(peer.restart_count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerSource;
    use p2p_proto::Network;

    const WINDOW: Duration = Duration::from_secs(3600);

    fn peer() -> Peer {
        let address = "1.2.3.4:8333".parse().unwrap();
        Peer::new(Network::Mainnet, address, PeerSource::Manual, at(0))
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn test_restart_count_tracking() {
        let mut peer = peer();
        for n in 1..=3 {
            assert_eq!(restart(&mut peer, at(u64::from(n)), 3, WINDOW), Some(n));
        }
        assert_eq!(restart(&mut peer, at(10), 3, WINDOW), None);
        assert_eq!(
            (peer.restart_count, peer.restart_window_start),
            (3, Some(at(1)))
        );
    }

    #[test]
    fn test_restart_count_reset_after_window() {
        let mut peer = peer();
        for _ in 0..3 {
            restart(&mut peer, at(100), 3, WINDOW);
        }
        assert_eq!(restart(&mut peer, at(3699), 3, WINDOW), None);
        assert_eq!(restart(&mut peer, at(3700), 3, WINDOW), Some(1));
        assert_eq!(peer.restart_window_start, Some(at(3700)));
    }

    #[test]
    fn a_window_that_begins_in_the_future_counts_as_none() {
        let mut peer = peer();
        peer.restart_window_start = Some(at(1_000_000));
        peer.restart_count = 3;
        assert_eq!(restart(&mut peer, at(5), 3, WINDOW), Some(1));
    }
}
