//! The rules of the manager, each as a small story.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a story waits for one thing among many"
)]

mod bans;
mod configuration;
mod dialling;
mod duplicates;
mod eviction;
mod lifecycle;
mod outage;
mod shutdown;
mod slots;
mod store;
mod telling;

use std::time::SystemTime;

use p2p_proto::{
    CloseReason, Network, NetworkAddress, NetworkFailure, Ready, UserAgent, Version, VersionFields,
    Violation,
};

use uuid::Uuid;

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
    /// What the store holds.
    records: BTreeMap<Uuid, Peer>,
    /// How the store answers.
    store: Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    /// At once.
    Works,
    Fails,
    /// Not at all.
    Hangs,
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
            records: BTreeMap::new(),
            store: Store::Works,
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
                Action::Persist { batch, peers, gone } => self.persist(batch, peers, &gone),
                Action::Save => {
                    self.others.push(Action::Save);
                    self.answer(|result| Input::Saved { result });
                }
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
        self.check_tables();
    }

    fn persist(&mut self, batch: BatchId, peers: Vec<Peer>, gone: &[Uuid]) {
        if self.store == Store::Works {
            self.records.retain(|id, _| !gone.contains(id));
            self.records
                .extend(peers.into_iter().map(|peer| (peer.id, peer)));
        }
        self.answer(|result| Input::Stored { batch, result });
    }

    fn answer(&mut self, input: impl FnOnce(Result<(), String>) -> Input) {
        let result = match self.store {
            Store::Works => Ok(()),
            Store::Fails => Err("disk full".into()),
            Store::Hangs => return,
        };
        self.manager.handle(self.now, input(result));
    }

    fn record(&self, address: SocketAddr) -> Option<&Peer> {
        self.records.get(&Peer::id_of(Network::Regtest, address))
    }

    /// How many actions of a kind there were, of those that are not counted apart.
    fn count(&self, kind: impl Fn(&Action) -> bool) -> usize {
        self.others.iter().filter(|action| kind(action)).count()
    }

    fn events(&self, kind: impl Fn(&ControlEvent) -> bool) -> usize {
        self.events.iter().filter(|event| kind(event)).count()
    }

    /// Counts and indexes are what a look at all connections gives.
    fn check_tables(&self) {
        let mut slots = Slots::default();
        let mut by_address = BTreeMap::new();
        let mut nonces = BTreeSet::new();
        let mut listening_peers = BTreeSet::new();
        for live in self.manager.connections.values() {
            let connection = &live.connection;
            slots.add(connection);
            by_address.insert(connection.address, connection.id);
            nonces.insert((connection.our_nonce, connection.id));
            let listens_at = connection.listens_at();
            let listens_at = listens_at.filter(|_| connection.is_inbound() && live.was_established);
            listening_peers.extend(listens_at.map(|at| (at.into(), connection.id)));
        }
        assert_eq!(slots, self.manager.slots);
        assert_eq!(listening_peers, self.manager.listening_peers);
        assert_eq!(by_address, self.manager.by_address);
        assert_eq!(nonces, self.manager.nonces);
    }

    /// After the manager was changed by other means than inputs.
    fn settle(&mut self) {
        self.manager.reconcile();
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.manager.poll_timeout().filter(|&(at, _)| at <= end) {
            self.now = at;
            self.manager.handle_timeout(at);
            self.drain();
        }
        // Not asked at a moment that nobody named: a wake-up that is missing is to be missed.
        self.now = end;
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

    fn accept(&mut self, from: &str) -> Result<ConnId, InboundRefusal> {
        let remote = from.parse().unwrap();
        let accepted = self
            .manager
            .accept(self.now, remote)
            .map(|setup| setup.conn);
        self.drain();
        accepted
    }

    /// Somebody has dialled us, and was admitted.
    fn accept_established(&mut self, from: &str) -> ConnId {
        let conn = self.accept(from).unwrap();
        self.ready(conn, 2_000_000 + conn.0, 0);
        assert!(self.admits.contains(&conn));
        conn
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
