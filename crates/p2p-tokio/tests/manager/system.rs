//! Whole systems of managers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_tokio::{ControlEvent, InMemoryPeerStore, Manager, ManagerConfig, PeerStatus, PeerStore};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::*;

/// Nodes that listen and dial nobody.
async fn listeners(count: u8) -> (Vec<Node>, Vec<SocketAddr>) {
    let (mut nodes, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut node = Node::start(listening()).await;
        addresses.push(node.address().await);
        nodes.push(node);
    }
    (nodes, addresses)
}

fn of_target(target: usize, max: usize) -> ManagerConfig {
    let mut config = config();
    (config.target_connections, config.max_connections) = (target, max);
    config.connection.initial_backoff = Duration::from_millis(20);
    config
}

#[tokio::test]
async fn test_manager_maintains_target_connections() {
    let (mut peers, addresses) = listeners(6).await;
    let mut node = Node::start(of_target(3, 10)).await;
    for address in addresses {
        node.manager.add_peer(address).await.unwrap();
    }
    node.manager.wait_for_peers(3, PATIENCE).await.unwrap();
    // Peers go, one after the other; others take their places.
    for _ in 0..3 {
        let connections = node.manager.connections().await.unwrap();
        let gone = connections[0].address;
        let at = peers
            .iter()
            .position(|peer| peer.listens_at == Some(gone))
            .unwrap();
        peers.remove(at).manager.shutdown().await;
        node.lost().await;
        node.established().await;
        node.manager.wait_for_peers(3, PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn test_manager_handles_peer_bans() {
    let (_peers, addresses) = listeners(2).await;
    let node = Node::start(of_target(2, 4)).await;
    for address in &addresses {
        node.manager.add_peer(*address).await.unwrap();
    }
    node.manager.wait_for_peers(2, PATIENCE).await.unwrap();
    let peer = node.manager.connections().await.unwrap()[0].peer_id;
    // They share an IP, so both go, and stay away.
    node.manager.ban_peer(peer).await.unwrap();
    let peers = node.manager.get_peers().await.unwrap();
    assert!(peers.iter().all(|peer| peer.status == PeerStatus::Banned));
    let explained = node.manager.explain().await.unwrap();
    assert_eq!((explained.ready, explained.banned), (0, 1));
    node.manager.unban_peer(peer).await.unwrap();
    node.manager.wait_for_peers(2, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn test_manager_config_updates_apply() {
    let (_peers, addresses) = listeners(3).await;
    let mut node = Node::start(of_target(1, 10)).await;
    for address in addresses {
        node.manager.add_peer(address).await.unwrap();
    }
    node.established().await;
    node.manager.update_config(of_target(3, 10)).await.unwrap();
    node.manager.wait_for_peers(3, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn test_manager_connection_limits_enforced() {
    let (_peers, addresses) = listeners(6).await;
    let mut config = of_target(4, 4);
    config.min_outbound = Some(4);
    let node = Node::start(config).await;
    let mut counts = node.manager.subscribe_control_events();
    for address in addresses {
        node.manager.add_peer(address).await.unwrap();
    }
    node.manager.wait_for_peers(4, PATIENCE).await.unwrap();
    assert_eq!(node.manager.connections().await.unwrap().len(), 4);
    let mut established = 0;
    while let Ok(Some(event)) = counts.try_recv() {
        established += usize::from(matches!(event, ControlEvent::ConnectionEstablished { .. }));
    }
    assert_eq!(established, 4);
}

#[tokio::test]
async fn test_connection_limit_enforcement_under_load() {
    const MAX: usize = 20;
    let mut config = listening();
    (config.target_connections, config.max_connections) = (0, MAX);
    config.min_outbound = Some(0);
    let mut node = Node::start(config).await;
    let address = node.address().await;
    // A hundred who come and go, all at once.
    let mut storm = JoinSet::new();
    for n in 0..100_u8 {
        storm.spawn(async move {
            let mut admitted = 0;
            for _ in 0..5 {
                let mut peer = RemotePeer::dial(address, 2 + n).await;
                admitted += usize::from(peer.try_shake_hands().await);
            }
            admitted
        });
    }
    let (mut alive, mut most) = (0_usize, 0);
    let mut over = storm.is_empty();
    while !over || alive > 0 {
        tokio::select! {
            joined = storm.join_next(), if !over => over = joined.is_none(),
            event = node.events.recv() => match event.unwrap() {
                p2p_tokio::Event::Control(ControlEvent::ConnectionEstablished { .. }) => alive += 1,
                p2p_tokio::Event::Control(ControlEvent::ConnectionLost { .. }) => alive -= 1,
                _ => {}
            },
        }
        most = most.max(alive);
        assert!(alive <= MAX);
    }
    assert!(most > 0);
    let explained = node.manager.explain().await.unwrap();
    assert_eq!(
        (explained.connected, explained.pending),
        (0, 0),
        "every slot was returned"
    );
}

#[tokio::test]
async fn test_many_concurrent_connections() {
    const PEERS: usize = 200;
    let mut config = listening();
    (config.target_connections, config.max_connections) = (0, PEERS);
    (config.max_pending_inbound, config.min_outbound) = (PEERS, Some(0));
    let mut node = Node::start(config).await;
    let address = node.address().await;
    let mut peers = JoinSet::new();
    for n in 0..PEERS {
        peers.spawn(async move {
            let mut peer = RemotePeer::dial(address, 2 + (n % 100) as u8).await;
            peer.shake_hands().await;
            for nonce in 0..10 {
                peer.barrier(1000 + nonce).await;
            }
            peer
        });
    }
    let peers = peers.join_all().await;
    node.manager.wait_for_peers(PEERS, PATIENCE).await.unwrap();
    assert_eq!(node.manager.connections().await.unwrap().len(), PEERS);
    drop(peers);
    for _ in 0..PEERS {
        node.lost().await;
    }
}

#[tokio::test]
async fn test_peer_store_persistence_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = of_target(2, 4);
    config.peer_store_file_path = Some(folder.path().join("peers.json"));
    let (_peers, addresses) = listeners(2).await;
    {
        let manager = Manager::builder(config.clone()).build().unwrap();
        manager.start().await.unwrap();
        for address in &addresses {
            manager.add_peer(*address).await.unwrap();
        }
        manager.wait_for_peers(2, PATIENCE).await.unwrap();
        manager.shutdown().await;
    }
    // Nobody tells it of them again.
    let manager = Manager::builder(config).build().unwrap();
    manager.start().await.unwrap();
    manager.wait_for_peers(2, PATIENCE).await.unwrap();
    let peers = manager.get_peers().await.unwrap();
    assert!(
        peers
            .iter()
            .all(|peer| peer.status == PeerStatus::Valid && peer.user_agent.is_some())
    );
}

#[tokio::test]
async fn test_ban_enforcement_across_manager_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(InMemoryPeerStore::open(folder.path().join("peers.json")).unwrap());
    let first = Node::of(Manager::new(listening(), store).unwrap()).await;
    first.manager.ban_ip(loopback(2)).await.unwrap();
    // The process could be killed here: what is on disk now is what the next one finds.
    let found = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), found.path().join(file.file_name())).unwrap();
    }
    let store = Arc::new(InMemoryPeerStore::open(found.path().join("peers.json")).unwrap());
    let mut node = Node::of(Manager::new(listening(), store).unwrap()).await;
    let address = node.address().await;
    RemotePeer::dial(address, 2).await.end().await;
    node.control(|event| {
        matches!(event, ControlEvent::InboundConnectionRejected { .. }).then_some(())
    })
    .await;
    RemotePeer::dial(address, 3).await.shake_hands().await;
}

#[tokio::test]
async fn test_fixed_peer_list_mode_complete() {
    let (mut peers, mut addresses) = listeners(2).await;
    // An address of its own: nobody else takes the port while it is gone.
    let mut config = listening();
    config.listener_address = loopback(21);
    let mut comes_back = Node::start(config.clone()).await;
    addresses.push(comes_back.address().await);
    peers.push(comes_back);
    let outsider = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let store = Arc::new(InMemoryPeerStore::new());
    // Known from earlier, and not on the list.
    let known = p2p_tokio::Peer::new(
        p2p_tokio::Network::Regtest,
        outsider.local_addr().unwrap(),
        p2p_tokio::PeerSource::Dns,
        Default::default(),
    );
    store.create(&known).await.unwrap();
    // The target is ignored: all of the list are dialled.
    let manager = Manager::with_fixed_peers(of_target(1, 10), store, addresses.clone()).unwrap();
    let mut node = Node::of(manager).await;
    node.manager.wait_for_peers(3, PATIENCE).await.unwrap();
    let connected: BTreeSet<_> = {
        let connections = node.manager.connections().await.unwrap();
        connections
            .iter()
            .map(|connection| connection.address)
            .collect()
    };
    assert_eq!(connected, addresses.iter().copied().collect());
    // One that goes and comes back is connected again.
    let gone = peers.remove(2);
    config.listener_port = gone.listens_at.map(|address| address.port());
    gone.manager.shutdown().await;
    node.lost().await;
    node.failed().await;
    let _back = Node::start(config).await;
    node.established().await;
    node.manager.wait_for_peers(3, PATIENCE).await.unwrap();
}
