//! Bitcoin SV peers over TCP, with tokio: finds them, shakes hands, stays connected, bans the
//! wrong ones, and hands every message over.
//!
//! ```text
//!                 your program
//!    ▲ events, messages │ send, ban, configure
//! ┌──┴──────────────────▼──┐
//! │ Manager                │ a handle, cheap to clone
//! ├────────────────────────┤
//! │ one task: p2p_core     │ who, when, how many
//! ├────────────────────────┤
//! │ a task a connection:   │ bytes to messages and back
//! │ p2p_proto              │
//! ├────────────────────────┤
//! │ sockets, DNS, store    │
//! └────────────────────────┘
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//! use p2p_tokio::{InMemoryPeerStore, Manager, ManagerConfig, Message, Network, RecvError};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ManagerConfig::new(Network::Mainnet);
//! let manager = Manager::new(config, Arc::new(InMemoryPeerStore::new()))?;
//! let mut messages = manager.subscribe_bitcoin_messages();
//! manager.start().await?;
//! manager.wait_for_peers(1, Duration::from_secs(60)).await?;
//! manager.broadcast(&Message::GetAddr);
//! loop {
//!     match messages.recv().await {
//!         Ok(event) => println!("{} from {}", event.message.command(), event.address),
//!         Err(RecvError::Closed) => return Ok(()),
//!         // Too slow for some, or one was too large to be kept.
//!         Err(missed) => println!("{missed}"),
//!     }
//! }
//! # }
//! ```
//!
//! # What is decided where
//!
//! [`p2p_core::Manager`] decides, [`p2p_proto::Connection`] speaks the protocol; both are pure
//! state machines. This crate carries sockets, time, DNS and the store to them, and nothing else:
//! its tasks hold no policy, its channels are bounded, and on the way of a message there is no
//! lock.
//!
//! # How to listen
//!
//! | | who is slow | order |
//! |---|---|---|
//! | [`Manager::subscribe_control_events`] | misses events, is told how many | as they happened |
//! | [`Manager::subscribe_bitcoin_messages`] | the same | of one peer: as they came |
//! | [`Manager::events`] | the same | both, as published: established, messages, lost |
//! | [`Manager::subscribe_lossless`] | holds up the peers it is slow with | of one peer: everything, from `Established` to `Lost` |
//!
//! # A session, without a network
//!
//! ```
//! use p2p_tokio::{ControlEvent, Manager, ManagerConfig, Network};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listens = ManagerConfig {
//!     enable_listener: true,
//!     listener_address: "127.0.0.1".parse()?,
//!     listener_port: Some(0),
//!     ..ManagerConfig::new(Network::Regtest)
//! };
//! let listener = Manager::builder(listens).build()?;
//! let mut events = listener.subscribe_control_events();
//! listener.start().await?;
//! let ControlEvent::ListenerStarted { address } = events.recv().await? else { panic!() };
//!
//! let dialler = Manager::builder(ManagerConfig::new(Network::Regtest)).fixed_peers([address]).build()?;
//! dialler.start().await?;
//! dialler.wait_for_peers(1, std::time::Duration::from_secs(30)).await?;
//! assert_eq!(dialler.get_connection_count(), 1);
//! dialler.shutdown().await;
//! listener.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Every option, patterns for each kind of program, and answers to what goes wrong are in
//! `docs/p2p_usage_guide.md`.
//!
//! # What an operator sees
//!
//! [`Manager::stats`] has every counter and gauge as plain data, [`Manager::explain`] says why there
//! are not more peers, and every end of a connection says why and who hung up. The log is
//! `tracing`'s, target `p2p_tokio`; no subscriber is installed, and [`LogHandle`] carries the
//! configuration's `log_level` to the one that there is. Text of peers is escaped and cut, and a
//! flood cannot fill a disk: `docs/observability.md` lists lines, metrics, and what to alert on.
//!
//! # Features
//!
//! | | |
//! |---|---|
//! | `hickory` (default) | DNS by [`HickoryResolver`] instead of [`SystemResolver`] |
//! | `redb`, `postgres` | the stores [`p2p_store`] has besides the one in memory: an embedded database, and PostgreSQL for fleets |
//! | `logging` | a log for programs, whose level follows the configuration: `logging::init` |
//! | `telemetry` | metrics and spans by OpenTelemetry, OTLP over gRPC, if `enable_telemetry` is set |

mod codec;
mod events;
mod manager;
mod net;
mod observe;
mod resolver;

pub use codec::{CodecError, MessageCodec};
pub use events::{
    BitcoinMessages, ControlEvents, Event, Events, Filter, LosslessEvents, PeerEvent, RecvError,
    Skipped, Subscription,
};
pub use manager::{
    ConnectionInfo, Manager, ManagerBuilder, ManagerError, PeerInfo, SendMessageError,
};
pub use net::link::Traffic;
#[cfg(feature = "logging")]
pub use observe::logging;
#[cfg(feature = "telemetry")]
pub use observe::telemetry;
pub use observe::{Disconnects, HandshakeTimes, LogHandle, MessageCounts, Stats};
pub use p2p_core::{
    self, Ban, BanReason, BitcoinMessageEvent, ChainPolicy, ConfigError, ConnectionConfig,
    ConnectionError, ConnectionState, ControlEvent, DialFailure, DiscoverySource, Explanation,
    InboundRefusal, LogLevel, ManagerConfig, Peer, PeerConnectionCommand, PeerExplanation,
    PeerSource, PeerStatus, Timestamp,
};
pub use p2p_proto::{
    self, CloseReason, Command, Discarded, EncodedMessage, Initiator, Limits, Message, Network,
    NetworkFailure, Nonce, Offence, PayloadEvent, PeerPolicy, Refusal, SendError, Services, Side,
    UserAgent, Version, Violation,
};
#[cfg(feature = "postgres")]
pub use p2p_store::PostgresPeerStore;
#[cfg(feature = "redb")]
pub use p2p_store::RedbPeerStore;
pub use p2p_store::{self, ChangeStream, InMemoryPeerStore, PeerStore, StoreChange, StoreError};
// What signatures here are made of.
pub use async_trait::async_trait;
pub use bytes;
#[cfg(feature = "hickory")]
pub use resolver::HickoryResolver;
pub use resolver::{ResolveError, Resolver, SystemResolver};
#[cfg(feature = "logging")]
pub use tracing_subscriber;
pub use uuid::Uuid;
