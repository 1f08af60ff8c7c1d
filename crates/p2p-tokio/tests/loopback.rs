//! Two nodes over real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

use std::net::SocketAddr;
use std::time::Duration;

use p2p_proto::{Command, NetworkFailure, Nonce, SendError, UserAgent, Violation};
use p2p_tokio::{
    CloseReason, Config, ConnectionError, ControlEvent, DialFailure, Message, Network, Node,
    NodeEvent, SendFailure,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;
use uuid::Uuid;

/// How long a test waits for what must come; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn node() -> Node {
    Node::new(Config::new(Network::Regtest))
}

/// The first event from which `pick` takes something.
async fn wait_for<T>(
    events: &mut Receiver<NodeEvent>,
    mut pick: impl FnMut(NodeEvent) -> Option<T>,
) -> T {
    let search = async {
        loop {
            if let Some(found) = pick(events.recv().await.unwrap()) {
                return found;
            }
        }
    };
    timeout(PATIENCE, search).await.expect("the event comes")
}

fn established(event: NodeEvent) -> Option<Uuid> {
    match event {
        NodeEvent::Control(ControlEvent::ConnectionEstablished { peer_id, .. }) => Some(peer_id),
        _ => None,
    }
}

fn failed(event: NodeEvent) -> Option<ConnectionError> {
    match event {
        NodeEvent::Control(ControlEvent::ConnectionFailed { reason, .. }) => Some(reason),
        _ => None,
    }
}

fn lost(event: NodeEvent) -> Option<ConnectionError> {
    match event {
        NodeEvent::Control(ControlEvent::ConnectionLost { reason, .. }) => Some(reason),
        _ => None,
    }
}

fn unknown(len: usize) -> Message {
    Message::Unknown {
        command: Command::new("whatever").unwrap(),
        payload: vec![7; len].into(),
    }
}

#[tokio::test]
async fn two_nodes_shake_hands_and_tell_it_in_order() {
    let (dialler, listener) = (node(), node());
    let (mut out, mut into) = (dialler.subscribe(), listener.subscribe());
    let address = listener.listen(LOOPBACK).await.unwrap();
    let peer_id = dialler.dial(address);

    let mut story = Vec::new();
    while story.len() < 2 {
        let event = timeout(PATIENCE, out.recv()).await.unwrap().unwrap();
        if let NodeEvent::Control(event) = event {
            story.push(event);
        }
    }
    assert!(matches!(
        &story[..],
        [
            ControlEvent::HandshakeComplete { version: 70016, .. },
            ControlEvent::ConnectionEstablished { peer_id: id, is_inbound: false, .. },
        ] if *id == peer_id
    ));
    let mut story = Vec::new();
    while story.len() < 4 {
        let event = timeout(PATIENCE, into.recv()).await.unwrap().unwrap();
        if let NodeEvent::Control(event) = event {
            story.push(event);
        }
    }
    assert!(matches!(
        &story[..],
        [
            ControlEvent::ListenerStarted { .. },
            ControlEvent::InboundConnectionAccepted { .. },
            ControlEvent::HandshakeComplete { .. },
            ControlEvent::ConnectionEstablished {
                is_inbound: true,
                ..
            },
        ]
    ));
}

#[tokio::test]
async fn messages_of_any_size_arrive_in_order() {
    let (dialler, listener) = (node(), node());
    let (mut out, mut into) = (dialler.subscribe(), listener.subscribe());
    let address = listener.listen(LOOPBACK).await.unwrap();
    dialler.dial(address);
    let peer_id = wait_for(&mut out, established).await;

    let sizes = [0, 1, 4096, 4097, 100_000, 1_000_000, 3];
    for size in sizes {
        dialler.send(peer_id, unknown(size)).await.unwrap();
    }
    for size in sizes {
        let message = wait_for(&mut into, |event| match event {
            NodeEvent::Message(event) if event.message.command().as_str() == "whatever" => {
                Some(event.message)
            }
            _ => None,
        })
        .await;
        assert_eq!(message, unknown(size));
    }
}

#[tokio::test]
async fn a_payload_that_is_streamed_past_is_announced() {
    let mut config = Config::new(Network::Regtest);
    config.stream_above = 10_000;
    let listener = Node::new(config);
    let mut into = listener.subscribe();
    let address = listener.listen(LOOPBACK).await.unwrap();
    let dialler = node();
    let mut out = dialler.subscribe();
    dialler.dial(address);
    let peer_id = wait_for(&mut out, established).await;
    dialler.send(peer_id, unknown(500_000)).await.unwrap();
    dialler
        .send(peer_id, Message::Ping(Nonce(42)))
        .await
        .unwrap();
    let length = wait_for(&mut into, |event| match event {
        NodeEvent::Skipped { length, .. } => Some(length),
        _ => None,
    })
    .await;
    assert_eq!(length, 500_000);
    wait_for(&mut into, |event| match event {
        NodeEvent::Message(event) => (event.message == Message::Ping(Nonce(42))).then_some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn nobody_listens_there() {
    // Bound and dropped: the port is free, and nobody else takes it at once.
    let address = TcpListener::bind(LOOPBACK)
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let node = node();
    let mut events = node.subscribe();
    node.dial(address);
    assert_eq!(
        wait_for(&mut events, failed).await,
        ConnectionError::Dial(DialFailure::Refused)
    );
}

#[tokio::test]
async fn a_listener_that_cannot_bind_is_told_of() {
    let taken = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = taken.local_addr().unwrap();
    let node = node();
    let mut events = node.subscribe();
    assert!(node.listen(address).await.is_err());
    wait_for(&mut events, |event| match event {
        NodeEvent::Control(ControlEvent::ListenerBindFailed { address: at, .. }) => {
            (at == address).then_some(())
        }
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_let_go() {
    let node = node();
    let mut events = node.subscribe();
    let address = node.listen(LOOPBACK).await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let reason = wait_for(&mut events, failed).await;
    assert!(matches!(
        reason,
        ConnectionError::Closed(CloseReason::Violation(Violation::NetworkMismatch {
            received, ..
        })) if received == *b"GET "
    ));
    let mut rest = Vec::new();
    // Reset or closed in good order: gone, in any case.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(
        rest.is_empty(),
        "a listener says nothing before it has a version"
    );
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_told_from_one_that_we_leave() {
    let (dialler, listener) = (node(), node());
    let (mut out, mut into) = (dialler.subscribe(), listener.subscribe());
    let address = listener.listen(LOOPBACK).await.unwrap();
    dialler.dial(address);
    let peer_id = wait_for(&mut out, established).await;
    wait_for(&mut into, established).await;
    dialler.disconnect(peer_id).await;
    assert_eq!(
        wait_for(&mut out, lost).await,
        ConnectionError::Closed(CloseReason::Requested)
    );
    assert_eq!(
        wait_for(&mut into, lost).await,
        ConnectionError::Closed(CloseReason::Network(NetworkFailure::Eof))
    );
    assert_eq!(
        dialler.send(peer_id, Message::GetAddr).await,
        Err(SendFailure::UnknownPeer)
    );
}

#[tokio::test]
async fn what_the_connection_refuses_the_sender_hears() {
    let (dialler, listener) = (node(), node());
    let mut out = dialler.subscribe();
    let address = listener.listen(LOOPBACK).await.unwrap();
    dialler.dial(address);
    let peer_id = wait_for(&mut out, established).await;
    // Its protoconf, which allows 2 MiB, may not have come yet: more than either.
    assert!(matches!(
        dialler.send(peer_id, unknown(3 << 20)).await,
        Err(SendFailure::Connection(SendError::TooLarge { .. }))
    ));
    assert_eq!(
        dialler.send(peer_id, Message::Verack).await,
        Err(SendFailure::Connection(SendError::Reserved))
    );
}

#[tokio::test]
async fn an_agent_of_another_chain_is_refused_and_named() {
    let mut config = Config::new(Network::Regtest);
    config.user_agent = UserAgent::from_static("/Bitcoin Cash Node:27.0.0/");
    let (dialler, listener) = (Node::new(config), node());
    let mut into = listener.subscribe();
    let address = listener.listen(LOOPBACK).await.unwrap();
    dialler.dial(address);
    let reason = wait_for(&mut into, failed).await;
    assert!(reason.is_ban_worthy());
    assert!(
        reason.to_string().contains("/Bitcoin Cash Node:27.0.0/"),
        "{reason}"
    );
}

#[tokio::test]
async fn shutdown_ends_every_task_in_bounded_time_though_peers_hang() {
    let node = node();
    let mut events = node.subscribe();
    let address = node.listen(LOOPBACK).await.unwrap();
    // They connect and never say a word.
    let mut hanging = Vec::new();
    for _ in 0..50 {
        hanging.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..50 {
        wait_for(&mut events, |event| {
            let accepted = ControlEvent::InboundConnectionAccepted {
                peer_id: Uuid::nil(),
                address,
            };
            match event {
                NodeEvent::Control(event) => (std::mem::discriminant(&event)
                    == std::mem::discriminant(&accepted))
                .then_some(()),
                _ => None,
            }
        })
        .await;
    }
    timeout(PATIENCE, node.shutdown())
        .await
        .expect("shutdown is bounded");
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the listener is gone"
    );
}

#[tokio::test]
async fn dropping_the_node_stops_it() {
    let node = node();
    let mut events = node.subscribe();
    let address = node.listen(LOOPBACK).await.unwrap();
    let mut peer = TcpStream::connect(address).await.unwrap();
    drop(node);
    // Every task held a sender of this channel: its end is theirs.
    let end = async { while events.recv().await.is_ok() {} };
    timeout(PATIENCE, end).await.expect("all tasks end");
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, peer.read_to_end(&mut rest))
        .await
        .unwrap();
}
