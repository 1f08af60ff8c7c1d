//! Being dialled.

use std::time::Duration;

use p2p_tokio::{
    CloseReason, Command, ConnectionError, ControlEvent, InboundRefusal, Message, PeerSource,
};
use tokio::net::TcpListener;

use crate::support::*;

#[tokio::test]
async fn test_listener_binds_successfully() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    assert_eq!(address.ip(), loopback(1));
    assert_eq!(node.manager.listen_address().await.unwrap(), Some(address));
    RemotePeer::dial(address, 2).await.shake_hands().await;
}

#[tokio::test]
async fn test_listener_bind_failure_is_non_fatal() {
    // An address of its own: nobody else takes the port in between.
    let taken = TcpListener::bind((loopback(23), 0)).await.unwrap();
    let mut config = listening();
    config.listener_address = loopback(23);
    config.listener_port = Some(taken.local_addr().unwrap().port());
    config.listener_retry_interval = Duration::from_millis(20);
    let mut elsewhere = Node::start(listening()).await;
    let peer = elsewhere.address().await;
    let mut node = Node::fixed(config, [peer]).await;
    node.control(|event| match event {
        ControlEvent::ListenerBindFailed { error, .. } => Some(error.clone()),
        _ => None,
    })
    .await;
    // It dials all the same, and listens as soon as it can.
    node.manager.wait_for_peers(1, PATIENCE).await.unwrap();
    drop(taken);
    let address = node.address().await;
    RemotePeer::dial(address, 2).await.shake_hands().await;
}

#[tokio::test]
async fn test_listener_rejects_banned_ip() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    node.manager.ban_ip(loopback(2)).await.unwrap();
    RemotePeer::dial(address, 2).await.end().await;
    let reason = node
        .control(|event| match event {
            ControlEvent::InboundConnectionRejected { reason, .. } => Some(*reason),
            _ => None,
        })
        .await;
    assert_eq!(reason, InboundRefusal::Banned);
    RemotePeer::dial(address, 3).await.shake_hands().await;
}

#[tokio::test]
async fn test_listener_rejects_duplicate_active_connection() {
    // Both dial each other, over and over: one connection stays.
    for _ in 0..10 {
        let mut one = Node::start(listening()).await;
        let mut other = Node::start(listening()).await;
        let (first, second) = (one.address().await, other.address().await);
        one.manager.add_peer(second).await.unwrap();
        other.manager.add_peer(first).await.unwrap();
        one.manager.wait_for_peers(1, PATIENCE).await.unwrap();
        other.manager.wait_for_peers(1, PATIENCE).await.unwrap();
        // Each has asked the other something since, so that what is to be closed is being closed.
        for node in [&mut one, &mut other] {
            node.manager
                .broadcast(&Message::Ping(p2p_tokio::p2p_proto::Nonce(5)));
            node.message(|message| matches!(message, Message::Pong(_)).then_some(()))
                .await;
        }
        assert_eq!(one.manager.get_connection_count(), 1);
        assert_eq!(other.manager.get_connection_count(), 1);
    }
}

#[tokio::test]
async fn test_listener_creates_peer_with_reject_flag_when_over_capacity() {
    let mut config = listening();
    (config.target_connections, config.max_connections) = (0, 1);
    config.min_outbound = Some(0);
    let mut node = Node::start(config).await;
    let address = node.address().await;
    let mut first = RemotePeer::dial(address, 2).await;
    first.shake_hands().await;
    node.established().await;

    let mut late = RemotePeer::dial(address, 3).await;
    late.send(version("/Bitcoin SV:1.2.2/")).await;
    late.send(Message::Verack).await;
    let reject = late
        .wait_for(|message| match message {
            Message::Reject(reject) => Some(reject.clone()),
            _ => None,
        })
        .await;
    assert_eq!(reject.command(), Command::VERSION.as_str().as_bytes());
    assert_eq!(reject.code().0, 0x44);
    late.end().await;
    node.control(|event| {
        matches!(event, ControlEvent::ConnectionRejectedCapacity { .. }).then_some(())
    })
    .await;
    assert_eq!(node.manager.get_connection_count(), 1);
    first.barrier(3).await;
}

#[tokio::test]
async fn test_listener_accepts_when_under_capacity() {
    let mut config = listening();
    (config.target_connections, config.max_connections) = (0, 3);
    config.min_outbound = Some(0);
    let mut node = Node::start(config).await;
    let address = node.address().await;
    let mut peers = Vec::new();
    for from in 2..5 {
        let mut peer = RemotePeer::dial(address, from).await;
        peer.shake_hands().await;
        peers.push(peer);
    }
    node.manager.wait_for_peers(3, PATIENCE).await.unwrap();
    // A place that is free again is given again.
    drop(peers.pop());
    node.lost().await;
    RemotePeer::dial(address, 6).await.shake_hands().await;
}

#[tokio::test]
async fn test_accept_inbound_connection() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    let from = peer.frames.get_ref().local_addr().unwrap();
    peer.shake_hands().await;
    let accepted = node
        .control(|event| match event {
            ControlEvent::InboundConnectionAccepted { address, .. } => Some(*address),
            _ => None,
        })
        .await;
    assert_eq!(accepted, from);
    node.established().await;
    let peers = node.manager.get_peers().await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(
        (peers[0].address(), peers[0].source),
        (from, PeerSource::Inbound)
    );
    drop(peer);
    let reason = node.lost().await;
    assert!(
        matches!(reason, ConnectionError::Closed(CloseReason::Network(_))),
        "{reason}"
    );
    // Where it dialled from nobody listens: it is never dialled, and not in the book.
    assert_eq!(node.manager.get_peers().await.unwrap(), []);
}

#[tokio::test]
async fn a_listener_moves_while_connections_stay() {
    let mut node = Node::start(listening()).await;
    let before = node.address().await;
    let mut peer = RemotePeer::dial(before, 2).await;
    peer.shake_hands().await;
    let mut config = listening();
    config.listener_address = loopback(9);
    node.manager.update_config(config).await.unwrap();
    let after = node.address().await;
    assert_eq!(after.ip(), loopback(9));
    RemotePeer::dial(after, 3).await.shake_hands().await;
    peer.barrier(1).await;
    let refused = tokio::net::TcpStream::connect(before).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    node.manager
        .update_config(crate::support::config())
        .await
        .unwrap();
    peer.barrier(2).await;
}

#[tokio::test]
async fn a_listener_comes_back_to_the_same_port_at_once() {
    // Not one that the system gives to others meanwhile.
    let port = 20_000 + (std::process::id() % 10_000) as u16;
    let mut config = listening();
    config.listener_port = Some(port);
    let mut node = Node::start(config.clone()).await;
    node.address().await;
    for n in 0..20 {
        // All interfaces and one of them, in turn: neither can be bound before the other is gone.
        config.listener_address = match n % 2 {
            0 => std::net::Ipv4Addr::UNSPECIFIED.into(),
            _ => loopback(1),
        };
        node.manager.update_config(config.clone()).await.unwrap();
        assert_eq!(node.address().await.port(), port);
    }
}
