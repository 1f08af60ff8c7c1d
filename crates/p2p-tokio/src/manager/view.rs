//! What can be seen of a connection.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_core::{ConnectionState, PeerConnection};
use p2p_proto::{Services, UserAgent};
use uuid::Uuid;

use crate::net::link::{Link, Traffic};

/// A connection, as it was when it was asked for.
///
/// ```
/// use p2p_tokio::ConnectionInfo;
///
/// fn line(connection: &ConnectionInfo) -> String {
///     let agent = connection.peer.as_ref().map(|peer| peer.user_agent.to_string());
///     format!("{} {:?} {}", connection.address, connection.state, agent.unwrap_or_default())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The peer.
    pub peer_id: Uuid,
    /// The other end of the socket; of an inbound connection, no port that listens.
    pub address: SocketAddr,
    /// Where it is in its life.
    pub state: ConnectionState,
    /// Whether the peer dialled us.
    pub is_inbound: bool,
    /// For how long: since it was admitted, or else dialled or accepted.
    pub age: Duration,
    /// What the peer says of itself, once the handshake is complete.
    pub peer: Option<PeerInfo>,
    /// The last round-trip time of a ping.
    pub latency: Option<Duration>,
    /// Whether the peer wants blocks to be announced by `headers`.
    pub send_headers_mode: bool,
    /// What went over it.
    pub traffic: Traffic,
}

/// What a peer says of itself.
///
/// ```
/// use p2p_tokio::{PeerInfo, Services};
///
/// fn serves_blocks(peer: &PeerInfo) -> bool {
///     peer.services.contains(Services::NETWORK)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its software.
    pub user_agent: UserAgent,
    /// Its protocol version.
    pub version: i32,
    /// What it offers.
    pub services: Services,
    /// Its best block when it connected.
    pub height: i32,
}

impl ConnectionInfo {
    pub(crate) fn new(
        connection: &PeerConnection,
        link: Option<&Link>,
        now: std::time::Instant,
    ) -> Self {
        Self {
            peer_id: connection.peer_id(),
            address: connection.address(),
            state: connection.state(),
            is_inbound: connection.is_inbound(),
            age: now.saturating_duration_since(connection.since()),
            peer: connection.ready().map(|ready| PeerInfo {
                user_agent: ready.version.user_agent.clone(),
                version: ready.version.version,
                services: ready.version.services,
                height: ready.version.start_height,
            }),
            latency: link.and_then(|link| link.gauges().latency()),
            send_headers_mode: connection.send_headers_mode(),
            traffic: link.map(|link| link.gauges().traffic()).unwrap_or_default(),
        }
    }
}
