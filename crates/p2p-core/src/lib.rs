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

mod error;
mod events;
mod peer;
mod timestamp;

pub use error::{ConnectionError, DialFailure};
pub use events::{BitcoinMessageEvent, ControlEvent, DiscoverySource};
pub use p2p_proto::{CloseReason, Initiator, Message, Network, Services, UserAgent};
pub use peer::{Ban, BanReason, Peer, PeerSource, PeerStatus};
pub use timestamp::Timestamp;
