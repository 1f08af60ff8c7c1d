//! A node: the real manager and the real connections, between virtual sockets and a virtual disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_core::{
    Command, ConnId, ControlEvent, DialFailure, Input, Manager, ManagerConfig, OperatingMode,
    Timestamp,
};
use p2p_proto::{Clock, Connection};

use crate::disk::Disk;
use crate::invariants::Rule;
use crate::ledger::{Ledger, Tally, Terms};
use crate::live::{Live, Stage};
use crate::network::{Crash, HostId, Network, Socket, SocketEvent};
use crate::pipe::Read;
use crate::program::Program;
use crate::time::{LocalTime, Skew, Time};

/// How long a peer may take to hang up after we did, as in the tokio adapter.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// A shutdown takes a second to flush and one to linger, and what a disk needs.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// What a node is made from.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its configuration.
    pub config: ManagerConfig,
    /// Whom it dials.
    pub mode: OperatingMode,
    /// How wrong its clock is.
    pub skew: Skew,
    /// How often its application says something to one of its peers; `None` for never.
    pub chatter: Option<Duration>,
}

impl NodeSpec {
    /// A node that is right on time, and silent.
    pub fn new(config: ManagerConfig) -> Self {
        Self {
            config,
            mode: OperatingMode::Normal,
            skew: Skew::default(),
            chatter: None,
        }
    }
}

/// A host that runs `p2p_core` and `p2p_proto`, as an adapter would drive them.
///
/// The driver holds no policy: it carries out what the manager says, in the order in which the
/// docs of both crates say.
#[derive(Debug)]
pub struct Node {
    pub(crate) host: HostId,
    pub(crate) ip: IpAddr,
    spec: NodeSpec,
    /// What survives when the node goes down.
    pub disk: Disk,
    pub(crate) local: LocalTime,
    pub(crate) ledger: Ledger,
    pub(crate) running: Option<Running>,
    pub(crate) life: u32,
    /// Whether it cannot listen.
    pub cannot_listen: bool,
    /// Since when it is to be down.
    pub(crate) stopping_since: Option<Time>,
    /// Connections that the application reads nothing from, until when.
    pub(crate) stalled_until: Option<Time>,
    pub(crate) steps: (Time, u32),
}

/// What is gone when the node goes down.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) manager: Manager,
    pub(crate) clock: Clock,
    pub(crate) lives: BTreeMap<ConnId, Live>,
    pub(crate) by_socket: BTreeMap<Socket, ConnId>,
    /// Connections that something was done to, and whose outputs wait.
    pub(crate) touched: BTreeSet<ConnId>,
    /// Answers that the manager still has to hear.
    pub(crate) answers: VecDeque<Input>,
    pub(crate) next_chatter: Option<Time>,
    pub(crate) stopped: bool,
}

impl Node {
    pub(crate) fn new(net: &Network, host: HostId, ip: IpAddr, spec: NodeSpec) -> Self {
        Self {
            host,
            ip,
            disk: Disk::default(),
            local: LocalTime::new(net.epoch, spec.skew),
            spec,
            ledger: Ledger::default(),
            running: None,
            life: 0,
            cannot_listen: false,
            stopping_since: None,
            stalled_until: None,
            steps: (Time::ZERO, 0),
        }
    }

    // what is done to it

    /// Tells the manager something, as an operator or an application would.
    pub fn command(&mut self, net: &mut Network, command: Command) {
        if command == Command::Shutdown && self.running.is_some() {
            self.stopping_since = Some(net.now);
        }
        net.note(self.host, format_args!("command {command:?}"));
        self.input(net, Input::Command(command));
    }

    /// Puts another configuration into force, if it is valid.
    pub fn configure(&mut self, net: &mut Network, config: ManagerConfig) {
        let now = self.local.instant(net.now);
        if let Some(running) = &mut self.running {
            let result = running.manager.update_config(now, config.clone());
            net.note(self.host, format_args!("configured: {result:?}"));
            if result.is_ok() {
                self.spec.config = config;
            }
        }
        self.pump(net);
    }

    /// Its process or machine goes down; what was not on its disk is gone.
    pub fn crash(&mut self, net: &mut Network, crash: Crash) {
        net.note(self.host, format_args!("crash {crash:?}"));
        net.crash(self.host, crash);
        self.disk.crash(&mut net.rng);
        self.ledger.crashed();
        self.running = None;
        self.stopping_since = None;
        self.stalled_until = None;
        self.life += 1;
    }

    /// The application reads nothing until then: connections that have messages are not read.
    pub fn stall(&mut self, until: Time) {
        self.stalled_until = Some(until);
    }

    pub(crate) fn input(&mut self, net: &mut Network, input: Input) {
        if let Some(running) = &mut self.running {
            running.answers.push_back(input);
        }
        self.pump(net);
    }

    // what is known of it

    /// Its address, for others to dial.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.spec.config.listener_port())
    }

    /// Its configuration.
    pub fn config(&self) -> &ManagerConfig {
        &self.spec.config
    }

    /// The manager, while it runs.
    pub fn manager(&self) -> Option<&Manager> {
        self.running.as_ref().map(|running| &running.manager)
    }

    /// Connections that are admitted.
    pub fn connected(&self) -> usize {
        self.ledger.established()
    }

    /// What it did so far, in all its lives.
    pub fn tally(&self) -> Tally {
        self.ledger.tally
    }

    /// Whether it was reported that an IP is banned here.
    pub fn has_banned(&self, now: Time, ip: IpAddr) -> bool {
        let wall = self.local.clock(now).unix(self.local.instant(now));
        self.ledger.is_banned(ip, Timestamp::from_unix(wall))
    }

    pub(crate) fn mode(&self) -> &OperatingMode {
        &self.spec.mode
    }

    pub(crate) fn now(&self, net: &Network) -> Instant {
        self.local.instant(net.now)
    }

    pub(crate) fn wall(&self, now: Instant) -> Timestamp {
        let unix = self.running.as_ref().map(|running| running.clock.unix(now));
        Timestamp::from_unix(unix.unwrap_or_default())
    }

    pub(crate) fn terms(spec: &NodeSpec, now: Instant, wall: Timestamp) -> Terms<'_> {
        Terms {
            now,
            wall,
            mode: &spec.mode,
            connection: &spec.config.connection,
            inaccessible_retry: spec.config.inaccessible_retry,
        }
    }

    pub(crate) fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    pub(crate) fn split(&mut self) -> (&NodeSpec, &mut Ledger) {
        (&self.spec, &mut self.ledger)
    }

    // sockets

    fn incoming(&mut self, net: &mut Network, socket: Socket, from: SocketAddr) {
        let now = self.now(net);
        let wall = self.wall(now);
        let Some(running) = &mut self.running else {
            return net.abort(socket);
        };
        net.accept(socket);
        let admission = running.manager.accept(now, from);
        match admission {
            Ok(setup) => {
                let terms = Self::terms(&self.spec, now, wall);
                self.ledger.accepted(terms, from);
                net.note(self.host, format_args!("accepts {from} as {}", setup.conn));
                let (conn, capacity) = (setup.conn, setup.params.capacity);
                let live = Live::accepted(socket, setup, now);
                running.by_socket.insert(socket, conn);
                running.lives.insert(conn, live);
                running.touched.insert(conn);
                self.check_slots(capacity);
            }
            Err(refusal) => {
                net.note(self.host, format_args!("refuses {from}: {refusal}"));
                net.close(socket);
            }
        }
    }

    fn dial_answered(&mut self, net: &mut Network, conn: ConnId, failure: Option<DialFailure>) {
        let now = self.now(net);
        let Some(running) = &mut self.running else {
            return;
        };
        match failure {
            None => {
                if let Some(live) = running.lives.get_mut(&conn) {
                    live.connected(now);
                    running.touched.insert(conn);
                }
                running.answers.push_back(Input::Connected { conn });
            }
            Some(failure) => self.dial_failed(net, conn, failure),
        }
    }

    /// Takes a connection out of the table. The manager is told by the answer, next.
    pub(crate) fn remove(&mut self, net: &mut Network, conn: ConnId) -> Option<Live> {
        let running = self.running.as_mut()?;
        let live = running.lives.remove(&conn)?;
        running.by_socket.remove(&live.socket);
        running.touched.remove(&conn);
        net.close(live.socket);
        Some(live)
    }

    pub(crate) fn linger(&mut self, net: &mut Network, conn: ConnId, socket: Socket) {
        loop {
            match net.read(socket) {
                Read::Data(_) => {}
                Read::Nothing => return,
                Read::Eof | Read::Reset => return self.closed(net, conn),
            }
        }
    }

    fn wake_connections(&mut self, net: &mut Network) {
        let now = self.now(net);
        let Some(running) = &mut self.running else {
            return;
        };
        let due = |live: &Live| live.deadline.is_some_and(|at| at <= net.now);
        let due: Vec<ConnId> = running
            .lives
            .iter()
            .filter(|(_, live)| due(live))
            .map(|(&conn, _)| conn)
            .collect();
        for conn in due {
            let Some(running) = &mut self.running else {
                return;
            };
            let Some(live) = running.lives.get_mut(&conn) else {
                continue;
            };
            match &mut live.stage {
                Stage::Dialing(_) => self.dial_failed(net, conn, DialFailure::TimedOut),
                Stage::Open(open) => {
                    open.connection.handle_timeout(now);
                    running.touched.insert(conn);
                }
                Stage::Lingering(_) => self.closed(net, conn),
            }
            self.pump(net);
        }
    }

    fn must_stop_at(&self) -> Option<Time> {
        self.stopping_since
            .map(|since| since + SHUTDOWN + self.disk.slowness)
    }

    fn stop_stalling(&mut self, net: &Network) {
        if self.stalled_until.is_some_and(|until| until <= net.now) {
            self.stalled_until = None;
            if let Some(running) = &mut self.running {
                running.touched.extend(running.lives.keys().copied());
            }
        }
    }

    fn finish_if_stopped(&mut self, net: &mut Network) {
        let Some(running) = &self.running else {
            return;
        };
        if running.stopped {
            let left = running.lives.len();
            if left > 0 {
                let what = format!("stopped with {left} connections");
                self.ledger.breaks(Rule::Shutdown, what);
            }
            net.note(self.host, format_args!("stopped"));
            net.crash(self.host, Crash::Process);
            self.ledger.crashed();
            self.running = None;
            self.stopping_since = None;
            self.life += 1;
        } else if self.must_stop_at().is_some_and(|at| at <= net.now) {
            self.stopping_since = None;
            let what = format!("still runs {SHUTDOWN:?} after it was asked to end");
            self.ledger.breaks(Rule::Shutdown, what);
        }
    }
}

impl Program for Node {
    fn start(&mut self, net: &mut Network) {
        let now = self.now(net);
        let clock = self.local.clock(net.now);
        let known: Vec<_> = self.disk.records().cloned().collect();
        net.note(self.host, format_args!("starts, knows {}", known.len()));
        let (config, mode) = (self.spec.config.clone(), self.spec.mode.clone());
        let seed = net.rng.seed();
        let manager = match Manager::new(config, mode, known, seed, clock, now) {
            Ok(manager) => manager,
            Err(error) => {
                net.note(self.host, format_args!("cannot start: {error}"));
                return;
            }
        };
        self.running = Some(Running {
            manager,
            clock,
            lives: BTreeMap::new(),
            by_socket: BTreeMap::new(),
            touched: BTreeSet::new(),
            answers: VecDeque::new(),
            next_chatter: self.spec.chatter.map(|pause| net.now + pause),
            stopped: false,
        });
        self.input(net, Input::Command(Command::Start));
    }

    fn handle(&mut self, net: &mut Network, socket: Socket, event: SocketEvent) {
        let Some(running) = &mut self.running else {
            return net.abort(socket);
        };
        let conn = running.by_socket.get(&socket).copied();
        match (event, conn) {
            (SocketEvent::Incoming { from }, _) => self.incoming(net, socket, from),
            (_, None) => {}
            (SocketEvent::Connected, Some(conn)) => self.dial_answered(net, conn, None),
            (SocketEvent::Refused, Some(conn)) => {
                self.dial_answered(net, conn, Some(DialFailure::Refused));
            }
            (SocketEvent::Readable | SocketEvent::Writable, Some(conn)) => {
                match running.lives.get(&conn).map(|live| &live.stage) {
                    Some(Stage::Dialing(_)) => {
                        let is_reset = net.read(socket) == Read::Reset;
                        if is_reset {
                            self.dial_answered(net, conn, Some(DialFailure::Reset));
                        }
                    }
                    Some(Stage::Lingering(_)) => self.linger(net, conn, socket),
                    Some(Stage::Open(_)) => {
                        running.touched.insert(conn);
                    }
                    None => {}
                }
            }
        }
        self.pump(net);
        self.finish_if_stopped(net);
    }

    fn wake(&mut self, net: &mut Network) {
        self.stop_stalling(net);
        self.wake_connections(net);
        let now = self.now(net);
        if let Some(running) = &mut self.running {
            let due = running.manager.poll_timeout();
            if let Some((_, wake)) = due.filter(|(at, _)| *at <= now) {
                net.note(self.host, format_args!("wakes for {wake:?}"));
                running.manager.handle_timeout(now);
            }
            if running.next_chatter.is_some_and(|at| at <= net.now) {
                running.next_chatter = self.spec.chatter.map(|pause| net.now + pause);
                self.chat(net);
            }
        }
        self.pump(net);
        self.finish_if_stopped(net);
    }

    fn wake_at(&self) -> Option<Time> {
        let running = self.running.as_ref()?;
        let manager = running.manager.poll_timeout();
        let manager = manager.map(|(at, _)| self.local.time(at));
        let connections = running.lives.values().filter_map(|live| live.deadline);
        let others = [
            running.next_chatter,
            self.stalled_until,
            self.must_stop_at(),
        ];
        [manager]
            .into_iter()
            .chain(others)
            .flatten()
            .chain(connections)
            .min()
    }
}

impl Node {
    pub(crate) fn notified(&mut self, net: &mut Network, event: &ControlEvent) {
        net.note(self.host, format_args!("{event:?}"));
        self.ledger.notified(event);
    }

    /// The socket of a connection that was told goodbye is gone.
    pub(crate) fn closed(&mut self, net: &mut Network, conn: ConnId) {
        if let Some(live) = self.remove(net, conn)
            && let Stage::Lingering(reason) = &live.stage
        {
            let reason = reason.clone();
            self.report_closed(net, conn, &live, reason);
        }
    }

    /// All connections whose handshakes are complete, by where their peers are.
    pub(crate) fn open_connections(&self) -> impl Iterator<Item = (ConnId, &Live, &Connection)> {
        let lives = self.running.iter().flat_map(|running| &running.lives);
        lives.filter_map(|(&conn, live)| match &live.stage {
            Stage::Open(open) => Some((conn, live, &open.connection)),
            Stage::Dialing(_) | Stage::Lingering(_) => None,
        })
    }
}
