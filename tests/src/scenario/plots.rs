//! What happens.

use std::collections::BTreeSet;
use std::time::Duration;

use p2p_core::{Network, OperatingMode, Peer, PeerSource, Timestamp};

use super::cast::{diverse_node, node};
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
/// Hostile programs of a mix. Endless addresses are not among them: nodes that were cut off take
/// hours to find out that all of those are nobody's, and `hostile` has them.
const TRICKS: [Trick; 7] = [
    Trick::Silence,
    Trick::HalfHandshake,
    Trick::WrongMagic,
    Trick::OtherChain,
    Trick::Storm,
    Trick::SlowReader,
    Trick::PingFlood,
];

type Done = Result<(), Violation>;

fn populate(world: &mut World, nodes: usize) -> Vec<HostId> {
    let hosts: Vec<_> = (0..nodes).map(|_| world.prepare_node(node())).collect();
    hosts.iter().for_each(|&host| world.start(host));
    hosts
}

fn settle(world: &mut World) -> Result<Duration, Violation> {
    let patience = world.patience();
    let what = "every node has the connections that it could have";
    world.run_until(patience, what, |world| world.hungry().is_empty())
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
    world.run_for(10 * MINUTE)?;
    let tally = world.tally();
    require(
        world,
        tally.lost <= 2,
        format!("{} connections were lost", tally.lost),
    )
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

/// Three in ten nodes are apart for an hour, and come back.
///
/// # Errors
/// The first rule that did not hold.
pub fn partition(world: &mut World) -> Done {
    divide(world, NODES)
}

/// The same, with a thousand nodes.
///
/// # Errors
/// The first rule that did not hold.
pub fn city(world: &mut World) -> Done {
    divide(world, 1000)
}

fn divide(world: &mut World, many: usize) -> Done {
    let nodes = populate(world, many);
    settle(world)?;
    let apart: BTreeSet<HostId> = nodes[..many * 3 / 10].iter().copied().collect();
    world.befall(Fault::Partition(apart.clone()))?;
    world.run_for(HOUR)?;
    let bridges = world.bridges(&apart);
    require(world, bridges == 0, format!("{bridges} connections across"))?;
    world.befall(Fault::Partition(BTreeSet::new()))?;
    settle(world)?;
    let patience = world.patience();
    world.run_until(patience, "somebody connects the two halves", |world| {
        world.bridges(&apart) > 0
    })?;
    Ok(())
}

/// All lines are down, for ten minutes, three hours, and three days: each time the target is
/// reached again within a minute, and meanwhile nobody dials more than once a minute.
///
/// # Errors
/// The first rule that did not hold.
pub fn outage(world: &mut World) -> Done {
    let nodes = populate(world, NODES);
    settle(world)?;
    for length in [10 * MINUTE, 3 * HOUR, 72 * HOUR] {
        world.befall(Fault::Outage(true))?;
        // Until all have noticed: what a ping takes.
        world.run_for(5 * MINUTE)?;
        let before = world.tally().dials;
        world.run_for(length - 5 * MINUTE)?;
        let dials = world.tally().dials - before;
        let most = (length.as_secs() / 60 + 8) * nodes.len() as u64;
        require(world, dials <= most, format!("{dials} dials in {length:?}"))?;
        world.befall(Fault::Outage(false))?;
        let what = "the target is reached again after an outage";
        // A probe is due within a minute; what it finds out has to spread.
        world.run_until(MINUTE + Duration::from_secs(30), what, |world| {
            world.hungry().is_empty()
        })?;
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
    world.befall(Fault::Dns(1000))?;
    for (at, &host) in nodes.iter().enumerate() {
        let crash = match at % 2 {
            0 => Crash::Process,
            _ => Crash::Machine,
        };
        world.befall(Fault::Crash(host, crash))?;
    }
    world.run_for(MINUTE)?;
    for &host in &nodes {
        world.befall(Fault::Start(host))?;
    }
    settle(world)?;
    Ok(())
}

/// Ten nodes among as many hostile programs keep their target.
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
    world.run_for(2 * HOUR)?;
    settle(world)?;
    Ok(())
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
    for trick in rng.pick_some(&TRICKS, 3) {
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
