//! What the manager cannot do, and why.

use std::time::Duration;

use p2p_core::ConfigError;
use p2p_proto::SendError;
use p2p_store::StoreError;
use thiserror::Error;
use uuid::Uuid;

/// Why the manager did not do what it was asked for.
///
/// ```
/// use p2p_tokio::{Manager, ManagerConfig, ManagerError, Network};
///
/// let config = ManagerConfig { max_connections: 3, ..ManagerConfig::new(Network::Regtest) };
/// let error = Manager::builder(config).build().unwrap_err();
/// assert!(matches!(error, ManagerError::Config(_)) && !error.is_retryable());
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// [`start`](crate::Manager::start) comes first.
    #[error("the manager is not started: call start() first")]
    NotStarted,
    /// It was started before.
    #[error("the manager is started already")]
    AlreadyStarted,
    /// It was shut down. Make another one.
    #[error("the manager has ended")]
    AlreadyStopped,
    /// The configuration is wrong; nothing has changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store does not work.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The ban is in force, but the store failed while it was on its way: it may not be stored. It
    /// is stored when the store works again, and may be lost if the process ends before.
    #[error("banned, but that may not be stored: {error}")]
    BanNotStored {
        /// What the store says.
        error: String,
    },
    /// Neither the book nor the store knows this peer.
    #[error("no peer {0} is known")]
    PeerNotFound(Uuid),
    /// There were fewer peers by then.
    #[error("{connected} of {wanted} peers after {} s", .waited.as_secs_f64())]
    TooFewPeers {
        /// Peers asked for.
        wanted: usize,
        /// Peers connected.
        connected: usize,
        /// How long was waited.
        waited: Duration,
    },
    /// Telemetry is wanted and cannot be exported as configured; nothing has changed.
    #[error("{why}")]
    Telemetry {
        /// The field, what is wrong with it, and what to do.
        why: String,
    },
    /// No resolver could be made of the configuration, or of the system's settings.
    #[error("DNS: {0}")]
    Resolver(#[from] crate::ResolveError),
}

impl ManagerError {
    /// Whether the same call may work later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::NotStarted
            | Self::BanNotStored { .. }
            | Self::TooFewPeers { .. }
            | Self::Resolver(_) => true,
            Self::AlreadyStarted
            | Self::AlreadyStopped
            | Self::Config(_)
            | Self::Telemetry { .. }
            | Self::PeerNotFound(_) => false,
        }
    }

    /// Whether a peer is to be banned for it: never, these are ours.
    pub fn is_ban_worthy(&self) -> bool {
        false
    }
}

/// Why a message was not queued.
///
/// ```
/// use p2p_tokio::{SendError, SendMessageError};
///
/// assert!(SendMessageError::from(SendError::Full).is_retryable());
/// assert!(!SendMessageError::from(SendError::Closed).is_retryable());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendMessageError {
    /// There is no connection to this peer.
    #[error("no connection to peer {0}")]
    UnknownPeer(Uuid),
    /// The connection does not take it: not ready, full, closed, too large for this peer.
    #[error(transparent)]
    Refused(#[from] SendError),
}

impl SendMessageError {
    /// Whether the same call may work later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::UnknownPeer(_) => true,
            Self::Refused(error) => error.is_retryable(),
        }
    }

    /// Whether a peer is to be banned for it: never, these are ours.
    pub fn is_ban_worthy(&self) -> bool {
        false
    }
}
