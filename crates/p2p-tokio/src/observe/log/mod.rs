//! What an operator reads: the one place where lines about peers are written.
//!
//! Text of peers is escaped by the types that hold it, and cut here. Lines of a kind that peers
//! can cause are bounded in number ([`limiter`](super::limiter)); what was left out is counted and
//! told. Lines at TRACE, one for each message, are not: whoever asks for those wants all.

mod cut;
mod lines;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_core::{BanReason, ConnectionState, ControlEvent, PeerConnection};
use p2p_proto::{CloseReason, Discarded, EncodedMessage, Network, SendError, Side};
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::Counters;
use super::limiter::{Bucket, Decision, Epoch};
use super::witness::Current;
use cut::cut;
use lines::Line;

/// Lines that were left out are told together, this long after the first: seldom beside the lines
/// that a flood is allowed.
const TELL_AFTER: Duration = Duration::from_secs(10);

/// The log of a manager.
#[derive(Debug)]
pub(crate) struct Log {
    network: Network,
    counters: Arc<Counters>,
    epoch: Epoch,
    buckets: [Bucket; Line::ALL.len()],
    /// Something was left out that nobody was told of.
    untold: Notify,
}

/// Writes a line unless nobody wants it, or too many of its kind were written.
macro_rules! limited {
    ($log:expr, $line:ident, $write:ident!($($fields:tt)*)) => {
        if $log.takes(Line::$line) {
            $write!(target: "p2p_tokio", network = %$log.network, $($fields)*);
        }
    };
}

impl Log {
    pub(crate) fn new(network: Network, counters: Arc<Counters>) -> Self {
        Self {
            network,
            counters,
            epoch: Epoch::now(),
            buckets: std::array::from_fn(|_| Bucket::default()),
            untold: Notify::new(),
        }
    }

    /// Tells from time to time what was left out, for as long as it is polled.
    pub(crate) async fn tell_regularly(self: Arc<Self>) {
        loop {
            self.untold.notified().await;
            tokio::time::sleep(TELL_AFTER).await;
            self.tell_left_out();
        }
    }

    /// Tells how many lines of each kind were left out since the last time.
    pub(super) fn tell_left_out(&self) {
        for &line in Line::ALL {
            let count = self.buckets[line as usize].take_left_out();
            if count > 0 {
                line.tell_left_out(self.network, count);
            }
        }
    }

    /// What became of a connection, a peer, the listener or the node.
    pub(super) fn control_event(&self, event: &ControlEvent, current: Option<Current>) {
        match event {
            ControlEvent::ConnectionEstablished { .. }
            | ControlEvent::HandshakeComplete { .. }
            | ControlEvent::InboundConnectionAccepted { .. }
            | ControlEvent::InboundConnectionRejected { .. } => self.beginning(event, current),
            ControlEvent::ConnectionFailed { .. }
            | ControlEvent::ConnectionLost { .. }
            | ControlEvent::ConnectionRestarting { .. }
            | ControlEvent::ConnectionRejectedCapacity { .. }
            | ControlEvent::PeerMisbehavior { .. } => self.end(event, current),
            _ => self.node(event),
        }
    }

    /// A peer is dialled.
    pub(super) fn dialling(&self, peer_id: Uuid, address: SocketAddr) {
        limited!(
            self,
            Dialling,
            debug!(
                %peer_id, peer_address = %address, connection_type = name(Side::Outbound),
                state = ConnectionState::Connecting.name(), "dialling"
            )
        );
    }

    /// The transport of a dial is there.
    pub(super) fn connected(&self, connection: &PeerConnection) {
        limited!(
            self,
            Connected,
            debug!(
                peer_id = %connection.peer_id(), peer_address = %connection.address(), connection_type = name(Side::Outbound),
                state = ConnectionState::AwaitingHandshake.name(), "connected; shaking hands"
            )
        );
    }

    /// A connection is to end.
    pub(super) fn closing(&self, connection: &PeerConnection, why: &CloseReason) {
        limited!(
            self,
            Closing,
            debug!(
                peer_id = %connection.peer_id(), peer_address = %connection.address(),
                connection_type = name(connection.side()),
                state = ConnectionState::Failed.name(), reason = why.name(), error = cut(why),
                "closing the connection"
            )
        );
    }

    /// A connection has dropped a frame. Its span says whose.
    pub(crate) fn frame_dropped(&self, discarded: &Discarded) {
        limited!(
            self,
            FrameDropped,
            debug!(
                command = ?discarded.command, bytes = discarded.length, error = %discarded.why,
                "frame dropped"
            )
        );
    }

    /// A message of the application was queued, and the connection does not take it any more.
    /// Its span says whose.
    pub(crate) fn not_sent(&self, message: &EncodedMessage, error: SendError) {
        limited!(
            self,
            NotSent,
            warn!(
                command = ?message.command(), %error, "message not sent"
            )
        );
    }

    /// The system does not hand over a connection that a peer has made.
    pub(crate) fn not_accepted(&self, error: &std::io::Error) {
        limited!(
            self,
            NotAccepted,
            warn!(
                %error, "cannot accept a connection; the listener goes on"
            )
        );
    }

    // private

    fn takes(&self, line: Line) -> bool {
        if !line.may_be_wanted() {
            return false;
        }
        let bucket = &self.buckets[line as usize];
        match bucket.take(self.epoch.elapsed()) {
            Decision::Write => true,
            Decision::LeaveOut { is_first } => {
                self.counters.left_out();
                if is_first {
                    self.untold.notify_one();
                }
                false
            }
        }
    }

    fn beginning(&self, event: &ControlEvent, current: Option<Current>) {
        match event {
            ControlEvent::ConnectionEstablished {
                peer_id,
                address,
                is_inbound,
            } => limited!(
                self,
                Established,
                info!(
                    %peer_id, peer_address = %address,
                    connection_type = name(if *is_inbound { Side::Inbound } else { Side::Outbound }),
                    state = ConnectionState::Connected.name(), "connection established"
                )
            ),
            ControlEvent::HandshakeComplete {
                peer_id,
                address,
                user_agent,
                version,
                height,
                services,
            } => limited!(
                self,
                Handshake,
                info!(
                    %peer_id, peer_address = %address, connection_type = side_of(current, *peer_id),
                user_agent = cut(user_agent), version, height,
                    services = services.0, "handshake complete"
                )
            ),
            ControlEvent::InboundConnectionAccepted { peer_id, address } => {
                limited!(
                    self,
                    Accepted,
                    debug!(
                        %peer_id, peer_address = %address, connection_type = name(Side::Inbound),
                        state = ConnectionState::AwaitingHandshake.name(), "connection accepted"
                    )
                );
            }
            ControlEvent::InboundConnectionRejected { address, reason } => {
                limited!(
                    self,
                    Refused,
                    debug!(
                        peer_address = %address, connection_type = name(Side::Inbound),
                        reason = reason.name(), error = %reason, "connection dropped unread"
                    )
                );
            }
            _ => {}
        }
    }

    fn end(&self, event: &ControlEvent, current: Option<Current>) {
        let side = |peer_id| side_of(current, peer_id);
        match event {
            ControlEvent::ConnectionFailed {
                peer_id,
                address,
                reason,
            } => limited!(
                self,
                Failed,
                warn!(
                    %peer_id, peer_address = %address, connection_type = side(*peer_id),
                    state = ConnectionState::Failed.name(), reason = reason.name(),
                    initiator = reason.initiator().name(), error = cut(reason), "connection failed"
                )
            ),
            ControlEvent::ConnectionLost {
                peer_id,
                address,
                reason,
                initiator,
            } => limited!(
                self,
                Lost,
                info!(
                    %peer_id, peer_address = %address, connection_type = side(*peer_id),
                    state = ConnectionState::Disconnected.name(), reason = reason.name(),
                    initiator = initiator.name(), error = cut(reason), "connection lost"
                )
            ),
            ControlEvent::ConnectionRestarting {
                peer_id,
                address,
                reason,
                attempt,
            } => limited!(
                self,
                Restarting,
                info!(
                    %peer_id, peer_address = %address, connection_type = side(*peer_id),
                    state = ConnectionState::Connecting.name(), reason = reason.name(),
                    error = cut(reason), attempt, "dialling again at once"
                )
            ),
            ControlEvent::ConnectionRejectedCapacity { peer_id, address } => {
                limited!(
                    self,
                    NoRoom,
                    info!(
                        %peer_id, peer_address = %address, connection_type = name(Side::Inbound),
                        state = ConnectionState::Rejected.name(), "no room; the peer was told so"
                    )
                );
            }
            ControlEvent::PeerMisbehavior {
                peer_id,
                address,
                reason,
            } => limited!(
                self,
                Misbehaved,
                warn!(
                    %peer_id, peer_address = %address, connection_type = side(*peer_id),
                    reason = reason.name(), error = cut(reason),
                    "peer misbehaved; connection closed, no ban"
                )
            ),
            _ => {}
        }
    }

    fn node(&self, event: &ControlEvent) {
        let network = self.network;
        match event {
            ControlEvent::PeerBanned { ip, reason, until } => limited!(
                self,
                Banned,
                warn!(
                    %ip, reason = reason.name(), error = cut(of_ban(reason)),
                    until = until.map(tracing::field::display), "banned"
                )
            ),
            ControlEvent::PeerUnbanned { ip } => {
                limited!(self, Unbanned, info!(%ip, "ban lifted"));
            }
            ControlEvent::PeersDiscovered { source, count } => limited!(
                self,
                Discovered,
                debug!(source = source.name(), count, "peers discovered")
            ),
            // What somebody must see to, and what only the operator can cause, is never left out.
            ControlEvent::ListenerStarted { address } => {
                info!(target: "p2p_tokio", %network, %address, "listening");
            }
            ControlEvent::ListenerBindFailed { address, error } => error!(
                target: "p2p_tokio", %network, %address, error = cut(error),
                "cannot listen; tried again later, dialling goes on"
            ),
            ControlEvent::StoreFailed { error } => error!(
                target: "p2p_tokio", %network, error = cut(error),
                "peers not stored; tried again later, the network goes on"
            ),
            ControlEvent::ConfigUpdated => {
                info!(target: "p2p_tokio", %network, "configuration updated");
            }
            ControlEvent::ShuttingDown => info!(target: "p2p_tokio", %network, "shutting down"),
            other => {
                info!(target: "p2p_tokio", %network, event = ?other, "event of a newer version");
            }
        }
    }
}

/// What is known of a ban beside its kind.
fn of_ban(reason: &BanReason) -> String {
    match reason {
        BanReason::NetworkMismatch { received, .. } => format!("magic {received:02x?}"),
        BanReason::BlockchainMismatch { user_agent }
        | BanReason::BannedUserAgent { user_agent } => user_agent.clone(),
        BanReason::ProtocolViolation { violation } => violation.clone(),
        _ => "banned by hand".into(),
    }
}

/// Which side an event is about that does not say so itself, if it is what is dealt with now.
fn side_of(current: Option<Current>, peer_id: Uuid) -> Option<&'static str> {
    let current = current.filter(|current| current.peer_id == peer_id);
    current.map(|current| name(current.side))
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Inbound => "inbound",
        Side::Outbound => "outbound",
    }
}
