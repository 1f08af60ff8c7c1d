//! Several managers that share one PostgreSQL: the peers of one are those of all, and so are bans.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

#[allow(dead_code, reason = "shared with the tests of the store")]
#[path = "../../../p2p-store/tests/support/server.rs"]
mod server;
#[allow(dead_code, reason = "shared with the other tests of the manager")]
#[path = "../manager/support.rs"]
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_store::PostgresPeerStore;
use p2p_tokio::{CloseReason, ConnectionError, ControlEvent, Manager, PeerStatus};
use server::Server;
use support::*;

/// A folder for a server.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The folder, which the server removes itself.
    fn keep(self) -> PathBuf {
        self.0.keep()
    }
}

async fn member(server: &Server) -> Node {
    let store = PostgresPeerStore::connect(&server.config()).await.unwrap();
    let manager = Manager::new(listening(), Arc::new(store)).unwrap();
    let mut node = Node::of(manager).await;
    node.address().await;
    node
}

#[tokio::test]
async fn a_ban_of_one_is_a_ban_of_all_within_a_second() {
    let server = Server::start("");
    let (one, mut other) = (member(&server).await, member(&server).await);
    let mut peer = RemotePeer::dial(other.listens_at.unwrap(), 2).await;
    peer.shake_hands().await;
    other.established().await;

    let begun = Instant::now();
    one.manager.ban_ip(loopback(2)).await.unwrap();
    other
        .control(|event| matches!(event, ControlEvent::PeerBanned { .. }).then_some(()))
        .await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    peer.end().await;
    let reason = other.lost().await;
    assert_eq!(reason, ConnectionError::Closed(CloseReason::Banned));
    RemotePeer::dial(other.listens_at.unwrap(), 2)
        .await
        .end()
        .await;
    other
        .control(|event| {
            matches!(event, ControlEvent::InboundConnectionRejected { .. }).then_some(())
        })
        .await;

    one.manager.unban_ip(loopback(2)).await.unwrap();
    other
        .control(|event| (*event == ControlEvent::PeerUnbanned { ip: loopback(2) }).then_some(()))
        .await;
    RemotePeer::dial(other.listens_at.unwrap(), 2)
        .await
        .shake_hands()
        .await;
}

#[tokio::test]
async fn peers_that_one_finds_the_others_know() {
    let server = Server::start("");
    let (one, other) = (member(&server).await, member(&server).await);
    let mut third = Node::start(listening()).await;
    let address = third.address().await;
    one.manager.add_peer(address).await.unwrap();
    // The other has dialled it, too: it was told.
    other.manager.wait_for_peers(1, PATIENCE).await.unwrap();
    third.manager.wait_for_peers(2, PATIENCE).await.unwrap();
    one.manager.shutdown().await;
    let late = member(&server).await;
    let known = late.manager.explain_peer(address).await.unwrap().unwrap();
    assert_eq!(known.peer.status, PeerStatus::Valid);
}

#[tokio::test]
async fn a_server_that_restarts_costs_no_ban() {
    let server = Server::start("");
    let (one, mut other) = (member(&server).await, member(&server).await);
    server.crash();
    let banning = {
        let manager = one.manager.clone();
        tokio::spawn(async move { manager.ban_ip(loopback(5)).await })
    };
    // In force at once, whatever the store does.
    while one.manager.explain().await.unwrap().banned == 0 {}
    server.up();
    // Acknowledged, or reported as not stored and stored later: the other hears of it.
    let _ = banning.await.unwrap();
    other
        .control(|event| match event {
            ControlEvent::PeerBanned { ip, .. } => (*ip == loopback(5)).then_some(()),
            _ => None,
        })
        .await;
}
