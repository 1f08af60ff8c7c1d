//! Issues about all connections.

use std::time::Duration;

use p2p_core::{
    Action, BanReason, CloseReason, Command, ControlEvent, InboundRefusal, Input, OperatingMode,
    PeerConnection, PeerStatus, Timestamp, UserAgent,
};
use p2p_proto::{Message, NetworkFailure, Reject, RejectCode, Version, Violation};

use crate::node::{Node, config, peer};
use crate::wire::Wire;
use crate::{source, unix, version};

const EOF: CloseReason = CloseReason::Network(NetworkFailure::Eof);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn issue_01_slots() {
    let mut node = Node::with_peers(20);
    assert_eq!(node.dials.len(), 3, "reserved before a byte is exchanged");
    for n in 0..20 {
        let _ = node.accept(source(n));
    }
    let held = node.manager.connections();
    let held = held.filter(|connection| !connection.reject_after_handshake());
    assert_eq!(held.count(), 5);
    // Each is returned once, and can be taken again.
    let mut node = Node::with_peers(0);
    for round in 0..2 {
        for n in 0..20 {
            let _ = node.accept(source(n));
        }
        assert_eq!(node.manager.explain().pending, 5, "round {round}");
        for conn in node
            .manager
            .connections()
            .map(PeerConnection::id)
            .collect::<Vec<_>>()
        {
            node.closed(conn, EOF);
            node.closed(conn, EOF);
        }
        assert_eq!(node.manager.explain().pending, 0);
    }
}

#[test]
fn issue_02_no_inbound_reconnect() {
    let mut node = Node::with_peers(0);
    let conn = node.accept(source(1)).unwrap();
    node.ready(conn, 1, 8333);
    node.closed(conn, EOF);
    node.pass(HOUR * 48);
    assert_eq!(node.dials, []);
}

#[test]
fn issue_03_restart_tracking() {
    let mut node = Node::with_peers(1);
    for attempt in 1..=3 {
        let (conn, _) = node.dials.pop().unwrap();
        node.establish(conn);
        node.closed(conn, EOF);
        let record = node.manager.explain_peer(peer(0)).unwrap().peer;
        assert_eq!(record.restart_count, attempt);
    }
    let (conn, _) = node.dials.pop().unwrap();
    node.establish(conn);
    node.closed(conn, EOF);
    assert_eq!(node.dials, []);
    assert_eq!(node.status(0), PeerStatus::Inaccessible);
}

#[test]
fn issue_04_bsv_identification() {
    let mut wire = Wire::new();
    wire.receive(Message::Version(Box::new(Version {
        user_agent: UserAgent::from_static("/Bitcoin ABC:0.22/"),
        ..version(1, 0)
    })));
    let reason = wire.closed().expect("another chain is refused");
    assert!(matches!(reason, CloseReason::Violation(_)), "{reason}");
    let mut node = Node::with_peers(1);
    let (conn, _) = node.dials[0];
    node.input(Input::Connected { conn });
    node.closed(conn, reason);
    assert_eq!(node.status(0), PeerStatus::Banned);
}

#[test]
fn issue_05_duplicates() {
    let mut node = Node::with_peers(1);
    let (outbound, at) = node.dials[0];
    assert_eq!(
        node.accept(at),
        Err(InboundRefusal::Duplicate),
        "pending ones count"
    );
    node.establish(outbound);
    let inbound = node.accept((at.ip(), 50_000).into()).unwrap();
    node.ready(inbound, u64::MAX, at.port());
    assert_eq!(node.manager.connection_count(), 1);
}

#[test]
fn issue_06_no_dns_in_fixed_mode() {
    let mut config = config();
    config.dns_seeds = Some(vec!["seed.test".into()]);
    let asks = |action: &Action| matches!(action, Action::Resolve { .. });
    let mut node = Node::new(config.clone(), OperatingMode::FixedPeerList(vec![]), 0);
    node.pass(HOUR * 24);
    assert_eq!(node.count(asks), 0);
    let node = Node::new(config, OperatingMode::Normal, 0);
    assert_eq!(node.count(asks), 1);
}

#[test]
fn issue_09_store_concurrency() {
    let mut node = Node::with_peers(0);
    node.store_answers = false;
    node.command(Command::AddPeer(peer(1)));
    node.command(Command::AddPeer(peer(2)));
    node.command(Command::AddPeer(peer(3)));
    assert_eq!(node.batches.len(), 1, "one batch at a time");
    let (batch, _) = node.batches[0];
    let result = Ok(());
    node.input(Input::Stored { batch, result });
    assert_eq!(node.batches.len(), 2);
    assert!(node.batches[1].1.len() >= 2, "the rest goes together");
}

#[test]
fn issue_10_counting() {
    let mut node = Node::with_peers(1);
    let (conn, _) = node.dials[0];
    assert_eq!(node.manager.connection_count(), 0);
    node.establish(conn);
    assert_eq!(node.manager.connection_count(), 1);
    let inbound = node.accept(source(1)).unwrap();
    assert_eq!(node.manager.connection_count(), 1);
    node.ready(inbound, 1, 0);
    assert_eq!(node.manager.connection_count(), 2);
    node.closed(conn, CloseReason::PingTimeout);
    node.closed(conn, CloseReason::PingTimeout);
    assert_eq!(node.manager.connection_count(), 1);
}

#[test]
fn issue_11_periodic_save() {
    let mut node = Node::with_peers(1);
    let (conn, at) = node.dials[0];
    node.batches.clear();
    node.establish(conn);
    let mut records = node.batches.iter().flat_map(|(_, peers)| peers);
    let stored = records.rfind(|peer| peer.address() == at);
    assert_eq!(
        stored.unwrap().status,
        PeerStatus::Valid,
        "nobody had to ask"
    );
}

#[test]
fn issue_12_listener_retry() {
    let mut config = config();
    config.enable_listener = true;
    let at = config.listen_on().unwrap();
    let listens = |action: &Action| matches!(action, Action::Listen { address } if *address == at);
    let mut node = Node::new(config, OperatingMode::Normal, 0);
    for attempts in 1..5 {
        assert_eq!(node.count(listens), attempts);
        let error = "in use".into();
        node.input(Input::ListenFailed { address: at, error });
        node.pass(Duration::from_secs(30));
    }
}

#[test]
fn issue_13_over_capacity_never_counted() {
    let mut node = Node::with_peers(0);
    for n in 0..5 {
        let conn = node.accept(source(n)).unwrap();
        node.ready(conn, n.into(), 0);
    }
    let conn = node.accept(source(9)).unwrap();
    node.ready(conn, 9, 0);
    assert_eq!(node.manager.connection_count(), 5);
    node.closed(conn, CloseReason::OverCapacity);
    assert_eq!(node.manager.connection_count(), 5);
    let last = node.events.last();
    assert!(matches!(
        last,
        Some(ControlEvent::ConnectionRejectedCapacity { .. })
    ));
}

#[test]
fn issue_15_ban_reasons_vs_reject_codes() {
    let violation = Violation::OtherChain {
        user_agent: UserAgent::from_static("/abc/"),
    };
    let reason = BanReason::from(&violation);
    let user_agent = "/abc/".into();
    assert_eq!(reason, BanReason::BlockchainMismatch { user_agent });
    // What a peer rejects us for bans nobody, be it for the same reason.
    for code in [0x10, 0x11, 0x12, 0x40, 0x44] {
        let mut node = Node::with_peers(1);
        let (conn, at) = node.dials[0];
        node.input(Input::Connected { conn });
        let reject = Reject::new(p2p_proto::Command::VERSION, RejectCode(code), "/abc/");
        node.closed(conn, CloseReason::RejectedByPeer(Box::new(reject)));
        assert_eq!(node.status(0), PeerStatus::Inaccessible);
        assert!(!node.manager.is_banned(at.ip()));
    }
}

#[test]
fn issue_16_status_timestamp() {
    let mut node = Node::with_peers(1);
    let since = |node: &Node| {
        node.manager
            .explain_peer(peer(0))
            .unwrap()
            .peer
            .status_timestamp
    };
    let (conn, _) = node.dials.pop().unwrap();
    let before = since(&node);
    node.pass(Duration::from_secs(7));
    node.fail(conn);
    assert_eq!(since(&node), before, "the status has not changed");
    node.pass(Duration::from_secs(5));
    let (conn, _) = node.dials.pop().unwrap();
    node.establish(conn);
    assert_eq!(since(&node), Timestamp::from_unix(unix(12)));
}

#[test]
fn issue_17_inbound_source_ports() {
    let mut node = Node::with_peers(0);
    let conn = node.accept(source(1)).unwrap();
    node.ready(conn, 1, 8333);
    assert_eq!(node.manager.peers().count(), 0);
    node.closed(conn, EOF);
    node.pass(HOUR * 24);
    assert_eq!(node.dials, []);
    assert!(node.batches.iter().all(|(_, peers)| peers.is_empty()));
}

#[test]
fn issue_19_retries_and_restarts() {
    let mut node = Node::with_peers(1);
    let (conn, _) = node.dials.pop().unwrap();
    node.fail(conn);
    let known = |node: &Node| {
        let known = node.manager.explain_peer(peer(0)).unwrap();
        (known.retries, known.peer.restart_count)
    };
    assert_eq!(known(&node), (1, 0));
    node.pass(Duration::from_secs(5));
    let (conn, _) = node.dials.pop().unwrap();
    node.establish(conn);
    node.closed(conn, EOF);
    let (conn, _) = node.dials.pop().unwrap();
    node.establish(conn);
    assert_eq!(
        known(&node),
        (0, 1),
        "a connection resets retries, not restarts"
    );
    node.pass(HOUR);
    node.closed(conn, EOF);
    assert_eq!(known(&node), (0, 1), "a new window has begun");
}

#[test]
fn issue_20_outages() {
    let mut node = Node::with_peers(12);
    let mut probed = Vec::new();
    for _ in 0..2000 {
        for (conn, at) in std::mem::take(&mut node.dials) {
            probed.push(at);
            node.fail(conn);
        }
        node.pass(Duration::from_secs(30));
    }
    assert!((0..12).all(|n| node.status(n) == PeerStatus::Unknown));
    // One that is gone for good does not keep the others from being probed.
    let late = &probed[probed.len() - 12..];
    assert!((0..12).all(|n| late.contains(&peer(n))), "{late:?}");
    node.pass(Duration::from_secs(60));
    let (conn, _) = node.dials.pop().unwrap();
    node.establish(conn);
    assert_eq!(node.dials.len(), 2, "all at once again");
}
