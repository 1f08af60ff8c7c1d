//! The manager against a node that is not ours: by default an independent implementation that is
//! started here, or any other.
//!
//! `BSV_TEST_NODE=host:port BSV_TEST_NETWORK=mainnet cargo test -p p2p-sim --test remote_node`
//! runs the same tests against a node of your choice.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops when it cannot go on, and waits for one thing among many"
)]

#[allow(dead_code, reason = "shared with the tests against other software")]
mod support {
    pub(crate) mod foreign;
}

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use p2p_core::{ControlEvent, ManagerConfig, PeerStatus};
use p2p_proto::{Message, Network, Nonce};
use p2p_tokio::{
    CloseReason, ConnectionError, Event, Events, InMemoryPeerStore, Manager, PeerStore,
};
use support::foreign::{ForeignNode, Listener, PATIENCE};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

/// How long a node may take to answer `getaddr`: it sends `addr` at times that it draws, every 30
/// seconds on average, and one in four hundred answers takes longer than this.
const ADDR_PATIENCE: Duration = Duration::from_secs(180);

/// The node that the tests talk to; one of their own ends with them.
struct TestNode {
    address: SocketAddr,
    own: Option<ForeignNode>,
}

impl TestNode {
    /// Waits until the node has had this command from us, if it is one that says so.
    async fn wait_until_it_gets(self, command: &'static str) {
        let Some(own) = self.own else {
            return;
        };
        let wait = move || {
            own.wait_for(command, |line| {
                line["event"] == "recv" && line["cmd"] == command
            })
        };
        tokio::task::spawn_blocking(wait).await.unwrap();
    }
}

/// The network of the node.
fn get_test_network() -> Network {
    match std::env::var("BSV_TEST_NETWORK") {
        Ok(name) => name
            .parse()
            .expect("BSV_TEST_NETWORK is the name of a network"),
        Err(_) if std::env::var_os("BSV_TEST_NODE").is_some() => Network::Mainnet,
        Err(_) => Network::Regtest,
    }
}

/// The node: `BSV_TEST_NODE`, a name or an address, with or without a port; or one that is
/// started here.
fn get_test_node_address() -> TestNode {
    let Ok(node) = std::env::var("BSV_TEST_NODE") else {
        let options = [
            "--magic",
            "dab5bffa",
            "--agent",
            "/Bitcoin SV:1.2.0/",
            "--version",
            "70016",
            "--blocks",
            "10",
            "--addrs",
            "20",
        ];
        let own = ForeignNode::start(Listener::Bcash, &options);
        return TestNode {
            address: SocketAddr::from(([127, 0, 0, 1], own.port)),
            own: Some(own),
        };
    };
    let port = get_test_network().default_port();
    let found = node
        .to_socket_addrs()
        .or_else(|_| (node.as_str(), port).to_socket_addrs());
    let address = found.ok().and_then(|mut found| found.next());
    TestNode {
        address: address.expect("BSV_TEST_NODE is a name or an address"),
        own: None,
    }
}

fn config() -> ManagerConfig {
    ManagerConfig::new(get_test_network())
}

/// A manager that is connected to the node.
struct Connected {
    manager: Manager,
    events: Events,
    peer: Uuid,
    node: TestNode,
}

async fn connect(config: ManagerConfig) -> Connected {
    let node = tokio::task::spawn_blocking(get_test_node_address)
        .await
        .unwrap();
    let store = Arc::new(InMemoryPeerStore::new());
    let manager = Manager::with_fixed_peers(config, store, [node.address]).unwrap();
    let mut events = manager.events();
    manager.start().await.unwrap();
    let peer = control(&mut events, |event| match event {
        ControlEvent::ConnectionEstablished { peer_id, .. } => Some(*peer_id),
        _ => None,
    })
    .await;
    Connected {
        manager,
        events,
        peer,
        node,
    }
}

async fn wait_for<T>(events: &mut Events, pick: impl FnMut(&Event) -> Option<T>) -> T {
    wait_within(PATIENCE, events, pick).await
}

async fn wait_within<T>(
    patience: Duration,
    events: &mut Events,
    mut pick: impl FnMut(&Event) -> Option<T>,
) -> T {
    let search = async {
        loop {
            if let Some(found) = pick(&events.recv().await.unwrap()) {
                return found;
            }
        }
    };
    timeout(patience, search).await.expect("it comes")
}

async fn control<T>(events: &mut Events, mut pick: impl FnMut(&ControlEvent) -> Option<T>) -> T {
    wait_for(events, |event| match event {
        Event::Control(event) => pick(event),
        _ => None,
    })
    .await
}

async fn message<T>(events: &mut Events, mut pick: impl FnMut(&Message) -> Option<T>) -> T {
    wait_for(events, |event| match event {
        Event::Message(event) => pick(&event.message),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn test_tcp_connection_to_remote_node() {
    let node = tokio::task::spawn_blocking(get_test_node_address)
        .await
        .unwrap();
    let stream = TcpStream::connect(node.address).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), node.address);
}

#[tokio::test]
async fn test_remote_node_responds_to_correct_magic() {
    let Connected {
        manager,
        peer,
        mut events,
        node: _node,
        ..
    } = connect(config()).await;
    let ping = Message::Ping(Nonce(0x5eed));
    manager.send_message(peer, ping).await.unwrap();
    message(&mut events, |message| {
        (*message == Message::Pong(Nonce(0x5eed))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn test_complete_handshake_with_remote_node() {
    let Connected { manager, node, .. } = connect(config()).await;
    let connections = manager.connections().await.unwrap();
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].address, node.address);
    assert!(connections[0].peer.is_some() && !connections[0].is_inbound);
}

#[tokio::test]
async fn test_receive_version_from_remote_node() {
    let Connected {
        manager,
        node: _node,
        ..
    } = connect(config()).await;
    let connections = manager.connections().await.unwrap();
    let peer = connections[0].peer.as_ref().unwrap();
    assert!(peer.version >= 31_800, "{peer:?}");
    assert!(!peer.user_agent.to_string().is_empty());
}

#[tokio::test]
async fn test_sendheaders_after_handshake() {
    // Ours is sent when the handshake is complete; the node goes on speaking with us.
    let Connected {
        manager,
        peer,
        mut events,
        node,
    } = connect(config()).await;
    manager
        .send_message(peer, Message::Ping(Nonce(7)))
        .await
        .unwrap();
    message(&mut events, |message| {
        (*message == Message::Pong(Nonce(7))).then_some(())
    })
    .await;
    assert_eq!(manager.get_connection_count(), 1);
    node.wait_until_it_gets("sendheaders").await;
}

#[tokio::test]
async fn test_ping_pong_exchange_with_remote_node() {
    let mut config = config();
    config.connection.ping_interval = Duration::from_millis(50);
    let Connected {
        manager,
        mut events,
        node: _node,
        ..
    } = connect(config).await;
    for _ in 0..3 {
        message(&mut events, |message| {
            matches!(message, Message::Pong(_)).then_some(())
        })
        .await;
    }
    let latency = manager.connections().await.unwrap()[0].latency;
    assert!(latency.is_some());
}

#[tokio::test]
async fn test_outbound_connection_lifecycle_with_remote_node() {
    let Connected {
        manager,
        peer,
        mut events,
        node,
    } = connect(config()).await;
    manager.send_message(peer, Message::GetAddr).await.unwrap();
    let is_addr = |event: &Event| match event {
        Event::Message(event) => matches!(event.message, Message::Addr(_)).then_some(()),
        _ => None,
    };
    wait_within(ADDR_PATIENCE, &mut events, is_addr).await;
    manager.disconnect_peer(peer).await.unwrap();
    let (address, reason) = control(&mut events, |event| match event {
        ControlEvent::ConnectionLost {
            address, reason, ..
        } => Some((*address, reason.clone())),
        _ => None,
    })
    .await;
    assert_eq!(address, node.address);
    assert_eq!(reason, ConnectionError::Closed(CloseReason::Requested));
}

#[tokio::test]
async fn test_full_manager_lifecycle_with_remote_node() {
    let node = tokio::task::spawn_blocking(get_test_node_address)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.json");
    {
        let store = Arc::new(InMemoryPeerStore::open(&path).unwrap());
        let manager = Manager::with_fixed_peers(config(), store, [node.address]).unwrap();
        let mut events = manager.events();
        manager.start().await.unwrap();
        let peer = control(&mut events, |event| match event {
            ControlEvent::HandshakeComplete { peer_id, .. } => Some(*peer_id),
            _ => None,
        })
        .await;
        manager.wait_for_peers(1, PATIENCE).await.unwrap();
        let mut messages = manager.subscribe_bitcoin_messages();
        manager.send_message(peer, Message::GetAddr).await.unwrap();
        let answer = async {
            loop {
                if let Message::Addr(addr) = messages.recv().await.unwrap().message {
                    return addr;
                }
            }
        };
        assert!(
            !timeout(ADDR_PATIENCE, answer)
                .await
                .expect("addresses")
                .is_empty()
        );
        manager.shutdown().await;
    }
    let store = InMemoryPeerStore::open(&path).unwrap();
    let known = store
        .find_by_ip_port(node.address.ip(), node.address.port())
        .await
        .unwrap();
    let known = known.expect("the store has the node");
    assert_eq!(known.status, PeerStatus::Valid);
    assert!(known.user_agent.is_some() && known.last_seen.is_some());
}
