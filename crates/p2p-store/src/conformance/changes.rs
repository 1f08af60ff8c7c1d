//! What one handle is told of what another does.

use std::future::poll_fn;
use std::time::Duration;

use p2p_core::PeerStatus;

use super::{banned, peer};
use crate::store::{ChangeStream, PeerStore, StoreChange};

/// What is promised for a ban.
const SOON: Duration = Duration::from_secs(1);

/// What a store with [`changes`](PeerStore::changes) is held to: `ours` and `theirs` are two
/// handles of one store, empty.
///
/// # Panics
/// If a change of the one does not reach the other within a second, or comes back to whom made it.
pub async fn tells_of_changes(ours: &dyn PeerStore, theirs: &dyn PeerStore) {
    let mut changes = ours.changes().expect("a stream of changes");
    let mut second = ours.changes().expect("another stream of changes");

    ours.create(&peer(1)).await.expect("create");
    theirs.create(&peer(2)).await.expect("create");
    // Had the first one come back it would be here before.
    upserted(&mut changes, peer(2)).await;
    upserted(&mut second, peer(2)).await;

    theirs.apply(&[banned(peer(1))]).await.expect("apply");
    upserted(&mut changes, banned(peer(1))).await;
    let found = ours.find_by_status(PeerStatus::Banned).await;
    assert_eq!(found.expect("find_by_status"), [banned(peer(1))]);

    theirs.update(&peer(1)).await.expect("update");
    upserted(&mut changes, peer(1)).await;
    theirs.delete(peer(1).id).await.expect("delete");
    let change = next(&mut changes).await;
    assert_eq!(change, StoreChange::Deleted(peer(1).id));
    theirs.forget(&[peer(2).id]).await.expect("forget");
    let change = next(&mut changes).await;
    assert_eq!(change, StoreChange::Deleted(peer(2).id));
}

async fn upserted(changes: &mut ChangeStream, peer: p2p_core::Peer) {
    let expected = StoreChange::Upserted(Box::new(peer));
    assert_eq!(next(changes).await, expected);
}

async fn next(changes: &mut ChangeStream) -> StoreChange {
    let next = poll_fn(|context| changes.as_mut().poll_next(context));
    let change = tokio::time::timeout(SOON, next).await;
    change
        .expect("a change within a second")
        .expect("the stream goes on")
}
