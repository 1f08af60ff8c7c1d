//! A node: the real manager and the real connections, between virtual sockets and a virtual disk.

mod checks;
mod connection;
mod driver;
mod sockets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_core::{
    BatchId, Command, ConnId, ControlEvent, Input, Manager, ManagerConfig, OperatingMode, Peer,
    Timestamp,
};
use p2p_proto::Clock;

use crate::disk::Disk;
use crate::invariants::Rule;
use crate::ledger::{Ledger, Restarts, Tally, Terms};
use crate::network::{Crash, HostId, Network, Socket, SocketEvent};
use crate::program::Program;
use crate::time::{LocalTime, Skew, Time};
use checks::Pace;
use connection::NodeConnection;

/// A shutdown takes no longer, whatever peers and the disk do: ten seconds of a clock that may be
/// slow.
const SHUTDOWN: Duration = Duration::from_secs(11);

/// What a node is made from.
///
/// ```
/// use p2p_sim::{NodeSpec, World, scenario};
///
/// let silent = NodeSpec { chatter: None, ..scenario::node() };
/// let node = World::new(1).add_node(silent);
/// assert_eq!(node.0, 0);
/// ```
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
///
/// ```
/// use p2p_sim::{World, scenario};
///
/// let mut world = World::new(1);
/// let node = world.add_node(scenario::node());
/// let node = world.node(node).unwrap();
/// assert_eq!(node.connected(), 0);
/// assert_eq!(node.address().port(), 8333);
/// ```
#[derive(Debug)]
pub struct Node {
    host: HostId,
    ip: IpAddr,
    spec: NodeSpec,
    /// What survives when the node goes down.
    pub disk: Disk,
    local: LocalTime,
    pub(crate) ledger: Ledger,
    running: Option<Running>,
    /// How often it has gone down: what was asked for by an earlier incarnation is not told to a
    /// later one.
    incarnation: u32,
    cannot_listen: bool,
    /// What its application was told, if somebody wants to know.
    pub(crate) told: Option<Vec<ControlEvent>>,
    /// Since when it is to be down.
    stopping_since: Option<Time>,
    /// Until when its application reads nothing.
    stalled_until: Option<Time>,
    pace: Pace,
}

/// What is gone when the node goes down.
#[derive(Debug)]
struct Running {
    manager: Manager,
    clock: Clock,
    connections: BTreeMap<ConnId, NodeConnection>,
    by_socket: BTreeMap<Socket, ConnId>,
    /// Connections that are admitted, by the IP at the other end.
    admitted: BTreeMap<IpAddr, usize>,
    /// How many of those IPs have more than one.
    shared_ips: usize,
    /// Connections that something was done to, and whose outputs wait.
    touched: BTreeSet<ConnId>,
    /// Answers that the manager still has to hear.
    answers: VecDeque<Input>,
    /// Whether the manager was told anything since its table was compared with ours.
    told: bool,
    /// Where it was told to listen, while it does.
    listening: Option<SocketAddr>,
    next_chatter: Option<Time>,
    stopped: bool,
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
            incarnation: 0,
            cannot_listen: false,
            told: None,
            stopping_since: None,
            stalled_until: None,
            pace: Pace::default(),
        }
    }

    // what is done to it

    /// Keeps what the application is told from now on, for [`told`](Self::told).
    pub fn record(&mut self) {
        self.told.get_or_insert_default();
    }

    /// Takes out what the application was told since the last time.
    pub fn told(&mut self) -> Vec<ControlEvent> {
        self.told.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Tells the manager something, as an operator or an application would.
    pub fn command(&mut self, net: &mut Network, command: Command) {
        if command == Command::Shutdown && self.running.is_some() {
            self.stopping_since = Some(net.now);
        }
        net.note(self.host, format_args!("command {command:?}"));
        self.input(net, Input::Command(command));
    }

    /// Puts another configuration into force, if it is valid; while the node is down, for its next
    /// start.
    pub fn configure(&mut self, net: &mut Network, config: ManagerConfig) {
        let now = self.now(net);
        let result = match &mut self.running {
            Some(running) => {
                running.told = true;
                running.manager.update_config(now, config.clone())
            }
            None => config.validate(),
        };
        net.note(self.host, format_args!("configured: {result:?}"));
        if result.is_ok() {
            self.spec.config = config;
        }
        self.pump(net);
    }

    /// Its process or machine goes down; what was not on its disk is gone.
    pub fn crash(&mut self, net: &mut Network, crash: Crash) {
        net.note(self.host, format_args!("crash {crash:?}"));
        self.disk.crash(&mut net.rng);
        self.go_down(net, crash);
    }

    /// The application reads nothing until then: connections that have messages are not read.
    pub fn stall(&mut self, until: Time) {
        self.stalled_until = Some(until);
    }

    /// It cannot listen any more, and loses the listener that it has; or it can again.
    pub fn set_cannot_listen(&mut self, net: &mut Network, cannot: bool) {
        self.cannot_listen = cannot;
        let listening = self.running.as_mut().map(|running| &mut running.listening);
        if cannot && let Some(address) = listening.and_then(Option::take) {
            net.unlisten((self.ip, address.port()).into());
            let error = "the listener has failed".into();
            self.input(net, Input::ListenFailed { address, error });
        }
    }

    /// The DNS seeds have answered this or an earlier incarnation.
    pub(crate) fn resolved(
        &mut self,
        net: &mut Network,
        incarnation: u32,
        addresses: Vec<SocketAddr>,
    ) {
        if self.incarnation == incarnation {
            net.note(self.host, format_args!("resolved {}", addresses.len()));
            self.input(net, Input::Resolved { addresses });
        }
    }

    /// The disk has done what this or an earlier incarnation wanted, or has failed.
    pub(crate) fn stored(&mut self, net: &mut Network, incarnation: u32, batch: BatchId) {
        if self.incarnation == incarnation {
            let result = self.disk.finish(batch);
            self.input(net, Input::Stored { batch, result });
        }
    }

    /// The disk has saved what an incarnation wanted, or has failed.
    pub(crate) fn saved(&mut self, net: &mut Network, incarnation: u32) {
        if self.incarnation == incarnation {
            let result = self.disk.save();
            self.input(net, Input::Saved { result });
        }
    }

    fn input(&mut self, net: &mut Network, input: Input) {
        if let Some(running) = &mut self.running {
            running.answers.push_back(input);
        }
        self.pump(net);
    }

    fn go_down(&mut self, net: &mut Network, crash: Crash) {
        net.crash(self.host, crash);
        self.ledger.crashed();
        self.running = None;
        self.stopping_since = None;
        self.stalled_until = None;
        self.incarnation += 1;
    }

    // what is known of it

    /// Its IP.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Its address, for others to dial.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.spec.config.listener_port())
    }

    /// Its configuration.
    pub fn config(&self) -> &ManagerConfig {
        &self.spec.config
    }

    /// Whom it dials.
    pub fn mode(&self) -> &OperatingMode {
        &self.spec.mode
    }

    /// The manager, while it runs.
    pub fn manager(&self) -> Option<&Manager> {
        self.running.as_ref().map(|running| &running.manager)
    }

    /// Connections that are admitted.
    pub fn connected(&self) -> usize {
        self.ledger.established()
    }

    /// What it did so far, in all its incarnations.
    pub fn tally(&self) -> Tally {
        self.ledger.tally
    }

    /// Whether it runs, and was not asked to end.
    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some() && self.stopping_since.is_none()
    }

    fn now(&self, net: &Network) -> Instant {
        self.local.instant(net.now)
    }

    fn wall(&self, now: Instant) -> Timestamp {
        let unix = self.running.as_ref().map(|running| running.clock.unix(now));
        Timestamp::from_unix(unix.unwrap_or_default())
    }

    /// What its ledger judges by, and the ledger.
    fn judge(&mut self, now: Instant) -> (Terms<'_>, &mut Ledger) {
        let wall = self.wall(now);
        let Self { spec, ledger, .. } = self;
        let terms = Terms {
            now,
            wall,
            mode: &spec.mode,
            connection: &spec.config.connection,
            inaccessible_retry: spec.config.inaccessible_retry,
        };
        (terms, ledger)
    }

    fn connections(&self) -> impl Iterator<Item = &NodeConnection> {
        let running = self.running.iter();
        running.flat_map(|running| running.connections.values())
    }

    // the end

    fn must_stop_at(&self) -> Option<Time> {
        self.stopping_since.map(|since| since + SHUTDOWN)
    }

    fn finish_if_stopped(&mut self, net: &mut Network) {
        let Some(running) = &self.running else {
            return;
        };
        if running.stopped {
            let left = running.connections.len();
            if left > 0 {
                let what = format!("stopped with {left} connections");
                self.ledger.breaks(Rule::Shutdown, what);
            }
            net.note(self.host, format_args!("stopped"));
            self.go_down(net, Crash::Process);
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
        let restarts: Vec<_> = known.iter().filter_map(restarts_of).collect();
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
            connections: BTreeMap::new(),
            by_socket: BTreeMap::new(),
            admitted: BTreeMap::new(),
            shared_ips: 0,
            touched: BTreeSet::new(),
            answers: VecDeque::new(),
            told: true,
            listening: None,
            next_chatter: self.spec.chatter.map(|pause| net.now + pause),
            stopped: false,
        });
        let (terms, ledger) = self.judge(now);
        ledger.started(terms, restarts);
        self.input(net, Input::Command(Command::Start));
    }

    fn handle(&mut self, net: &mut Network, socket: Socket, event: SocketEvent) {
        if self.running.is_none() {
            return net.abort(socket);
        }
        self.socket_event(net, socket, event);
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
                running.told = true;
                self.count_wake(net);
            }
        }
        if let Some(running) = &mut self.running
            && running.next_chatter.is_some_and(|at| at <= net.now)
        {
            running.next_chatter = self.spec.chatter.map(|pause| net.now + pause);
            self.chat(net);
        }
        self.pump(net);
        self.finish_if_stopped(net);
    }

    fn wake_at(&self) -> Option<Time> {
        let running = self.running.as_ref()?;
        let manager = running.manager.poll_timeout();
        let manager = manager.map(|(at, _)| self.local.time(at));
        let deadlines = self.connections().filter_map(|of| of.deadline);
        let others = [
            manager,
            running.next_chatter,
            self.stalled_until,
            self.must_stop_at(),
        ];
        others.into_iter().flatten().chain(deadlines).min()
    }
}

fn restarts_of(peer: &Peer) -> Option<Restarts> {
    Some(Restarts {
        of: peer.address(),
        count: peer.restart_count,
        since: peer.restart_window_start?,
    })
}
