//! A store that does not work, or not yet.

use std::net::SocketAddr;
use std::sync::Arc;

use p2p_tokio::{
    ControlEvent, Manager, ManagerConfig, ManagerError, Network, Peer, PeerSource, PeerStore,
    Timestamp,
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::scripted::{Call, Does, Scripted};
use crate::support::*;

/// Dials nobody, whoever is known.
fn idle() -> ManagerConfig {
    ManagerConfig {
        target_connections: 0,
        min_outbound: Some(0),
        ..config()
    }
}

async fn node(store: &Arc<Scripted>) -> Node {
    Node::of(Manager::new(idle(), store.clone()).unwrap()).await
}

async fn banned(node: &Node) -> usize {
    node.manager.explain().await.unwrap().banned
}

#[tokio::test]
async fn a_peer_that_was_just_added_can_be_banned() {
    let store = Arc::new(Scripted::new());
    let node = node(&store).await;
    let address: SocketAddr = "203.0.113.7:8333".parse().unwrap();
    node.manager.add_peer(address).await.unwrap();
    let id = Peer::id_of(Network::Regtest, address);
    node.manager.ban_peer(id).await.unwrap();
    assert_eq!(banned(&node).await, 1);
    let nobody = node.manager.ban_peer(Uuid::nil()).await;
    assert!(
        matches!(nobody, Err(ManagerError::PeerNotFound(_))),
        "{nobody:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_shown_can_be_banned_and_unbanned_while_the_store_is_down() {
    let store = Arc::new(Scripted::new());
    // More than the manager looks through at once.
    let peers = (0..2500_u32).map(|n| {
        let ip = std::net::Ipv4Addr::from_bits(0x0b00_0000 + (n << 14));
        let (network, source) = (Network::Regtest, PeerSource::Dns);
        Peer::new(network, (ip, 8333).into(), source, Timestamp::default())
    });
    let peers: Vec<_> = peers.collect();
    store.records.apply(&peers).await.unwrap();
    let node = node(&store).await;
    for call in [Call::Read, Call::Apply] {
        store.set(call, Does::Fails);
    }
    let last = node.manager.get_peers().await.unwrap().pop().unwrap();
    let unsafe_ban = node.manager.ban_peer(last.id).await;
    assert!(
        matches!(unsafe_ban, Err(ManagerError::BanNotStored { .. })),
        "{unsafe_ban:?}"
    );
    assert_eq!(banned(&node).await, 1);
    node.manager.unban_peer(last.id).await.unwrap();
    assert_eq!(banned(&node).await, 0);
    // Of others the store is asked.
    let unknown = node.manager.ban_peer(Uuid::nil()).await;
    assert!(
        matches!(unknown, Err(ManagerError::Store(_))),
        "{unknown:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_has_failed_and_is_asked_again() {
    let store = Arc::new(Scripted::new());
    let mut node = node(&store).await;
    store.set(Call::Apply, Does::Panics);
    let answer = timeout(PATIENCE, node.manager.ban_ip(loopback(9))).await;
    let text = answer.expect("there is an answer").unwrap_err().to_string();
    assert!(text.contains("the store has a bug"), "{text}");
    store.set(Call::Apply, Does::Works);
    node.control(|event| matches!(event, ControlEvent::PeerBanned { .. }).then_some(()))
        .await;
    store.set(Call::Flush, Does::Panics);
    node.manager.shutdown().await;
    let error = node
        .control(|event| match event {
            ControlEvent::StoreFailed { error } => Some(error.clone()),
            _ => None,
        })
        .await;
    assert!(error.contains("the store has a bug"), "{error}");
}
