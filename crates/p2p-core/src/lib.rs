//! The connection manager of a Bitcoin SV node, without a socket, a clock or a task.
//!
//! This crate decides: who to dial, when, how many; whom to let in, whom to ban, when to give up.
//! It stands on [`p2p_proto`], which knows one connection, and is driven by an adapter that has
//! the sockets.
//!
//! ```text
//!   Input: Connected, DialFailed, Ready, Closed, Gossip, Resolved, Stored, Command ..
//!      │                                   accept(remote) ─► Setup, or InboundRefusal
//!      ▼
//!  ┌─────────┐  facts   ┌───────────────────────────────────────────────┐
//!  │ Manager │─────────►│ connections, slots, book, bans, breaker, dirty │
//!  └─────────┘          └───────────────────────┬───────────────────────┘
//!                                               │ reconcile: what is, against what should be
//!                                               ▼
//!   Action: Dial, Admit, Close, Send, Resolve, Listen, Persist, Configure, Notify
//! ```
//!
//! # The driving loop
//!
//! After every input carry out every action, then wait for the next input or until
//! [`Manager::poll_timeout`]:
//!
//! ```
//! use std::time::{Instant, SystemTime};
//! use p2p_core::{Action, Clock, Command, Input, Manager, ManagerConfig, Network, OperatingMode};
//!
//! let now = Instant::now();
//! let clock = Clock::new(now, SystemTime::now());
//! let config = ManagerConfig::new(Network::Regtest);
//! let mut manager = Manager::new(config, OperatingMode::Normal, vec![], [0; 32], clock, now)?;
//!
//! manager.handle(now, Input::Command(Command::Start));
//! manager.handle(now, Input::Command(Command::AddPeer("127.0.0.1:18444".parse().unwrap())));
//! let mut dials = 0;
//! while let Some(action) = manager.poll_action() {
//!     match action {
//!         // A driver dials here, and answers with `Input::Connected` or `Input::DialFailed`.
//!         Action::Dial { setup, .. } => dials += usize::from(setup.params.remote.port() == 18444),
//!         Action::Persist { batch, .. } => manager.handle(now, Input::Stored { batch, result: Ok(()) }),
//!         _ => {}
//!     }
//! }
//! assert_eq!(dials, 1);
//! # Ok::<(), p2p_core::ConfigError>(())
//! ```
//!
//! # Parts
//!
//! - [`Manager`], its [`ManagerConfig`], [`Input`]s and [`Action`]s.
//! - [`Peer`]: the record that a store keeps. [`ControlEvent`], [`BitcoinMessageEvent`]: what the
//!   application is told. [`ConnectionError`]: what failed, and whether to try again.
//! - [`book`], [`netgroup`], [`backoff`]: useful on their own.

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
mod deciding;
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
pub use connection::{ConnId, ConnectionState, PeerConnection};
pub use deciding::deciding_records;
pub use error::{ConnectionError, DialFailure};
pub use events::{BitcoinMessageEvent, ControlEvent, DiscoverySource, PeerConnectionCommand};
pub use io::{Action, BatchId, Command, InboundRefusal, Input, Setup, Wake};
pub use manager::{Explanation, Manager, PeerExplanation, STOP_WITHIN, STORE_RETRY};
pub use mode::OperatingMode;
pub use p2p_proto::{
    ChainPolicy, Clock, CloseReason, Initiator, Message, Network, Services, UserAgent,
};
pub use peer::{Ban, BanReason, Peer, PeerSource, PeerStatus};
pub use timestamp::Timestamp;
