//! The design issues of the plan, each closed by a test that bears its number.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use p2p_core::{
    Action, BanReason, BatchId, Clock, CloseReason, Command, ConnId, ControlEvent, DialFailure,
    Input, Manager, ManagerConfig, Network, OperatingMode, Peer, PeerSource, PeerStatus, Refusal,
    Timestamp, UserAgent,
};
use p2p_proto::{
    Capacity, Config, Connection, Decoded, Event, FrameDecoder, FrameHeader, Limits, Message,
    NetworkAddress, NetworkFailure, Nonce, Params, Ready, Side, Version, VersionFields, Violation,
    encode_frame,
};

const EOF: CloseReason = CloseReason::Network(NetworkFailure::Eof);
const HOUR: Duration = Duration::from_secs(3600);

/// A manager, its time, and what it asked for.
struct Node {
    manager: Manager,
    now: Instant,
    dials: Vec<(ConnId, SocketAddr)>,
    events: Vec<ControlEvent>,
    batches: Vec<(BatchId, Vec<Peer>)>,
    others: Vec<Action>,
    /// Whether the store answers at once.
    store_answers: bool,
}

impl Node {
    fn new(config: ManagerConfig, mode: OperatingMode, known: u8) -> Self {
        let now = epoch();
        let clock = Clock::new(now, SystemTime::UNIX_EPOCH + unix(0));
        let at = Timestamp::from_unix(unix(0));
        let known = (0..known).map(|n| Peer::new(NETWORK, peer(n), PeerSource::Dns, at));
        let manager = Manager::new(config, mode, known.collect(), [3; 32], clock, now).unwrap();
        let mut node = Self {
            manager,
            now,
            dials: Vec::new(),
            events: Vec::new(),
            batches: Vec::new(),
            others: Vec::new(),
            store_answers: true,
        };
        node.command(Command::Start);
        node
    }

    fn with_peers(known: u8) -> Self {
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
                Action::Dial { setup, .. } => self.dials.push((setup.conn, setup.params.remote)),
                Action::Notify(event) => self.events.push(event),
                Action::Persist { batch, peers, .. } => {
                    self.batches.push((batch, peers));
                    if self.store_answers {
                        let result = Ok(());
                        self.manager
                            .handle(self.now, Input::Stored { batch, result });
                    }
                }
                other => self.others.push(other),
            }
        }
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

    fn accept(&mut self, from: SocketAddr) -> Result<ConnId, Refusal> {
        let answer = self.manager.accept(self.now, from).map(|setup| setup.conn);
        self.drain();
        answer
    }

    fn ready(&mut self, conn: ConnId, nonce: u64, port: u16) {
        let ready = Box::new(Ready::new(version(nonce, port), 0));
        self.input(Input::Ready { conn, ready });
    }

    fn establish(&mut self, conn: ConnId) {
        self.input(Input::Connected { conn });
        self.ready(conn, u64::MAX, 0);
    }

    fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        self.input(Input::Closed { conn, reason });
    }

    fn fail(&mut self, conn: ConnId) {
        let failure = DialFailure::Refused;
        self.input(Input::DialFailed { conn, failure });
    }

    fn status(&self, n: u8) -> PeerStatus {
        self.manager.explain_peer(peer(n)).unwrap().peer.status
    }

    fn count(&self, which: impl Fn(&Action) -> bool) -> usize {
        self.others.iter().filter(|action| which(action)).count()
    }
}

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
    for connection in node
        .manager
        .connections()
        .map(|it| it.id())
        .collect::<Vec<_>>()
    {
        node.closed(connection, EOF);
        node.closed(connection, EOF);
    }
    let inbound = node.manager.connections().filter(|it| it.is_inbound());
    assert_eq!(inbound.count(), 0, "each returned once");
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
        Err(Refusal::Duplicate),
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
fn issue_07_timeout_start() {
    // A connection begins when the transport is there, however long the dial took.
    let mut wire = Wire::new();
    let (deadline, _) = wire.connection.poll_timeout().unwrap();
    assert_eq!(deadline, wire.now + Duration::from_secs(60));
    wire.pass(Duration::from_secs(60));
    assert_eq!(wire.closed(), Some(CloseReason::HandshakeTimeout));
}

#[test]
fn issue_08_ping_nonces() {
    let mut wire = Wire::established();
    let sent = wire.sent();
    let nonce = sent.iter().find_map(|message| match message {
        Message::Ping(nonce) => Some(*nonce),
        _ => None,
    });
    let nonce = nonce.expect("a ping follows admission");
    assert_ne!(nonce.0, 0);
    wire.receive(Message::Pong(Nonce(nonce.0 ^ 1)));
    assert_eq!(wire.connection.latency(), None);
    assert_eq!(wire.connection.stats().unknown_pongs, 1);
    wire.receive(Message::Pong(nonce));
    assert!(wire.connection.latency().is_some());
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
fn issue_14_network_magic() {
    assert_eq!(Network::Mainnet.magic(), 0xe8f3_e1e3);
    assert_eq!(Network::Mainnet.magic_bytes(), [0xe3, 0xe1, 0xf3, 0xe8]);
}

#[test]
fn issue_15_ban_reasons_vs_reject_codes() {
    let violation = Violation::OtherChain {
        user_agent: UserAgent::from_static("/abc/"),
    };
    let reason = BanReason::from(&violation);
    let user_agent = "/abc/".into();
    assert_eq!(reason, BanReason::BlockchainMismatch { user_agent });
    // What a peer rejects us for bans nobody.
    let mut node = Node::with_peers(1);
    let (conn, _) = node.dials[0];
    node.input(Input::Connected { conn });
    let version = CloseReason::ObsoleteVersion {
        version: 1,
        least: 31_800,
    };
    node.closed(conn, version);
    assert_eq!(node.status(0), PeerStatus::Inaccessible);
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
fn issue_18_liveness_by_bytes() {
    for (bytes_a_second, stays) in [(2048, true), (1, false)] {
        let mut wire = Wire::established();
        wire.sent();
        // A block that takes longer than a pong may.
        let mut header = BytesMut::new();
        let header_of_block = FrameHeader {
            command: p2p_proto::Command::BLOCK,
            length: 3 << 20,
            checksum: Some([0; 4]),
        };
        header_of_block.encode(NETWORK.magic_bytes(), &mut header);
        wire.bytes(&header);
        for _ in 0..300 {
            wire.bytes(&vec![0; bytes_a_second]);
            wire.pass(Duration::from_secs(1));
            wire.sent();
        }
        assert_eq!(
            wire.closed().is_none(),
            stays,
            "{bytes_a_second} bytes a second"
        );
    }
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

/// One connection that was accepted, and its time.
struct Wire {
    connection: Connection,
    now: Instant,
    rest: BytesMut,
}

impl Wire {
    fn new() -> Self {
        let now = epoch();
        let config = Config::new(NETWORK);
        let params = Params {
            remote: source(1),
            nonce: 7,
            seed: [7; 32],
            clock: Clock::new(now, SystemTime::UNIX_EPOCH + unix(0)),
            capacity: Capacity::Free,
        };
        Self {
            connection: Connection::new(Arc::new(config), Side::Inbound, params, now),
            now,
            rest: BytesMut::new(),
        }
    }

    fn established() -> Self {
        let mut wire = Self::new();
        wire.receive(Message::Version(Box::new(version(1, 0))));
        wire.receive(Message::Verack);
        wire.sent();
        let events: Vec<_> = std::iter::from_fn(|| wire.connection.poll_event()).collect();
        assert!(events.iter().any(|event| matches!(event, Event::Ready(_))));
        wire.connection.admit(wire.now);
        wire
    }

    fn receive(&mut self, message: Message) {
        let mut bytes = BytesMut::new();
        encode_frame(NETWORK, &message, &mut bytes);
        self.bytes(&bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        self.connection.receive(self.now, &mut self.rest);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.connection.handle_timeout(self.now);
    }

    /// What it has to say.
    fn sent(&mut self) -> Vec<Message> {
        let mut bytes = BytesMut::new();
        while let Some(sent) = self.connection.poll_transmit() {
            self.connection.handle_written(self.now, sent.len());
            bytes.extend_from_slice(&sent);
        }
        let mut decoder = FrameDecoder::new(NETWORK, Limits::DEFAULT);
        let mut messages = Vec::new();
        while let Some(Decoded::Frame { command, body }) = decoder.decode(&mut bytes).unwrap() {
            messages.push(body.decode(command).unwrap());
        }
        messages
    }

    fn closed(&mut self) -> Option<CloseReason> {
        self.sent();
        let mut events = std::iter::from_fn(|| self.connection.poll_event());
        events.find_map(|event| match event {
            Event::Closed(reason) => Some(reason),
            _ => None,
        })
    }
}

const NETWORK: Network = Network::Regtest;

fn config() -> ManagerConfig {
    let mut config = ManagerConfig::new(NETWORK);
    config.target_connections = 3;
    config.max_connections = 5;
    config
}

/// Where a peer listens.
fn peer(n: u8) -> SocketAddr {
    SocketAddr::from(([10, n, 0, 1], 8333))
}

/// Where a peer dials us from.
fn source(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 100, n, 1], 50_000))
}

fn version(nonce: u64, port: u16) -> Version {
    let addr_from = NetworkAddress {
        port,
        ..NetworkAddress::UNSPECIFIED
    };
    Version {
        nonce,
        addr_from,
        fields: VersionFields::AssociationId,
        ..Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED)
    }
}

/// Seconds after the tests begin.
fn unix(secs: u64) -> Duration {
    Duration::from_secs(1_700_000_000 + secs)
}

#[expect(clippy::disallowed_methods, reason = "an epoch: all else is an offset")]
fn epoch() -> Instant {
    Instant::now()
}
