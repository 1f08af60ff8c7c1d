//! The connection manager of a Bitcoin SV node, without a socket, a clock or a task.
//!
//! This crate knows peers and what becomes of them: the records that a store keeps
//! ([`Peer`]), and what is told to the application ([`ControlEvent`], [`BitcoinMessageEvent`]).
//! It stands on [`p2p_proto`], which knows one connection, and is driven by an adapter such as
//! p2p-tokio, which has the sockets.
//!
//! ```
//! use p2p_core::{Network, Peer, PeerSource, PeerStatus, Timestamp};
//!
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let address = "1.2.3.4:8333".parse().unwrap();
//! let peer = Peer::new(Network::Mainnet, address, PeerSource::Manual, now);
//! assert_eq!(peer.status, PeerStatus::Unknown);
//! assert_eq!(peer.address(), address);
//! ```

#![warn(clippy::wildcard_enum_match_arm)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "a test needs one moment to start from"
    )
)]

pub mod backoff;
pub mod book;
pub mod netgroup;

mod bans;
mod breaker;
mod config;
mod connection;
mod error;
mod events;
mod io;
mod manager;
mod mode;
mod peer;
mod restart;
mod slots;
mod timestamp;
mod verdict;

pub use bans::MAX_BANS;
pub use config::{ConfigError, ConnectionConfig, LogLevel, ManagerConfig, ParseLogLevelError};
pub use connection::{ConnId, ConnectionState, IllegalTransition, PeerConnection};
pub use error::{ConnectionError, DialFailure};
pub use events::{BitcoinMessageEvent, ControlEvent, DiscoverySource, PeerConnectionCommand};
pub use io::{Action, BatchId, Command, Input, Refusal, Setup, Wake};
pub use manager::{Explanation, Manager, PeerExplanation};
pub use mode::OperatingMode;
pub use p2p_proto::{ChainPolicy, CloseReason, Initiator, Message, Network, Services, UserAgent};
pub use peer::{Ban, BanReason, Peer, PeerSource, PeerStatus};
pub use timestamp::Timestamp;
