//! What stores do to records on their way in and out.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use p2p_core::{Peer, PeerStatus, Timestamp};

/// The record as it is stored: its IP canonical.
pub(crate) fn canonical(peer: &Peer) -> Cow<'_, Peer> {
    let ip = peer.ip_address.to_canonical();
    if ip == peer.ip_address {
        return Cow::Borrowed(peer);
    }
    let mut peer = peer.clone();
    peer.ip_address = ip;
    Cow::Owned(peer)
}

/// Whether it is the record of a ban.
pub(crate) fn is_banned(peer: &Peer) -> bool {
    peer.ban.is_some() || peer.status == PeerStatus::Banned
}

/// A stored time in the future counts as now: clocks are set right, and what lies ahead would
/// otherwise keep a peer from being tried for as long. When a ban ends is no such time.
pub(crate) fn settle(peer: &mut Peer, now: Timestamp) {
    let settle = |time: &mut Timestamp| *time = (*time).min(now);
    settle(&mut peer.status_timestamp);
    peer.last_attempt.as_mut().map(settle);
    peer.restart_window_start.as_mut().map(settle);
    peer.last_seen.as_mut().map(settle);
    if let Some(ban) = &mut peer.ban {
        settle(&mut ban.at);
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_core::{Ban, BanReason, Network, PeerSource};

    #[test]
    fn what_lies_in_the_future_counts_as_now_but_for_the_end_of_a_ban() {
        let at = Timestamp::from_millis;
        let address = "1.2.3.4:8333".parse().unwrap();
        let mut peer = Peer::new(Network::Mainnet, address, PeerSource::Dns, at(2_000));
        peer.last_attempt = Some(at(500));
        peer.last_seen = Some(at(2_000));
        peer.restart_window_start = Some(at(2_000));
        peer.ban = Some(Ban {
            reason: BanReason::Manual,
            at: at(2_000),
            until: Some(at(3_000)),
        });
        settle(&mut peer, at(1_000));
        assert_eq!(peer.status_timestamp, at(1_000));
        assert_eq!(peer.last_attempt, Some(at(500)));
        assert_eq!(peer.last_seen, Some(at(1_000)));
        assert_eq!(peer.restart_window_start, Some(at(1_000)));
        let ban = peer.ban.unwrap();
        assert_eq!((ban.at, ban.until), (at(1_000), Some(at(3_000))));
    }
}
