//! What every store is held to: run it against yours.
//!
//! The functions panic as tests do, saying what the store did and what it should have done. They
//! want a tokio runtime of several threads, whatever the store itself runs on.
//!
//! - [`suite`]: every method, batches, 32 writers at a time, random operations against a model.
//!   For any store.
//! - [`survives`]: for stores that outlive their process.
//! - [`tells_of_changes`]: for stores that others change too.
//!
//! ```
//! use p2p_store::{InMemoryPeerStore, conformance};
//!
//! # #[tokio::main]
//! # async fn main() {
//! conformance::suite(async || InMemoryPeerStore::new()).await;
//! # }
//! ```

mod changes;
mod methods;
mod operations;
mod survival;
mod writers;

use std::net::SocketAddr;
use std::sync::Arc;

use p2p_core::{Ban, BanReason, Network, Peer, PeerSource, PeerStatus, Timestamp};

pub use changes::tells_of_changes;
pub use operations::{Operation, check_operations, random_operations};
pub use survival::survives;

use crate::store::PeerStore;

/// Some moment of the past: times of the future may not come back as they were.
const THEN: Timestamp = Timestamp::from_millis(1_700_000_000_000);

const STATUSES: [PeerStatus; 4] = [
    PeerStatus::Valid,
    PeerStatus::Inaccessible,
    PeerStatus::Banned,
    PeerStatus::Unknown,
];

/// Everything that any store is held to. `fresh` makes an empty one, each time another.
///
/// # Panics
/// If the store breaks a promise of [`PeerStore`].
pub async fn suite<S: PeerStore + 'static>(fresh: impl AsyncFn() -> S) {
    let fresh = async || Arc::new(fresh().await) as Arc<dyn PeerStore>;
    methods::creates_and_reads(&*fresh().await).await;
    methods::updates(&*fresh().await).await;
    methods::deletes(&*fresh().await).await;
    methods::refuses_duplicates(&*fresh().await).await;
    methods::finds(&*fresh().await).await;
    methods::knows_one_ip_by_both_names(&*fresh().await).await;
    methods::keeps_every_field(&*fresh().await).await;
    methods::applies_batches(&*fresh().await).await;
    methods::forgets_batches(&*fresh().await).await;
    writers::write_different_records(fresh().await).await;
    writers::create_the_same_record(fresh().await).await;
    writers::apply_the_same_records(fresh().await).await;
    writers::apply_to_the_same_addresses(fresh().await).await;
    for seed in 0..4 {
        check_operations(&*fresh().await, &random_operations(seed, 200)).await;
    }
}

/// A peer for each number, never tried.
fn peer(n: u32) -> Peer {
    let [_, b, c, d] = n.to_be_bytes();
    let address = SocketAddr::from(([203, b, c, d], 8333));
    Peer::new(Network::Mainnet, address, PeerSource::Gossip, THEN)
}

fn banned(mut peer: Peer) -> Peer {
    peer.status = PeerStatus::Banned;
    peer.ban = Some(Ban {
        reason: BanReason::Manual,
        at: THEN,
        until: None,
    });
    peer
}

fn sorted(mut peers: Vec<Peer>) -> Vec<Peer> {
    peers.sort_by_key(|peer| peer.id);
    peers
}
