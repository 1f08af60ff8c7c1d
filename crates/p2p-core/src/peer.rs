//! What is known about a peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use p2p_proto::{Network, Services, Violation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::timestamp::Timestamp;

/// Names what peer ids are made from. Ids are stored: it never changes.
const PEER_NAMESPACE: Uuid = Uuid::from_u128(0x9f2b_6c5e_31d7_4c0a_8e44_b5a0_d3f1_7721);

/// A peer: where it is, and what became of it.
///
/// The record that stores keep. Fields of a newer version that this one does not know survive
/// loading and saving.
///
/// ```
/// use p2p_core::{Network, Peer, PeerSource, PeerStatus, Timestamp};
///
/// let (address, now) = ("203.0.113.7:8333".parse().unwrap(), Timestamp::from_millis(1_700_000_000_000));
/// let peer = Peer::new(Network::Mainnet, address, PeerSource::Dns, now);
/// assert_eq!(peer.status, PeerStatus::Unknown);
/// assert_eq!(peer.id, Peer::id_of(Network::Mainnet, address));
/// assert_ne!(peer.id, Peer::id_of(Network::Testnet, address));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// The same in every manager and after every restart: see [`Peer::id_of`].
    pub id: Uuid,
    /// Canonical: an IPv4-mapped IPv6 address is an IPv4 address here.
    pub ip_address: IpAddr,
    /// The port that the peer listens on.
    pub port: u16,
    /// Whether it can be reached, as far as we know.
    pub status: PeerStatus,
    /// When `status` last changed: for persistence, display and revisiting, never for backoff.
    pub status_timestamp: Timestamp,
    /// When it was last dialled.
    #[serde(default)]
    pub last_attempt: Option<Timestamp>,
    /// Connections that were lost and could be made again at once, within the window that began at
    /// `restart_window_start`.
    #[serde(default)]
    pub restart_count: u32,
    /// When the window of restarts began.
    #[serde(default)]
    pub restart_window_start: Option<Timestamp>,
    /// The ban, if it is banned.
    #[serde(default)]
    pub ban: Option<Ban>,
    /// How we came to know it.
    pub source: PeerSource,
    /// When it was last connected.
    #[serde(default)]
    pub last_seen: Option<Timestamp>,
    /// Its user agent, escaped.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// What it offers.
    #[serde(default)]
    pub services: Services,
    /// What a newer version wrote here.
    #[serde(flatten)]
    pub newer: BTreeMap<String, serde_json::Value>,
}

impl Peer {
    /// A peer that was never tried.
    pub fn new(network: Network, address: SocketAddr, source: PeerSource, now: Timestamp) -> Self {
        Self {
            id: Self::id_of(network, address),
            ip_address: address.ip().to_canonical(),
            port: address.port(),
            status: PeerStatus::Unknown,
            status_timestamp: now,
            last_attempt: None,
            restart_count: 0,
            restart_window_start: None,
            ban: None,
            source,
            last_seen: None,
            user_agent: None,
            services: Services::NONE,
            newer: BTreeMap::new(),
        }
    }

    /// The id of the peer at this address: a UUIDv5 of the network's magic, the IP in its
    /// canonical 16 bytes, and the port.
    pub fn id_of(network: Network, address: SocketAddr) -> Uuid {
        let mut name = Vec::with_capacity(4 + 16 + 2);
        name.extend_from_slice(&network.magic_bytes());
        let ip = match address.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        name.extend_from_slice(&ip.octets());
        name.extend_from_slice(&address.port().to_be_bytes());
        Uuid::new_v5(&PEER_NAMESPACE, &name)
    }

    /// IP and port.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip_address, self.port)
    }

    /// Changes the status, and when it did; nothing if it is the same.
    pub fn set_status(&mut self, status: PeerStatus, now: Timestamp) {
        if self.status != status {
            self.status = status;
            self.status_timestamp = now;
        }
    }
}

/// Whether a peer can be reached, as far as we know.
///
/// ```
/// use p2p_core::PeerStatus;
///
/// assert_eq!(PeerStatus::default(), PeerStatus::Unknown);
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum PeerStatus {
    /// A handshake with it was completed.
    Valid,
    /// It could not be reached, or not be kept.
    Inaccessible,
    /// It is banned.
    Banned,
    /// Whether it can be reached is not known: it was never reached, and not given up either, or
    /// its ban is over.
    #[default]
    Unknown,
}

impl PeerStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Valid, Self::Inaccessible, Self::Banned, Self::Unknown];

    /// In a word, for counters and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Inaccessible => "inaccessible",
            Self::Banned => "banned",
            Self::Unknown => "unknown",
        }
    }
}

/// How we came to know a peer.
///
/// ```
/// use p2p_core::{Network, Peer, PeerSource, Timestamp};
///
/// let address = "10.0.0.7:18444".parse().unwrap();
/// let peer = Peer::new(Network::Regtest, address, PeerSource::Manual, Timestamp::default());
/// assert_eq!(peer.source, PeerSource::Manual);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PeerSource {
    /// A DNS seed named it.
    Dns,
    /// Another peer did.
    Gossip,
    /// The user added it.
    Manual,
    /// It is on the fixed list.
    Fixed,
    /// It dialled us. Its port is no listening port.
    Inbound,
}

impl PeerSource {
    /// Whether the user named it, and not a stranger.
    pub(crate) const fn is_the_users(self) -> bool {
        matches!(self, Self::Manual | Self::Fixed)
    }
}

/// A ban of a peer's IP.
///
/// ```
/// use p2p_core::{Ban, BanReason, Timestamp};
///
/// let at = Timestamp::from_millis(1_700_000_000_000);
/// let until_lifted = Ban { reason: BanReason::Manual, at, until: None };
/// assert_eq!(until_lifted.until, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// What for.
    pub reason: BanReason,
    /// Since when.
    pub at: Timestamp,
    /// Until when; `None` until lifted.
    pub until: Option<Timestamp>,
}

/// What a peer is banned for. Not to be confused with reject codes, which are the protocol's.
///
/// ```
/// use p2p_core::BanReason;
///
/// let reason = BanReason::BannedUserAgent { user_agent: "/spy:1.0/".into() };
/// assert_ne!(reason, BanReason::Manual);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BanReason {
    /// It is of another network.
    NetworkMismatch {
        /// Our magic, wire order.
        expected: [u8; 4],
        /// Its magic, wire order.
        received: [u8; 4],
    },
    /// Its agent names another chain.
    BlockchainMismatch {
        /// The agent, escaped.
        user_agent: String,
    },
    /// Its agent is on our list.
    BannedUserAgent {
        /// The agent, escaped.
        user_agent: String,
    },
    /// It broke a rule of the protocol.
    ProtocolViolation {
        /// Which one.
        violation: String,
    },
    /// The user wants it so.
    Manual,
}

impl BanReason {
    /// Every [`name`](Self::name).
    pub const NAMES: &'static [&'static str] = &[
        "network_mismatch",
        "blockchain_mismatch",
        "banned_user_agent",
        "protocol_violation",
        "manual",
    ];

    /// In a word, for counters and labels.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NetworkMismatch { .. } => "network_mismatch",
            Self::BlockchainMismatch { .. } => "blockchain_mismatch",
            Self::BannedUserAgent { .. } => "banned_user_agent",
            Self::ProtocolViolation { .. } => "protocol_violation",
            Self::Manual => "manual",
        }
    }
}

impl From<&Violation> for BanReason {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "all others break rules of the protocol"
    )]
    fn from(violation: &Violation) -> Self {
        match violation {
            Violation::NetworkMismatch { expected, received } => Self::NetworkMismatch {
                expected: *expected,
                received: *received,
            },
            Violation::OtherChain { user_agent } => Self::BlockchainMismatch {
                user_agent: user_agent.to_string(),
            },
            Violation::BannedUserAgent { user_agent } => Self::BannedUserAgent {
                user_agent: user_agent.to_string(),
            },
            other => Self::ProtocolViolation {
                violation: other.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn peer() -> Peer {
        Peer::new(
            Network::Mainnet,
            "1.2.3.4:8333".parse().unwrap(),
            PeerSource::Dns,
            NOW,
        )
    }

    #[test]
    fn test_peer_creation_with_valid_status() {
        let mut peer = peer();
        assert_eq!(peer.status, PeerStatus::Unknown);
        peer.set_status(PeerStatus::Valid, NOW);
        assert_eq!(peer.status, PeerStatus::Valid);
        assert_eq!(peer.address(), "1.2.3.4:8333".parse().unwrap());
    }

    #[test]
    fn test_peer_status_transitions() {
        let mut peer = peer();
        let later = Timestamp::from_millis(NOW.as_millis() + 5);
        peer.set_status(PeerStatus::Unknown, later);
        assert_eq!(peer.status_timestamp, NOW, "nothing changed");
        peer.set_status(PeerStatus::Banned, later);
        assert_eq!(peer.status_timestamp, later);
    }

    #[test]
    fn test_peer_serialization_deserialization() {
        let mut before = peer();
        before.ban = Some(Ban {
            reason: BanReason::NetworkMismatch {
                expected: [0xe3, 0xe1, 0xf3, 0xe8],
                received: [0xf9, 0xbe, 0xb4, 0xd9],
            },
            at: NOW,
            until: None,
        });
        let text = serde_json::to_string(&before).unwrap();
        assert_eq!(serde_json::from_str::<Peer>(&text).unwrap(), before);
    }

    #[test]
    fn fields_of_a_newer_version_survive_a_load() {
        let mut json = serde_json::to_value(peer()).unwrap();
        json["reputation"] = serde_json::json!({"score": 7});
        let loaded: Peer = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(loaded).unwrap(), json);
    }

    #[test]
    fn a_record_of_the_least_fields_loads() {
        let json = serde_json::json!({
            "id": peer().id, "ip_address": "1.2.3.4", "port": 8333,
            "status": "Unknown", "status_timestamp": NOW.as_millis(), "source": "Dns",
        });
        assert_eq!(serde_json::from_value::<Peer>(json).unwrap(), peer());
    }

    #[test]
    fn test_ban_reason_variants() {
        let violation = Violation::BannedUserAgent {
            user_agent: p2p_proto::UserAgent::new(&b"/evil\n/"[..]).unwrap(),
        };
        assert_eq!(
            BanReason::from(&violation),
            BanReason::BannedUserAgent {
                user_agent: r"/evil\n/".into()
            }
        );
        let violation = Violation::NetworkMismatch {
            expected: [1; 4],
            received: [2; 4],
        };
        assert_eq!(
            BanReason::from(&violation),
            BanReason::NetworkMismatch {
                expected: [1; 4],
                received: [2; 4]
            }
        );
    }

    #[test]
    fn ids_depend_on_network_ip_and_port_and_on_nothing_else() {
        let id = |network, text: &str| Peer::id_of(network, text.parse().unwrap());
        let one = id(Network::Mainnet, "1.2.3.4:8333");
        assert_eq!(one, id(Network::Mainnet, "[::ffff:1.2.3.4]:8333"));
        assert_eq!(one.to_string(), "176b4736-92cb-57a4-a6b5-fd32896d63b8");
        for other in [
            id(Network::Testnet, "1.2.3.4:8333"),
            id(Network::Mainnet, "1.2.3.5:8333"),
            id(Network::Mainnet, "1.2.3.4:8334"),
        ] {
            assert_ne!(one, other);
        }
    }
}
