//! What a collector receives, compared with what a scenario did.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_tokio::{Manager, ManagerConfig, ManagerError, Message};
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;

use crate::capture::Lines;
use crate::hanging::Hanging;
use crate::receiver::{Receiver, text};
use crate::support::*;

/// Often enough for a test that waits for a change.
const INTERVAL: Duration = Duration::from_millis(20);

fn exporting(config: ManagerConfig, endpoint: String) -> ManagerConfig {
    ManagerConfig {
        enable_telemetry: true,
        telemetry_endpoint: Some(endpoint),
        service_name: "node-under-test".into(),
        ..config
    }
}

async fn start(config: ManagerConfig, interval: Duration) -> Node {
    let builder = Manager::builder(config).telemetry_interval(interval);
    Node::of(builder.build().unwrap()).await
}

#[tokio::test]
async fn test_telemetry_metrics_recorded() {
    let receiver = Receiver::start().await;
    // Nothing but the last export.
    let mut node = start(exporting(listening(), receiver.endpoint()), PATIENCE).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    let peer_id = node.established().await;
    for nonce in 1..=7 {
        peer.barrier(nonce).await;
    }
    node.manager.ban_peer(peer_id).await.unwrap();
    peer.end().await;
    node.lost().await;
    RemotePeer::dial(address, 2).await.end().await;
    let mut other = RemotePeer::dial(address, 3).await;
    other.send(version("/BCH Unlimited:1/")).await;
    other.end().await;
    node.failed().await;
    node.manager.shutdown().await;

    let received = receiver.received();
    assert_eq!(received.exports, 1);
    let stats = node.manager.stats();
    for (metric, labels, value) in [
        (
            "bsv.p2p.connections",
            "direction=inbound,state=connected",
            0,
        ),
        ("bsv.p2p.banned_ips", "", 2),
        ("bsv.p2p.connection.attempts", "direction=inbound", 2),
        ("bsv.p2p.connection.attempts", "direction=outbound", 0),
        ("bsv.p2p.connection.established", "", 1),
        ("bsv.p2p.connection.refusals", "reason=banned", 1),
        (
            "bsv.p2p.connection.failures",
            "initiator=local,reason=other_chain",
            1,
        ),
        (
            "bsv.p2p.connection.losses",
            "initiator=local,reason=banned",
            1,
        ),
        ("bsv.p2p.connection.restarts", "", 0),
        ("bsv.p2p.messages", "command=ping,direction=received", 7),
        ("bsv.p2p.messages", "command=pong,direction=sent", 7),
        ("bsv.p2p.messages", "command=version,direction=received", 2),
        (
            "bsv.p2p.message.size",
            "command=ping,direction=received",
            56,
        ),
        (
            "bsv.p2p.network.io",
            "direction=received",
            stats.bytes_received,
        ),
        ("bsv.p2p.network.io", "direction=sent", stats.bytes_sent),
        ("bsv.p2p.bans", "reason=manual", 1),
        ("bsv.p2p.bans", "reason=blockchain_mismatch", 1),
        ("bsv.p2p.events.lagged", "", 0),
        ("bsv.p2p.store.failures", "", 0),
    ] {
        assert_eq!(
            received.value(metric, labels),
            Some(value),
            "{metric} {labels}"
        );
    }
    let resource = received.resource;
    assert_eq!(resource["service.name"], "node-under-test");
    assert_eq!(resource["bsv.network"], "regtest");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn spans_tell_the_life_of_a_connection() {
    let receiver = Receiver::start().await;
    let mut node = start(exporting(listening(), receiver.endpoint()), PATIENCE).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    let source = peer.frames.get_ref().local_addr().unwrap();
    peer.shake_hands().await;
    let peer_id = node.established().await;
    drop(peer);
    node.lost().await;
    node.manager.shutdown().await;

    let spans = receiver.received().spans;
    let [handshake, connection] = &spans[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!(
        (&*handshake.name, &*connection.name),
        ("handshake", "connection")
    );
    assert_eq!(handshake.parent_span_id, connection.span_id);
    assert_eq!(handshake.trace_id, connection.trace_id);
    assert_eq!(
        text(&handshake.attributes)["user_agent"],
        "/Bitcoin SV:1.2.2/"
    );
    let attributes = text(&connection.attributes);
    for (name, value) in [
        ("peer_id", &*peer_id.to_string()),
        ("peer_address", &*source.to_string()),
        ("connection_type", "inbound"),
        ("network", "regtest"),
        ("reason", "eof"),
        ("initiator", "remote"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    let events: Vec<_> = connection.events.iter().map(|event| &*event.name).collect();
    assert_eq!(events, ["established"]);
    assert!(connection.end_time_unix_nano >= handshake.end_time_unix_nano);
}

#[tokio::test]
async fn test_telemetry_can_be_disabled() {
    let receiver = Receiver::start().await;
    let off = ManagerConfig {
        enable_telemetry: false,
        ..exporting(listening(), receiver.endpoint())
    };
    let mut node = start(off.clone(), INTERVAL).await;
    let address = node.address().await;
    RemotePeer::dial(address, 2).await.shake_hands().await;
    node.established().await;
    // It is turned on, and off again.
    let on = exporting(listening(), receiver.endpoint());
    node.manager.update_config(on).await.unwrap();
    receiver
        .wait_for(|received| (received.exports > 0).then_some(()))
        .await;
    let value = |metric| receiver.received().value(metric, "");
    assert_eq!(
        value("bsv.p2p.connection.established"),
        Some(1),
        "what was counted before it"
    );
    node.manager.update_config(off).await.unwrap();
    node.manager.shutdown().await;

    // One that is off says nothing for as long as another says much.
    let quiet = Receiver::start().await;
    let off = ManagerConfig {
        enable_telemetry: false,
        ..exporting(listening(), quiet.endpoint())
    };
    let node = start(off, INTERVAL).await;
    let before = receiver.received().exports;
    let loud = start(exporting(listening(), receiver.endpoint()), INTERVAL).await;
    receiver
        .wait_for(|received| (received.exports >= before + 5).then_some(()))
        .await;
    loud.manager.shutdown().await;
    node.manager.shutdown().await;
    assert_eq!(quiet.received().exports, 0);
}

#[tokio::test]
async fn test_connection_count_gauge_updates() {
    let receiver = Receiver::start().await;
    let mut node = start(exporting(listening(), receiver.endpoint()), INTERVAL).await;
    let address = node.address().await;
    let (metric, labels) = ("bsv.p2p.connections", "direction=inbound,state=connected");
    let shown = async |count| {
        receiver
            .wait_for(|received| (received.value(metric, labels) == Some(count)).then_some(()))
            .await;
    };
    shown(0).await;
    let mut peers = Vec::new();
    for count in 1..=3 {
        let mut peer = RemotePeer::dial(address, 2).await;
        peer.shake_hands().await;
        node.established().await;
        peers.push(peer);
        shown(count).await;
    }
    peers.pop();
    shown(2).await;
    peers.clear();
    shown(0).await;
    let awaiting = RemotePeer::dial(address, 2).await;
    let labels = "direction=inbound,state=awaiting_handshake";
    receiver
        .wait_for(|received| (received.value(metric, labels) == Some(1)).then_some(()))
        .await;
    drop(awaiting);
    node.manager.shutdown().await;
}

#[tokio::test]
async fn test_handshake_duration_histogram() {
    let receiver = Receiver::start().await;
    let mut node = start(exporting(listening(), receiver.endpoint()), PATIENCE).await;
    let address = node.address().await;
    let mut quick = RemotePeer::dial(address, 2).await;
    quick.shake_hands().await;
    node.established().await;
    let mut slow = RemotePeer::dial(address, 3).await;
    slow.send(version("/slow/")).await;
    slow.wait_for(|message| matches!(message, Message::Verack).then_some(()))
        .await;
    let pause = Duration::from_millis(300);
    tokio::time::sleep(pause).await;
    slow.send(Message::Verack).await;
    node.established().await;
    node.manager.shutdown().await;

    let received = receiver.received();
    let histogram = &received.histograms["bsv.p2p.handshake.duration"]["direction=inbound"];
    assert_eq!(histogram.explicit_bounds, p2p_tokio::HandshakeTimes::BOUNDS);
    assert_eq!(histogram.count, 2);
    let times = node.manager.stats().inbound_handshakes;
    assert_eq!(histogram.bucket_counts, times.buckets);
    let above = histogram
        .explicit_bounds
        .iter()
        .position(|&bound| bound >= 0.25)
        .unwrap();
    let slow: u64 = histogram.bucket_counts[above + 1..].iter().sum();
    assert_eq!(slow, 1, "{histogram:?}");
    let sum = Duration::from_secs_f64(histogram.sum.unwrap());
    assert!((pause..pause + PATIENCE).contains(&sum), "{sum:?}");
    assert!(sum.abs_diff(times.total) < Duration::from_millis(1));
}

#[tokio::test]
async fn a_collector_that_is_gone_neither_holds_up_the_end_nor_fills_the_log() {
    let (lines, _guard) = Lines::capture(LevelFilter::DEBUG);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let mut node = start(exporting(listening(), endpoint), INTERVAL).await;
    let address = node.address().await;
    let mut peer = RemotePeer::dial(address, 2).await;
    peer.shake_hands().await;
    node.established().await;
    // Many intervals.
    for nonce in 1..=20 {
        peer.barrier(nonce).await;
        tokio::time::sleep(INTERVAL).await;
    }
    let start = Instant::now();
    node.manager.shutdown().await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let about_it = |line: &&crate::capture::Line| line.message.contains("telemetry");
    let of_ours = lines.all();
    let of_ours: Vec<_> = of_ours.iter().filter(about_it).collect();
    // The exporters' own threads are not captured: see `export.rs` for what they say.
    assert!(of_ours.len() <= 2, "{of_ours:#?}");
}

#[tokio::test]
async fn a_collector_that_hangs_does_not_hold_up_the_end() {
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hangs.local_addr().unwrap());
    let node = start(exporting(listening(), endpoint), PATIENCE).await;
    let start = Instant::now();
    node.manager.shutdown().await;
    let took = start.elapsed();
    // Less than its exports may take.
    assert!(took < Duration::from_millis(4500), "{took:?}");
}

/// The store takes all of the time there is, and nothing is left for the collector.
#[tokio::test]
async fn a_store_and_a_collector_that_both_hang_hold_up_the_end_no_longer_than_one() {
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hangs.local_addr().unwrap());
    let builder = Manager::builder(exporting(config(), endpoint))
        .telemetry_interval(PATIENCE)
        .store(Arc::new(Hanging::default()));
    let manager = builder.build().unwrap();
    manager.start().await.unwrap();
    // The address is to be stored.
    manager
        .add_peer("127.0.0.1:1".parse().unwrap())
        .await
        .unwrap();
    let start = Instant::now();
    manager.shutdown().await;
    let took = start.elapsed();
    let promised = Duration::from_secs(10);
    assert!(took >= promised, "nothing hung: {took:?}");
    assert!(took < promised + Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn what_cannot_be_exported_to_is_refused_and_nothing_changes() {
    let wrong = exporting(config(), "http://[::1:4317".into());
    let manager = Manager::builder(wrong.clone()).build().unwrap();
    let error = manager.start().await.unwrap_err();
    assert!(matches!(error, ManagerError::Telemetry { .. }), "{error}");
    assert!(
        error.to_string().contains("telemetry_endpoint: "),
        "{error}"
    );
    let node = Node::start(config()).await;
    let wrong = ManagerConfig {
        target_connections: 3,
        ..wrong
    };
    node.manager.update_config(wrong).await.unwrap_err();
    assert_eq!(
        node.manager.explain().await.unwrap().target,
        config().target_connections
    );
}

#[tokio::test]
async fn agents_commands_and_addresses_add_no_series() {
    let receiver = Receiver::start().await;
    let mut node = start(exporting(listening(), receiver.endpoint()), PATIENCE).await;
    let address = node.address().await;
    for n in 0..50_u8 {
        let agent: &'static str = format!("/agent {n}/").leak();
        let mut peer = RemotePeer::dial(address, n.max(2)).await;
        peer.shake_hands_as(agent).await;
        node.established().await;
        let command = p2p_tokio::Command::new(&format!("strange{n}")).unwrap();
        let payload = vec![n].into();
        peer.send(Message::Unknown { command, payload }).await;
        peer.barrier(u64::from(n) + 1).await;
        drop(peer);
        node.lost().await;
    }
    node.manager.shutdown().await;
    let received = receiver.received();
    assert_eq!(
        received.value("bsv.p2p.messages", "command=other,direction=received"),
        Some(50)
    );
    assert_eq!(received.values["bsv.p2p.connection.losses"].len(), 1);
    assert!(
        received.series() < 80,
        "{}: {:#?}",
        received.series(),
        received.values
    );
    assert!(!format!("{:?}", received.values).contains("agent"));
}
