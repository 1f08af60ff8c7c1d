//! What one node was seen to do, and whether it may: an account of its own, kept beside the
//! manager's and from other facts.

mod backoff;

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Sum;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_core::{ControlEvent, OperatingMode, Timestamp};

use backoff::{Consequence, History, TOLERANCE, consequence, is_failed_dial};
pub(crate) use backoff::{Ended, Restarts, Terms};

use crate::invariants::Rule;
use crate::network::FIRST_EPHEMERAL_PORT;

/// Distinct dials that must fail in a row before a node may take it for an outage.
const OUTAGE: usize = 8;
/// The longest pause between the probes of an outage.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Counts of what a node did.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::{World, scenario};
///
/// let mut world = World::new(1);
/// let nodes: Vec<_> = (0..2).map(|_| world.add_node(scenario::node())).collect();
/// world.run_for(Duration::from_secs(60))?;
/// assert!(world.node(nodes[0]).unwrap().tally().established >= 1);
/// # Ok::<(), p2p_sim::Violation>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Dials made.
    pub dials: u64,
    /// Dials made in an outage.
    pub probes: u64,
    /// Connections admitted.
    pub established: u64,
    /// Admitted connections that ended.
    pub lost: u64,
    /// Connections let in.
    pub accepted: u64,
    /// Connections refused before a byte was read.
    pub refused: u64,
    /// Messages of the application received.
    pub messages: u64,
    /// Bans reported.
    pub bans: u64,
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            dials: a.dials + b.dials,
            probes: a.probes + b.probes,
            established: a.established + b.established,
            lost: a.lost + b.lost,
            accepted: a.accepted + b.accepted,
            refused: a.refused + b.refused,
            messages: a.messages + b.messages,
            bans: a.bans + b.bans,
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) tally: Tally,
    phases: BTreeMap<SocketAddr, Phase>,
    established: usize,
    bans: BTreeMap<IpAddr, Option<Timestamp>>,
    histories: BTreeMap<SocketAddr, History>,
    ours: BTreeSet<SocketAddr>,
    outage: Outage,
    /// Connections that are gone, and of which nothing was said yet.
    untold: BTreeSet<SocketAddr>,
    /// The first rule that did not hold.
    broken: Option<(Rule, String)>,
}

/// How far the events of a connection have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Dialled,
    Accepted,
    Shaken,
    Established,
}

#[derive(Debug, Default)]
struct Outage {
    failed: BTreeSet<SocketAddr>,
    last: Option<Instant>,
    pause: Duration,
    /// The dial that is made, or was the last, since it is one.
    probe: Option<SocketAddr>,
}

impl Outage {
    fn is_on(&self) -> bool {
        self.failed.len() >= OUTAGE
    }
}

impl Ledger {
    pub(crate) fn breaks(&mut self, rule: Rule, what: String) {
        self.broken.get_or_insert((rule, what));
    }

    pub(crate) fn take_broken(&mut self) -> Option<(Rule, String)> {
        self.broken.take()
    }

    /// The process has ended. What it promised still holds; what it only remembered does not.
    pub(crate) fn crashed(&mut self) {
        self.phases.clear();
        self.established = 0;
        self.untold.clear();
        self.histories.clear();
        self.ours.clear();
        self.outage = Outage::default();
    }

    /// The process has begun. Of what the one before remembered, restarts were stored.
    pub(crate) fn started(
        &mut self,
        terms: Terms<'_>,
        restarts: impl IntoIterator<Item = Restarts>,
    ) {
        for restarts in restarts {
            let history = self.histories.entry(restarts.of).or_default();
            history.restarted_before(&terms, restarts);
        }
    }

    // dials

    pub(crate) fn dialled(&mut self, terms: Terms<'_>, address: SocketAddr, dialing: usize) {
        self.tally.dials += 1;
        let now = terms.now;
        if self.is_banned(address.ip(), terms.wall) {
            self.breaks(Rule::Bans, format!("dials {address}, which is banned"));
        }
        if self.ours.contains(&address) {
            self.breaks(Rule::Ourselves, format!("dials itself at {address} again"));
        }
        if address.port() >= FIRST_EPHEMERAL_PORT {
            self.breaks(Rule::SourcePort, format!("dials {address}"));
        }
        if let OperatingMode::FixedPeerList(list) = terms.mode
            && !list.contains(&address)
        {
            self.breaks(Rule::FixedList, format!("dials {address}"));
        }
        if self.outage.is_on() {
            self.tally.probes += 1;
            let next = self.outage.last.map(|last| last + self.outage.pause);
            if dialing > 0 || next.is_some_and(|next| now < next) {
                let what = format!("dials {address} in an outage, {dialing} under way");
                self.breaks(Rule::Backoff, what);
            }
            self.outage.probe = Some(address);
        } else if let Some(history) = self.histories.get(&address)
            && history.not_before.is_some_and(|at| now + TOLERANCE < at)
        {
            let early = history.not_before.map(|at| at - now).unwrap_or_default();
            let what = format!("dials {address} {early:?} before its backoff ends");
            self.breaks(Rule::Backoff, what);
        }
        if self.set_phase(address, Some(Phase::Dialled)).is_some() {
            self.breaks(
                Rule::OneEach,
                format!("dials {address}, to which it has one"),
            );
        }
    }

    pub(crate) fn accepted(&mut self, terms: Terms<'_>, address: SocketAddr) {
        self.tally.accepted += 1;
        if self.is_banned(address.ip(), terms.wall) {
            self.breaks(Rule::Bans, format!("lets in {address}, which is banned"));
        }
    }

    /// A connection that was dialled has ended; `connected` is how many are admitted now.
    pub(crate) fn outbound_ended(
        &mut self,
        terms: Terms<'_>,
        address: SocketAddr,
        ended: Ended<'_>,
        was_established: bool,
        connected: usize,
    ) {
        let Terms { now, .. } = terms;
        let is_failed_dial = is_failed_dial(ended, was_established);
        if is_failed_dial {
            self.dial_failed(now, address, connected);
        }
        let in_outage = self.outage.is_on();
        let history = self.histories.entry(address).or_default();
        let later = match consequence(ended, was_established) {
            _ if is_failed_dial && in_outage => Duration::ZERO,
            Consequence::Backoff => history.fail(&terms),
            Consequence::Inaccessible => terms.write_off(history),
            Consequence::Restart => match history.restart(&terms) {
                true => Duration::ZERO,
                false => terms.write_off(history),
            },
            Consequence::Ourselves => {
                self.ours.insert(address);
                Duration::ZERO
            }
            Consequence::Nothing => terms.connection.initial_backoff,
        };
        history.not_before = Some(now + later);
    }

    fn dial_failed(&mut self, now: Instant, address: SocketAddr, connected: usize) {
        if connected > 0 {
            self.outage = Outage::default();
            return;
        }
        let outage = &mut self.outage;
        if !outage.is_on() {
            outage.pause = Duration::from_secs(1);
            outage.failed.insert(address);
        } else if outage.probe.take_if(|probe| *probe == address).is_some() {
            outage.pause = (2 * outage.pause).min(LONGEST_PAUSE);
        } else {
            // It was under way before.
            return;
        }
        outage.last = Some(now);
    }

    /// Somebody who listens there has connected to us: it need not be waited for.
    pub(crate) fn forgive(&mut self, address: SocketAddr) {
        self.histories.entry(address).or_default().not_before = None;
    }

    // events

    pub(crate) fn notified(&mut self, event: &ControlEvent) {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "all others are about no connection"
        )]
        match event {
            ControlEvent::InboundConnectionAccepted { address, .. } => {
                let other = self.set_phase(*address, Some(Phase::Accepted));
                if other.is_some() {
                    self.breaks(Rule::OneEach, format!("two connections to {address}"));
                }
            }
            ControlEvent::InboundConnectionRejected { .. } => self.tally.refused += 1,
            ControlEvent::HandshakeComplete { address, .. } => {
                self.step(
                    *address,
                    &[Phase::Dialled, Phase::Accepted],
                    Some(Phase::Shaken),
                );
            }
            ControlEvent::ConnectionEstablished { address, .. } => {
                self.tally.established += 1;
                self.outage = Outage::default();
                let history = self.histories.entry(*address).or_default();
                (history.failures, history.written_off) = (0, false);
                self.step(*address, &[Phase::Shaken], Some(Phase::Established));
            }
            ControlEvent::ConnectionFailed { address, .. } => {
                let before = [Phase::Dialled, Phase::Accepted, Phase::Shaken];
                self.step(*address, &before, None);
            }
            ControlEvent::ConnectionRejectedCapacity { address, .. } => {
                self.step(*address, &[Phase::Accepted], None);
            }
            ControlEvent::ConnectionLost { address, .. } => {
                self.tally.lost += 1;
                self.step(*address, &[Phase::Established], None);
            }
            ControlEvent::PeerBanned { ip, until, .. } => {
                self.tally.bans += 1;
                self.bans.insert(*ip, *until);
            }
            ControlEvent::PeerUnbanned { ip } => {
                self.bans.remove(ip);
                self.histories.retain(|address, _| address.ip() != *ip);
            }
            _ => {}
        }
    }

    fn step(&mut self, address: SocketAddr, from: &[Phase], to: Option<Phase>) {
        let was = self.set_phase(address, to);
        if !was.is_some_and(|was| from.contains(&was)) {
            let what = format!("{address} goes from {was:?} to {to:?}");
            self.breaks(Rule::EventOrder, what);
        }
        if to.is_none() {
            self.untold.remove(&address);
        }
    }

    /// Gives what was there before.
    fn set_phase(&mut self, address: SocketAddr, to: Option<Phase>) -> Option<Phase> {
        let was = match to {
            Some(to) => self.phases.insert(address, to),
            None => self.phases.remove(&address),
        };
        self.established += usize::from(to == Some(Phase::Established));
        self.established -= usize::from(was == Some(Phase::Established));
        was
    }

    pub(crate) fn message(&mut self, address: SocketAddr) {
        self.tally.messages += 1;
        if self.phases.get(&address) != Some(&Phase::Established) {
            let what = format!("a message of {address}, which is not established");
            self.breaks(Rule::EventOrder, what);
        }
    }

    /// The connection is gone: something must be said about it.
    pub(crate) fn gone(&mut self, address: SocketAddr) {
        self.untold.insert(address);
    }

    /// Everything that follows from what happened has been said.
    pub(crate) fn quiet(&mut self) {
        while let Some(address) = self.untold.pop_first() {
            let phase = self.set_phase(address, None);
            let what = format!("{address} is gone from {phase:?} without a word");
            self.breaks(Rule::Reason, what);
        }
    }

    pub(crate) fn established(&self) -> usize {
        self.established
    }

    pub(crate) fn is_banned(&self, ip: IpAddr, wall: Timestamp) -> bool {
        match self.bans.get(&ip) {
            None => false,
            Some(until) => until.is_none_or(|until| until > wall),
        }
    }

    pub(crate) fn has_bans(&self) -> bool {
        !self.bans.is_empty()
    }
}
