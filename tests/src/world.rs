//! The world: hosts on a network, and the loop that lets time pass.

mod checks;
mod event;
mod faults;
mod step;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_core::ManagerConfig;
use p2p_proto::Hash256;

pub(crate) use event::WorldEvent;

use crate::faults::Plan;
use crate::hostile::{Hostile, Trick};
use crate::invariants::{Rule, Violation};
use crate::network::{Crash, HostId, Network};
use crate::node::{Node, NodeSpec};
use crate::program::Program;
use crate::time::Time;
use step::LOOK;

/// Hosts on a network, in virtual time. The seed decides everything.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::{World, scenario};
///
/// let mut world = World::new(7);
/// let nodes: Vec<_> = (0..2).map(|_| world.add_node(scenario::node())).collect();
/// world.run_for(Duration::from_secs(60))?;
/// assert_eq!(world.node(nodes[0]).map(|node| node.connected()), Some(1));
/// # Ok::<(), p2p_sim::Violation>(())
/// ```
#[derive(Debug)]
pub struct World {
    /// What the hosts share.
    pub net: Network,
    seed: u64,
    hosts: Vec<Host>,
    steps: u64,
    figures: Vec<String>,
}

#[derive(Debug)]
struct Host {
    what: What,
    /// For when there is an event that wakes it.
    wake: Option<Time>,
    /// What a node was made with.
    first_limits: Option<Limits>,
    is_started: bool,
}

/// The numbers of connections that an operator changes.
#[derive(Debug, Clone, Copy)]
struct Limits {
    target: usize,
    max: usize,
    min_outbound: Option<usize>,
}

impl Limits {
    fn of(config: &ManagerConfig) -> Self {
        Self {
            target: config.target_connections,
            max: config.max_connections,
            min_outbound: config.min_outbound,
        }
    }

    fn apply(self, config: &mut ManagerConfig) {
        config.target_connections = self.target;
        config.max_connections = self.max;
        config.min_outbound = self.min_outbound;
    }
}

#[derive(Debug)]
enum What {
    Node(Box<Node>),
    Program(Box<dyn Program>),
}

impl What {
    fn program(&mut self) -> &mut dyn Program {
        match self {
            Self::Node(node) => node.as_mut(),
            Self::Program(program) => program.as_mut(),
        }
    }

    fn wake_at(&self) -> Option<Time> {
        match self {
            Self::Node(node) => node.wake_at(),
            Self::Program(program) => program.wake_at(),
        }
    }
}

/// The address of a host: public, and each in a netgroup of its own.
///
/// ```
/// use p2p_sim::{HostId, ip_of};
///
/// assert_ne!(ip_of(HostId(1)), ip_of(HostId(2)));
/// ```
pub fn ip_of(host: HostId) -> IpAddr {
    let n = host.0;
    // From 20 to 89 no first byte is set aside for anything.
    let bytes = [20 + n % 70, n / 70 % 250, n / 17_500 % 250, 7];
    IpAddr::from(bytes.map(|byte| byte as u8))
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> Self {
        let mut net = Network::new(seed, Instant::now());
        net.queue.push(Time::ZERO + LOOK, WorldEvent::Look);
        Self {
            net,
            seed,
            hosts: Vec::new(),
            steps: 0,
            figures: Vec::new(),
        }
    }

    /// A host with a node, which starts at once. The DNS seeds know it if it listens.
    pub fn add_node(&mut self, spec: NodeSpec) -> HostId {
        let host = self.prepare_node(spec);
        self.start(host);
        host
    }

    /// A host with a node that is not started yet: its disk can still be filled.
    pub fn prepare_node(&mut self, spec: NodeSpec) -> HostId {
        let id = HostId(self.hosts.len());
        let ip = ip_of(id);
        let node = Node::new(&self.net, id, ip, spec);
        if node.config().enable_listener {
            self.net.dns.known.push(node.address());
        }
        self.add(ip, What::Node(Box::new(node)))
    }

    /// A host with any other program, which starts at once. Nobody knows it but those who are
    /// told, or dialled.
    pub fn add_program(&mut self, make: impl FnOnce(HostId, IpAddr) -> Box<dyn Program>) -> HostId {
        let id = HostId(self.hosts.len());
        let ip = ip_of(id);
        let program = make(id, ip);
        self.add(ip, What::Program(program));
        self.start(id);
        id
    }

    /// A host with a hostile program, which the DNS seeds name like any other.
    pub fn add_hostile(&mut self, trick: Trick, victims: Vec<SocketAddr>) -> HostId {
        let host = self.add_program(|host, ip| Box::new(Hostile::new(host, ip, trick, victims)));
        self.net.dns.known.push((ip_of(host), 8333).into());
        host
    }

    fn add(&mut self, ip: IpAddr, what: What) -> HostId {
        let id = HostId(self.hosts.len());
        let first_limits = match &what {
            What::Node(node) => Some(Limits::of(node.config())),
            What::Program(_) => None,
        };
        self.net.add_host(ip, id);
        self.hosts.push(Host {
            what,
            wake: None,
            first_limits,
            is_started: false,
        });
        id
    }

    /// Starts what is on a host, unless it runs.
    pub fn start(&mut self, host: HostId) {
        let Some(there) = self.hosts.get_mut(host.0) else {
            return;
        };
        match &mut there.what {
            What::Node(node) if node.is_up() => return,
            What::Node(node) => {
                // Somebody has no patience with a shutdown.
                if node.manager().is_some() {
                    node.crash(&mut self.net, Crash::Process);
                }
                self.net.set_off(host, false);
            }
            // It never goes down.
            What::Program(_) if there.is_started => return,
            What::Program(_) => {}
        }
        there.is_started = true;
        there.what.program().start(&mut self.net);
        self.reschedule(host);
    }

    /// Lets these things go wrong.
    pub fn plan(&mut self, plan: Plan) {
        for (at, fault) in plan {
            self.net.queue.push(at, WorldEvent::Fault(fault));
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Violation> {
        let end = self.net.now + duration;
        while self.net.queue.next_at().is_some_and(|at| at <= end) {
            self.step()?;
        }
        self.net.now = end;
        Ok(())
    }

    /// Lets time pass until something is so, looking once a second, and tells how long it took.
    ///
    /// # Errors
    /// The first rule that does not hold; [`Rule::Liveness`] if it is not so within `limit`.
    pub fn run_until(
        &mut self,
        limit: Duration,
        what: &str,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<Duration, Violation> {
        let begin = self.net.now;
        while !is_so(self) {
            if self.net.now - begin >= limit {
                self.explain_shortage();
                return Err(Violation {
                    time: self.net.now,
                    host: None,
                    rule: Rule::Liveness,
                    what: format!("not within {limit:?}: {what}"),
                });
            }
            self.run_for(LOOK)?;
        }
        Ok(self.net.now - begin)
    }

    /// Does something to a node, as an operator or a fault would.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn with_node(
        &mut self,
        host: HostId,
        change: impl FnOnce(&mut Node, &mut Network),
    ) -> Result<(), Violation> {
        if let Some(node) = node_mut(&mut self.hosts, host) {
            change(node, &mut self.net);
        }
        self.settle(host)
    }

    /// Takes down a figure that is worth reading when the run is over.
    pub fn measured(&mut self, figure: String) {
        self.figures.push(figure);
    }

    // what is known

    /// The node on a host, if there is one.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        match &self.hosts.get(host.0)?.what {
            What::Node(node) => Some(node),
            What::Program(_) => None,
        }
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (HostId, &Node)> {
        let ids = (0..self.hosts.len()).map(HostId);
        ids.filter_map(|id| Some((id, self.node(id)?)))
    }

    /// All nodes and their addresses, as a plan of faults needs them.
    pub fn node_ips(&self) -> Vec<(HostId, IpAddr)> {
        self.nodes().map(|(id, node)| (id, node.ip())).collect()
    }

    /// The address at which a host is dialled, if it listens at its network's port.
    pub fn address(&self, host: HostId) -> Option<SocketAddr> {
        self.node(host).map(Node::address)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Things that happened.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The figures that were taken down.
    pub fn figures(&self) -> &[String] {
        &self.figures
    }

    /// The hash of everything that happened: the same for the same seed.
    pub fn hash(&self) -> Hash256 {
        self.net.trace.hash()
    }

    // private

    fn first_limits(&self, host: HostId) -> Option<Limits> {
        self.hosts.get(host.0)?.first_limits
    }
}

fn node_mut(hosts: &mut [Host], host: HostId) -> Option<&mut Node> {
    match &mut hosts.get_mut(host.0)?.what {
        What::Node(node) => Some(node),
        What::Program(_) => None,
    }
}
