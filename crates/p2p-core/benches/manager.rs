//! The manager with a thousand, a hundred thousand and a million known peers.
//!
//! `cargo bench -p p2p-core --bench manager`. What it costs to take a connection and lose it
//! again, and to see a dial fail and choose whom to dial next: neither may grow with the number
//! of peers, nor with a fixed list. And what a handshake costs beside so many connections: it may not
//! grow with those.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use p2p_core::netgroup::is_routable;
use p2p_core::{
    Action, BatchId, Clock, CloseReason, Command, ConnId, ConnectionState, DialFailure, Input,
    Manager, ManagerConfig, Network, OperatingMode, Peer, PeerConnection, PeerSource, Timestamp,
};
use p2p_proto::{NetworkAddress, PROTOCOL_VERSION, Ready, Version};

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const UNIX: Duration = Duration::from_secs(1_700_000_000);

fn accept(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("accept and close");
    for size in SIZES {
        let mut node = Node::new(size, 0);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| accept_and_close(&mut node));
        });
    }
    group.finish();
}

/// The same beside a fixed list, all of which is being dialled.
fn accept_beside_a_list(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("accept and close, fixed list");
    for size in [10, 10_000] {
        let list = peers().take(size).map(|peer| peer.address()).collect();
        let mut node = Node::in_mode(OperatingMode::FixedPeerList(list), 0, 0);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| accept_and_close(&mut node));
        });
    }
    group.finish();
}

fn accept_and_close(node: &mut Node) {
    let remote = SocketAddr::from(([1, 2, 3, 4], 50_000));
    let setup = node.manager.accept(node.now, remote);
    let conn = setup.expect("there is room").conn;
    let reason = CloseReason::Requested;
    node.input(Input::Closed { conn, reason });
}

fn dial(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dial, fail, choose the next");
    for size in SIZES {
        let mut node = Node::new(size, 1);
        // One connection of another's making: no outage, whatever fails.
        node.establish(0);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                node.now += Duration::from_millis(20);
                let conn = node.dialled.take().expect("one is always under way");
                let failure = DialFailure::Refused;
                node.input(Input::DialFailed { conn, failure });
            });
        });
    }
    group.finish();
}

/// A connection is accepted, shakes hands, is admitted, and ends, beside others that stay.
fn shake_hands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("accept, shake hands, close");
    for connections in [10, 1_000, 10_000] {
        let mut node = Node::new(0, 0);
        for n in 0..connections {
            node.establish(n);
        }
        group.bench_function(BenchmarkId::from_parameter(connections), |bencher| {
            bencher.iter(|| {
                let conn = node.establish(connections);
                let reason = CloseReason::Requested;
                node.input(Input::Closed { conn, reason });
            });
        });
    }
    group.finish();
}

/// A manager that runs, and the driver that it needs.
struct Node {
    manager: Manager,
    now: Instant,
    dialled: Option<ConnId>,
    batch: Option<BatchId>,
}

impl Node {
    fn new(known: usize, target: usize) -> Self {
        Self::in_mode(OperatingMode::Normal, known, target)
    }

    fn in_mode(mode: OperatingMode, known: usize, target: usize) -> Self {
        let now = epoch();
        let clock = Clock::new(now, SystemTime::UNIX_EPOCH + UNIX);
        let mut config = ManagerConfig::new(Network::Mainnet);
        config.target_connections = target;
        config.max_connections = 20_000;
        config.min_outbound = Some(1);
        config.dns_seeds = Some(Vec::new());
        // Short, so that of the smallest book too most are ready.
        config.connection.initial_backoff = Duration::from_secs(1);
        config.connection.max_backoff = Duration::from_secs(1);
        config.inaccessible_retry = Duration::from_secs(1);
        let known = peers().take(known).collect();
        let manager = Manager::new(config, mode, known, [7; 32], clock, now);
        let mut node = Self {
            manager: manager.expect("the configuration is valid"),
            now,
            dialled: None,
            batch: None,
        };
        node.input(Input::Command(Command::Start));
        node
    }

    fn input(&mut self, input: Input) {
        self.manager.handle(self.now, input);
        while let Some(action) = self.manager.poll_action() {
            match action {
                Action::Dial { setup, .. } => self.dialled = Some(setup.conn),
                // A store that never answers: what is waiting stays in one set.
                Action::Persist { batch, .. } => self.batch = Some(batch),
                _ => {}
            }
        }
    }

    /// Makes a connection of the how many-th host.
    fn establish(&mut self, host: u32) -> ConnId {
        let ip = Ipv4Addr::from_bits(0x0102_0304 + host);
        let setup = self.manager.accept(self.now, (ip, 50_000).into());
        let conn = setup.expect("there is room").conn;
        let version = Version {
            nonce: u64::MAX - u64::from(host),
            ..Version::minimal(PROTOCOL_VERSION, 0, NetworkAddress::UNSPECIFIED)
        };
        let ready = Box::new(Ready::new(version, 0));
        self.input(Input::Ready { conn, ready });
        let admitted = self.manager.connection(conn);
        let state = admitted.map(PeerConnection::state);
        assert_eq!(state, Some(ConnectionState::Connected));
        conn
    }
}

/// Different peers all over the world.
fn peers() -> impl Iterator<Item = Peer> {
    // An odd factor: no address comes twice.
    let ips = (1..=u32::MAX)
        .map(|number| IpAddr::from(Ipv4Addr::from_bits(number.wrapping_mul(0x9E37_79B1))));
    let now = Timestamp::from_unix(UNIX);
    ips.filter(|&ip| is_routable(ip)).map(move |ip| {
        let address = SocketAddr::new(ip, 8333);
        Peer::new(Network::Mainnet, address, PeerSource::Gossip, now)
    })
}

#[expect(clippy::disallowed_methods, reason = "an epoch: all else is an offset")]
fn epoch() -> Instant {
    Instant::now()
}

criterion_group!(manager, accept, accept_beside_a_list, dial, shake_hands);
criterion_main!(manager);
