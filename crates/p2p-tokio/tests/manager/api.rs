//! The API of the manager, over real sockets on loopback.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use p2p_tokio::p2p_proto::Nonce;
use p2p_tokio::{
    CloseReason, ConfigError, ConnectionError, ConnectionState, ControlEvent, InMemoryPeerStore,
    Initiator, Manager, ManagerConfig, ManagerError, Message, Peer, PeerSource, PeerStatus,
    PeerStore, RecvError, SendMessageError,
};
use tokio::net::TcpListener;
use uuid::Uuid;

#[tokio::test]
async fn test_manager_new_normal_mode() {
    let manager = Manager::new(config(), Arc::new(InMemoryPeerStore::new())).unwrap();
    assert_eq!(manager.get_connection_count(), 0);
    manager.start().await.unwrap();
    assert_eq!(manager.get_peers().await.unwrap(), []);

    let mut wrong = config();
    wrong.target_connections = wrong.max_connections + 1;
    let refused = Manager::new(wrong, Arc::new(InMemoryPeerStore::new()));
    assert!(matches!(
        refused,
        Err(ManagerError::Config(
            ConfigError::InvalidConnectionLimits { .. }
        ))
    ));
}

/// Whoever has this crate alone can name what its signatures are made of.
#[test]
fn what_signatures_are_made_of_can_be_named() {
    let payload = p2p_tokio::bytes::Bytes::from_static(b"x");
    let command = p2p_tokio::Command::new("whatever").unwrap();
    let message = Message::Unknown { command, payload };
    assert_eq!(message.payload_len(), 1);
}

/// The same for a log of the program's own.
#[cfg(feature = "logging")]
#[test]
fn what_a_filter_of_the_log_is_made_of_can_be_named() {
    use p2p_tokio::tracing_subscriber::{EnvFilter, Registry, reload};

    type Filter = reload::Layer<EnvFilter, Registry>;
    let (_, log): (Filter, _) = p2p_tokio::logging::filter(p2p_tokio::LogLevel::Info);
    log.set(p2p_tokio::LogLevel::Off);
}

#[tokio::test]
async fn test_manager_with_fixed_peers() {
    let mut listener = Node::start(listening()).await;
    let address = listener.address().await;
    let node = Node::fixed(config(), [address]).await;
    node.manager.wait_for_peers(1, PATIENCE).await.unwrap();
    let peers = node.manager.get_peers().await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(
        (peers[0].address(), peers[0].source),
        (address, PeerSource::Fixed)
    );
}

#[tokio::test]
async fn test_manager_start_and_shutdown() {
    let manager = Manager::new(config(), Arc::new(InMemoryPeerStore::new())).unwrap();
    let mut events = manager.subscribe_control_events();
    let early = manager.add_peer("127.0.0.1:1".parse().unwrap()).await;
    assert!(matches!(early, Err(ManagerError::NotStarted)));
    manager.start().await.unwrap();
    assert!(matches!(
        manager.start().await,
        Err(ManagerError::AlreadyStarted)
    ));
    manager.shutdown().await;
    assert_eq!(events.recv().await, Ok(ControlEvent::ShuttingDown));
    assert_eq!(events.recv().await, Err(RecvError::Closed));
    assert!(matches!(
        manager.start().await,
        Err(ManagerError::AlreadyStopped)
    ));
    assert!(matches!(
        manager.explain().await,
        Err(ManagerError::AlreadyStopped)
    ));
    manager.shutdown().await;
}

#[tokio::test]
async fn a_manager_that_was_never_started_shuts_down() {
    let manager = Manager::new(config(), Arc::new(InMemoryPeerStore::new())).unwrap();
    let mut events = manager.events();
    manager.shutdown().await;
    assert_eq!(events.recv().await, Err(RecvError::Closed));
}

#[tokio::test]
async fn when_the_last_handle_is_dropped_everything_ends() {
    let (mut listener, dialler) = pair().await;
    let Node {
        manager,
        mut events,
        ..
    } = dialler;
    drop(manager);
    let reason = listener.lost().await;
    assert!(
        matches!(reason, ConnectionError::Closed(CloseReason::Network(_))),
        "{reason}"
    );
    while events.recv().await != Err(RecvError::Closed) {}
}

#[tokio::test]
async fn test_manager_send_message_to_peer() {
    let (mut listener, dialler) = pair().await;
    let peer = dialler.manager.connections().await.unwrap()[0].peer_id;
    for nonce in 0..100 {
        let ping = Message::Ping(Nonce(nonce));
        dialler.manager.send_message(peer, ping).await.unwrap();
    }
    for nonce in 0..100 {
        let ping = Message::Ping(Nonce(nonce));
        listener
            .message(|message| (*message == ping).then_some(()))
            .await;
    }
    let nobody = Uuid::nil();
    assert_eq!(
        dialler.manager.send_message(nobody, Message::GetAddr).await,
        Err(SendMessageError::UnknownPeer(nobody))
    );
}

#[tokio::test]
async fn messages_of_any_size_arrive_in_order() {
    let (mut listener, dialler) = pair().await;
    let peer = dialler.manager.connections().await.unwrap()[0].peer_id;
    let command = p2p_tokio::Command::new("whatever").unwrap();
    let sizes = [0, 1, 4096, 4097, 100_000, 1_000_000, 3];
    for size in sizes {
        let payload = vec![7; size].into();
        let message = Message::Unknown { command, payload };
        dialler.manager.send_message(peer, message).await.unwrap();
    }
    for size in sizes {
        let len = listener
            .message(|message| (message.command() == command).then(|| message.payload_len()))
            .await;
        assert_eq!(len, size);
    }
}

#[tokio::test]
async fn a_broadcast_reaches_everybody() {
    let mut hub = Node::start(listening()).await;
    let address = hub.address().await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(Node::fixed(config(), [address]).await);
    }
    hub.manager.wait_for_peers(5, PATIENCE).await.unwrap();
    assert_eq!(hub.manager.broadcast(&Message::GetAddr), 5);
    for other in &mut others {
        other
            .message(|message| matches!(message, Message::GetAddr).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn test_manager_ban_peer() {
    let store = Arc::new(InMemoryPeerStore::new());
    let manager = Manager::builder(listening())
        .store(store.clone())
        .build()
        .unwrap();
    let mut node = Node::of(manager).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    let peer_id = node.established().await;
    node.manager.ban_peer(peer_id).await.unwrap();
    peer.end().await;
    let lost = node.lost().await;
    assert_eq!(lost, ConnectionError::Closed(CloseReason::Banned));
    let stored = store.find_by_ip(loopback(2)).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].status, stored[0].port), (PeerStatus::Banned, 0));
    // From any port, and before a byte is read.
    RemotePeer::dial(address, 2).await.end().await;
    node.control(|event| {
        matches!(event, ControlEvent::InboundConnectionRejected { .. }).then_some(())
    })
    .await;
    // Asked for again it is answered again.
    node.manager.ban_ip(loopback(2)).await.unwrap();
    let nobody = node.manager.ban_peer(Uuid::nil()).await;
    assert!(matches!(nobody, Err(ManagerError::PeerNotFound(_))));
}

#[tokio::test]
async fn test_manager_unban_peer() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    node.manager.ban_ip(loopback(2)).await.unwrap();
    RemotePeer::dial(address, 2).await.end().await;
    node.manager.unban_ip(loopback(2)).await.unwrap();
    node.control(|event| matches!(event, ControlEvent::PeerUnbanned { .. }).then_some(()))
        .await;
    RemotePeer::dial(address, 2).await.shake_hands().await;

    // By the id of a peer in the store.
    let known = TcpListener::bind((loopback(3), 0)).await.unwrap();
    let known = known.local_addr().unwrap();
    node.manager.add_peer(known).await.unwrap();
    node.manager.ban_ip(known.ip()).await.unwrap();
    let id = Peer::id_of(p2p_tokio::Network::Regtest, known);
    node.manager.unban_peer(id).await.unwrap();
    let explained = node.manager.explain_peer(known).await.unwrap().unwrap();
    assert_eq!(explained.peer.status, PeerStatus::Unknown);
}

#[tokio::test]
async fn test_manager_subscribe_control_events() {
    let mut listener = Node::start(listening()).await;
    let address = listener.address().await;
    let store = Arc::new(InMemoryPeerStore::new());
    let manager = Manager::with_fixed_peers(config(), store, [address]).unwrap();
    let mut events = manager.subscribe_control_events();
    manager.start().await.unwrap();
    let first = events.recv().await.unwrap();
    assert!(
        matches!(
            first,
            ControlEvent::HandshakeComplete { version: 70016, .. }
        ),
        "{first:?}"
    );
    let second = events.recv().await.unwrap();
    assert!(
        matches!(
            second,
            ControlEvent::ConnectionEstablished {
                is_inbound: false,
                ..
            }
        ),
        "{second:?}"
    );
    listener.manager.shutdown().await;
    let third = events.recv().await.unwrap();
    assert!(
        matches!(
            third,
            ControlEvent::ConnectionLost {
                initiator: Initiator::Remote,
                ..
            }
        ),
        "{third:?}"
    );
}

#[tokio::test]
async fn test_manager_subscribe_bitcoin_messages() {
    let (listener, dialler) = pair().await;
    let mut messages = listener.manager.subscribe_bitcoin_messages();
    dialler.manager.broadcast(&Message::GetAddr);
    let event = loop {
        let event = messages.recv().await.unwrap();
        if event.message == Message::GetAddr {
            break event;
        }
    };
    let peers = listener.manager.get_peers().await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(
        (peers[0].id, peers[0].address()),
        (event.peer_id, event.address)
    );
    assert_eq!(peers[0].source, PeerSource::Inbound);
}

#[tokio::test]
async fn test_manager_get_connection_count() {
    let (mut listener, dialler) = pair().await;
    assert_eq!(listener.manager.get_connection_count(), 1);
    assert_eq!(dialler.manager.get_connection_count(), 1);
    dialler.manager.shutdown().await;
    listener.lost().await;
    assert_eq!(listener.manager.get_connection_count(), 0);
}

#[tokio::test]
async fn test_manager_get_peer_list() {
    let store = Arc::new(InMemoryPeerStore::new());
    let peers: Vec<_> = (0..2500_u32)
        .map(|n| {
            let ip = std::net::Ipv4Addr::from_bits(0x0b00_0000 + (n << 14));
            let (network, source) = (p2p_tokio::Network::Regtest, PeerSource::Dns);
            Peer::new(network, (ip, 8333).into(), source, Default::default())
        })
        .collect();
    store.apply(&peers).await.unwrap();
    let mut config = config();
    config.target_connections = 0;
    config.min_outbound = Some(0);
    let manager = Manager::new(config, store).unwrap();
    manager.start().await.unwrap();
    assert!(manager.get_peers().await.unwrap() == peers, "all, in order");
}

#[tokio::test]
async fn connections_tell_what_is_known() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    node.established().await;
    peer.send(Message::SendHeaders).await;
    // Ours is answered, so that the round trip is known.
    let ping = peer
        .wait_for(|message| match message {
            Message::Ping(nonce) => Some(*nonce),
            _ => None,
        })
        .await;
    peer.send(Message::Pong(ping)).await;
    peer.barrier(77).await;
    let [connection] = &node.manager.connections().await.unwrap()[..] else {
        panic!("there is one connection");
    };
    assert_eq!(connection.state, ConnectionState::Connected);
    assert!(connection.is_inbound && connection.send_headers_mode);
    assert_eq!(
        connection.peer.as_ref().unwrap().user_agent.to_string(),
        "/Bitcoin SV:1.2.2/"
    );
    assert!(connection.latency.is_some());
    assert!(connection.traffic.bytes_received > 100);
}

#[tokio::test]
async fn who_waits_for_too_many_peers_is_told_how_many_there_are() {
    let (listener, _dialler) = pair().await;
    let error = listener
        .manager
        .wait_for_peers(2, Duration::from_millis(10))
        .await;
    let ManagerError::TooFewPeers {
        wanted: 2,
        connected: 1,
        ..
    } = error.unwrap_err()
    else {
        panic!("one is there");
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hears_of_a_connection_can_send_at_once() {
    let mut hub = Node::start(ManagerConfig {
        max_connections: 50,
        ..listening()
    })
    .await;
    let address = hub.address().await;
    let mut others = Vec::new();
    for _ in 0..50 {
        others.push(Node::fixed(config(), [address]).await);
    }
    for n in 1..=50 {
        let peer = hub.established().await;
        assert!(hub.manager.get_connection_count() >= n);
        assert_eq!(
            hub.manager.try_send_message(peer, &Message::GetAddr),
            Ok(())
        );
    }
    for other in &mut others {
        other
            .message(|message| matches!(message, Message::GetAddr).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_reaches_all_who_are_counted() {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..50 {
        let mut listener = Node::start(listening()).await;
        addresses.push(listener.address().await);
        listeners.push(listener);
    }
    let config = ManagerConfig {
        max_connections: 50,
        ..config()
    };
    let hub = Node::fixed(config, addresses).await;
    hub.manager.wait_for_peers(50, PATIENCE).await.unwrap();
    assert_eq!(hub.manager.broadcast(&Message::GetAddr), 50);
}
