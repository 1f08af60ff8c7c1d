//! Lines that break between managers.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_tokio::{CloseReason, ConnectionError, ControlEvent, ManagerConfig, Message};

use crate::proxy::{Line, Proxy};
use crate::support::*;

/// Notices everything soon.
fn impatient() -> ManagerConfig {
    let mut config = config();
    config.connection.connect_timeout = Duration::from_millis(500);
    config.connection.handshake_timeout = Duration::from_millis(500);
    config.connection.ping_interval = Duration::from_millis(50);
    config.connection.ping_timeout = Duration::from_millis(300);
    config.connection.initial_backoff = Duration::from_millis(20);
    config.connection.max_backoff = Duration::from_millis(100);
    config
}

/// A node that listens, a line to it, and a node that dials over that.
async fn over_a_line() -> (Node, Proxy, Node) {
    let mut listener = Node::start(listening()).await;
    let line = Proxy::to(listener.address().await).await;
    let dialler = Node::fixed(impatient(), [line.address]).await;
    dialler.manager.wait_for_peers(1, PATIENCE).await.unwrap();
    (listener, line, dialler)
}

async fn is_there(node: &mut Node, address: SocketAddr) {
    node.control(|event| match event {
        ControlEvent::ConnectionEstablished { address: at, .. } => (*at == address).then_some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn test_network_partition_and_recovery() {
    let (_listener, line, mut dialler) = over_a_line().await;
    is_there(&mut dialler, line.address).await;
    // Nobody is told that the line is dead: the pings find out.
    line.set(Line::Swallows);
    let reason = dialler.lost().await;
    assert_eq!(reason, ConnectionError::Closed(CloseReason::PingTimeout));
    // Dials lead nowhere, and are tried again for as long as it takes.
    for _ in 0..3 {
        let reason = dialler.failed().await;
        assert_eq!(
            reason,
            ConnectionError::Closed(CloseReason::HandshakeTimeout)
        );
    }
    line.set(Line::Passes);
    is_there(&mut dialler, line.address).await;
}

#[tokio::test]
async fn test_connection_survives_network_interruption() {
    let (_listener, line, mut dialler) = over_a_line().await;
    is_there(&mut dialler, line.address).await;
    for _ in 0..3 {
        line.set(Line::Resets);
        let reason = dialler.lost().await;
        assert!(
            matches!(reason, ConnectionError::Closed(CloseReason::Network(_))),
            "{reason}"
        );
        line.set(Line::Passes);
        is_there(&mut dialler, line.address).await;
    }
}

#[tokio::test]
async fn one_byte_at_a_time_is_enough() {
    let (mut listener, line, dialler) = over_a_line().await;
    line.set(Line::Drips);
    let command = p2p_tokio::Command::new("whatever").unwrap();
    let payload = bytes::Bytes::from(vec![9; 5000]);
    let message = Message::Unknown { command, payload };
    assert_eq!(dialler.manager.broadcast(&message), 1);
    listener
        .message(|got| (*got == message).then_some(()))
        .await;
}

#[tokio::test]
async fn a_slow_line_is_slow_and_nothing_else() {
    let (_listener, line, mut dialler) = over_a_line().await;
    is_there(&mut dialler, line.address).await;
    line.set(Line::Delays(Duration::from_millis(60)));
    for _ in 0..10 {
        dialler
            .message(|message| matches!(message, Message::Pong(_)).then_some(()))
            .await;
    }
    let connections = dialler.manager.connections().await.unwrap();
    let latency = connections[0].latency.unwrap();
    assert!(latency >= Duration::from_millis(60), "{latency:?}");
    assert_eq!(dialler.manager.get_connection_count(), 1);
}
