//! What is there after a store was closed and opened again.

use p2p_core::{Peer, PeerStatus};

use super::{banned, peer, sorted};
use crate::store::PeerStore;

/// What a store that outlives its process is held to. `open` opens the same store each time, after
/// the last one was dropped; it is empty at first.
///
/// # Panics
/// If something was lost that was promised to stay, or came back that was promised to be gone.
pub async fn survives<S: PeerStore>(open: impl AsyncFn() -> S) {
    let valid = Peer {
        status: PeerStatus::Valid,
        ..peer(1)
    };
    {
        let store = open().await;
        assert_eq!(all(&store).await, []);
        store.create(&peer(1)).await.expect("create");
        store.update(&valid).await.expect("update");
        store.apply(&[peer(2), peer(3)]).await.expect("apply");
        store.forget(&[peer(3).id]).await.expect("forget");
        store.flush().await.expect("flush");
    }
    let flushed = vec![valid, peer(2)];
    assert_eq!(all(&open().await).await, sorted(flushed.clone()));

    // Bans need no flush, whichever way they come.
    {
        let store = open().await;
        store.create(&banned(peer(4))).await.expect("create");
        store.update(&banned(peer(2))).await.expect("update");
        let batch = [peer(5), banned(peer(6)), banned(peer(7)), banned(peer(8))];
        store.apply(&batch).await.expect("apply");
    }
    let bans = [4, 2, 6, 7, 8].map(|n| banned(peer(n)));
    assert_eq!(of_bans(&open().await).await, sorted(bans.to_vec()));

    // Nor does their end.
    {
        let store = open().await;
        // Who lifts a ban knows of it.
        all(&store).await;
        store.delete(peer(4).id).await.expect("delete");
        store.forget(&[peer(6).id]).await.expect("forget");
        store.update(&peer(2)).await.expect("update");
        store.apply(&[peer(7)]).await.expect("apply");
    }
    let store = open().await;
    assert_eq!(of_bans(&store).await, [banned(peer(8))]);
    store.flush().await.expect("flush");
    drop(store);
    assert_eq!(of_bans(&open().await).await, [banned(peer(8))]);
}

async fn all(store: &impl PeerStore) -> Vec<Peer> {
    sorted(store.list_all().await.expect("list_all"))
}

async fn of_bans(store: &impl PeerStore) -> Vec<Peer> {
    let found = store.find_by_status(PeerStatus::Banned).await;
    sorted(found.expect("find_by_status"))
}
