//! The lifecycle of one connection, from the wish for it to its end.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use p2p_proto::{Capacity, Ready, Side};
use uuid::Uuid;

/// Names a connection. Minted by the manager, never used again: an event of a connection that is
/// gone can hurt nobody.
///
/// ```
/// use std::collections::BTreeMap;
/// use p2p_core::ConnId;
///
/// /// What a driver keeps of each connection.
/// struct Sockets {
///     by_id: BTreeMap<ConnId, std::net::TcpStream>,
/// }
/// let sockets = Sockets { by_id: BTreeMap::new() };
/// assert!(sockets.by_id.is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(crate) u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where a connection is in its life.
///
/// ```text
/// outbound: Connecting ─► AwaitingHandshake ─► Connected ─► gone
/// inbound:                AwaitingHandshake ─► Connected ─► gone
/// no room:                Rejected ─► gone
///           (any of them) ─► Failed ─► gone
/// ```
///
/// Most connections go at once, without `Failed` before: their sockets are gone when the manager
/// hears of their end, and the reason is in [`ControlEvent`](crate::ControlEvent). `Failed` are
/// those that the manager has told to close, for whatever reason, a shutdown included, and whose
/// sockets are still there.
///
/// `Disconnected` is a peer without a connection: it has an entry in the book, and no
/// [`PeerConnection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionState {
    /// No connection, none being made.
    Disconnected,
    /// The transport is being made.
    Connecting,
    /// The transport is there.
    AwaitingHandshake,
    /// Admitted: messages flow.
    Connected,
    /// The handshake is completed to say that there is no room.
    Rejected,
    /// Told to close, for a fault or in good order; the socket is still there, and so is the slot.
    Failed,
}

impl ConnectionState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Disconnected,
        Self::Connecting,
        Self::AwaitingHandshake,
        Self::Connected,
        Self::Rejected,
        Self::Failed,
    ];

    /// In words, for logs and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::AwaitingHandshake => "awaiting_handshake",
            Self::Connected => "connected",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// A transition that the lifecycle does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no transition from {from:?} to {to:?}")]
pub(crate) struct IllegalTransition {
    /// Where the connection is.
    from: ConnectionState,
    /// Where it should have gone.
    to: ConnectionState,
}

/// One connection, as the manager sees it.
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use p2p_core::{Clock, Command, Input, Manager, ManagerConfig, Network, OperatingMode, ConnectionState};
///
/// let now = Instant::now();
/// let clock = Clock::new(now, SystemTime::now());
/// let config = ManagerConfig::new(Network::Regtest);
/// let mut manager = Manager::new(config, OperatingMode::Normal, vec![], [0; 32], clock, now)?;
/// manager.handle(now, Input::Command(Command::Start));
/// manager.handle(now, Input::Command(Command::AddPeer("127.0.0.1:18444".parse().unwrap())));
/// let connection = manager.connections().next().unwrap();
/// assert_eq!(connection.state(), ConnectionState::Connecting);
/// assert!(!connection.is_inbound());
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PeerConnection {
    pub(crate) id: ConnId,
    pub(crate) peer_id: Uuid,
    pub(crate) address: SocketAddr,
    pub(crate) side: Side,
    pub(crate) capacity: Capacity,
    pub(crate) state: ConnectionState,
    /// Our nonce in this connection's version.
    pub(crate) our_nonce: u64,
    pub(crate) since: Instant,
    /// What the peer said, from `Ready` on.
    pub(crate) ready: Option<Box<Ready>>,
    pub(crate) send_headers_mode: bool,
}

impl PeerConnection {
    /// A connection to be dialled.
    pub(crate) fn outbound(
        id: ConnId,
        peer_id: Uuid,
        address: SocketAddr,
        nonce: u64,
        now: Instant,
    ) -> Self {
        Self {
            id,
            peer_id,
            address,
            side: Side::Outbound,
            capacity: Capacity::Free,
            state: ConnectionState::Connecting,
            our_nonce: nonce,
            since: now,
            ready: None,
            send_headers_mode: false,
        }
    }

    /// A connection that was accepted.
    pub(crate) fn inbound(
        id: ConnId,
        peer_id: Uuid,
        address: SocketAddr,
        nonce: u64,
        capacity: Capacity,
        now: Instant,
    ) -> Self {
        Self {
            side: Side::Inbound,
            capacity,
            state: match capacity {
                Capacity::Free => ConnectionState::AwaitingHandshake,
                Capacity::Full => ConnectionState::Rejected,
            },
            ..Self::outbound(id, peer_id, address, nonce, now)
        }
    }

    /// Its name.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The peer.
    pub fn peer_id(&self) -> Uuid {
        self.peer_id
    }

    /// The other end of the socket; of an inbound connection, no port that listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who dialled.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Whether the peer dialled us.
    pub fn is_inbound(&self) -> bool {
        self.side == Side::Inbound
    }

    /// Whether there is no room: the handshake is completed only to say so.
    pub fn reject_after_handshake(&self) -> bool {
        self.capacity == Capacity::Full
    }

    /// Where it is in its life.
    pub fn state(&self) -> ConnectionState {
        self.state
    }

    /// When it was dialled or accepted, or admitted if it is.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What the peer said of itself, once the handshake is complete.
    pub fn ready(&self) -> Option<&Ready> {
        self.ready.as_deref()
    }

    /// Whether the peer wants blocks to be announced by `headers`.
    pub fn send_headers_mode(&self) -> bool {
        self.send_headers_mode
    }

    /// Whether it holds a slot: all do but those that are there to be turned away.
    pub(crate) fn holds_slot(&self) -> bool {
        self.capacity == Capacity::Free
    }

    /// Where the peer listens, if that can be known: an outbound one where we dialled it, an
    /// inbound one at the port that it names in `addr_from`.
    pub(crate) fn listens_at(&self) -> Option<(IpAddr, u16)> {
        match self.side {
            Side::Outbound => Some((self.address.ip(), self.address.port())),
            Side::Inbound => {
                let port = self.ready.as_ref()?.version.addr_from.port;
                (port != 0).then(|| (self.address.ip(), port))
            }
        }
    }

    /// The nonce in the version of whoever dialled; of an inbound connection from `Ready` on.
    pub(crate) fn dialler_nonce(&self) -> Option<u64> {
        match self.side {
            Side::Outbound => Some(self.our_nonce),
            Side::Inbound => Some(self.ready.as_ref()?.version.nonce),
        }
    }

    /// Goes on to another state.
    pub(crate) fn go(&mut self, to: ConnectionState) -> Result<(), IllegalTransition> {
        use ConnectionState::{AwaitingHandshake, Connected, Connecting, Failed, Rejected};
        match (self.state, to) {
            (Connecting, AwaitingHandshake)
            | (AwaitingHandshake, Connected)
            | (Connecting | AwaitingHandshake | Connected | Rejected, Failed) => {
                self.state = to;
                Ok(())
            }
            (from, to) => Err(IllegalTransition { from, to }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [ConnectionState; 6] = ConnectionState::ALL;

    fn address() -> SocketAddr {
        "1.2.3.4:8333".parse().unwrap()
    }

    fn outbound() -> PeerConnection {
        PeerConnection::outbound(ConnId(1), Uuid::nil(), address(), 7, Instant::now())
    }

    fn inbound(capacity: Capacity) -> PeerConnection {
        let now = Instant::now();
        PeerConnection::inbound(ConnId(1), Uuid::nil(), address(), 7, capacity, now)
    }

    fn walk(mut connection: PeerConnection, path: &[ConnectionState]) {
        for &to in path {
            assert_eq!(connection.go(to), Ok(()));
            assert_eq!(connection.state(), to);
        }
    }

    #[test]
    fn test_outbound_connection_state_transitions() {
        use ConnectionState::{AwaitingHandshake, Connected, Connecting, Failed};
        assert_eq!(outbound().state(), Connecting);
        walk(outbound(), &[AwaitingHandshake, Connected, Failed]);
        walk(outbound(), &[AwaitingHandshake, Failed]);
        walk(outbound(), &[Failed]);
    }

    #[test]
    fn test_inbound_connection_state_transitions() {
        use ConnectionState::{AwaitingHandshake, Connected, Failed};
        assert_eq!(inbound(Capacity::Free).state(), AwaitingHandshake);
        walk(inbound(Capacity::Free), &[Connected, Failed]);
        assert!(inbound(Capacity::Free).is_inbound());
    }

    #[test]
    fn a_connection_without_room_never_becomes_connected() {
        use ConnectionState::{Connected, Failed, Rejected};
        let mut connection = inbound(Capacity::Full);
        assert_eq!(connection.state(), Rejected);
        assert!(connection.reject_after_handshake() && !connection.holds_slot());
        assert_eq!(
            connection.go(Connected),
            Err(IllegalTransition {
                from: Rejected,
                to: Connected
            })
        );
        assert_eq!(connection.go(Failed), Ok(()));
    }

    #[test]
    fn nothing_leads_out_of_failed_or_back_to_the_start() {
        use ConnectionState::{Connecting, Disconnected, Failed};
        for to in STATES {
            let mut connection = outbound();
            connection.go(Failed).unwrap();
            assert!(connection.go(to).is_err(), "{to:?}");
        }
        for to in [Disconnected, Connecting] {
            assert!(outbound().go(to).is_err());
        }
    }
}
