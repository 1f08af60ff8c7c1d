//! The scenarios.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use p2p_core::{Command, Network, OperatingMode, Peer, PeerSource, Timestamp};

use super::specs::{diverse_node, node};
use crate::faults::{Fault, Kind, draw};
use crate::hostile::Trick;
use crate::invariants::{Rule, Violation};
use crate::network::{Crash, HostId};
use crate::pipe::Line;
use crate::rng::Rng;
use crate::world::{World, ip_of};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Nodes of the scenarios whose number does not matter: enough that target and limits do.
const NODES: usize = 30;
/// Faults of a mix: one in two minutes, somewhere.
const FAULTS: usize = 60;

/// Nodes of a mix that have a fixed list, of as many others.
const FIXED: usize = 3;
/// Hostile programs of a mix, each with another trick.
const HOSTILE: usize = 3;
/// Hostile programs of each kind in a crowd: enough to fill every limit.
const CROWD: usize = 3;
/// More than a crowd can hold.
const MANY: usize = 500;
/// Nodes that join after a partition of many: halves that have found their targets each on its own
/// side have no reason to dial, and who knows neither connects them.
const NEWCOMERS: usize = 10;
/// How long an honest node may be short of connections when others are hostile: what it takes to
/// notice that a peer is gone, and to find another.
const SHORTAGE: Duration = Duration::from_secs(120);

/// Ends of connections that two nodes which dial each other may lose before they agree: one may see
/// its connection established before the other is.
const MOST_LOST: u64 = 1;

type Done = Result<(), Violation>;

fn populate(world: &mut World, nodes: usize) -> Vec<HostId> {
    let hosts: Vec<_> = (0..nodes).map(|_| world.prepare_node(node())).collect();
    hosts.iter().for_each(|&host| world.start(host));
    hosts
}

fn settle(world: &mut World) -> Result<Duration, Violation> {
    let patience = world.patience();
    let what = "every node has the connections that it could have";
    world.run_until(patience, what, |world| world.below_target().is_empty())
}

/// Lets time pass, and tells for how long at a stretch a node was short of connections, at most.
fn longest_shortage(
    world: &mut World,
    length: Duration,
    short: impl Fn(&World) -> Vec<HostId>,
) -> Result<Duration, Violation> {
    let (mut longest, mut since) = (Duration::ZERO, BTreeMap::new());
    let end = world.net.now + length;
    while world.net.now < end {
        world.run_for(Duration::from_secs(1))?;
        let (now, short) = (world.net.now, short(world));
        since.retain(|host, _| short.contains(host));
        for host in short {
            let begin = *since.entry(host).or_insert(now);
            longest = longest.max(now - begin);
        }
    }
    Ok(longest)
}

fn require(world: &World, holds: bool, what: impl Into<String>) -> Done {
    match holds {
        true => Ok(()),
        false => Err(Violation {
            time: world.net.now,
            host: None,
            rule: Rule::Liveness,
            what: what.into(),
        }),
    }
}

/// Ten nodes that know nobody reach their target within a minute, from DNS alone.
///
/// # Errors
/// The first rule that did not hold.
pub fn grow(world: &mut World) -> Done {
    populate(world, 10);
    let took = settle(world)?;
    world.measured(format!("target of 10 nodes after {took:?}"));
    require(world, took <= MINUTE, format!("target after {took:?}"))?;
    world.run_for(10 * MINUTE)
}

/// Two nodes that know each other start at the same moment, or nearly: one connection stays.
///
/// # Errors
/// The first rule that did not hold.
pub fn simultaneous(world: &mut World) -> Done {
    let rng = &mut world.net.rng;
    world.net.line = Line {
        latency: rng.duration(Duration::from_millis(1), Duration::from_millis(200)),
        jitter: rng.duration(Duration::ZERO, Duration::from_millis(200)),
        ..Line::default()
    };
    let apart = rng.duration(Duration::ZERO, Duration::from_millis(300));
    let mut spec = node();
    spec.config.dns_seeds = Some(vec![]);
    let pair = [0, 1].map(|_| world.prepare_node(spec.clone()));
    for (host, other) in [(pair[0], pair[1]), (pair[1], pair[0])] {
        know(world, host, other)?;
    }
    world.start(pair[0]);
    world.run_for(apart)?;
    world.start(pair[1]);
    world.run_for(MINUTE)?;
    let connected = pair.map(|host| world.node(host).map_or(0, |node| node.connected()));
    require(
        world,
        connected == [1, 1],
        format!("connected {connected:?}"),
    )?;
    let lost = world.tally().lost;
    world.measured(format!("{lost} ends lost"));
    require(world, lost <= MOST_LOST, format!("{lost} were lost"))?;
    world.run_for(10 * MINUTE)?;
    let later = world.tally().lost - lost;
    require(world, later == 0, format!("{later} were lost later"))
}

fn know(world: &mut World, host: HostId, other: HostId) -> Done {
    let Some(address) = world.address(other) else {
        return Ok(());
    };
    world.with_node(host, |node, _| {
        let long_ago = Timestamp::from_millis(0);
        node.disk.insert(Peer::new(
            Network::Mainnet,
            address,
            PeerSource::Manual,
            long_ago,
        ));
    })
}

/// Three in ten nodes are apart for an hour, and come back: everybody reaches the target again, and
/// the parts are one network.
///
/// # Errors
/// The first rule that did not hold.
pub fn partition(world: &mut World) -> Done {
    divide(world, NODES, 0)
}

/// The same with a thousand nodes, which then ten others join.
///
/// # Errors
/// The first rule that did not hold.
pub fn thousand(world: &mut World) -> Done {
    divide(world, 1000, NEWCOMERS)
}

fn divide(world: &mut World, many: usize, newcomers: usize) -> Done {
    let nodes = populate(world, many);
    let took = settle(world)?;
    world.measured(format!("target of {many} nodes after {took:?}"));
    let apart: BTreeSet<HostId> = nodes[..many * 3 / 10].iter().copied().collect();
    world.inject(Fault::Partition(apart.clone()))?;
    world.run_for(HOUR)?;
    let bridges = world.bridges(&apart);
    require(world, bridges == 0, format!("{bridges} connections across"))?;
    let (below, parts) = (world.below_target().len(), world.parts());
    world.measured(format!(
        "{below} below target and {parts} parts after an hour apart"
    ));
    world.inject(Fault::Partition(BTreeSet::new()))?;
    let healed = settle(world)?;
    for _ in 0..newcomers {
        world.add_node(node());
    }
    let patience = world.patience();
    let what = "the parts are one network";
    let one = world.run_until(patience, what, |world| {
        world.parts() == 1 && world.below_target().is_empty()
    })?;
    let (one, bridges) = (healed + one, world.bridges(&apart));
    world.measured(format!(
        "target again after {healed:?}, one network after {one:?}, {bridges} across"
    ));
    Ok(())
}

/// All lines are down, for ten minutes, three hours, and three days: each time the target is
/// reached again within a minute, and meanwhile nobody dials more than once a minute, once it was
/// noticed.
///
/// # Errors
/// The first rule that did not hold.
pub fn outage(world: &mut World) -> Done {
    let nodes = populate(world, NODES);
    settle(world)?;
    for length in [10 * MINUTE, 3 * HOUR, 72 * HOUR] {
        world.inject(Fault::Outage(true))?;
        let before = world.tally().dials;
        world.run_for(length)?;
        let dials = world.tally().dials - before;
        // To notice it takes each node as many dials as it has peers, or less.
        let most = (length.as_secs() / 60 + 2 * NODES as u64) * nodes.len() as u64;
        require(world, dials <= most, format!("{dials} dials in {length:?}"))?;
        world.inject(Fault::Outage(false))?;
        let what = "the target is reached again after an outage";
        let took = world.run_until(MINUTE, what, |world| world.below_target().is_empty())?;
        world.measured(format!(
            "outage of {length:?}: {dials} dials of {} nodes, target after {took:?}",
            nodes.len()
        ));
        world.run_for(10 * MINUTE)?;
    }
    Ok(())
}

/// Every node goes down and comes back from its store, without DNS to help it.
///
/// # Errors
/// The first rule that did not hold.
pub fn restart(world: &mut World) -> Done {
    let nodes = populate(world, NODES);
    settle(world)?;
    world.run_for(10 * MINUTE)?;
    world.inject(Fault::Dns(1000))?;
    for (at, &host) in nodes.iter().enumerate() {
        let crash = match at % 2 {
            0 => Crash::Process,
            _ => Crash::Machine,
        };
        world.inject(Fault::Crash(host, crash))?;
    }
    world.run_for(MINUTE)?;
    for &host in &nodes {
        world.inject(Fault::Start(host))?;
    }
    settle(world)?;
    Ok(())
}

/// Operators ban, disks are slow or fail, and nodes crash or are shut down at any moment: a ban that
/// was reported holds in the next incarnation too, and no disk holds up the end.
///
/// # Errors
/// The first rule that did not hold.
pub fn bans(world: &mut World) -> Done {
    let nodes = populate(world, 10);
    settle(world)?;
    let mut rng = Rng::new(world.net.rng.any());
    for round in 0..20 {
        let host = nodes[rng.below(nodes.len() as u64) as usize];
        let victim = ip_of(nodes[rng.below(nodes.len() as u64) as usize]);
        let slowness = rng.duration(Duration::ZERO, Duration::from_secs(5));
        let fails = round % 4 == 0;
        world.inject(Fault::DiskSlow(host, slowness))?;
        world.inject(Fault::DiskFails(host, fails))?;
        world.inject(Fault::Command(host, Command::Ban(victim)))?;
        world.run_for(rng.duration(Duration::ZERO, slowness))?;
        if fails {
            world.inject(Fault::Command(host, Command::Shutdown))?;
            world.run_for(MINUTE)?;
        } else {
            world.inject(Fault::Crash(host, Crash::Process))?;
        }
        world.inject(Fault::DiskFails(host, false))?;
        world.inject(Fault::Start(host))?;
        world.run_for(2 * MINUTE)?;
        world.inject(Fault::Command(host, Command::Unban(victim)))?;
    }
    settle(world)?;
    Ok(())
}

/// Ten nodes among nearly as many hostile programs keep their target, and connections to each
/// other.
///
/// # Errors
/// The first rule that did not hold.
pub fn hostile(world: &mut World) -> Done {
    let nodes = populate(world, 10);
    settle(world)?;
    let victims: Vec<_> = nodes
        .iter()
        .filter_map(|&host| world.address(host))
        .collect();
    for trick in Trick::ALL {
        let victims = victims.clone();
        world.add_hostile(trick, victims);
    }
    let shortage = longest_shortage(world, 2 * HOUR, |world| {
        let mut short = world.below_target();
        short.extend(world.nodes().map(|(host, _)| host).filter(|&host| {
            let least = world.node(host).map(|node| node.config().min_outbound());
            least.is_some_and(|least| world.honest_connections(host) < least)
        }));
        short
    })?;
    world.measured(format!("short of connections for {shortage:?} at most"));
    require(
        world,
        shortage <= SHORTAGE,
        format!("short for {shortage:?}"),
    )?;
    settle(world)?;
    Ok(())
}

/// Hostile programs that stay crowd three nodes, one with little room for each IP, one with little
/// for handshakes, one with little for connections: every limit of what others may hold is met.
///
/// # Errors
/// The first rule that did not hold.
pub fn crowd(world: &mut World) -> Done {
    let mut wide = node();
    wide.config.target_connections = 1;
    wide.config.max_connections = MANY;
    wide.config.max_connections_per_ip = Some(MANY);
    wide.config.max_pending_inbound = MANY;
    let (mut of_one, mut pending, mut full) = (wide.clone(), wide.clone(), wide);
    let rng = &mut world.net.rng;
    of_one.config.max_connections_per_ip = Some(rng.within(2..=4) as usize);
    pending.config.max_pending_inbound = rng.within(1..=3) as usize;
    full.config.max_connections = 8;
    full.config.max_over_capacity = rng.within(1..=8) as usize;
    let nodes = [of_one, pending, full].map(|spec| world.add_node(spec));
    let victims = nodes.map(|host| world.address(host));
    let victims: Vec<_> = victims.into_iter().flatten().collect();
    // Who shakes hands takes slots, who does not holds up handshakes.
    for trick in [Trick::PingFlood, Trick::Silence, Trick::HalfHandshake] {
        for _ in 0..CROWD {
            world.add_hostile(trick, victims.clone());
        }
    }
    world.run_for(10 * MINUTE)?;
    let refused = nodes.map(|host| world.node(host).map_or(0, |node| node.tally().refused));
    world.measured(format!("{refused:?} refused"));
    let all = refused.iter().all(|&refused| refused > 0);
    require(world, all, format!("refused {refused:?}"))
}

/// Thirty nodes and some hostile programs; everything goes wrong for two hours; then nothing does.
///
/// # Errors
/// The first rule that did not hold.
pub fn mix(world: &mut World) -> Done {
    let mut rng = Rng::new(world.net.rng.any());
    let hosts: Vec<_> = (0..NODES)
        .map(|n| {
            let mut spec = diverse_node(&mut rng);
            if n < FIXED {
                let list = (FIXED..2 * FIXED).map(|n| (ip_of(HostId(n)), 8333).into());
                spec.mode = OperatingMode::FixedPeerList(list.collect());
            }
            world.prepare_node(spec)
        })
        .collect();
    hosts.into_iter().for_each(|host| world.start(host));
    let victims: Vec<_> = world.nodes().map(|(_, node)| node.address()).collect();
    for trick in rng.pick_some(&Trick::ALL, HOSTILE) {
        world.add_hostile(*trick, victims.clone());
    }
    let (from, to) = (world.net.now + MINUTE, world.net.now + 2 * HOUR);
    let nodes = world.node_ips();
    let plan = draw(&mut rng, &Kind::ALL, &nodes, FAULTS, from, to);
    world.plan(plan);
    world.run_for(2 * HOUR)?;
    settle(world)?;
    Ok(())
}
