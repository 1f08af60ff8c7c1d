//! The one place that decides: what is, against what should be.

use std::net::SocketAddr;
use std::time::Instant;

use p2p_proto::{Capacity, CloseReason, Side};

use super::{Manager, Run};
use crate::book::Availability;
use crate::connection::{ConnId, ConnectionState};
use crate::events::ControlEvent;
use crate::io::{Action, Wake};
use crate::mode::OperatingMode;
use crate::netgroup::NetGroup;
use crate::peer::PeerStatus;

/// The DNS seeds: when to ask, and whether an answer is due.
#[derive(Debug, Default)]
pub(super) struct Dns {
    due: Option<Instant>,
    asked: bool,
}

impl Dns {
    /// Ask as soon as possible.
    pub(super) fn start(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// The seeds have answered.
    pub(super) fn answered(&mut self) {
        self.asked = false;
    }
}

/// The listener, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    Off,
    /// Asked for; no answer yet.
    Asked(SocketAddr),
    /// Bound: asked for, and where it is.
    On(SocketAddr, SocketAddr),
    /// To be tried again.
    Failed(SocketAddr, Instant),
}

impl Listener {
    /// Where it really is.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        match self {
            Self::On(_, bound) => Some(*bound),
            Self::Off | Self::Asked(_) | Self::Failed(..) => None,
        }
    }
}

impl Manager {
    /// Brings what is closer to what should be. Called again at once, it does nothing.
    pub(super) fn reconcile(&mut self) {
        match self.run {
            Run::Stopped => return,
            Run::Idle => {}
            Run::Running => {
                self.lift_ended_bans();
                self.listen();
                self.resolve();
                self.dial();
            }
            Run::Stopping { .. } => self.wind_down(),
        }
        self.persist();
        self.stop_if_done();
        self.wake = self.next_wake();
    }

    pub(super) fn lift_ended_bans(&mut self) {
        for ip in self.bans.expire(self.timestamp()) {
            self.ended(ip);
        }
    }

    // the listener

    fn listen(&mut self) {
        let wanted = self.config.listen_on();
        match (self.listener, wanted) {
            (Listener::Asked(at) | Listener::On(at, _), wanted) if wanted != Some(at) => {
                self.unlisten(at);
                self.listen();
            }
            (Listener::Failed(at, _), wanted) if wanted != Some(at) => {
                self.listener = Listener::Off;
                self.listen();
            }
            (Listener::Off, Some(address)) => self.ask_to_listen(address),
            (Listener::Failed(address, retry), _) if retry <= self.now => {
                self.ask_to_listen(address);
            }
            _ => {}
        }
    }

    fn ask_to_listen(&mut self, address: SocketAddr) {
        self.listener = Listener::Asked(address);
        self.actions.push_back(Action::Listen { address });
    }

    fn unlisten(&mut self, address: SocketAddr) {
        self.listener = Listener::Off;
        self.actions.push_back(Action::Unlisten { address });
        self.tell_listen_port(0);
    }

    /// Where we really listen, as asked for or with a port of the system's choice.
    pub(super) fn listening(&mut self, address: SocketAddr) {
        let Listener::Asked(asked) = self.listener else {
            return;
        };
        // A late answer about where we listened before.
        if asked.ip() != address.ip() || (asked.port() != 0 && asked.port() != address.port()) {
            return;
        }
        self.listener = Listener::On(asked, address);
        self.tell_listen_port(address.port());
        self.notify(ControlEvent::ListenerStarted { address });
    }

    pub(super) fn listen_failed(&mut self, address: SocketAddr, error: String) {
        let (Listener::Asked(asked) | Listener::On(asked, _)) = self.listener else {
            return;
        };
        if asked != address {
            return;
        }
        if let Listener::On(..) = self.listener {
            self.tell_listen_port(0);
        }
        let retry = self.now + self.config.listener_retry_interval;
        self.listener = Listener::Failed(asked, retry);
        self.notify(ControlEvent::ListenerBindFailed { address, error });
    }

    // DNS

    fn resolve(&mut self) {
        let due = self.dns.due.is_some_and(|due| due <= self.now);
        if !due || self.dns.asked || !self.asks_seeds() {
            return;
        }
        self.dns = Dns {
            due: Some(self.now + self.config.dns_interval),
            asked: true,
        };
        self.actions.push_back(Action::Resolve {
            seeds: self.config.dns_seeds(),
            port: self.config.default_port(),
            timeout: self.config.dns_timeout,
        });
    }

    /// Whether there are seeds, and they matter.
    fn asks_seeds(&self) -> bool {
        self.mode == OperatingMode::Normal && self.config.has_dns_seeds()
    }

    // dialling

    fn dial(&mut self) {
        self.book.advance(self.now);
        if !self.breaker.is_open() {
            self.bring_back();
        }
        loop {
            if !self.wants_more() {
                self.earmarks = 0;
                break;
            }
            let pending = self.slots.outbound();
            if !self.breaker.may_dial(self.now, pending) {
                break;
            }
            let Some(address) = self.candidate() else {
                if self.bring_back() {
                    continue;
                }
                self.earmarks = 0;
                break;
            };
            if self.slots.held() >= self.config.max_connections {
                if self.can_make_room() {
                    self.make_room();
                }
                break;
            }
            self.dial_to(address);
        }
    }

    /// Whether another outbound connection is wanted, if there were somebody to dial.
    pub(super) fn wants_more(&self) -> bool {
        match self.mode {
            OperatingMode::FixedPeerList(_) => true,
            OperatingMode::Normal => {
                // A handshake that others have begun may come to nothing, and who begins one
                // after the other would keep us from dialling.
                let wanted = self.slots.held() - self.slots.pending_inbound();
                wanted < self.config.target_connections
                    || self.slots.outbound() < self.config.min_outbound()
            }
        }
    }

    /// Whom to dial next.
    fn candidate(&mut self) -> Option<SocketAddr> {
        while let Some(&address) = self.restarts.front() {
            if self.availability(address) == Availability::Ready {
                return Some(address);
            }
            self.restarts.pop_front();
        }
        self.best_ready()
    }

    fn best_ready(&self) -> Option<SocketAddr> {
        match &self.mode {
            // Whatever their status, round and round, or those that are dead would keep the others
            // from being tried.
            OperatingMode::FixedPeerList(_) => PeerStatus::ALL
                .into_iter()
                .filter_map(|status| self.book.get(self.book.candidate(status)?))
                .min_by_key(|entry| entry.peer.last_attempt)
                .map(|entry| entry.peer.address()),
            OperatingMode::Normal => {
                let mut order = [
                    PeerStatus::Valid,
                    PeerStatus::Unknown,
                    PeerStatus::Inaccessible,
                ];
                // Anybody can name addresses without end. Those that are due to be revisited take
                // turns with them, or a node that has lost its peers would never come back to
                // them.
                if self.dials % 2 == 1 {
                    order.swap(1, 2);
                }
                // While nothing works, past success says little: all sorts take turns.
                let turn = self.breaker.probes() % order.len();
                order.rotate_left(turn);
                order
                    .into_iter()
                    .find_map(|status| self.book.candidate(status))
            }
        }
    }

    fn dial_to(&mut self, address: SocketAddr) {
        self.restarts.retain(|&restart| restart != address);
        self.set_aside.retain(|&aside| aside != address);
        self.earmarks = self.earmarks.saturating_sub(1);
        self.dials += 1;
        let now = self.timestamp();
        self.book
            .update(address, |peer| peer.last_attempt = Some(now));
        self.book.set_availability(address, Availability::Busy);
        self.breaker.dialled(address);
        self.records.touch(address);
        let setup = self.setup(address, Side::Outbound, Capacity::Free);
        self.actions.push_back(Action::Dial {
            setup,
            timeout: self.config.connection.connect_timeout,
        });
    }

    /// With all slots taken, whether an inbound peer is to make room for a dial: others filled
    /// them, we have too few connections of our own choice, and no slot is about to be free.
    fn can_make_room(&self) -> bool {
        let own = match &self.mode {
            OperatingMode::FixedPeerList(fixed) => fixed.len(),
            OperatingMode::Normal => self.config.min_outbound(),
        };
        self.slots.outbound() < own
            && self.earmarks == 0
            && !self.is_closing()
            && self
                .slots
                .in_state(Side::Inbound, ConnectionState::Connected)
                > 0
    }

    /// The least useful inbound peer makes room.
    ///
    /// Protected, as in the node: the half that has been connected longest, and the quarter that
    /// answers fastest. Of the others the youngest goes of the netgroup that has most of them: who
    /// fills slots from few networks loses them first.
    fn make_room(&mut self) {
        if let Some(victim) = self.least_useful_inbound() {
            self.close(victim, CloseReason::Evicted);
        }
    }

    /// Whether a connection was told to close whose socket is still there.
    fn is_closing(&self) -> bool {
        let failed = |side| self.slots.in_state(side, ConnectionState::Failed);
        failed(Side::Inbound) + failed(Side::Outbound) > 0
    }

    fn least_useful_inbound(&self) -> Option<ConnId> {
        let mut inbound: Vec<_> = self
            .connections
            .values()
            .filter(|live| {
                live.connection.is_inbound() && live.connection.state == ConnectionState::Connected
            })
            .collect();
        inbound.sort_by_key(|live| (live.latency.is_none(), live.latency, live.connection.id));
        let fast = inbound.len() / 4;
        let mut inbound = inbound.split_off(fast);
        inbound.sort_by_key(|live| (live.connection.since, live.connection.id));
        let old = inbound.len() / 2;
        let candidates = inbound.split_off(old);
        let group = |live: &super::Live| NetGroup::of(live.connection.address.ip());
        let mut sizes = std::collections::BTreeMap::new();
        for live in &candidates {
            *sizes.entry(group(live)).or_insert(0_usize) += 1;
        }
        candidates
            .into_iter()
            .max_by_key(|live| {
                (
                    sizes[&group(live)],
                    live.connection.since,
                    live.connection.id,
                )
            })
            .map(|live| live.connection.id)
    }

    // the end

    fn wind_down(&mut self) {
        if let Listener::Asked(at) | Listener::On(at, _) = self.listener {
            self.unlisten(at);
        }
        let sides = [Side::Inbound, Side::Outbound];
        let closing = sides.map(|side| self.slots.in_state(side, ConnectionState::Failed));
        if closing.iter().sum::<usize>() == self.connections.len() {
            return;
        }
        for conn in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(conn, CloseReason::Shutdown);
        }
    }

    fn stop_if_done(&mut self) {
        let Run::Stopping { by } = self.run else {
            return;
        };
        // Who is late, be it a peer or the store, does not hold up the end.
        let late = by <= self.now;
        if late {
            for conn in self.connections.keys().copied().collect::<Vec<_>>() {
                self.forget(conn, &CloseReason::Shutdown.into());
            }
        }
        if self.connections.is_empty() && (self.is_saved() || late) {
            self.run = Run::Stopped;
            self.actions.push_back(Action::Stopped);
        }
    }

    // the next time to look

    fn next_wake(&self) -> Option<(Instant, Wake)> {
        if self.run == Run::Stopped {
            return None;
        }
        let running = self.run == Run::Running;
        let candidate = (running && self.wants_more())
            .then(|| self.next_candidate())
            .flatten();
        let dns = self.dns.due.filter(|_| self.asks_seeds());
        let listener = match self.listener {
            Listener::Failed(_, retry) => Some(retry),
            Listener::Off | Listener::Asked(_) | Listener::On(..) => None,
        };
        let ban = self.bans.next_end().map(|end| self.instant_of(end));
        let stop = match self.run {
            Run::Stopping { by } => Some((by, Wake::Shutdown)),
            Run::Idle | Run::Running | Run::Stopped => None,
        };
        [
            candidate,
            dns.filter(|_| running && !self.dns.asked)
                .map(|at| (at, Wake::Dns)),
            listener.filter(|_| running).map(|at| (at, Wake::Listener)),
            ban.filter(|_| running).map(|at| (at, Wake::Ban)),
            self.records.next_wake(),
            stop,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn next_candidate(&self) -> Option<(Instant, Wake)> {
        if self.slots.held() >= self.config.max_connections && !self.can_make_room() {
            // A connection must end first.
            return None;
        }
        match self.breaker.next_probe() {
            Some(_) if self.slots.outbound() > 0 => None,
            Some(probe) => {
                let anybody = self.best_ready().is_some() || !self.set_aside.is_empty();
                let at = match anybody {
                    true => probe,
                    false => self.book.next_due()?.max(probe),
                };
                Some((at, Wake::Probe))
            }
            None => self.book.next_due().map(|due| (due, Wake::Candidate)),
        }
    }
}
