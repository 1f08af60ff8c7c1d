//! The store in an embedded database.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

mod support;

use p2p_store::{PeerStore, RedbPeerStore, conformance};
use support::{Folder, banned, peer, sorted};

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let folder = Folder::new();
    conformance::suite(async || RedbPeerStore::open(folder.fresh()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives() {
    let folder = Folder::new();
    conformance::survives(async || RedbPeerStore::open(folder.path("peers.redb")).unwrap()).await;
}

/// What a process leaves that ends without another word is what is in the file now.
#[tokio::test]
async fn what_was_flushed_and_what_is_banned_is_in_the_file_at_once() {
    let folder = Folder::new();
    let store = RedbPeerStore::open(folder.path("peers")).unwrap();
    let left_behind = async || {
        let copy = folder.fresh();
        std::fs::copy(folder.path("peers"), &copy).unwrap();
        let copy = RedbPeerStore::open(copy).unwrap();
        sorted(copy.list_all().await.unwrap())
    };
    store.apply(&[peer(1)]).await.unwrap();
    assert_eq!(left_behind().await, [], "nobody asked for more");
    store.flush().await.unwrap();
    assert_eq!(left_behind().await, [peer(1)]);
    store.apply(&[banned(2)]).await.unwrap();
    assert_eq!(left_behind().await, sorted(vec![peer(1), banned(2)]));
    store.apply(&[peer(2)]).await.unwrap();
    assert_eq!(left_behind().await, sorted(vec![peer(1), peer(2)]));
}
