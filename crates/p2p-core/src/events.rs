//! What the application is told.

use std::net::{IpAddr, SocketAddr};

use p2p_proto::{Initiator, Message, Services, UserAgent};
use uuid::Uuid;

use crate::config::ConnectionConfig;
use crate::error::ConnectionError;
use crate::io::InboundRefusal;
use crate::peer::BanReason;
use crate::timestamp::Timestamp;

/// Something happened to a connection, a peer, the listener, or the node.
///
/// The order for one connection: `InboundConnectionAccepted` (inbound), `HandshakeComplete`,
/// `ConnectionEstablished`, its messages, `ConnectionLost`; or `ConnectionFailed` instead of all
/// that would follow.
///
/// ```
/// use p2p_core::ControlEvent;
///
/// fn line(event: &ControlEvent) -> String {
///     match event {
///         ControlEvent::ConnectionEstablished { address, .. } => format!("{address} is here"),
///         ControlEvent::ConnectionLost { address, reason, .. } => format!("{address} has gone: {reason}"),
///         other => format!("{other:?}"),
///     }
/// }
/// assert_eq!(line(&ControlEvent::ShuttingDown), "ShuttingDown");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlEvent {
    /// The peer is admitted: messages flow.
    ConnectionEstablished {
        /// The peer.
        peer_id: Uuid,
        /// Where it is.
        address: SocketAddr,
        /// Whether it dialled us.
        is_inbound: bool,
    },
    /// A connection ended before it was established.
    ConnectionFailed {
        /// The peer.
        peer_id: Uuid,
        /// Where it is.
        address: SocketAddr,
        /// Why.
        reason: ConnectionError,
    },
    /// An established connection ended.
    ConnectionLost {
        /// The peer.
        peer_id: Uuid,
        /// Where it is.
        address: SocketAddr,
        /// Why.
        reason: ConnectionError,
        /// Who ended it.
        initiator: Initiator,
    },
    /// A connection that was lost is being made again at once.
    ConnectionRestarting {
        /// The peer.
        peer_id: Uuid,
        /// Where it is.
        address: SocketAddr,
        /// Why it was lost.
        reason: ConnectionError,
        /// The how many-th restart within the window.
        attempt: u32,
    },
    /// Both sides know each other.
    HandshakeComplete {
        /// The peer.
        peer_id: Uuid,
        /// Where it is.
        address: SocketAddr,
        /// Its software.
        user_agent: UserAgent,
        /// Its protocol version.
        version: i32,
        /// What it offers.
        services: Services,
        /// Its best block.
        height: i32,
    },
    /// A peer did wrong, and the connection was closed for it; no ban.
    PeerMisbehavior {
        /// The peer.
        peer_id: Uuid,
        /// Where it is.
        address: SocketAddr,
        /// What it did.
        reason: ConnectionError,
    },
    /// An IP is banned, and the store knows it.
    PeerBanned {
        /// The IP.
        ip: IpAddr,
        /// What for.
        reason: BanReason,
        /// Until when; `None` until lifted.
        until: Option<Timestamp>,
    },
    /// A ban was lifted, or is over.
    PeerUnbanned {
        /// The IP.
        ip: IpAddr,
    },
    /// A peer has dialled us.
    InboundConnectionAccepted {
        /// The peer.
        peer_id: Uuid,
        /// Where it is; the port is not one that it listens on.
        address: SocketAddr,
    },
    /// A peer has dialled us and was dropped unread.
    InboundConnectionRejected {
        /// Where it is.
        address: SocketAddr,
        /// Why.
        reason: InboundRefusal,
    },
    /// A peer has dialled us and was told that there is no room.
    ConnectionRejectedCapacity {
        /// The peer.
        peer_id: Uuid,
        /// Where it is.
        address: SocketAddr,
    },
    /// We can be dialled.
    ListenerStarted {
        /// Where.
        address: SocketAddr,
    },
    /// The listener could not be started; it is tried again.
    ListenerBindFailed {
        /// Where it should have been.
        address: SocketAddr,
        /// Why.
        error: String,
    },
    /// Addresses of peers were learned.
    PeersDiscovered {
        /// From whom.
        source: DiscoverySource,
        /// How many that were not known.
        count: usize,
    },
    /// Records could not be stored; it is tried again.
    StoreFailed {
        /// What the store says.
        error: String,
    },
    /// Another configuration is in force.
    ConfigUpdated,
    /// The node is going down.
    ShuttingDown,
}

/// Who named peers to us.
///
/// ```
/// use p2p_core::{ControlEvent, DiscoverySource};
///
/// let event = ControlEvent::PeersDiscovered { source: DiscoverySource::Dns, count: 25 };
/// assert!(matches!(event, ControlEvent::PeersDiscovered { count: 25, .. }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DiscoverySource {
    /// The DNS seeds.
    Dns,
    /// A peer.
    Gossip,
}

impl DiscoverySource {
    /// Every [`name`](Self::name).
    pub const NAMES: &'static [&'static str] = &["dns", "gossip"];

    /// In a word, for logs, counters and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Gossip => "gossip",
        }
    }
}

/// What may be asked of one connection, as a value: for programs whose parts talk over channels of
/// their own. A manager's driver is told the same by [`Action::Configure`](crate::Action::Configure),
/// [`Action::Close`](crate::Action::Close) and [`Action::Send`](crate::Action::Send).
///
/// ```
/// use p2p_core::{Message, PeerConnectionCommand};
///
/// let command = PeerConnectionCommand::SendMessage(Message::GetAddr);
/// assert_ne!(command, PeerConnectionCommand::Disconnect);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PeerConnectionCommand {
    /// Go on with other settings.
    UpdateConfig(Box<ConnectionConfig>),
    /// Hang up.
    Disconnect,
    /// Queue a message.
    SendMessage(Message),
}

/// A message from a peer.
///
/// ```
/// use p2p_core::{BitcoinMessageEvent, Message, Network, Peer};
///
/// let address = "203.0.113.7:8333".parse().unwrap();
/// let peer_id = Peer::id_of(Network::Mainnet, address);
/// let event = BitcoinMessageEvent::new(peer_id, address, Message::GetAddr);
/// assert_eq!(event.message, Message::GetAddr);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BitcoinMessageEvent {
    /// The peer.
    pub peer_id: Uuid,
    /// Where it is.
    pub address: SocketAddr,
    /// The message.
    pub message: Message,
}

impl BitcoinMessageEvent {
    /// A message from a peer.
    pub fn new(peer_id: Uuid, address: SocketAddr, message: Message) -> Self {
        Self {
            peer_id,
            address,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use p2p_proto::{Initiator, NetworkFailure, Nonce};

    use super::*;

    #[test]
    fn test_peer_connection_command_variants() {
        let commands = [
            PeerConnectionCommand::UpdateConfig(Box::default()),
            PeerConnectionCommand::Disconnect,
            PeerConnectionCommand::SendMessage(Message::GetAddr),
        ];
        for (i, command) in commands.iter().enumerate() {
            for (j, other) in commands.iter().enumerate() {
                assert_eq!(command == other, i == j);
            }
        }
    }

    #[test]
    fn test_control_event_variants() {
        let (peer_id, address) = (Uuid::nil(), "1.2.3.4:8333".parse().unwrap());
        let reason = ConnectionError::Closed(NetworkFailure::Eof.into());
        let lost = ControlEvent::ConnectionLost {
            peer_id,
            address,
            reason: reason.clone(),
            initiator: Initiator::Remote,
        };
        let failed = ControlEvent::ConnectionFailed {
            peer_id,
            address,
            reason,
        };
        assert_ne!(lost, failed);
        assert_eq!(lost.clone(), lost);
    }

    #[test]
    fn test_ban_reason_serialization() {
        for (reason, json) in [
            (BanReason::Manual, r#""Manual""#),
            (
                BanReason::BannedUserAgent {
                    user_agent: "/x/".into(),
                },
                r#"{"BannedUserAgent":{"user_agent":"/x/"}}"#,
            ),
            (
                BanReason::NetworkMismatch {
                    expected: [1, 2, 3, 4],
                    received: [5, 6, 7, 8],
                },
                r#"{"NetworkMismatch":{"expected":[1,2,3,4],"received":[5,6,7,8]}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&reason).unwrap(), json);
            assert_eq!(serde_json::from_str::<BanReason>(json).unwrap(), reason);
        }
    }

    #[test]
    fn test_bitcoin_message_event_construction() {
        let address = "1.2.3.4:8333".parse().unwrap();
        let event = BitcoinMessageEvent::new(Uuid::nil(), address, Message::Ping(Nonce(1)));
        assert_eq!(event.message, Message::Ping(Nonce(1)));
        assert_eq!(event.address, address);
    }
}
