//! A manager and its model, side by side.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use p2p_core::{
    Action, Ban, BanReason, BatchId, Clock, CloseReason, Command, ConnId, ConnectionState,
    ControlEvent, DialFailure, Input, Manager, ManagerConfig, Message, Network, OperatingMode,
    Peer, PeerSource, PeerStatus, Services, Setup, Timestamp,
};
use p2p_proto::{Capacity, NetworkAddress, Ready, Side, TimedAddress, Version};
use uuid::Uuid;

use super::inputs::{Change, Hello, Nonce, Scenario, Step, Target};
use super::reference::{Link, Reference};

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

    // inputs

    fn accept(&mut self, from: SocketAddr) {
        if self.phase == Phase::Running {
            self.model.expire(self.timestamp());
        }
        let answer = self.manager.accept(self.now, from);
        let capacity = answer.as_ref().map(|setup| setup.params.capacity);
        let running = self.phase == Phase::Running;
        let capacity = capacity.map_err(|refusal| *refusal);
        self.model
            .check_accept(&self.config, running, from, capacity);
        if let Ok(setup) = answer {
            assert_eq!(setup.side, Side::Inbound);
            self.due.push_back(Event::Accepted(from));
            self.link(&setup);
        }
        self.after();
    }

    fn next(&mut self, at: usize, well: bool, hello: Hello, reason: CloseReason) {
        let conn = self.conn(Target::Live(at));
        let Some(link) = self.model.links.get(&conn) else {
            return self.timeout();
        };
        match (link.state, well) {
            (ConnectionState::Connecting, true) => self.connected(conn),
            (ConnectionState::Connecting, false) => {
                self.dial_failed(conn, DialFailure::Refused);
            }
            (ConnectionState::AwaitingHandshake, true) => self.ready(conn, hello),
            (ConnectionState::AwaitingHandshake, false) => self.closed(conn, reason),
            (ConnectionState::Rejected, _) => self.closed(conn, CloseReason::OverCapacity),
            (ConnectionState::Failed, true) => self.closed(conn, CloseReason::Requested),
            (ConnectionState::Failed, false) => self.closed(conn, reason),
            (ConnectionState::Connected | ConnectionState::Disconnected, _) => {
                let latency = Duration::from_millis(at as u64 % 100);
                self.input(Input::Latency { conn, latency });
            }
        }
    }

    fn connected(&mut self, conn: ConnId) {
        if let Some(link) = self.model.links.get_mut(&conn)
            && link.state == ConnectionState::Connecting
        {
            link.state = ConnectionState::AwaitingHandshake;
        }
        self.input(Input::Connected { conn });
    }

    fn dial_failed(&mut self, conn: ConnId, failure: DialFailure) {
        let link = self.model.links.get(&conn);
        if link.is_some_and(|link| !link.inbound && link.said.is_none()) {
            self.unlink(conn);
        }
        self.input(Input::DialFailed { conn, failure });
    }

    fn ready(&mut self, conn: ConnId, hello: Hello) {
        let nonce = match hello.nonce {
            Nonce::Own(nonce) => nonce,
            Nonce::Ours(at) => {
                let links = &self.model.links;
                let link = links.values().nth(at % links.len().max(1));
                link.map_or(0, |link| link.nonce)
            }
        };
        if let Some(link) = self.model.links.get_mut(&conn)
            && link.state == ConnectionState::AwaitingHandshake
        {
            link.said = Some(hello.port);
            self.asked = Some(conn);
        }
        let version = Version {
            nonce,
            addr_from: NetworkAddress {
                port: hello.port,
                ..NetworkAddress::UNSPECIFIED
            },
            ..Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED)
        };
        let ready = Box::new(Ready::new(version, 0));
        self.input(Input::Ready { conn, ready });
    }

    fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        if let Some(link) = self.unlink(conn) {
            let is_us = link.told.as_ref().unwrap_or(&reason) == &CloseReason::SelfConnection;
            if let CloseReason::Violation(violation) = &reason {
                let until = self.config.ban_duration;
                self.ban(link.address.ip(), violation.into(), until);
            } else if is_us && !link.inbound {
                self.model.ours.insert(link.address);
            }
        }
        self.input(Input::Closed { conn, reason });
    }

    fn gossip(&mut self, conn: ConnId, named: &[SocketAddr]) {
        let link = self.model.links.get(&conn);
        let admitted = link.is_some_and(|link| link.state == ConnectionState::Connected);
        if admitted && self.model.fixed.is_none() {
            self.name(named);
        }
        let addresses = named.iter().map(|&address| TimedAddress {
            time: 0,
            address: NetworkAddress::new(Services::NONE, address),
        });
        let addresses = addresses.collect();
        self.input(Input::Gossip { conn, addresses });
    }

    fn listening(&mut self, at: Option<SocketAddr>, well: bool) {
        let Some(address) = at.or(self.listener) else {
            return self.timeout();
        };
        if well {
            return self.input(Input::Listening { address });
        }
        self.listener = self.listener.filter(|&asked| asked != address);
        let error = "in use".to_owned();
        self.input(Input::ListenFailed { address, error });
    }

    fn store_answers(&mut self, batch: Option<usize>, ok: bool) {
        let under_way = self.under_way.as_ref().map(|batch| batch.id);
        let batch = match batch {
            None => under_way,
            Some(at) => Some(IDS.batches[at]),
        };
        let Some(batch) = batch else {
            return self.timeout();
        };
        if let Some(done) = self.under_way.take_if(|under_way| under_way.id == batch)
            && ok
        {
            self.stored.extend(done.bans);
        }
        let result = if ok { Ok(()) } else { Err("disk full".into()) };
        self.input(Input::Stored { batch, result });
    }

    fn saved(&mut self, ok: bool) {
        self.saving = false;
        let result = if ok { Ok(()) } else { Err("disk full".into()) };
        self.input(Input::Saved { result });
    }

    fn changed(&mut self, at: SocketAddr, change: Change) {
        let now = self.timestamp();
        let mut peer = Peer::new(NETWORK, at, PeerSource::Dns, now);
        match change {
            Change::Banned(duration) => {
                let reason = BanReason::ProtocolViolation {
                    violation: "elsewhere".into(),
                };
                peer.status = PeerStatus::Banned;
                let ban = self.ban_until(reason, duration);
                let ended = ban.until.is_some_and(|until| until <= now);
                if ended {
                    self.name(&[at]);
                } else if self.phase != Phase::Stopped && self.model.ban(at.ip(), ban.clone()) {
                    // The store has it, and we are not the ones to store it.
                    self.unreported.remove(&at.ip());
                    self.stored.insert(at.ip(), ban.clone());
                }
                peer.ban = Some(ban);
            }
            Change::Free if at.port() == 0 => {
                self.model.bans.remove(&at.ip());
            }
            Change::Free => self.name(&[at]),
        }
        self.input(Input::Changed { peers: vec![peer] });
    }

    fn command(&mut self, command: Command) {
        match &command {
            Command::Start if self.phase == Phase::Idle => self.phase = Phase::Running,
            Command::Shutdown if matches!(self.phase, Phase::Idle | Phase::Running) => {
                self.phase = Phase::Stopping;
                self.stop_by = Some(self.now + Duration::from_secs(10));
            }
            Command::Ban(ip) => {
                self.ban(*ip, BanReason::Manual, None);
            }
            Command::Unban(ip) => {
                self.model.bans.remove(ip);
            }
            Command::AddPeer(address) => self.name(&[*address]),
            _ => {}
        }
        self.input(Input::Command(command));
    }

    fn configure(&mut self, config: ManagerConfig) {
        self.config = config.clone();
        let updated = self.manager.update_config(self.now, config);
        updated.expect("the configuration is valid");
        self.after();
    }

    fn timeout(&mut self) {
        self.end_if_late();
        self.manager.handle_timeout(self.now);
        self.after();
    }

    fn end_if_late(&mut self) {
        if self.phase == Phase::Stopping && self.stop_by.is_some_and(|by| by <= self.now) {
            for conn in self.model.links.keys().copied().collect::<Vec<_>>() {
                self.unlink(conn);
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.end_if_late();
        self.manager.handle(self.now, input);
        self.after();
    }

    // outputs

    /// Carries out what the manager asks for, and looks at what is left.
    fn after(&mut self) {
        self.inputs += 1;
        if self.phase == Phase::Running {
            self.model.expire(self.timestamp());
        }
        while let Some(action) = self.manager.poll_action() {
            self.act(action);
        }
        assert!(self.due.is_empty(), "{:?} did not come", self.due);
        assert!(self.announced.is_empty(), "{:?} alone", self.announced);
        assert!(self.ended.is_empty(), "{:?} ended untold", self.ended);
        assert_eq!(self.asked, None, "neither admitted nor closed");

        self.model.check_connections(self.manager.connections());
        let held = self.model.held();
        let established = self.model.established();
        assert_eq!(self.manager.connection_count(), established);
        assert_eq!(self.manager.explain().pending, held - established);

        let wake = self.manager.poll_timeout();
        assert!(wake.is_none_or(|(at, _)| at > self.now), "{wake:?} is past");
        assert!(self.phase != Phase::Stopped || wake.is_none());
        self.manager.handle_timeout(self.now);
        let again = self.manager.poll_action();
        assert!(again.is_none(), "asked again it wants {again:?}");
        assert_eq!(self.manager.poll_timeout(), wake);
    }

    fn act(&mut self, action: Action) {
        assert_ne!(self.phase, Phase::Stopped, "after the end: {action:?}");
        assert!(
            self.due.is_empty() || matches!(action, Action::Notify(_)),
            "{:?} should come before {action:?}",
            self.due
        );
        match action {
            Action::Dial { setup, .. } => {
                assert_eq!(self.phase, Phase::Running);
                assert_eq!(setup.side, Side::Outbound);
                self.model.check_dial(&self.config, setup.params.remote);
                self.link(&setup);
            }
            Action::Admit { conn } => self.admitted(conn),
            Action::Close { conn, reason } => self.told_to_close(conn, &reason),
            Action::Send { conn, message } => {
                assert!(matches!(message, Message::GetAddr | Message::Addr(_)));
                assert_eq!(self.model.links[&conn].state, ConnectionState::Connected);
            }
            Action::Configure { conn, .. } => assert!(self.model.links.contains_key(&conn)),
            Action::Resolve { .. } => {
                assert_eq!(self.phase, Phase::Running);
                assert_eq!(self.model.fixed, None, "DNS in fixed mode");
            }
            Action::Listen { address } => {
                assert_eq!(self.phase, Phase::Running);
                assert_eq!(self.config.listen_on(), Some(address));
                assert_eq!(self.listener.replace(address), None, "two listeners");
            }
            Action::Unlisten { address } => assert_eq!(self.listener.take(), Some(address)),
            Action::Save => {
                assert!(!std::mem::replace(&mut self.saving, true), "two saves");
            }
            Action::Persist { batch, peers, .. } => {
                let bans = peers.into_iter().filter(|peer| peer.port == 0);
                let bans = bans.filter_map(|peer| Some((peer.ip_address, peer.ban?)));
                let batch = Batch {
                    id: batch,
                    bans: bans.collect(),
                };
                assert!(self.under_way.replace(batch).is_none(), "two batches");
            }
            Action::Notify(event) => self.told(event),
            Action::Stopped => {
                assert_eq!(self.phase, Phase::Stopping);
                assert!(self.model.links.is_empty(), "stopped before all is closed");
                self.phase = Phase::Stopped;
            }
            other => panic!("an action that no driver knows: {other:?}"),
        }
    }

    fn admitted(&mut self, conn: ConnId) {
        assert_eq!(self.asked.take(), Some(conn), "nobody asked");
        let link = self.model.links.get_mut(&conn).expect("it is there");
        assert_eq!(link.state, ConnectionState::AwaitingHandshake);
        link.state = ConnectionState::Connected;
        link.admitted = true;
        let address = link.address;
        let told = [Event::Complete(address), Event::Established(address)];
        assert_eq!(
            std::mem::take(&mut self.announced),
            told,
            "before admission"
        );
    }

    fn told_to_close(&mut self, conn: ConnId, reason: &CloseReason) {
        let link = self.model.links.get_mut(&conn).expect("it is there");
        assert_ne!(
            link.state,
            ConnectionState::Failed,
            "{conn} is closed twice"
        );
        link.state = ConnectionState::Failed;
        link.told = Some(reason.clone());
        self.model.has_evicted |= *reason == CloseReason::Evicted;
        self.asked.take_if(|asked| *asked == conn);
    }

    fn told(&mut self, event: ControlEvent) {
        let now = match &event {
            ControlEvent::InboundConnectionAccepted { address, .. } => {
                Some(Event::Accepted(*address))
            }
            ControlEvent::HandshakeComplete { address, .. } => {
                self.announced.push(Event::Complete(*address));
                None
            }
            ControlEvent::ConnectionEstablished { address, .. } => {
                self.announced.push(Event::Established(*address));
                None
            }
            _ => None,
        };
        if now.is_some() {
            assert_eq!(self.due.pop_front(), now);
        }
        match event {
            ControlEvent::ConnectionLost { address, .. } => {
                assert_eq!(self.ended.remove(&address), Some(true), "{address}");
            }
            ControlEvent::ConnectionFailed { address, .. }
            | ControlEvent::ConnectionRejectedCapacity { address, .. } => {
                assert_eq!(self.ended.remove(&address), Some(false), "{address}");
            }
            ControlEvent::PeerBanned { ip, reason, until } => {
                let stored = self.stored.get(&ip);
                let stored = stored.map(|ban| (&ban.reason, ban.until));
                assert_eq!(
                    stored,
                    Some((&reason, until)),
                    "reported before it is stored"
                );
                assert!(self.model.bans.contains_key(&ip), "{ip} is not banned");
                self.unreported.remove(&ip);
            }
            _ => {}
        }
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

/// The names that a manager will give, in order: taken from one that only gives names.
struct Ids {
    connections: Vec<ConnId>,
    batches: Vec<BatchId>,
}

static IDS: LazyLock<Ids> = LazyLock::new(|| {
    let now = epoch();
    let clock = Clock::new(now, SystemTime::UNIX_EPOCH);
    let config = ManagerConfig::new(NETWORK);
    let mode = OperatingMode::Normal;
    let manager = Manager::new(config, mode, Vec::new(), [0; 32], clock, now);
    let mut manager = manager.expect("the configuration is valid");
    manager.handle(now, Input::Command(Command::Start));
    let mut ids = Ids {
        connections: Vec::new(),
        batches: Vec::new(),
    };
    for n in 1..2000_u16 {
        let from = SocketAddr::from(([10, 0, 0, 1], n));
        let conn = manager.accept(now, from).expect("there is room").conn;
        let reason = CloseReason::Requested;
        manager.handle(now, Input::Closed { conn, reason });
        ids.connections.push(conn);
        manager.handle(now, Input::Command(Command::Ban([10, 0, 0, 2].into())));
        manager.handle(now, Input::Command(Command::Unban([10, 0, 0, 2].into())));
        while let Some(action) = manager.poll_action() {
            if let Action::Persist { batch, .. } = action {
                ids.batches.push(batch);
                let result = Ok(());
                manager.handle(now, Input::Stored { batch, result });
            }
        }
    }
    ids
});

#[expect(clippy::disallowed_methods, reason = "an epoch: all else is an offset")]
fn epoch() -> Instant {
    Instant::now()
}
