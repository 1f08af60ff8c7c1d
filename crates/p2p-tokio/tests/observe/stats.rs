//! Counters, compared with what was done.

use p2p_tokio::p2p_proto::Nonce;
use p2p_tokio::{
    ConnectionState, ControlEvent, Initiator, ManagerConfig, Message, PeerStatus, Side,
};
use tokio::net::TcpListener;

use crate::support::*;

#[tokio::test]
async fn messages_and_bytes_are_counted_by_command_in_both_directions() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    node.established().await;
    for nonce in 1..=5 {
        peer.barrier(nonce).await;
    }
    let strange = p2p_tokio::Command::new("strange").unwrap();
    for length in [10, 20] {
        peer.send(Message::Unknown {
            command: strange,
            payload: vec![0; length].into(),
        })
        .await;
    }
    peer.send(Message::GetAddr).await;
    node.message(|message| matches!(message, Message::GetAddr).then_some(()))
        .await;
    let ours = node.manager.connections().await.unwrap()[0].peer_id;
    node.manager
        .send_message(ours, Message::GetAddr)
        .await
        .unwrap();
    peer.wait_for(|message| matches!(message, Message::GetAddr).then_some(()))
        .await;
    drop(peer);
    node.lost().await;

    let stats = node.manager.stats();
    let count = |counts: &std::collections::BTreeMap<_, p2p_tokio::MessageCounts>, command| {
        let count = counts.get(command).copied().unwrap_or_default();
        (count.messages, count.bytes)
    };
    let received = |command| count(&stats.messages_received, command);
    let sent = |command| count(&stats.messages_sent, command);
    assert_eq!(received("version").0, 1);
    assert_eq!(received("verack"), (1, 0));
    assert_eq!(received("ping"), (5, 40));
    assert_eq!(received("getaddr"), (1, 0));
    assert_eq!(received("other"), (2, 30));
    assert_eq!(sent("version").0, 1);
    assert_eq!(sent("verack"), (1, 0));
    assert_eq!(sent("protoconf").0, 1);
    assert_eq!(sent("sendheaders"), (1, 0));
    assert_eq!(sent("pong"), (5, 40));
    // The first ping follows the admission.
    assert_eq!(sent("ping"), (1, 8));
    assert_eq!(sent("getaddr"), (1, 0));

    let frames = |counts: &std::collections::BTreeMap<_, p2p_tokio::MessageCounts>| -> u64 {
        counts
            .values()
            .map(|count| 24 * count.messages + count.bytes)
            .sum()
    };
    assert_eq!(stats.bytes_received, frames(&stats.messages_received));
    assert_eq!(stats.bytes_sent, frames(&stats.messages_sent));
    assert_eq!(stats.frames_dropped, 0);
}

#[tokio::test]
async fn connections_attempts_and_ends_are_counted() {
    // An IP that no other test listens on: the port stays free.
    let nobody = TcpListener::bind((loopback(24), 0)).await.unwrap();
    let refuses = nobody.local_addr().unwrap();
    drop(nobody);
    let listener = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = config();
    // Nobody is dialled a second time within the test.
    config.connection.initial_backoff = config.connection.max_backoff;
    config.connection.max_restarts = 1;
    let mut node = Node::fixed(config, [refuses, address]).await;
    let mut peer = RemotePeer::accept(&listener).await;
    peer.shake_hands().await;
    node.established().await;
    let stats = node.manager.stats();
    assert_eq!(
        stats.connections_in(Side::Outbound, ConnectionState::Connected),
        1
    );
    assert_eq!((stats.established(), stats.admitted), (1, 1));
    assert_eq!(stats.outbound_handshakes.count, 1);
    assert_eq!(stats.inbound_handshakes.count, 0);
    assert!(stats.outbound_handshakes.total > std::time::Duration::ZERO);
    assert_eq!(stats.peers(PeerStatus::Valid), 1);

    drop(peer);
    node.lost().await;
    // It is made again at once, and hangs up before the handshake.
    drop(RemotePeer::accept(&listener).await);
    let failed = async |node: &mut Node| node.failed().await.name();
    let mut names = vec![failed(&mut node).await];
    if names == ["dial_refused"] {
        names.push(failed(&mut node).await);
    }
    let stats = node.manager.stats();
    assert_eq!(
        stats.lost.into_iter().collect::<Vec<_>>(),
        [(("eof", Initiator::Remote), 1)]
    );
    assert_eq!(stats.failed[&("dial_refused", Initiator::Remote)], 1);
    assert_eq!(stats.failed.values().sum::<u64>(), 2, "{:?}", stats.failed);
    assert_eq!((stats.dials, stats.restarts, stats.accepted), (3, 1, 0));
    assert!(stats.connections.is_empty(), "{:?}", stats.connections);
}

#[tokio::test]
async fn bans_refusals_and_those_without_room_are_counted() {
    let config = ManagerConfig {
        max_connections: 1,
        target_connections: 0,
        min_outbound: Some(0),
        ..listening()
    };
    let mut node = Node::start(config).await;
    let address = node.address().await;
    let mut first = RemotePeer::dial(address, 2).await;
    first.shake_hands().await;
    let peer_id = node.established().await;
    RemotePeer::dial(address, 3).await.shake_hands().await;
    node.control(|event| {
        matches!(event, ControlEvent::ConnectionRejectedCapacity { .. }).then_some(())
    })
    .await;
    node.manager.ban_peer(peer_id).await.unwrap();
    first.end().await;
    node.lost().await;
    RemotePeer::dial(address, 2).await.end().await;
    let mut other = RemotePeer::dial(address, 4).await;
    other.send(version("/BCH Unlimited:1/")).await;
    other.end().await;
    node.control(|event| match event {
        ControlEvent::PeerBanned { ip, .. } if *ip == loopback(4) => Some(()),
        _ => None,
    })
    .await;

    let stats = node.manager.stats();
    assert_eq!(stats.accepted, 3);
    assert_eq!(stats.rejected_over_capacity, 1);
    assert_eq!(
        stats.refused.into_iter().collect::<Vec<_>>(),
        [("banned", 1)]
    );
    let bans: Vec<_> = stats.bans.into_iter().collect();
    assert_eq!(bans, [("blockchain_mismatch", 1), ("manual", 1)]);
    assert_eq!((stats.banned_ips, stats.unbans), (2, 0));
    assert_eq!(stats.lost[&("banned", Initiator::Local)], 1);
    assert_eq!(stats.failed[&("other_chain", Initiator::Local)], 1);
}

#[tokio::test]
async fn what_a_slow_subscriber_misses_is_counted() {
    let config = ManagerConfig {
        event_channel_capacity: 10,
        ..listening()
    };
    let mut node = Node::start(config).await;
    let address = node.address().await;
    let slow = node.manager.subscribe_bitcoin_messages();
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    for nonce in 1..=100 {
        peer.send(Message::Ping(Nonce(nonce))).await;
    }
    peer.barrier(1000).await;
    // One queue held ten of 101, the other the events before them as well.
    let stats = node.manager.stats();
    assert_eq!(slow.len(), 10);
    assert!(
        (91 + 91..=91 + 101).contains(&stats.events_lagged),
        "{}",
        stats.events_lagged
    );
}

/// A program may end without a shutdown.
#[test]
fn a_runtime_that_is_dropped_leaves_no_connection_behind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (manager, _peer) = runtime.block_on(async {
        let mut node = Node::start(listening()).await;
        let address = node.address().await;
        let mut peer = RemotePeer::dial(address, 2).await;
        peer.shake_hands().await;
        node.established().await;
        (node.manager, peer)
    });
    assert_eq!(manager.stats().established(), 1);
    drop(runtime);
    let stats = manager.stats();
    assert_eq!((stats.established(), stats.admitted), (0, 1));
}

#[tokio::test]
async fn counters_are_there_before_the_start_and_after_the_end() {
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    node.established().await;
    node.manager.shutdown().await;
    let stats = node.manager.stats();
    assert_eq!((stats.admitted, stats.established()), (1, 0));
    assert_eq!(stats.lost[&("shutdown", Initiator::Local)], 1);
    let idle = p2p_tokio::Manager::builder(config()).build().unwrap();
    assert_eq!(idle.stats(), p2p_tokio::Stats::default());
}
