//! What the application is told.

use std::net::SocketAddr;

use p2p_proto::{Initiator, Message, Services, UserAgent};
use uuid::Uuid;

use crate::error::ConnectionError;

/// Something happened to a connection, the listener, or the node.
///
/// The order for one peer: `InboundConnectionAccepted` (inbound), `HandshakeComplete`,
/// `ConnectionEstablished`, its messages, `ConnectionLost`; or `ConnectionFailed` instead of all
/// that would follow.
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
    /// A peer has dialled us.
    InboundConnectionAccepted {
        /// The peer.
        peer_id: Uuid,
        /// Where it is; the port is not one that it listens on.
        address: SocketAddr,
    },
    /// We can be dialled.
    ListenerStarted {
        /// Where.
        address: SocketAddr,
    },
    /// The listener could not be started.
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
        /// How many.
        count: usize,
    },
    /// The node is going down.
    ShuttingDown,
}

/// Who named peers to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DiscoverySource {
    /// The DNS seeds.
    Dns,
    /// A peer.
    Gossip,
}

/// A message from a peer.
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
