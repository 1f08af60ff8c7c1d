//! A manager and its model, side by side.

mod ids;
mod outputs;
mod steps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use p2p_core::{
    Ban, BanReason, BatchId, Clock, CloseReason, Command, ConnId, ConnectionState, Input, Manager,
    ManagerConfig, Network, OperatingMode, Peer, PeerSource, Setup, Timestamp,
};
use p2p_proto::{Capacity, Side};
use uuid::Uuid;

use super::inputs::{Scenario, Step, Target};
use super::reference::{Link, Reference};
use ids::IDS;

const NETWORK: Network = Network::Regtest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Running,
    Stopping,
    Stopped,
}

/// A batch of records, and the bans in it.
#[derive(Debug)]
struct Batch {
    id: BatchId,
    bans: BTreeMap<IpAddr, Ban>,
}

pub(crate) struct Run {
    pub(crate) inputs: usize,
    manager: Manager,
    model: Reference,
    config: ManagerConfig,
    clock: Clock,
    now: Instant,
    phase: Phase,
    dialled_or_accepted: usize,
    listener: Option<SocketAddr>,
    under_way: Option<Batch>,
    /// Bans as the store has them.
    stored: BTreeMap<IpAddr, Ban>,
    unreported: BTreeSet<IpAddr>,
    /// A save was asked for.
    saving: bool,
    /// When the end comes in any case.
    stop_by: Option<Instant>,
    /// Handshakes that are complete, and to be judged.
    asked: Option<ConnId>,
    /// Connections that are gone, and were not yet reported so: whether they were admitted.
    ended: BTreeMap<SocketAddr, bool>,
    /// What was told of a connection that is about to be admitted.
    announced: Vec<Event>,
    /// Events that must come next.
    due: VecDeque<Event>,
}

/// What is told of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Accepted(SocketAddr),
    Complete(SocketAddr),
    Established(SocketAddr),
}

impl Run {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let now = epoch();
        let clock = Clock::new(
            now,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        );
        let known = scenario.known.iter().map(|&(address, status)| {
            let at = Timestamp::from_unix(clock.unix(now));
            let mut peer = Peer::new(NETWORK, address, PeerSource::Dns, at);
            peer.status = status;
            peer
        });
        let mode = match &scenario.fixed {
            Some(fixed) => OperatingMode::FixedPeerList(fixed.clone()),
            None => OperatingMode::Normal,
        };
        let config = scenario.settings.config();
        let seed = [scenario.seed; 32];
        let manager = Manager::new(config.clone(), mode, known.collect(), seed, clock, now);
        let mut model = Reference {
            fixed: scenario.fixed.clone(),
            ..Reference::default()
        };
        let named = scenario.known.iter().map(|&(address, _)| address);
        let named = named.chain(scenario.fixed.iter().flatten().copied());
        model
            .wanted
            .extend(named.filter(|address| address.port() != 0));
        let mut run = Self {
            inputs: 0,
            manager: manager.expect("the configuration is valid"),
            model,
            config,
            clock,
            now,
            phase: Phase::Idle,
            dialled_or_accepted: 0,
            listener: None,
            under_way: None,
            stored: BTreeMap::new(),
            unreported: BTreeSet::new(),
            saving: false,
            stop_by: None,
            asked: None,
            ended: BTreeMap::new(),
            announced: Vec::new(),
            due: VecDeque::new(),
        };
        run.command(Command::Start);
        run
    }

    pub(crate) fn take(&mut self, step: &Step) {
        match step.clone() {
            Step::Accept(from) => self.accept(from),
            Step::Next(at, well, hello, reason) => self.next(at, well, hello, reason),
            Step::Connected(target) => self.connected(self.conn(target)),
            Step::DialFailed(target, failure) => self.dial_failed(self.conn(target), failure),
            Step::Ready(target, hello) => self.ready(self.conn(target), hello),
            Step::Closed(target, reason) => self.closed(self.conn(target), reason),
            Step::Gossip(target, named) => self.gossip(self.conn(target), &named),
            Step::AddressesWanted(target) => {
                let conn = self.conn(target);
                self.input(Input::AddressesWanted { conn });
            }
            Step::Latency(target, latency) => {
                let conn = self.conn(target);
                self.input(Input::Latency { conn, latency });
            }
            Step::Resolved(addresses) => {
                if self.model.fixed.is_none() {
                    self.name(&addresses);
                }
                self.input(Input::Resolved { addresses });
            }
            Step::Listening(at, well) => self.listening(at, well),
            Step::Saved(ok) => self.saved(ok),
            Step::Stored(batch, ok) => self.store_answers(batch, ok),
            Step::Changed(at, change) => self.changed(at, change),
            Step::Start => self.command(Command::Start),
            Step::Shutdown => self.command(Command::Shutdown),
            Step::Ban(ip) => self.command(Command::Ban(ip)),
            Step::Unban(ip) => self.command(Command::Unban(ip)),
            Step::AddPeer(address) => self.command(Command::AddPeer(address)),
            Step::Disconnect(at) => {
                let conn = self.conn(Target::Live(at));
                let address = self.model.links.get(&conn).map(|link| link.address);
                let peer_id = address.map_or(Uuid::nil(), |address| Peer::id_of(NETWORK, address));
                self.command(Command::Disconnect(peer_id));
            }
            Step::Configure(config) => self.configure(config.config()),
            Step::Wait(time) => {
                self.now += time;
                self.timeout();
            }
            Step::Deadline(whole) => {
                if let Some((at, _)) = self.manager.poll_timeout() {
                    let left = at - self.now;
                    self.now += if whole { left } else { left / 2 };
                }
                self.timeout();
            }
        }
    }

    /// The store answers, everything is closed, and nothing is left.
    pub(crate) fn end(&mut self) {
        for _ in 0..100 {
            match self.manager.poll_timeout() {
                _ if self.under_way.is_some() => self.store_answers(None, true),
                Some((at, _)) if self.has_unreported() => {
                    self.now = at;
                    self.timeout();
                }
                _ => break,
            }
        }
        assert!(!self.has_unreported(), "a ban is stored and not reported");

        self.command(Command::Shutdown);
        for conn in self.model.links.keys().copied().collect::<Vec<_>>() {
            self.closed(conn, CloseReason::Shutdown);
        }
        while self.under_way.is_some() || self.saving {
            match self.saving {
                true => self.saved(true),
                false => self.store_answers(None, true),
            }
        }
        assert_eq!(self.phase, Phase::Stopped);
        assert_eq!(self.manager.connections().count(), 0);
        assert_eq!(self.manager.connection_count(), 0);
        assert_eq!(self.manager.explain().pending, 0, "a slot was not returned");
    }

    // private

    fn conn(&self, target: Target) -> ConnId {
        let links = &self.model.links;
        match target {
            Target::Live(at) if !links.is_empty() => *links
                .keys()
                .nth(at % links.len())
                .expect("there are as many"),
            Target::Live(at) | Target::Any(at) => IDS.connections[at % IDS.connections.len()],
        }
    }

    fn link(&mut self, setup: &Setup) {
        assert_eq!(setup.conn, IDS.connections[self.dialled_or_accepted]);
        self.dialled_or_accepted += 1;
        let inbound = setup.side == Side::Inbound;
        let full = setup.params.capacity == Capacity::Full;
        let link = Link {
            address: setup.params.remote,
            inbound,
            full,
            state: match (inbound, full) {
                (true, true) => ConnectionState::Rejected,
                (true, false) => ConnectionState::AwaitingHandshake,
                (false, _) => ConnectionState::Connecting,
            },
            nonce: setup.params.nonce,
            said: None,
            admitted: false,
            told: None,
        };
        self.model.links.insert(setup.conn, link);
    }

    /// Whether a ban in force was not reported. A store that fails does not hold up the end.
    fn has_unreported(&self) -> bool {
        let bans = &self.model.bans;
        self.phase != Phase::Stopped && self.unreported.iter().any(|ip| bans.contains_key(ip))
    }

    fn unlink(&mut self, conn: ConnId) -> Option<Link> {
        let link = self.model.links.remove(&conn)?;
        self.ended.insert(link.address, link.admitted);
        Some(link)
    }

    fn name(&mut self, addresses: &[SocketAddr]) {
        let dialable = addresses.iter().filter(|address| address.port() != 0);
        self.model.wanted.extend(dialable);
    }

    fn ban(&mut self, ip: IpAddr, reason: BanReason, duration: Option<Duration>) {
        let is_manual = reason == BanReason::Manual;
        let ban = self.ban_until(reason, duration);
        if self.phase != Phase::Stopped && (self.model.ban(ip, ban) || is_manual) {
            self.unreported.insert(ip);
        }
    }

    fn ban_until(&self, reason: BanReason, duration: Option<Duration>) -> Ban {
        let at = self.timestamp();
        let after = |time| Timestamp::from_unix(Duration::from_millis(at.as_millis()) + time);
        let until = duration.map(after);
        Ban { reason, at, until }
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_unix(self.clock.unix(self.now))
    }
}

#[expect(clippy::disallowed_methods, reason = "an epoch: all else is an offset")]
fn epoch() -> Instant {
    Instant::now()
}
