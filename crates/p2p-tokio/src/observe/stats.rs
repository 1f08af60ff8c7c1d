//! All counters and gauges, as plain data.

use std::collections::BTreeMap;

use p2p_core::ConnectionState;
use p2p_proto::{Initiator, Side};

use super::HandshakeTimes;
use crate::PeerStatus;

/// What happened since the manager was made, and how things are: counters only grow, and are
/// there after the end, too. Keys come from closed sets, so that no peer can make a map grow;
/// what was never counted has no key.
///
/// ```
/// use p2p_tokio::{Manager, ManagerConfig, Network, PeerStatus};
///
/// # fn example() -> Result<(), p2p_tokio::ManagerError> {
/// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
/// let stats = manager.stats();
/// assert_eq!(stats.established(), 0);
/// assert_eq!(stats.peers(PeerStatus::Valid), 0);
/// assert_eq!(stats.messages_received.get("inv"), None);
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections there are, by who dialled and state. `Rejected` ones hold no slot.
    pub connections: BTreeMap<(Side, ConnectionState), u64>,
    /// Peers in the book, by status.
    pub peers_by_status: BTreeMap<PeerStatus, u64>,
    /// IPs that are banned.
    pub banned_ips: u64,

    /// Peers dialled.
    pub dials: u64,
    /// Connections accepted, those that were told that there is no room included.
    pub accepted: u64,
    /// Connections dropped unread, by [`InboundRefusal::name`](crate::InboundRefusal::name).
    pub refused: BTreeMap<&'static str, u64>,
    /// Connections that were turned away after the handshake, for lack of room.
    pub rejected_over_capacity: u64,
    /// Connections that were admitted.
    pub admitted: u64,
    /// Connections that ended before they were admitted, dials that failed included.
    pub failed: Disconnects,
    /// Admitted connections that ended.
    pub lost: Disconnects,
    /// Lost connections that were made again at once.
    pub restarts: u64,
    /// Connections that were closed for misbehaviour, without a ban.
    pub misbehaved: u64,
    /// Bans, by [`BanReason::name`](crate::BanReason::name).
    pub bans: BTreeMap<&'static str, u64>,
    /// Bans that were lifted or came to their end.
    pub unbans: u64,
    /// Handshakes completed by peers that dialled us.
    pub inbound_handshakes: HandshakeTimes,
    /// Handshakes completed with peers that we dialled.
    pub outbound_handshakes: HandshakeTimes,

    /// Messages that came, by command; all that are not
    /// [known](p2p_proto::Command::KNOWN) as `other`. The handshake's are among them.
    pub messages_received: BTreeMap<&'static str, MessageCounts>,
    /// Messages that were queued to be sent, by command. The handshake's are among them.
    pub messages_sent: BTreeMap<&'static str, MessageCounts>,
    /// Bytes read from sockets, headers and frames that were dropped included.
    pub bytes_received: u64,
    /// Bytes that sockets have taken.
    pub bytes_sent: u64,
    /// Frames that were dropped: bad checksum or command, undecodable, repeated, too early.
    pub frames_dropped: u64,

    /// Events that subscribers missed because they were too slow.
    pub events_lagged: u64,
    /// Messages that subscribers did not get for their size, and were told of.
    pub events_skipped: u64,
    /// Addresses learned, by [`DiscoverySource::name`](crate::DiscoverySource::name).
    pub discovered: BTreeMap<&'static str, u64>,
    /// Attempts to listen that failed.
    pub listener_failures: u64,
    /// Attempts to store that failed.
    pub store_failures: u64,
    /// Lines of the log that were left out, because there were too many of their kind.
    pub log_lines_left_out: u64,
}

/// Ends of connections: why, and who hung up.
pub type Disconnects = BTreeMap<(&'static str, Initiator), u64>;

/// Messages of one command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageCounts {
    /// How many.
    pub messages: u64,
    /// Bytes of their payloads, headers apart.
    pub bytes: u64,
}

impl Stats {
    /// Connections that are admitted, in both directions.
    pub fn established(&self) -> u64 {
        let sides = [Side::Inbound, Side::Outbound];
        sides
            .map(|side| self.connections_in(side, ConnectionState::Connected))
            .iter()
            .sum()
    }

    /// Connections of a side in a state.
    pub fn connections_in(&self, side: Side, state: ConnectionState) -> u64 {
        let count = self.connections.get(&(side, state));
        count.copied().unwrap_or_default()
    }

    /// Peers of a status in the book.
    pub fn peers(&self, status: PeerStatus) -> u64 {
        let count = self.peers_by_status.get(&status);
        count.copied().unwrap_or_default()
    }

    /// How often this was why a connection ended, admitted or not, whoever hung up: one of
    /// [`CloseReason::NAMES`](crate::CloseReason::NAMES) or
    /// [`DialFailure::NAMES`](crate::DialFailure::NAMES).
    pub fn ended(&self, reason: &str) -> u64 {
        let ends = self.failed.iter().chain(&self.lost);
        ends.filter(|((name, _), _)| *name == reason)
            .map(|(_, count)| count)
            .sum()
    }
}
