//! What an operator reads.

use p2p_core::ControlEvent;
use p2p_proto::Network;
use tracing::{debug, error, info, warn};

/// Writes the line of an event. Text of peers is escaped by the types that hold it.
pub(super) fn control_event(network: Network, event: &ControlEvent) {
    match event {
        ControlEvent::ConnectionEstablished {
            peer_id,
            address,
            is_inbound,
        } => info!(
            %network, %peer_id, peer_address = %address,
            connection_type = direction(*is_inbound), state = "connected",
            "connection established"
        ),
        ControlEvent::ConnectionFailed {
            peer_id,
            address,
            reason,
        } => warn!(
            %network, %peer_id, peer_address = %address, state = "failed", error = %reason,
            "connection failed"
        ),
        ControlEvent::ConnectionLost {
            peer_id,
            address,
            reason,
            initiator,
        } => info!(
            %network, %peer_id, peer_address = %address, state = "disconnected", error = %reason,
            ?initiator, "connection lost"
        ),
        ControlEvent::ConnectionRestarting {
            peer_id,
            address,
            reason,
            attempt,
        } => info!(
            %network, %peer_id, peer_address = %address, state = "connecting", error = %reason,
            attempt, "connection lost; dialling again at once"
        ),
        ControlEvent::HandshakeComplete {
            peer_id,
            address,
            user_agent,
            version,
            height,
            ..
        } => info!(
            %network, %peer_id, peer_address = %address, %user_agent, version, height,
            "handshake complete"
        ),
        ControlEvent::PeerMisbehavior {
            peer_id,
            address,
            reason,
        } => warn!(
            %network, %peer_id, peer_address = %address, error = %reason,
            "peer misbehaved; connection closed, no ban"
        ),
        ControlEvent::PeerBanned { ip, reason, until } => match until {
            Some(until) => warn!(%network, %ip, ?reason, %until, "banned"),
            None => warn!(%network, %ip, ?reason, "banned until the ban is lifted"),
        },
        ControlEvent::PeerUnbanned { ip } => info!(%network, %ip, "ban lifted"),
        ControlEvent::InboundConnectionAccepted { peer_id, address } => debug!(
            %network, %peer_id, peer_address = %address, connection_type = "inbound",
            state = "awaiting handshake", "connection accepted"
        ),
        ControlEvent::InboundConnectionRejected { address, reason } => debug!(
            %network, peer_address = %address, connection_type = "inbound", error = %reason,
            "connection dropped unread"
        ),
        ControlEvent::ConnectionRejectedCapacity { peer_id, address } => info!(
            %network, %peer_id, peer_address = %address, connection_type = "inbound",
            state = "rejected", "no room; the peer was told so"
        ),
        ControlEvent::ListenerStarted { address } => info!(%network, %address, "listening"),
        ControlEvent::ListenerBindFailed { address, error } => error!(
            %network, %address, error, "cannot listen; tried again later, dialling goes on"
        ),
        ControlEvent::PeersDiscovered { source, count } => {
            debug!(%network, ?source, count, "peers discovered");
        }
        ControlEvent::StoreFailed { error } => error!(
            %network, error, "peers not stored; tried again later, the network goes on"
        ),
        ControlEvent::ConfigUpdated => info!(%network, "configuration updated"),
        ControlEvent::ShuttingDown => info!(%network, "shutting down"),
        other => info!(%network, event = ?other, "event of a newer version"),
    }
}

fn direction(is_inbound: bool) -> &'static str {
    match is_inbound {
        true => "inbound",
        false => "outbound",
    }
}
