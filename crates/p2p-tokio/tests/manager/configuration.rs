//! Other settings while it runs.

use std::time::Duration;

use p2p_tokio::{ConfigError, ControlEvent, ManagerError, Message, Network};

use crate::support::*;

#[tokio::test]
async fn test_configuration_hot_reload() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    let mut config = listening();
    config.connection.ping_interval = Duration::from_millis(20);
    config.banned_user_agents = vec!["*evil*".into()];
    node.manager.update_config(config).await.unwrap();
    node.control(|event| (*event == ControlEvent::ConfigUpdated).then_some(()))
        .await;
    // Live connections follow: pings come often now, which they did once a minute.
    for _ in 0..3 {
        let ping = peer
            .wait_for(|message| match message {
                Message::Ping(nonce) => Some(*nonce),
                _ => None,
            })
            .await;
        peer.send(Message::Pong(ping)).await;
    }
    // Handshakes from now on do, too.
    let mut evil = RemotePeer::dial(address, 3).await;
    evil.send(version("/evil:1/")).await;
    evil.end().await;
    let ip = node
        .control(|event| match event {
            ControlEvent::PeerBanned { ip, .. } => Some(*ip),
            _ => None,
        })
        .await;
    assert_eq!(ip, loopback(3));
}

#[tokio::test]
async fn a_wrong_configuration_changes_nothing() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut wrong = listening();
    wrong.listener_address = loopback(8);
    wrong.connection.backoff_multiplier = 0.5;
    let refused = node.manager.update_config(wrong).await;
    assert!(matches!(
        refused,
        Err(ManagerError::Config(ConfigError::InvalidField { .. }))
    ));
    let mut other = listening();
    other.network = Network::Testnet;
    let refused = node.manager.update_config(other).await;
    assert!(matches!(
        refused,
        Err(ManagerError::Config(ConfigError::ImmutableField { .. }))
    ));
    RemotePeer::dial(address, 2).await.shake_hands().await;
}

#[tokio::test]
async fn a_higher_target_dials_more_and_a_lower_maximum_closes_nobody() {
    let mut peers = Vec::new();
    let mut config = config();
    (config.target_connections, config.min_outbound) = (1, None);
    let node = Node::start(config.clone()).await;
    for _ in 0..4 {
        let mut peer = Node::start(listening()).await;
        node.manager.add_peer(peer.address().await).await.unwrap();
        peers.push(peer);
    }
    node.manager.wait_for_peers(1, PATIENCE).await.unwrap();
    config.target_connections = 4;
    node.manager.update_config(config.clone()).await.unwrap();
    node.manager.wait_for_peers(4, PATIENCE).await.unwrap();
    (config.target_connections, config.max_connections) = (2, 2);
    node.manager.update_config(config).await.unwrap();
    assert_eq!(node.manager.broadcast(&Message::GetAddr), 4);
    assert_eq!(node.manager.get_connection_count(), 4);
}
