//! Dialling, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use p2p_tokio::{
    CloseReason, ConnectionError, ControlEvent, DialFailure, InMemoryPeerStore, Manager, Message,
    PeerStatus,
};
use tokio::net::TcpListener;

use crate::support::*;

#[tokio::test]
async fn who_refuses_is_dialled_again_after_its_backoff_for_ever() {
    // An address of its own: nobody else takes the port in between.
    let closed = TcpListener::bind((loopback(22), 0)).await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let mut config = config();
    config.connection.initial_backoff = Duration::from_millis(5);
    config.connection.max_backoff = Duration::from_millis(10);
    config.connection.max_retries = 2;
    let mut node = Node::fixed(config, [address]).await;
    for _ in 0..8 {
        assert_eq!(
            node.failed().await,
            ConnectionError::Dial(DialFailure::Refused)
        );
    }
    // It is there at last.
    let listener = TcpListener::bind(address).await.unwrap();
    RemotePeer::accept(&listener).await.shake_hands().await;
    node.established().await;
}

#[tokio::test]
async fn who_does_not_answer_is_given_up_after_the_connect_timeout() {
    let mut config = config();
    config.connection.connect_timeout = Duration::from_millis(50);
    // A backlog that is full takes no further connection: the system drops what comes.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((loopback(1), 0).into()).unwrap();
    let full = socket.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _first = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut fillers = Vec::new();
    for _ in 0..4 {
        fillers.push(tokio::spawn(tokio::net::TcpStream::connect(address)));
    }
    let mut node = Node::fixed(config, [address]).await;
    assert_eq!(
        node.failed().await,
        ConnectionError::Dial(DialFailure::TimedOut)
    );
}

#[tokio::test]
async fn a_handshake_that_hangs_is_ended_in_time() {
    let listener = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let mut config = config();
    config.connection.handshake_timeout = Duration::from_millis(50);
    let mut node = Node::fixed(config, [listener.local_addr().unwrap()]).await;
    let mut silent = RemotePeer::accept(&listener).await;
    let reason = node.failed().await;
    assert_eq!(
        reason,
        ConnectionError::Closed(CloseReason::HandshakeTimeout)
    );
    silent.end().await;
}

#[tokio::test]
async fn it_dials_from_where_it_is_told() {
    let listener = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let mut config = config();
    config.dial_from = Some(loopback(77));
    let _node = Node::fixed(config, [listener.local_addr().unwrap()]).await;
    let peer = RemotePeer::accept(&listener).await;
    assert_eq!(
        peer.frames.get_ref().peer_addr().unwrap().ip(),
        loopback(77)
    );
}

#[tokio::test]
async fn a_connection_that_is_lost_is_made_again_at_once() {
    let listener = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let mut node = Node::fixed(config(), [listener.local_addr().unwrap()]).await;
    for attempt in 1..=3 {
        let mut peer = RemotePeer::accept(&listener).await;
        peer.shake_hands().await;
        node.established().await;
        drop(peer);
        let told = node
            .control(|event| match event {
                ControlEvent::ConnectionRestarting { attempt, .. } => Some(*attempt),
                _ => None,
            })
            .await;
        assert_eq!(told, attempt);
    }
}

#[tokio::test]
async fn peers_that_worked_before_a_restart_are_dialled_first_and_bans_are_kept() {
    let store = Arc::new(InMemoryPeerStore::new());
    let good = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let address = good.local_addr().unwrap();
    let mut config = config();
    (config.target_connections, config.max_connections) = (1, 1);
    let first = Manager::new(config.clone(), store.clone()).unwrap();
    let first = Node::of(first).await;
    first.manager.add_peer(address).await.unwrap();
    let mut peer = RemotePeer::accept(&good).await;
    peer.shake_hands().await;
    first.manager.wait_for_peers(1, PATIENCE).await.unwrap();
    first.manager.ban_ip(loopback(66)).await.unwrap();
    first.manager.shutdown().await;

    let second = Manager::new(config, store).unwrap();
    let mut events = second.subscribe_control_events();
    second.start().await.unwrap();
    let mut peer = RemotePeer::accept(&good).await;
    peer.shake_hands().await;
    second.wait_for_peers(1, PATIENCE).await.unwrap();
    let known = second.explain_peer(address).await.unwrap().unwrap();
    assert_eq!(known.peer.status, PeerStatus::Valid);
    assert_eq!(second.explain().await.unwrap().banned, 1);
    second.unban_ip(loopback(66)).await.unwrap();
    loop {
        let event = events.recv().await.unwrap();
        if event == (ControlEvent::PeerUnbanned { ip: loopback(66) }) {
            break;
        }
    }
}

#[tokio::test]
async fn a_peer_of_another_chain_is_banned_and_told_nothing() {
    let listener = TcpListener::bind((loopback(5), 0)).await.unwrap();
    let mut node = Node::fixed(config(), [listener.local_addr().unwrap()]).await;
    let mut peer = RemotePeer::accept(&listener).await;
    peer.send(version("/Bitcoin ABC:0.21.0/")).await;
    let mut got = Vec::new();
    while let Some(message) = peer.recv().await {
        got.push(message);
    }
    assert!(!got.contains(&Message::Verack), "{got:?}");
    let ip = node
        .control(|event| match event {
            ControlEvent::PeerBanned { ip, .. } => Some(*ip),
            _ => None,
        })
        .await;
    assert_eq!(ip, loopback(5));
}
