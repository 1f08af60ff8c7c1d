//! What goes wrong, and when.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use p2p_core::Command;

use crate::network::{Crash, HostId};
use crate::rng::Rng;
use crate::time::Time;

/// Something that goes wrong, or is mended.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::{Fault, World, scenario};
///
/// let mut world = World::new(1);
/// let node = world.add_node(scenario::node());
/// world.inject(Fault::DiskFails(node, true))?;
/// world.run_for(Duration::from_secs(60))?;
/// world.inject(Fault::DiskFails(node, false))?;
/// # Ok::<(), p2p_sim::Violation>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// One connection of the host is reset.
    Reset(HostId),
    /// One connection of the host goes dead, and neither end is told.
    HalfOpen(HostId),
    /// The next bytes on one connection of the host have a wrong bit.
    BitFlip(HostId),
    /// The host refuses dials, or no longer.
    Refuse(HostId, bool),
    /// The host's line is down, or back.
    CutOff(HostId, bool),
    /// These reach each other only; nobody is apart when the set is empty.
    Partition(BTreeSet<HostId>),
    /// Every line is down, or back.
    Outage(bool),
    /// The application of the host reads nothing for this long.
    Stall(HostId, Duration),
    /// So many of a thousand questions to DNS seeds get no answer.
    Dns(u32),
    /// The host's disk fails, or no longer.
    DiskFails(HostId, bool),
    /// The host's disk takes up to this long.
    DiskSlow(HostId, Duration),
    /// The host cannot listen, or can again.
    ListenFails(HostId, bool),
    /// The node goes down as it is.
    Crash(HostId, Crash),
    /// The node is started again, from what is on its disk.
    Start(HostId),
    /// An operator, or the application, wants something.
    Command(HostId, Command),
    /// An operator hangs up on one of the node's peers.
    Disconnect(HostId),
    /// An operator wants other numbers of connections, target and most; or the first ones again.
    Limits(HostId, Option<(usize, usize)>),
}

/// A fault that hosts a node is subject to, drawn by chance.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::faults::{Kind, draw};
/// use p2p_sim::{HostId, Rng, Time};
///
/// let nodes = [(HostId(0), "20.0.0.1".parse().unwrap())];
/// let end = Time::ZERO + Duration::from_secs(3600);
/// let plan = draw(&mut Rng::new(1), &[Kind::Outage], &nodes, 2, Time::ZERO, end);
/// // Each begins and is mended.
/// assert_eq!(plan.len(), 4);
/// assert!(plan.iter().all(|(at, _)| *at <= end));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Fault::Reset`].
    Reset,
    /// [`Fault::HalfOpen`].
    HalfOpen,
    /// [`Fault::BitFlip`].
    BitFlip,
    /// [`Fault::Refuse`] for some minutes.
    Refuse,
    /// [`Fault::CutOff`] for some minutes.
    CutOff,
    /// [`Fault::Partition`] for some minutes.
    Partition,
    /// [`Fault::Outage`] for some minutes.
    Outage,
    /// [`Fault::Stall`] for some minutes.
    Stall,
    /// [`Fault::Dns`] for some minutes.
    Dns,
    /// [`Fault::DiskFails`] or [`Fault::DiskSlow`] for some minutes.
    Disk,
    /// [`Fault::ListenFails`] for some minutes.
    Listen,
    /// [`Fault::Crash`], and [`Fault::Start`] some minutes later.
    Crash,
    /// A shutdown in good order, and a start some minutes later.
    Shutdown,
    /// A ban of another node, lifted some minutes later; or [`Fault::Disconnect`].
    Operator,
    /// [`Fault::Limits`], set back some minutes later.
    Limits,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Reset,
        Self::HalfOpen,
        Self::BitFlip,
        Self::Refuse,
        Self::CutOff,
        Self::Partition,
        Self::Outage,
        Self::Stall,
        Self::Dns,
        Self::Disk,
        Self::Listen,
        Self::Crash,
        Self::Shutdown,
        Self::Operator,
        Self::Limits,
    ];
}

/// Faults and their times.
pub type Plan = Vec<(Time, Fault)>;

/// Draws `many` faults of the given kinds that inject the nodes between `from` and `to`; whatever
/// they break is mended by then.
pub fn draw(
    rng: &mut Rng,
    kinds: &[Kind],
    nodes: &[(HostId, IpAddr)],
    many: usize,
    from: Time,
    to: Time,
) -> Plan {
    let mut plan = Plan::new();
    for _ in 0..many {
        let (Some(&kind), Some(&(host, _))) = (rng.pick(kinds), rng.pick(nodes)) else {
            break;
        };
        let at = from + rng.duration(Duration::ZERO, to - from);
        let length = rng.duration(Duration::from_secs(1), Duration::from_secs(600));
        let end = (at + length).min(to);
        let mut lasts = |broken, mended| {
            plan.push((at, broken));
            plan.push((end, mended));
        };
        match kind {
            Kind::Refuse => lasts(Fault::Refuse(host, true), Fault::Refuse(host, false)),
            Kind::CutOff => lasts(Fault::CutOff(host, true), Fault::CutOff(host, false)),
            Kind::Outage => lasts(Fault::Outage(true), Fault::Outage(false)),
            Kind::Dns => {
                let per_mille = rng.within(100..=1000) as u32;
                lasts(Fault::Dns(per_mille), Fault::Dns(0));
            }
            Kind::Partition => {
                let many = 1 + rng.below(nodes.len() as u64 / 2) as usize;
                let apart = rng.sample(nodes.len(), many);
                let apart = apart.into_iter().map(|at| nodes[at].0).collect();
                lasts(Fault::Partition(apart), Fault::Partition(BTreeSet::new()));
            }
            Kind::Disk if rng.chance(500) => {
                lasts(Fault::DiskFails(host, true), Fault::DiskFails(host, false));
            }
            Kind::Disk => {
                let slow = rng.duration(Duration::from_secs(1), Duration::from_secs(60));
                let quick = Duration::from_millis(20);
                lasts(Fault::DiskSlow(host, slow), Fault::DiskSlow(host, quick));
            }
            Kind::Listen => {
                lasts(
                    Fault::ListenFails(host, true),
                    Fault::ListenFails(host, false),
                );
            }
            Kind::Crash => {
                let crash = match rng.chance(500) {
                    true => Crash::Process,
                    false => Crash::Machine,
                };
                lasts(Fault::Crash(host, crash), Fault::Start(host));
            }
            Kind::Shutdown => {
                let shutdown = Fault::Command(host, Command::Shutdown);
                lasts(shutdown, Fault::Start(host));
            }
            Kind::Operator if rng.chance(500) => plan.push((at, Fault::Disconnect(host))),
            Kind::Operator => {
                let others = nodes.iter().filter(|(other, _)| *other != host);
                let others: Vec<IpAddr> = others.map(|&(_, ip)| ip).collect();
                let Some(&victim) = rng.pick(&others) else {
                    continue;
                };
                let ban = Fault::Command(host, Command::Ban(victim));
                lasts(ban, Fault::Command(host, Command::Unban(victim)));
            }
            Kind::Limits => {
                let max = rng.within(1..=30) as usize;
                let target = rng.below(max as u64 + 1) as usize;
                let limits = Fault::Limits(host, Some((target, max)));
                lasts(limits, Fault::Limits(host, None));
            }
            Kind::Reset => plan.push((at, Fault::Reset(host))),
            Kind::HalfOpen => plan.push((at, Fault::HalfOpen(host))),
            Kind::BitFlip => plan.push((at, Fault::BitFlip(host))),
            Kind::Stall => plan.push((at, Fault::Stall(host, end - at))),
        }
    }
    plan
}
