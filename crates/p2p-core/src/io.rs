//! What goes into the manager and what comes out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_proto::{CloseReason, Config, Connection, Message, Params, Ready, Side, TimedAddress};
use uuid::Uuid;

use crate::connection::ConnId;
use crate::error::DialFailure;
use crate::events::ControlEvent;
use crate::peer::Peer;

/// Something that happened outside.
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use p2p_core::{Clock, Command, Input, Manager, ManagerConfig, Network, OperatingMode};
///
/// let now = Instant::now();
/// let clock = Clock::new(now, SystemTime::now());
/// let config = ManagerConfig::new(Network::Regtest);
/// let mut manager = Manager::new(config, OperatingMode::Normal, vec![], [0; 32], clock, now)?;
/// manager.handle(now, Input::Command(Command::Start));
/// manager.handle(now, Input::Resolved { addresses: vec!["127.0.0.1:18444".parse().unwrap()] });
/// assert_eq!(manager.peers().count(), 1);
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// The transport of a dial is there.
    Connected {
        /// The dial's connection.
        conn: ConnId,
    },
    /// A dial has failed.
    DialFailed {
        /// The dial's connection.
        conn: ConnId,
        /// Why.
        failure: DialFailure,
    },
    /// The handshake is complete: [`Event::Ready`](p2p_proto::Event::Ready).
    Ready {
        /// The connection.
        conn: ConnId,
        /// What the peer said.
        ready: Box<Ready>,
    },
    /// The connection has ended and its socket is gone:
    /// [`Event::Closed`](p2p_proto::Event::Closed).
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// A ping was answered.
    Latency {
        /// The connection.
        conn: ConnId,
        /// How long it took.
        latency: Duration,
    },
    /// The peer named addresses (`addr`).
    Gossip {
        /// The connection.
        conn: ConnId,
        /// The addresses.
        addresses: Vec<TimedAddress>,
    },
    /// The peer asks for addresses (`getaddr`).
    AddressesWanted {
        /// The connection.
        conn: ConnId,
    },
    /// The peer wants blocks to be announced by `headers` (`sendheaders`).
    SendHeaders {
        /// The connection.
        conn: ConnId,
    },
    /// The DNS seeds were asked; those that failed named nobody.
    Resolved {
        /// What they named.
        addresses: Vec<SocketAddr>,
    },
    /// The listener is bound.
    Listening {
        /// Where.
        address: SocketAddr,
    },
    /// The listener cannot be bound, or has failed.
    ListenFailed {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: String,
    },
    /// A batch was stored, or not.
    Stored {
        /// Which one.
        batch: BatchId,
        /// What the store says.
        result: Result<(), String>,
    },
    /// The store has saved what it holds, or not.
    Saved {
        /// What the store says.
        result: Result<(), String>,
    },
    /// Records were changed from outside: by another manager, or an operator.
    Changed {
        /// As they are now.
        peers: Vec<Peer>,
    },
    /// The user wants something.
    Command(Command),
}

impl Input {
    /// What the manager must hear of a message, if anything.
    pub fn from_message(conn: ConnId, message: &Message) -> Option<Self> {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "all other messages are the application's alone"
        )]
        match message {
            Message::Addr(addr) => Some(Self::Gossip {
                conn,
                addresses: addr.iter().collect(),
            }),
            Message::GetAddr => Some(Self::AddressesWanted { conn }),
            Message::SendHeaders => Some(Self::SendHeaders { conn }),
            _ => None,
        }
    }
}

/// What the user wants.
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use p2p_core::{Clock, Command, Input, Manager, ManagerConfig, Network, OperatingMode};
///
/// let now = Instant::now();
/// let clock = Clock::new(now, SystemTime::now());
/// let config = ManagerConfig::new(Network::Regtest);
/// let mut manager = Manager::new(config, OperatingMode::Normal, vec![], [0; 32], clock, now)?;
/// manager.handle(now, Input::Command(Command::Start));
/// let ip = "203.0.113.7".parse().unwrap();
/// manager.handle(now, Input::Command(Command::Ban(ip)));
/// assert!(manager.is_banned(ip));
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Begin.
    Start,
    /// End.
    Shutdown,
    /// Ban an IP until the ban is lifted.
    Ban(IpAddr),
    /// Lift the ban of an IP.
    Unban(IpAddr),
    /// Make a peer known, to be dialled like others.
    AddPeer(SocketAddr),
    /// Hang up on a peer. Nothing is held against it: it may be dialled again after
    /// `initial_backoff`, if connections are wanted. To keep it away, ban it.
    Disconnect(Uuid),
}

/// Names a batch of records on its way to the store.
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use p2p_core::{Action, Clock, Command, Input, Manager, ManagerConfig, Network, OperatingMode};
///
/// let now = Instant::now();
/// let clock = Clock::new(now, SystemTime::now());
/// let config = ManagerConfig::new(Network::Regtest);
/// let mut manager = Manager::new(config, OperatingMode::Normal, vec![], [0; 32], clock, now)?;
/// manager.handle(now, Input::Command(Command::Start));
/// manager.handle(now, Input::Command(Command::AddPeer("127.0.0.1:18444".parse().unwrap())));
/// while let Some(action) = manager.poll_action() {
///     if let Action::Persist { batch, .. } = action {
///         // The store has it.
///         manager.handle(now, Input::Stored { batch, result: Ok(()) });
///     }
/// }
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub(crate) u64);

/// Something for the driver to do.
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use p2p_core::{Action, Clock, Command, Input, Manager, ManagerConfig, Network, OperatingMode};
///
/// let now = Instant::now();
/// let clock = Clock::new(now, SystemTime::now());
/// let config = ManagerConfig::new(Network::Regtest);
/// let mut manager = Manager::new(config, OperatingMode::Normal, vec![], [0; 32], clock, now)?;
/// manager.handle(now, Input::Command(Command::Start));
/// manager.handle(now, Input::Command(Command::AddPeer("127.0.0.1:18444".parse().unwrap())));
/// let actions: Vec<Action> = std::iter::from_fn(|| manager.poll_action()).collect();
/// assert!(actions.iter().any(|action| matches!(action, Action::Dial { .. })));
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Action {
    /// Dial: answer with `Connected`, or with `DialFailed`.
    Dial {
        /// What the connection is to be made with.
        setup: Setup,
        /// How long the transport may take.
        timeout: Duration,
    },
    /// Let messages flow: [`Connection::admit`].
    Admit {
        /// The connection.
        conn: ConnId,
    },
    /// End it: [`Connection::close`], or give up the dial. Answer with `Closed` (or, before the
    /// transport is there, `DialFailed`) when the socket is gone.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// Send a message: [`Connection::send`]. If it does not fit, nobody minds.
    Send {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: Message,
    },
    /// Give a connection other settings: [`Connection::configure`].
    Configure {
        /// The connection.
        conn: ConnId,
        /// The settings.
        config: Arc<Config>,
    },
    /// Ask the DNS seeds, all at once: answer with `Resolved`.
    Resolve {
        /// Their names.
        seeds: Vec<String>,
        /// The port of the addresses that they name.
        port: u16,
        /// How long each may take.
        timeout: Duration,
    },
    /// Listen: answer with `Listening` or `ListenFailed`.
    Listen {
        /// Where.
        address: SocketAddr,
    },
    /// Stop listening.
    Unlisten {
        /// Where.
        address: SocketAddr,
    },
    /// Store these records and forget others: answer with `Stored`, when every ban among them
    /// survives a crash. There is one batch at a time; one that failed comes again.
    Persist {
        /// Names the batch.
        batch: BatchId,
        /// The records to store, all or none.
        peers: Vec<Peer>,
        /// The ids of those to forget. Some were never stored.
        gone: Vec<Uuid>,
    },
    /// Have the store save what it holds, if it keeps anything back: answer with `Saved`.
    Save,
    /// Tell the user.
    Notify(ControlEvent),
    /// Everything has ended: there will be no further action.
    Stopped,
}

/// What a connection is made with.
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use p2p_core::{Clock, Command, Input, Manager, ManagerConfig, Network, OperatingMode};
///
/// let now = Instant::now();
/// let clock = Clock::new(now, SystemTime::now());
/// let config = ManagerConfig::new(Network::Regtest);
/// let mut manager = Manager::new(config, OperatingMode::Normal, vec![], [0; 32], clock, now)?;
/// manager.handle(now, Input::Command(Command::Start));
/// // Somebody has dialled us, and may stay.
/// let setup = manager.accept(now, "127.0.0.1:40000".parse().unwrap()).unwrap();
/// let connection = setup.connection(now);
/// assert!(connection.wants_read());
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setup {
    /// Names the connection.
    pub conn: ConnId,
    /// Names the peer.
    pub peer_id: Uuid,
    /// The settings that all connections share.
    pub config: Arc<Config>,
    /// Who dials.
    pub side: Side,
    /// What this one has of its own.
    pub params: Params,
}

impl Setup {
    /// The state machine of the connection, once its transport is there.
    pub fn connection(self, now: Instant) -> Connection {
        Connection::new(self.config, self.side, self.params, now)
    }
}

/// Why a connection is not even accepted: it is closed before a byte is read.
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use p2p_core::{Clock, Command, Input, Manager, ManagerConfig, Network, OperatingMode, InboundRefusal};
///
/// let now = Instant::now();
/// let clock = Clock::new(now, SystemTime::now());
/// let config = ManagerConfig::new(Network::Regtest);
/// let mut manager = Manager::new(config, OperatingMode::Normal, vec![], [0; 32], clock, now)?;
/// manager.handle(now, Input::Command(Command::Start));
/// manager.handle(now, Input::Command(Command::Ban("127.0.0.1".parse().unwrap())));
/// let refused = manager.accept(now, "127.0.0.1:40000".parse().unwrap());
/// assert_eq!(refused.err(), Some(InboundRefusal::Banned));
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum InboundRefusal {
    /// The IP is banned.
    #[error("banned")]
    Banned,
    /// There is a connection from the same IP and port.
    #[error("duplicate connection")]
    Duplicate,
    /// The IP has as many connections as one may have.
    #[error("too many connections from one address")]
    PerIp,
    /// Too many handshakes are under way.
    #[error("too many handshakes under way")]
    Pending,
    /// There is no room, and too many are being told so already.
    #[error("no room, and too many to be told")]
    OverCapacity,
    /// The node is not started, or shutting down.
    #[error("not running")]
    NotRunning,
}

impl InboundRefusal {
    /// Every [`name`](Self::name).
    pub const NAMES: &'static [&'static str] = &[
        "banned",
        "duplicate",
        "per_ip",
        "pending",
        "over_capacity",
        "not_running",
    ];

    /// In a word, for counters and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::Duplicate => "duplicate",
            Self::PerIp => "per_ip",
            Self::Pending => "pending",
            Self::OverCapacity => "over_capacity",
            Self::NotRunning => "not_running",
        }
    }
}

/// Why [`Manager::poll_timeout`](crate::Manager::poll_timeout) wants to be called back.
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use p2p_core::{Action, Clock, Command, Input, Manager, ManagerConfig, Network, OperatingMode, Wake};
///
/// let now = Instant::now();
/// let clock = Clock::new(now, SystemTime::now());
/// let config = ManagerConfig::new(Network::Mainnet);
/// let mut manager = Manager::new(config, OperatingMode::Normal, vec![], [0; 32], clock, now)?;
/// manager.handle(now, Input::Command(Command::Start));
/// while manager.poll_action().is_some() {}
/// manager.handle(now, Input::Resolved { addresses: vec![] });
/// // The DNS seeds are asked again in an hour.
/// let (at, why) = manager.poll_timeout().unwrap();
/// assert_eq!((at - now, why), (manager.config().dns_interval, Wake::Dns));
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Wake {
    /// A peer's backoff is over, or it is due to be revisited.
    Candidate,
    /// The next probe of an outage is due.
    Probe,
    /// The DNS seeds are due.
    Dns,
    /// The listener is to be tried again.
    Listener,
    /// A ban ends.
    Ban,
    /// The store is to be tried again.
    Store,
    /// The store is to save what it holds.
    Save,
    /// What has not ended by now ends without waiting.
    Shutdown,
}
