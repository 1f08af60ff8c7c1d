//! Where a node keeps what it knows about peers between runs, and whom it has banned.
//!
//! A store keeps records ([`p2p_core::Peer`]) and answers questions about them. A manager reads all
//! of them when it starts, and tells the store what has changed since. The rule that everything
//! here follows: **a ban that was reported is never lost**, whatever happens to the process, the
//! machine or the disk's free space.
//!
//! ```text
//!                 Manager: records to store, bans first
//!                         │ apply, forget, flush     ▲ list_all, changes
//!                         ▼                          │
//!                    ┌──────────────────────────────────┐
//!                    │ PeerStore                        │
//!                    └──┬────────────┬────────────┬─────┘
//!                       ▼            ▼            ▼
//!                   JSON file     one redb     PostgreSQL, shared
//!                   and journal   file         with other managers
//! ```
//!
//! # Which store
//!
//! | | for | feature |
//! |---|---|---|
//! | [`InMemoryPeerStore`] | one node; a file that people can read and edit | |
//! | [`RedbPeerStore`] | one node with more peers than it wants to hold in memory, or to write at every save | `redb` |
//! | [`PostgresPeerStore`] | several nodes that share one book and one list of bans | `postgres` |
//! | one of your own | your data's own place: implement [`PeerStore`], run [`conformance`] | `conformance` for its tests |
//!
//! ```
//! use p2p_core::{Ban, BanReason, Network, Peer, PeerSource, PeerStatus, Timestamp};
//! use p2p_store::{InMemoryPeerStore, PeerStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), p2p_store::StoreError> {
//! # let folder = std::env::temp_dir().join(format!("p2p-store-lib-{}", std::process::id()));
//! let path = folder.join("peers.json");
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let address = "203.0.113.7:8333".parse().unwrap();
//! let mut peer = Peer::new(Network::Mainnet, address, PeerSource::Dns, now);
//!
//! let store = InMemoryPeerStore::open(&path)?;
//! store.create(&peer).await?;
//!
//! peer.set_status(PeerStatus::Banned, now);
//! peer.ban = Some(Ban { reason: BanReason::Manual, at: now, until: None });
//! store.apply(&[peer.clone()]).await?; // a ban: on disk by now
//! drop(store); // nothing was flushed
//!
//! let store = InMemoryPeerStore::open(&path)?;
//! assert_eq!(store.find_by_ip(address.ip()).await?, [peer]);
//! # drop(store);
//! # std::fs::remove_dir_all(folder).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! | | `InMemoryPeerStore::open` | `RedbPeerStore` | `PostgresPeerStore` |
//! |---|---|---|---|
//! | a ban, and its end, is durable | when the call returns | when the call returns | when the call returns |
//! | all else is durable | after [`flush`](PeerStore::flush) | after `flush` | when the call returns |
//! | a batch, to others who look | all or nothing | all or nothing | all or nothing |
//! | a batch, after a crash | its bans: all or nothing; the rest of it is as at the last save | all or nothing | all or nothing |
//! | the disk is full | calls fail, what was promised stays, later calls make up for it | the same | the server's affair: calls fail and may be repeated |
//! | what is stored is damaged | set aside; records that can be read are used; the start goes on | set aside; the start goes on with an empty store | the server's affair; records that cannot be read are left out |
//! | somebody else changes it | cannot: the file is locked | cannot: the file is locked | [`changes`](PeerStore::changes) tells within a second |
//! | needs a runtime | no | no | tokio |
//! | at a time in memory | everything | 64 MiB of cache | nothing |
//!
//! `InMemoryPeerStore::new` has no file, and promises everything for as long as it lives.
//! Whatever a store finds wrong at its start it says in the log: which file, what is wrong, what it
//! does about it. It never overwrites what it could not read.

#[cfg(feature = "conformance")]
pub mod conformance;

#[cfg(feature = "redb")]
mod embedded;
mod error;
mod files;
mod index;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod store;

#[cfg(feature = "redb")]
pub use embedded::RedbPeerStore;
pub use error::StoreError;
pub use memory::InMemoryPeerStore;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresPeerStore};
pub use store::{ChangeStream, PeerStore, StoreChange};
/// For [`PostgresPeerStore::connect_with`]: the version that this crate is built with.
#[cfg(feature = "postgres")]
pub use tokio_postgres;
