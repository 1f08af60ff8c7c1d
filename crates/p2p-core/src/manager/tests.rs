//! The rules of the manager, each as a small story.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a story waits for one thing among many"
)]

use std::time::SystemTime;

use p2p_proto::{
    CloseReason, Network, NetworkAddress, NetworkFailure, Ready, UserAgent, Version, VersionFields,
    Violation,
};

use super::*;
use crate::connection::ConnectionState;
use crate::error::{ConnectionError, DialFailure};
use crate::io::{BatchId, Command};
use crate::peer::{Ban, BanReason, PeerSource, PeerStatus};

/// A manager, its virtual time, and what it asked for.
struct Story {
    manager: Manager,
    now: Instant,
    start: Instant,
    events: Vec<ControlEvent>,
    dials: Vec<(ConnId, SocketAddr)>,
    closes: Vec<(ConnId, CloseReason)>,
    admits: Vec<ConnId>,
    others: Vec<Action>,
    /// The store answers at once, well, until this is set.
    store_fails: bool,
}

fn config() -> ManagerConfig {
    let mut config = ManagerConfig::new(Network::Regtest);
    config.target_connections = 3;
    config.max_connections = 5;
    config
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, n, 0, 1], 8333))
}

fn peer(n: u8, status: PeerStatus) -> Peer {
    let mut peer = Peer::new(Network::Regtest, address(n), PeerSource::Dns, wall(0));
    peer.status = status;
    peer
}

/// Seconds after the stories begin.
fn wall(secs: u64) -> Timestamp {
    Timestamp::from_millis((1_700_000_000 + secs) * 1000)
}

fn ready(nonce: u64, listen_port: u16) -> Box<Ready> {
    let version = Version {
        nonce,
        addr_from: NetworkAddress {
            port: listen_port,
            ..NetworkAddress::UNSPECIFIED
        },
        user_agent: UserAgent::from_static("/Bitcoin SV:1.2.2/"),
        fields: VersionFields::AssociationId,
        ..Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED)
    };
    Box::new(Ready::new(version, 0))
}

impl Story {
    fn new(config: ManagerConfig, mode: OperatingMode, known: Vec<Peer>) -> Self {
        let now = Instant::now();
        let clock = Clock::new(
            now,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        );
        let manager = Manager::new(config, mode, known, [7; 32], clock, now).unwrap();
        let mut story = Self {
            manager,
            now,
            start: now,
            events: Vec::new(),
            dials: Vec::new(),
            closes: Vec::new(),
            admits: Vec::new(),
            others: Vec::new(),
            store_fails: false,
        };
        story.command(Command::Start);
        story
    }

    fn with_peers(count: u8) -> Self {
        let known = (0..count).map(|n| peer(n, PeerStatus::Unknown)).collect();
        Self::new(config(), OperatingMode::Normal, known)
    }

    fn input(&mut self, input: Input) {
        self.manager.handle(self.now, input);
        self.drain();
    }

    fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    fn drain(&mut self) {
        while let Some(action) = self.manager.poll_action() {
            match action {
                Action::Notify(event) => self.events.push(event),
                Action::Dial { setup, .. } => self.dials.push((setup.conn, setup.params.remote)),
                Action::Close { conn, reason } => self.closes.push((conn, reason)),
                Action::Admit { conn } => self.admits.push(conn),
                Action::Persist { batch, .. } => self.stored(batch),
                other => self.others.push(other),
            }
        }
        // Asked again at once, it wants nothing more.
        let before = self.manager.actions.len();
        self.manager.reconcile();
        assert_eq!(
            self.manager.actions.len(),
            before,
            "{:?}",
            self.manager.actions
        );
        if let Some((at, wake)) = self.manager.poll_timeout() {
            assert!(at > self.now, "{wake:?} lies in the past");
        }
        self.check_counts();
    }

    fn stored(&mut self, batch: BatchId) {
        let result = match self.store_fails {
            true => Err("disk full".into()),
            false => Ok(()),
        };
        self.manager
            .handle(self.now, Input::Stored { batch, result });
    }

    /// The counts are what a count of the connections gives.
    fn check_counts(&self) {
        let mut slots = Slots::default();
        for connection in self.manager.connections() {
            slots.add(connection);
        }
        assert_eq!(slots, self.manager.slots);
        assert!(
            slots.held()
                <= self
                    .manager
                    .config
                    .max_connections
                    .max(slots.held().min(20))
        );
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.manager.poll_timeout().filter(|&(at, _)| at <= end) {
            self.now = at;
            self.manager.handle_timeout(at);
            self.drain();
        }
        self.now = end;
        self.manager.handle_timeout(end);
        self.drain();
    }

    fn connected(&mut self, conn: ConnId) {
        self.input(Input::Connected { conn });
    }

    fn ready(&mut self, conn: ConnId, nonce: u64, port: u16) {
        let ready = ready(nonce, port);
        self.input(Input::Ready { conn, ready });
    }

    fn establish(&mut self, conn: ConnId) {
        self.connected(conn);
        self.ready(conn, 1_000_000 + conn.0, 0);
        assert!(self.admits.contains(&conn));
    }

    /// Makes every dial so far succeed.
    fn establish_all(&mut self) {
        for (conn, _) in std::mem::take(&mut self.dials) {
            self.establish(conn);
        }
    }

    fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        self.input(Input::Closed { conn, reason });
    }

    /// The driver does as it was told.
    fn close_all_told(&mut self) {
        for (conn, reason) in std::mem::take(&mut self.closes) {
            self.closed(conn, reason);
        }
    }

    fn fail(&mut self, conn: ConnId) {
        let failure = DialFailure::Refused;
        self.input(Input::DialFailed { conn, failure });
    }

    fn accept(&mut self, from: &str) -> Result<ConnId, Refusal> {
        let remote = from.parse().unwrap();
        let accepted = self
            .manager
            .accept(self.now, remote)
            .map(|setup| setup.conn);
        self.drain();
        accepted
    }

    fn status(&self, n: u8) -> PeerStatus {
        self.manager.book.get(address(n)).unwrap().peer.status
    }

    fn dialled(&self) -> Vec<SocketAddr> {
        self.dials.iter().map(|&(_, address)| address).collect()
    }

    fn state(&self, conn: ConnId) -> Option<ConnectionState> {
        let live = self.manager.connections.get(&conn)?;
        Some(live.connection.state)
    }
}

const EOF: CloseReason = CloseReason::Network(NetworkFailure::Eof);

// 4.1 and 4.4: the life of a connection

#[test]
fn test_over_capacity_rejection_flow() {
    let mut story = Story::with_peers(0);
    for n in 0..5 {
        let conn = story.accept(&format!("10.9.{n}.1:4000")).unwrap();
        story.ready(conn, 50 + n, 0);
    }
    assert_eq!(story.manager.connection_count(), 5);
    let conn = story.accept("10.8.0.1:4000").unwrap();
    assert_eq!(story.state(conn), Some(ConnectionState::Rejected));
    assert_eq!(story.manager.connection_count(), 5);
    assert_eq!(story.manager.slots.held(), 5);
    story.closed(conn, CloseReason::OverCapacity);
    assert!(matches!(
        story.events.last(),
        Some(ControlEvent::ConnectionRejectedCapacity { .. })
    ));
    assert_eq!(story.manager.slots.over_capacity(), 0);
}

#[test]
fn over_capacity_handshakes_are_bounded_in_all_and_by_ip() {
    let mut config = config();
    config.target_connections = 0;
    config.max_connections = 1;
    config.max_over_capacity = 3;
    let mut story = Story::new(config, OperatingMode::Normal, Vec::new());
    story.accept("10.0.0.9:1").unwrap();
    story.accept("10.0.0.1:1").unwrap();
    story.accept("10.0.0.1:2").unwrap();
    assert_eq!(story.accept("10.0.0.1:3"), Err(Refusal::OverCapacity));
    story.accept("10.0.0.2:1").unwrap();
    assert_eq!(story.accept("10.0.0.3:1"), Err(Refusal::OverCapacity));
}

#[test]
fn test_connection_restart_after_network_failure() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials[0];
    story.establish_all();
    story.closed(conn, EOF);
    assert_eq!(story.dialled(), [at], "at once, without backoff");
    assert_eq!(story.now, story.start);
    assert!(
        story
            .events
            .iter()
            .any(|event| matches!(event, ControlEvent::ConnectionRestarting { attempt: 1, .. }))
    );
}

#[test]
fn test_restart_limit_enforcement() {
    let mut story = Story::with_peers(1);
    for _ in 0..=3 {
        let (conn, _) = story.dials[0];
        story.establish_all();
        story.closed(conn, EOF);
    }
    assert_eq!(story.dialled(), []);
    assert_eq!(story.status(0), PeerStatus::Inaccessible);
}

#[test]
fn test_inbound_does_not_reconnect() {
    let mut story = Story::with_peers(0);
    let conn = story.accept("10.0.0.1:4000").unwrap();
    story.ready(conn, 5, 8333);
    story.closed(conn, EOF);
    story.pass(Duration::from_secs(100_000));
    assert_eq!(story.dialled(), []);
    assert_eq!(story.manager.book.len(), 0, "nor is it remembered");
}

#[test]
fn test_max_retries_enforcement() {
    let mut config = config();
    config.connection.max_retries = 4;
    let mut story = Story::new(
        config,
        OperatingMode::Normal,
        vec![peer(0, PeerStatus::Unknown)],
    );
    let mut dials = 0;
    while story.status(0) != PeerStatus::Inaccessible {
        let (conn, _) = story.dials.pop().expect("it is tried again");
        story.fail(conn);
        dials += 1;
        if story.status(0) != PeerStatus::Inaccessible {
            story.pass(Duration::from_secs(600));
        }
    }
    assert_eq!(dials, 1 + 4);
}

#[test]
fn test_successful_connection_resets_retry_count() {
    let mut story = Story::with_peers(1);
    for _ in 0..3 {
        let (conn, _) = story.dials.pop().unwrap();
        story.fail(conn);
        story.pass(Duration::from_secs(600));
    }
    assert_eq!(story.manager.book.retries(address(0)), Some(3));
    story.establish_all();
    assert_eq!(story.manager.book.retries(address(0)), Some(0));
    assert_eq!(story.status(0), PeerStatus::Valid);
}

#[test]
fn no_dial_comes_before_its_backoff() {
    let mut story = Story::with_peers(1);
    for retry in 0..8 {
        let (conn, _) = story.dials.pop().unwrap();
        story.fail(conn);
        let backoff = story.manager.config.connection.backoff(retry);
        story.pass(backoff / 2 - Duration::from_millis(1));
        assert_eq!(story.dialled(), [], "retry {retry}");
        story.pass(backoff / 2 + Duration::from_millis(2));
        assert_eq!(story.dialled(), [address(0)], "retry {retry}");
    }
}

// 5.1: slots

#[test]
fn test_connection_count_reservation() {
    let mut story = Story::with_peers(10);
    assert_eq!(
        story.dials.len(),
        3,
        "a slot each, before anything is connected"
    );
    assert_eq!(story.manager.slots.held(), 3);
    assert_eq!(story.manager.connection_count(), 0);
    story.establish_all();
    assert_eq!(story.manager.slots.held(), 3);
    assert_eq!(story.manager.connection_count(), 3);
}

#[test]
fn test_concurrent_inbound_connections_respect_max() {
    let mut story = Story::with_peers(0);
    let mut conns = Vec::new();
    for n in 0..20 {
        if let Ok(conn) = story.accept(&format!("10.7.{n}.1:4000")) {
            conns.push(conn);
        }
    }
    for (n, conn) in conns.into_iter().enumerate() {
        story.ready(conn, n as u64 + 1, 0);
    }
    assert_eq!(story.manager.connection_count(), 5);
    assert_eq!(story.manager.slots.held(), 5);
}

#[test]
fn test_connection_released_on_handshake_failure() {
    let mut story = Story::with_peers(0);
    let conn = story.accept("10.0.0.1:4000").unwrap();
    assert_eq!(story.manager.slots.held(), 1);
    story.closed(conn, CloseReason::HandshakeTimeout);
    assert_eq!(story.manager.slots.held(), 0);
    story.closed(conn, CloseReason::HandshakeTimeout);
    assert_eq!(story.manager.slots.held(), 0, "released once");
}

#[test]
fn a_slot_is_free_when_the_socket_is_gone_not_when_it_was_told_to_go() {
    let mut story = Story::with_peers(0);
    let mut conns = Vec::new();
    for n in 0..5 {
        let conn = story.accept(&format!("10.9.{n}.1:4000")).unwrap();
        story.ready(conn, 50 + n, 0);
        conns.push(conn);
    }
    let peer_id = story.manager.connections[&conns[0]].connection.peer_id;
    story.command(Command::Disconnect(peer_id));
    assert_eq!(story.manager.slots.held(), 5);
    story.close_all_told();
    assert_eq!(story.manager.slots.held(), 4);
}

// 5.2: whom to dial

#[test]
fn test_normal_mode_reaches_target_connections() {
    let mut story = Story::with_peers(10);
    story.establish_all();
    assert_eq!(story.manager.connection_count(), 3);
    assert_eq!(story.dials, []);
}

#[test]
fn test_normal_mode_respects_max_connections() {
    let mut config = config();
    config.target_connections = 5;
    let known = (0..50).map(|n| peer(n, PeerStatus::Valid)).collect();
    let mut story = Story::new(config, OperatingMode::Normal, known);
    story.establish_all();
    assert_eq!(story.manager.slots.held(), 5);
    assert_eq!(story.dials, []);
}

#[test]
fn test_fixed_peer_list_mode_only_connects_to_list() {
    let known = (0..10).map(|n| peer(n, PeerStatus::Valid)).collect();
    let mode = OperatingMode::FixedPeerList(vec![address(20), address(21)]);
    let mut story = Story::new(config(), mode, known);
    assert_eq!(story.dialled(), [address(20), address(21)]);
    assert!(
        !story
            .others
            .iter()
            .any(|action| matches!(action, Action::Resolve { .. }))
    );
    for _ in 0..30 {
        for (conn, at) in std::mem::take(&mut story.dials) {
            assert!([address(20), address(21)].contains(&at));
            story.fail(conn);
        }
        story.pass(Duration::from_secs(600));
    }
    assert_eq!(story.dials.len(), 2, "for ever");
}

#[test]
fn test_skips_banned_peers() {
    let mut banned = peer(0, PeerStatus::Banned);
    banned.ban = Some(Ban {
        reason: BanReason::Manual,
        at: wall(0),
        until: None,
    });
    let mut story = Story::new(config(), OperatingMode::Normal, vec![banned]);
    story.pass(Duration::from_secs(1_000_000));
    assert_eq!(story.dials, []);
}

#[test]
fn test_skips_inaccessible_peers() {
    let known = vec![
        peer(0, PeerStatus::Inaccessible),
        peer(1, PeerStatus::Valid),
    ];
    let mut story = Story::new(config(), OperatingMode::Normal, known);
    assert_eq!(story.dialled(), [address(1)]);
    story.pass(Duration::from_secs(3599));
    assert_eq!(story.dialled(), [address(1)]);
    story.pass(Duration::from_secs(2));
    assert_eq!(
        story.dialled(),
        [address(1), address(0)],
        "when nothing else is left"
    );
}

#[test]
fn test_prioritizes_valid_over_unknown_peers() {
    let mut known: Vec<_> = (0..20).map(|n| peer(n, PeerStatus::Unknown)).collect();
    known.extend((20..23).map(|n| peer(n, PeerStatus::Valid)));
    let story = Story::new(config(), OperatingMode::Normal, known);
    let mut dialled = story.dialled();
    dialled.sort();
    assert_eq!(dialled, [address(20), address(21), address(22)]);
}

// 5.4: duplicates

#[test]
fn test_prevents_duplicate_outbound_connections() {
    let mut story = Story::with_peers(1);
    story.command(Command::AddPeer(address(0)));
    story.pass(Duration::from_secs(10));
    assert_eq!(story.dialled(), [address(0)]);
}

#[test]
fn test_prevents_duplicate_inbound_connections() {
    let mut story = Story::with_peers(0);
    story.accept("10.0.0.1:4000").unwrap();
    assert_eq!(story.accept("10.0.0.1:4000"), Err(Refusal::Duplicate));
    assert_eq!(
        story.accept("[::ffff:10.0.0.1]:4000"),
        Err(Refusal::Duplicate)
    );
    assert!(story.accept("10.0.0.1:4001").is_ok());
}

#[test]
fn test_rejects_duplicate_active_connection() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    assert_eq!(
        story.accept(&address(0).to_string()),
        Err(Refusal::Duplicate)
    );
}

#[test]
fn test_handles_simultaneous_bidirectional_connections() {
    for inbound_wins in [false, true] {
        let mut story = Story::with_peers(1);
        let (outbound, _) = story.dials[0];
        story.connected(outbound);
        let ours = story.manager.connections[&outbound].connection.our_nonce;
        let theirs = if inbound_wins { ours - 1 } else { ours + 1 };
        let inbound = story.accept("10.0.0.1:55555").unwrap();
        story.ready(inbound, theirs, 8333);
        if inbound_wins {
            assert_eq!(story.closes, [(outbound, CloseReason::Duplicate)]);
            assert_eq!(story.admits, [inbound]);
        } else {
            assert_eq!(story.closes, [(inbound, CloseReason::Duplicate)]);
            story.ready(outbound, 77, 8333);
            assert_eq!(story.admits, [outbound]);
        }
        story.close_all_told();
        story.pass(Duration::from_secs(3600));
        assert_eq!(story.manager.connection_count(), 1);
        assert_eq!(story.dials.len(), 1, "it is not dialled again");
    }
}

#[test]
fn a_connection_to_ourselves_is_closed_and_not_made_again() {
    let mut story = Story::with_peers(1);
    let (outbound, _) = story.dials[0];
    story.connected(outbound);
    let inbound = story.accept("10.0.0.1:55555").unwrap();
    let nonce = story.manager.connections[&inbound].connection.our_nonce;
    story.ready(outbound, nonce, 0);
    assert_eq!(story.closes.len(), 2);
    story.close_all_told();
    story.pass(Duration::from_secs(1_000_000));
    assert_eq!(story.dials.len(), 1);
}

// 5.9: events

#[test]
fn test_manager_updates_peer_status_on_ban() {
    let mut story = Story::with_peers(1);
    let (conn, _) = story.dials[0];
    story.connected(conn);
    story.closed(
        conn,
        CloseReason::Violation(Violation::OtherChain {
            user_agent: UserAgent::from_static("/abc/"),
        }),
    );
    assert_eq!(story.status(0), PeerStatus::Banned);
    let until = Some(wall(24 * 3600));
    assert!(story.events.contains(&ControlEvent::PeerBanned {
        ip: address(0).ip(),
        reason: BanReason::BlockchainMismatch {
            user_agent: "/abc/".into()
        },
        until,
    }));
    assert_eq!(
        story.accept("10.0.0.1:1"),
        Err(Refusal::Banned),
        "whatever the port"
    );
    story.dials.clear();
    story.pass(Duration::from_secs(24 * 3600));
    assert_eq!(story.dialled(), [address(0)], "the ban is over");
}

#[test]
fn a_ban_holds_at_once_and_is_reported_when_it_is_stored() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    story.store_fails = true;
    story.command(Command::Ban(address(0).ip()));
    assert_eq!(story.closes.len(), 1);
    assert_eq!(story.accept("10.0.0.1:1"), Err(Refusal::Banned));
    let banned = |story: &Story| {
        story
            .events
            .iter()
            .filter(|event| matches!(event, ControlEvent::PeerBanned { .. }))
            .count()
    };
    let failed = |event: &ControlEvent| matches!(event, ControlEvent::StoreFailed { .. });
    assert!(story.events.iter().any(failed));
    assert_eq!(banned(&story), 0);
    story.store_fails = false;
    story.pass(Duration::from_secs(10));
    assert_eq!(banned(&story), 1);
}

#[test]
fn test_manager_initiates_new_connection_when_below_target() {
    let mut story = Story::with_peers(10);
    let (conn, _) = story.dials[0];
    story.establish_all();
    story.closed(conn, CloseReason::PingTimeout);
    assert_eq!(story.dials.len(), 1);
    assert_eq!(story.manager.slots.held(), 3);
}

#[test]
fn test_manager_handles_connection_failed_event() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials[0];
    story.fail(conn);
    assert!(story.events.iter().any(|event| matches!(
        event,
        ControlEvent::ConnectionFailed { address, reason: ConnectionError::Dial(DialFailure::Refused), .. }
            if *address == at
    )));
    assert_eq!(story.manager.slots.held(), 0);
}

#[test]
fn events_of_a_connection_that_is_gone_change_nothing() {
    let mut story = Story::with_peers(1);
    let (conn, _) = story.dials[0];
    story.fail(conn);
    let (events, held) = (story.events.len(), story.manager.slots.held());
    story.connected(conn);
    story.ready(conn, 9, 0);
    story.closed(conn, EOF);
    story.fail(conn);
    assert_eq!(
        (story.events.len(), story.manager.slots.held()),
        (events, held)
    );
}

// 5.11: configuration

#[test]
fn test_config_update_propagates_to_connections() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    let mut config = config();
    config.connection.ping_interval = Duration::from_secs(7);
    story.manager.update_config(story.now, config).unwrap();
    story.drain();
    assert!(story.others.iter().any(|action| matches!(
        action,
        Action::Configure { config, .. } if config.ping_interval.as_secs() == 7
    )));
    assert_eq!(story.events.last(), Some(&ControlEvent::ConfigUpdated));
}

#[test]
fn test_invalid_config_update_rejected() {
    let mut story = Story::with_peers(0);
    let before = story.manager.config.clone();
    let mut bad = config();
    bad.target_connections = 100;
    assert!(story.manager.update_config(story.now, bad).is_err());
    let other_network = ManagerConfig::new(Network::Testnet);
    assert!(
        story
            .manager
            .update_config(story.now, other_network)
            .is_err()
    );
    story.drain();
    assert_eq!(story.manager.config, before);
    assert!(!story.events.contains(&ControlEvent::ConfigUpdated));
}

#[test]
fn test_listener_restart_on_address_change() {
    let listens = |port| {
        let mut config = config();
        config.enable_listener = true;
        config.listener_address = [127, 0, 0, 1].into();
        config.listener_port = Some(port);
        config
    };
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut story = Story::new(listens(1000), OperatingMode::Normal, Vec::new());
    story.input(Input::Listening { address: at(1000) });
    story.others.clear();
    story
        .manager
        .update_config(story.now, listens(2000))
        .unwrap();
    story.drain();
    assert!(matches!(story.others[0], Action::Unlisten { address } if address == at(1000)));
    assert!(matches!(story.others[1], Action::Listen { address } if address == at(2000)));
    let error = "in use".to_string();
    story.input(Input::ListenFailed {
        address: at(2000),
        error,
    });
    story.others.clear();
    story.pass(Duration::from_secs(30));
    assert!(matches!(story.others[0], Action::Listen { address } if address == at(2000)));
}

#[test]
fn test_target_connections_update_triggers_new_connections() {
    let mut story = Story::with_peers(10);
    story.establish_all();
    let mut config = config();
    config.target_connections = 5;
    story.manager.update_config(story.now, config).unwrap();
    story.drain();
    assert_eq!(story.dials.len(), 2);
}

// outages, eviction, the end

#[test]
fn an_outage_slows_dialling_down_and_writes_nobody_off() {
    let mut story = Story::with_peers(30);
    let mut dials = 0;
    while story.now < story.start + Duration::from_secs(3 * 24 * 3600) {
        for (conn, _) in std::mem::take(&mut story.dials) {
            story.fail(conn);
            dials += 1;
        }
        story.pass(Duration::from_secs(10));
    }
    assert!(dials < 3 * 24 * 60 + 100, "{dials} dials in three days");
    assert!((0..30).all(|n| story.status(n) == PeerStatus::Unknown));
    while story.dials.is_empty() {
        story.pass(Duration::from_secs(1));
    }
    story.establish_all();
    assert_eq!(story.dials.len(), 2, "the first success lifts it for all");
}

#[test]
fn who_fills_all_slots_makes_room_for_a_dial_of_ours() {
    let mut config = config();
    config.target_connections = 3;
    config.min_outbound = Some(2);
    let mut story = Story::new(config, OperatingMode::Normal, Vec::new());
    for n in 0..5 {
        let conn = story.accept(&format!("10.66.0.{n}:4000")).unwrap();
        story.ready(conn, 50 + n, 0);
    }
    story.command(Command::AddPeer(address(1)));
    assert_eq!(story.closes.len(), 1);
    assert_eq!(story.closes[0].1, CloseReason::Evicted);
    assert_eq!(story.dials, []);
    // A newcomer is quick, but the slot is not its.
    story.close_all_told();
    assert_eq!(story.dialled(), [address(1)]);
    let late = story.accept("10.77.0.1:4000").unwrap();
    assert_eq!(story.state(late), Some(ConnectionState::Rejected));
}

#[test]
fn shutdown_closes_everything_and_says_when_it_is_done() {
    let mut story = Story::with_peers(5);
    story.establish_all();
    story.command(Command::Shutdown);
    assert_eq!(story.closes.len(), 3);
    let stopped = |story: &Story| {
        story
            .others
            .iter()
            .any(|action| matches!(action, Action::Stopped))
    };
    assert!(!stopped(&story));
    story.close_all_told();
    assert!(stopped(&story));
    assert_eq!(story.accept("10.0.0.1:1"), Err(Refusal::NotRunning));
    assert_eq!(story.manager.poll_timeout(), None);
}

#[test]
fn the_seeds_are_asked_at_the_start_and_every_hour() {
    let mut config = config();
    config.dns_seeds = Some(vec!["seed.test".into()]);
    let mut story = Story::new(config, OperatingMode::Normal, Vec::new());
    let asked = |story: &Story| {
        story
            .others
            .iter()
            .filter(|action| matches!(action, Action::Resolve { .. }))
            .count()
    };
    assert_eq!(asked(&story), 1);
    story.input(Input::Resolved {
        addresses: vec![address(1), address(2), address(1)],
    });
    assert!(
        story
            .events
            .iter()
            .any(|event| matches!(event, ControlEvent::PeersDiscovered { count: 2, .. }))
    );
    assert_eq!(story.dials.len(), 2);
    story.pass(Duration::from_secs(3600));
    assert_eq!(asked(&story), 2);
    story.pass(Duration::from_secs(7200));
    assert_eq!(asked(&story), 2, "one question at a time");
}

// stories that the model told

#[test]
fn who_dialled_us_from_where_it_listens_is_not_dialled_meanwhile() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials.pop().unwrap();
    story.fail(conn);
    let inbound = story.accept(&at.to_string()).unwrap();
    story.ready(inbound, 5, 0);
    story.pass(Duration::from_secs(3600));
    assert_eq!(story.dialled(), []);
    story.closed(inbound, EOF);
    assert_eq!(story.dialled(), [at], "but afterwards");
}

#[test]
fn a_node_that_dialled_us_twice_is_known_while_one_connection_is_left() {
    let mut story = Story::with_peers(0);
    let first = story.accept("10.1.0.1:50000").unwrap();
    story.ready(first, 5, 8333);
    let second = story.accept("10.1.0.1:50001").unwrap();
    story.ready(second, 6, 8333);
    story.command(Command::AddPeer(address(1)));
    story.closed(second, EOF);
    assert_eq!(story.dialled(), []);
    story.closed(first, EOF);
    assert_eq!(story.dialled(), [address(1)]);
}

#[test]
fn a_fixed_peer_that_was_inaccessible_is_dialled_at_the_start() {
    let known = vec![peer(1, PeerStatus::Inaccessible)];
    let mode = OperatingMode::FixedPeerList(vec![address(1)]);
    let story = Story::new(config(), mode, known);
    assert_eq!(story.dialled(), [address(1)]);
}

#[test]
fn seeds_cannot_make_us_dial_our_own_network() {
    let config = ManagerConfig::new(Network::Mainnet);
    let mut story = Story::new(config, OperatingMode::Normal, Vec::new());
    let addresses = [
        "10.0.0.1:8333",
        "127.0.0.1:8333",
        "1.2.3.4:0",
        "1.2.3.4:8333",
    ];
    story.input(Input::Resolved {
        addresses: addresses.map(|text| text.parse().unwrap()).to_vec(),
    });
    assert_eq!(story.dialled(), ["1.2.3.4:8333".parse().unwrap()]);
}

#[test]
fn after_the_end_nothing_follows() {
    let mut story = Story::with_peers(0);
    story.command(Command::Shutdown);
    let told = story.events.len();
    story.command(Command::Ban(address(1).ip()));
    story.command(Command::AddPeer(address(1)));
    assert_eq!(story.accept("10.1.0.1:1"), Err(Refusal::NotRunning));
    story.manager.update_config(story.now, config()).unwrap();
    story.pass(Duration::from_secs(3600));
    assert_eq!(story.events.len(), told);
}

#[test]
fn who_hangs_up_while_we_do_is_not_made_again_nor_written_off() {
    for end in [
        Command::Disconnect(peer(0, PeerStatus::Valid).id),
        Command::Shutdown,
    ] {
        let mut story = Story::with_peers(1);
        let (conn, _) = story.dials[0];
        story.establish_all();
        story.command(end);
        story.closed(conn, EOF);
        assert_eq!(story.dialled(), []);
        assert_eq!(story.status(0), PeerStatus::Valid);
    }
}

#[test]
fn a_ban_that_replaced_another_is_reported_when_it_is_stored_itself() {
    let mut story = Story::with_peers(0);
    let ip = address(1).ip();
    let violation = BanReason::ProtocolViolation {
        violation: "x".into(),
    };
    story
        .manager
        .ban(ip, violation, Some(Duration::from_secs(60)));
    story.manager.persist();
    let Some(Action::Persist { batch, .. }) = story.manager.poll_action() else {
        panic!("bans are stored at once");
    };
    story
        .manager
        .handle(story.now, Input::Command(Command::Ban(ip)));
    let result = Ok(());
    story
        .manager
        .handle(story.now, Input::Stored { batch, result });
    let next = story.manager.poll_action();
    assert!(matches!(next, Some(Action::Persist { .. })), "{next:?}");
}
