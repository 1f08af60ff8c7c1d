//! Answers to "why have I so few peers" and "what about this one".

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Manager;
use crate::book::Availability;
use crate::error::ConnectionError;
use crate::mode::OperatingMode;
use crate::peer::{Peer, PeerStatus};

/// Why there are as many connections as there are.
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
/// let why = manager.explain();
/// assert_eq!((why.connected, why.target), (0, 8));
/// assert_eq!((why.ready, why.waiting), (0, 0), "nobody is known");
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// Connections wanted: with a fixed list, one to each of it.
    pub target: usize,
    /// Connections admitted.
    pub connected: usize,
    /// Slots taken by connections that are being made or unmade.
    pub pending: usize,
    /// Peers that could be dialled now.
    pub ready: usize,
    /// Peers that are not to be dialled yet.
    pub waiting: usize,
    /// When the next of those may be dialled, from now.
    pub next_in: Option<Duration>,
    /// Peers written off for now.
    pub inaccessible: usize,
    /// IPs banned.
    pub banned: usize,
    /// Where peers can dial us.
    pub listening: Option<SocketAddr>,
    /// Whether everything fails, so that dialling has slowed down for all.
    pub outage: bool,
}

/// What is known about one address.
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
/// let address = "127.0.0.1:18444".parse().unwrap();
/// manager.handle(now, Input::Command(Command::AddPeer(address)));
/// assert!(manager.explain_peer(address).unwrap().busy, "it is being dialled");
/// # Ok::<(), p2p_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PeerExplanation {
    /// The record.
    pub peer: Peer,
    /// Failed attempts since it last worked.
    pub retries: u32,
    /// How the last attempt or connection ended, in this run of the node.
    pub last_failure: Option<ConnectionError>,
    /// Whether it is banned, or ourselves.
    pub never: bool,
    /// Whether there is a connection to it, or one being made.
    pub busy: bool,
    /// When it may be dialled, if it must wait.
    pub next_attempt: Option<Instant>,
}

impl Manager {
    /// Why there are as many connections as there are.
    pub fn explain(&self) -> Explanation {
        let ready = PeerStatus::ALL.map(|status| self.book.ready_count(status));
        let due = self.book.next_due();
        Explanation {
            target: match &self.mode {
                OperatingMode::FixedPeerList(fixed) => fixed.len(),
                OperatingMode::Normal => self.config.target_connections,
            },
            connected: self.slots.established(),
            pending: self.slots.held() - self.slots.established(),
            ready: ready.iter().sum(),
            waiting: self.book.waiting_count(),
            next_in: due.map(|due| due.saturating_duration_since(self.now)),
            inaccessible: self.book.count(PeerStatus::Inaccessible),
            banned: self.bans.len(),
            listening: self.listener.bound(),
            outage: self.breaker.is_open(),
        }
    }

    /// What is known about one address.
    pub fn explain_peer(&self, address: SocketAddr) -> Option<PeerExplanation> {
        let entry = self.book.get(address)?;
        Some(PeerExplanation {
            peer: entry.peer.clone(),
            retries: entry.retries,
            last_failure: entry.last_failure.cloned(),
            never: entry.availability == Availability::Never,
            busy: entry.availability == Availability::Busy,
            next_attempt: match entry.availability {
                Availability::At(at) => Some(at),
                Availability::Ready | Availability::Busy | Availability::Never => None,
            },
        })
    }
}
