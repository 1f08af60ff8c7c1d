//! The same story under both drivers, simulator and sockets: the applications are told the same.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops when it cannot go on, and most events are compared by name alone"
)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use p2p_core::{Command, ControlEvent, ManagerConfig, OperatingMode, Peer};
use p2p_proto::Network;

use p2p_sim::{HostId, NodeSpec, World, ip_of};
use p2p_tokio::{Event, Events, InMemoryPeerStore, Manager};
use tokio::time::timeout;

/// Nodes on a ring. Each dials the two next to it, and nobody else.
const NODES: usize = 10;
/// How long the story may wait for what must come, under either driver.
const PATIENCE: Duration = Duration::from_secs(120);

/// What happens, each when everything before it has come to rest.
#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    /// One bans another's IP, or lifts that.
    Ban(usize, usize),
    Unban(usize, usize),
    /// One hangs up on another that it has dialled, and so may dial again.
    Disconnect(usize, usize),
    /// One ends in good order, and comes back with what its store has.
    Stop(usize),
    Return(usize),
}

const STORY: [Step; 12] = [
    Step::Start,
    // By who dials, and by who is dialled.
    Step::Ban(3, 5),
    Step::Ban(8, 7),
    Step::Disconnect(1, 2),
    Step::Stop(0),
    Step::Unban(3, 5),
    Step::Return(0),
    // The ban outlives the one who made it.
    Step::Stop(8),
    Step::Return(8),
    Step::Unban(8, 7),
    Step::Stop(4),
    Step::Return(4),
];

/// Who is to be connected to whom.
#[derive(Default)]
struct Expected {
    down: BTreeSet<usize>,
    bans: BTreeSet<(usize, usize)>,
}

impl Expected {
    fn take(&mut self, step: Step) {
        match step {
            Step::Start | Step::Disconnect(..) => {}
            Step::Ban(by, whom) => drop(self.bans.insert((by, whom))),
            Step::Unban(by, whom) => drop(self.bans.remove(&(by, whom))),
            Step::Stop(node) => drop(self.down.insert(node)),
            Step::Return(node) => drop(self.down.remove(&node)),
        }
    }

    fn connections(&self, node: usize) -> usize {
        let is_up = |one: usize, other: usize| {
            ![one, other].iter().any(|node| self.down.contains(node))
                && !self.bans.contains(&(one, other))
                && !self.bans.contains(&(other, one))
        };
        let near = [1, 2, NODES - 1, NODES - 2].map(|way| (node + way) % NODES);
        near.into_iter().filter(|&other| is_up(node, other)).count()
    }
}

/// What one node was told in one step: a set, for a retry may come once or twice.
type Told = BTreeSet<String>;

/// An event, with nodes for addresses. What depends on how long a retry takes is left out.
fn name(event: &ControlEvent, node_at: impl Fn(IpAddr) -> usize) -> Option<String> {
    let at = |address: &SocketAddr| node_at(address.ip());
    Some(match event {
        ControlEvent::HandshakeComplete {
            address,
            user_agent,
            height,
            ..
        } => {
            format!("handshake with {}: {user_agent}, {height}", at(address))
        }
        ControlEvent::ConnectionEstablished {
            address,
            is_inbound,
            ..
        } => {
            format!("established {}, inbound: {is_inbound}", at(address))
        }
        ControlEvent::ConnectionLost {
            address, initiator, ..
        } => {
            format!("lost {}: {initiator:?}", at(address))
        }
        ControlEvent::PeerBanned { ip, reason, until } => {
            format!("banned {}: {reason:?} until {until:?}", node_at(*ip))
        }
        ControlEvent::PeerUnbanned { ip } => format!("unbanned {}", node_at(*ip)),
        ControlEvent::ListenerStarted { .. } => "listens".into(),
        ControlEvent::ShuttingDown => "shuts down".into(),
        ControlEvent::ConnectionFailed { .. }
        | ControlEvent::ConnectionRestarting { .. }
        | ControlEvent::InboundConnectionAccepted { .. }
        | ControlEvent::InboundConnectionRejected { .. } => return None,
        other => format!("{other:?}"),
    })
}

fn config() -> ManagerConfig {
    let mut config = ManagerConfig::new(Network::Regtest);
    config.enable_listener = true;
    config.connection.initial_backoff = Duration::from_millis(50);
    config.connection.max_backoff = Duration::from_millis(200);
    config
}

fn dialled_by(node: usize, address: impl Fn(usize) -> SocketAddr) -> Vec<SocketAddr> {
    [1, 2].map(|way| address((node + way) % NODES)).to_vec()
}

fn in_the_simulator() -> Vec<Vec<Told>> {
    const PORT: u16 = 8333;
    let ip = |node| ip_of(HostId(node));
    let node_at = |at| (0..NODES).find(|&node| ip(node) == at).unwrap();
    let mut world = World::new(7);
    for node in 0..NODES {
        let mut config = config();
        config.listener_port = Some(PORT);
        let fixed = dialled_by(node, |node| (ip(node), PORT).into());
        let host = world.prepare_node(NodeSpec {
            mode: OperatingMode::FixedPeerList(fixed),
            ..NodeSpec::new(config)
        });
        assert_eq!(host, HostId(node));
        world.with_node(host, |node, _| node.record()).unwrap();
    }
    let mut expected = Expected::default();
    let mut told = Vec::new();
    for step in STORY {
        expected.take(step);
        let mut command = |node: usize, command: Command| {
            world
                .with_node(HostId(node), |node, net| node.command(net, command))
                .unwrap();
        };
        match step {
            Step::Start => (0..NODES).for_each(|node| world.start(HostId(node))),
            Step::Ban(by, whom) => command(by, Command::Ban(ip(whom))),
            Step::Unban(by, whom) => command(by, Command::Unban(ip(whom))),
            Step::Disconnect(by, whom) => {
                let id = Peer::id_of(Network::Regtest, (ip(whom), PORT).into());
                command(by, Command::Disconnect(id));
            }
            Step::Stop(node) => command(node, Command::Shutdown),
            Step::Return(node) => world.start(HostId(node)),
        }
        // A connection that is closed and made again is looked at when both have happened.
        world.run_for(Duration::from_secs(10)).unwrap();
        let at_rest = |world: &World| {
            (0..NODES).all(|node| {
                let connected = world.node(HostId(node)).unwrap().connected();
                connected == expected.connections(node)
            })
        };
        world.run_until(PATIENCE, "at rest", at_rest).unwrap();
        let mut of_step = Vec::new();
        for node in 0..NODES {
            let mut events = Vec::new();
            world
                .with_node(HostId(node), |node, _| events = node.told())
                .unwrap();
            of_step.push(
                events
                    .iter()
                    .filter_map(|event| name(event, node_at))
                    .collect(),
            );
        }
        told.push(of_step);
    }
    told
}

/// A node over sockets, and what its store has.
struct Socketed {
    store: Arc<InMemoryPeerStore>,
    running: Option<(Manager, Events)>,
}

impl Socketed {
    fn connected(&self) -> usize {
        self.running
            .as_ref()
            .map_or(0, |(manager, _)| manager.get_connection_count())
    }
}

async fn over_sockets() -> Vec<Vec<Told>> {
    // Not a port that the system gives to others meanwhile.
    let port = 20_000 + (std::process::id() % 10_000) as u16;
    let ip = |node: usize| IpAddr::V4(Ipv4Addr::new(127, 0, 7, 1 + node as u8));
    let node_at = |at| (0..NODES).find(|&node| ip(node) == at).unwrap();
    let mut nodes: Vec<_> = (0..NODES)
        .map(|_| Socketed {
            store: Arc::new(InMemoryPeerStore::new()),
            running: None,
        })
        .collect();
    let start = async |node: usize, socketed: &mut Socketed| {
        let mut config = config();
        config.listener_address = ip(node);
        config.listener_port = Some(port);
        config.dial_from = Some(ip(node));
        let fixed = dialled_by(node, |node| (ip(node), port).into());
        let manager = Manager::with_fixed_peers(config, socketed.store.clone(), fixed).unwrap();
        let events = manager.events();
        manager.start().await.unwrap();
        socketed.running = Some((manager, events));
    };
    let mut expected = Expected::default();
    let mut told = Vec::new();
    for step in STORY {
        expected.take(step);
        let mut of_step: Vec<Told> = vec![Told::new(); NODES];
        let mut note = |node: usize, event: &Event| {
            if let Event::Control(event) = event {
                of_step[node].extend(name(event, node_at));
            }
        };
        let manager =
            |nodes: &[Socketed], node: usize| nodes[node].running.as_ref().unwrap().0.clone();
        match step {
            Step::Start => {
                for (node, socketed) in nodes.iter_mut().enumerate() {
                    start(node, socketed).await;
                }
            }
            Step::Ban(by, whom) => manager(&nodes, by).ban_ip(ip(whom)).await.unwrap(),
            Step::Unban(by, whom) => manager(&nodes, by).unban_ip(ip(whom)).await.unwrap(),
            Step::Disconnect(by, whom) => {
                let id = Peer::id_of(Network::Regtest, (ip(whom), port).into());
                manager(&nodes, by).disconnect_peer(id).await.unwrap();
                // The connection is there again when it was lost before.
                let (_, events) = nodes[by].running.as_mut().unwrap();
                let lost = async {
                    loop {
                        let event = events.recv().await.unwrap();
                        note(by, &event);
                        if matches!(event, Event::Control(ControlEvent::ConnectionLost { .. })) {
                            return;
                        }
                    }
                };
                timeout(PATIENCE, lost).await.unwrap();
            }
            Step::Stop(node) => {
                let (manager, mut events) = nodes[node].running.take().unwrap();
                manager.shutdown().await;
                while let Ok(event) = events.recv().await {
                    note(node, &event);
                }
            }
            Step::Return(node) => start(node, &mut nodes[node]).await,
        }
        let at_rest = async {
            while !(0..NODES).all(|node| nodes[node].connected() == expected.connections(node)) {
                tokio::task::yield_now().await;
            }
            // What has changed a count was told by the time that the manager answers.
            for socketed in &nodes {
                if let Some((manager, _)) = &socketed.running {
                    manager.explain().await.unwrap();
                }
            }
        };
        timeout(PATIENCE, at_rest).await.expect("it comes to rest");
        for (node, socketed) in nodes.iter_mut().enumerate() {
            if let Some((_, events)) = &mut socketed.running {
                while let Some(event) = events.try_recv().unwrap() {
                    note(node, &event);
                }
            }
        }
        told.push(of_step);
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn both_drivers_tell_the_same_story() {
    let simulated = tokio::task::spawn_blocking(in_the_simulator).await.unwrap();
    let real = over_sockets().await;
    for (step, (simulated, real)) in STORY.iter().zip(simulated.iter().zip(&real)) {
        for node in 0..NODES {
            assert_eq!(simulated[node], real[node], "{step:?}, node {node}");
        }
    }
}
