//! What must hold on a node after every step.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_core::{ConnId, ConnectionState, Timestamp};
use p2p_proto::{Capacity, HEADER_LEN, Side};

use super::Node;
use super::connection::{NodeConnection, Stage};
use crate::invariants::Rule;
use crate::network::{Network, Socket};
use crate::time::Time;

/// Steps of one node at one moment: far more than a flood of messages needs, and few enough to
/// end a loop.
const MAX_STEPS: u32 = 100_000;
/// How often the manager may want to be woken in a second: more often than a node has peers in a
/// simulation that could all be due.
const MAX_WAKES: u32 = 1000;
/// Bytes that one read adds to an input buffer beyond a message.
const ONE_READ: usize = 64 * 1024;
/// Pings, pongs and the like that may wait beyond the limit of the application's messages.
const CONTROL: u64 = 128 * 1024;
/// Connections of one IP that may be told at once that there is no room, as the manager has it.
const OVER_CAPACITY_OF_ONE: usize = 2;
/// What one source may add to the book, as the manager has it.
const NAMED_BY_ONE: usize = 4096;

/// How much a node does at a time.
#[derive(Debug, Default)]
pub(super) struct Pace {
    moment: Time,
    steps: u32,
    second: u64,
    wakes: u32,
}

impl Node {
    /// Counts a step, and tells whether there were too many at one moment.
    pub(super) fn spins(&mut self, net: &Network) -> bool {
        let pace = &mut self.pace;
        if pace.moment != net.now {
            pace.moment = net.now;
            pace.steps = 0;
        }
        pace.steps += 1;
        let spins = pace.steps > MAX_STEPS;
        if spins {
            let what = format!("{MAX_STEPS} steps at one moment");
            self.ledger.breaks(Rule::Spin, what);
        }
        spins
    }

    /// The manager was woken, as it wanted.
    pub(super) fn count_wake(&mut self, net: &Network) {
        let pace = &mut self.pace;
        let second = net.now.since(Time::ZERO).as_secs();
        if pace.second != second {
            pace.second = second;
            pace.wakes = 0;
        }
        pace.wakes += 1;
        if pace.wakes > MAX_WAKES {
            let what = format!("woken {MAX_WAKES} times in a second");
            self.ledger.breaks(Rule::Spin, what);
        }
    }

    /// After every step: what it can have changed.
    pub(super) fn check(&mut self, net: &Network) {
        if let Some(running) = &mut self.running
            && std::mem::take(&mut running.told)
        {
            self.check_facts(net);
        }
    }

    /// After every step and every second: what the manager and the driver must agree on, and what
    /// can come to be wrong, or be found to be, by time or by others.
    pub(crate) fn check_facts(&mut self, net: &Network) {
        self.check_tables();
        self.check_bans(net);
    }

    /// After a connection was made. At other times there may be more: a limit that is lowered
    /// closes nobody.
    pub(super) fn check_slots(&mut self, made: ConnId) {
        let running = self.running.as_ref();
        let Some(made) = running.and_then(|running| running.connections.get(&made)) else {
            return;
        };
        let (side, capacity, ip) = (made.side, made.capacity, made.address.ip());
        let (mut taken, mut of_ip, mut pending) = (0, 0, 0);
        for of in self.connections().filter(|of| of.capacity == capacity) {
            taken += 1;
            of_ip += usize::from(of.side == Side::Inbound && of.address.ip() == ip);
            pending += usize::from(of.is_pending_inbound());
        }
        let config = self.config();
        let slots = (taken, "connections", config.max_connections);
        let limits = match (capacity, side) {
            (Capacity::Free, Side::Outbound) => vec![slots],
            (Capacity::Free, Side::Inbound) => vec![
                slots,
                (of_ip, "inbound of one IP", config.max_connections_per_ip()),
                (pending, "pending inbound", config.max_pending_inbound),
            ],
            (Capacity::Full, _) => vec![
                (taken, "over capacity", config.max_over_capacity),
                (of_ip, "over capacity of one IP", OVER_CAPACITY_OF_ONE),
            ],
        };
        for (has, what, most) in limits {
            if has > most {
                let what = format!("{has} {what}, at most {most}");
                self.ledger.breaks(Rule::Slots, what);
            }
        }
    }

    /// After a connection was moved.
    pub(super) fn check_connection(&mut self, now: Instant, conn: ConnId) {
        let running = self.running.as_ref();
        let Some(of) = running.and_then(|running| running.connections.get(&conn)) else {
            return;
        };
        let Stage::Open(open) = &of.stage else {
            return;
        };
        let config = &self.spec.config.connection;
        let most_in = config.max_message_bytes as usize + HEADER_LEN + ONE_READ;
        let most_out = config.send_queue_bytes as u64 + CONTROL;
        let (input, output) = (open.input.len(), open.protocol.unsent_bytes());
        let banned = self
            .is_wrongly_there(of, self.wall(now))
            .then_some(of.address);
        if input > most_in || output > most_out {
            let what = format!("{conn} holds {input} bytes in and {output} out");
            self.ledger.breaks(Rule::Bounds, what);
        }
        if let Some(address) = banned {
            let what = format!("{address} is banned, and connected");
            self.ledger.breaks(Rule::Bans, what);
        }
    }

    /// Now and then, for that takes time: others cannot fill the memory of a node.
    pub(crate) fn check_book(&mut self, hosts: usize) {
        let known = self.manager().map_or(0, |manager| manager.peers().count());
        if known > hosts * NAMED_BY_ONE {
            let what = format!("{known} peers in the book, of {hosts} hosts");
            self.ledger.breaks(Rule::Bounds, what);
        }
    }

    fn is_wrongly_there(&self, of: &NodeConnection, wall: Timestamp) -> bool {
        self.ledger.is_banned(of.address.ip(), wall) && !of.is_closing()
    }

    fn check_bans(&mut self, net: &Network) {
        if !self.ledger.has_bans() {
            return;
        }
        let wall = self.wall(self.now(net));
        let found = self
            .connections()
            .find(|of| self.is_wrongly_there(of, wall));
        if let Some(address) = found.map(|of| of.address) {
            let what = format!("{address} is banned, and connected");
            self.ledger.breaks(Rule::Bans, what);
        }
    }

    fn check_tables(&mut self) {
        let Some(running) = &self.running else {
            return;
        };
        let (mut connected, mut admitted) = (0, 0);
        let mut ours = running.connections.iter();
        for theirs in running.manager.connections() {
            connected += usize::from(theirs.state() == ConnectionState::Connected);
            let same = ours.next().is_some_and(|(&conn, of)| {
                admitted += usize::from(of.is_admitted());
                let is_full = of.capacity == Capacity::Full;
                conn == theirs.id()
                    && of.address == theirs.address()
                    && (of.side == Side::Inbound) == theirs.is_inbound()
                    && is_full == theirs.reject_after_handshake()
            });
            if !same {
                let what = format!("{} {} is not the driver's", theirs.id(), theirs.address());
                return self.ledger.breaks(Rule::Tables, what);
            }
        }
        if let Some((conn, of)) = ours.next() {
            let what = format!("{conn} {} is not the manager's", of.address);
            return self.ledger.breaks(Rule::Tables, what);
        }
        let count = running.manager.connection_count();
        if connected != count {
            let what = format!("{connected} are connected, {count} are counted");
            self.ledger.breaks(Rule::OverCapacity, what);
        }
        let told = self.ledger.established();
        if admitted != told {
            let what = format!("{admitted} are admitted, {told} are established");
            self.ledger.breaks(Rule::EventOrder, what);
        }
    }
}

impl Node {
    /// Connections that were admitted some time ago and are kept.
    pub(crate) fn settled(
        &self,
        now: Time,
        age: Duration,
    ) -> impl Iterator<Item = &NodeConnection> {
        // Who reads nothing does not learn that the other end has hung up.
        let all = self.connections().filter(|_| self.stalled_until.is_none());
        all.filter(move |of| of.admitted_at.is_some_and(|at| at + age <= now))
            .filter(|of| !of.is_closing())
    }

    /// The one of those with this socket.
    pub(crate) fn settled_at(
        &self,
        socket: Socket,
        now: Time,
        age: Duration,
    ) -> Option<&NodeConnection> {
        self.settled(now, age).find(|of| of.socket == socket)
    }

    /// Whether two admitted connections lead to the same IP: worth a closer look.
    pub(crate) fn has_an_ip_twice(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.shared_ips > 0)
    }

    /// Whether it would let somebody in.
    pub(crate) fn has_room(&self) -> bool {
        let of_slots = |of: &&NodeConnection| of.capacity == Capacity::Free;
        self.connections().filter(of_slots).count() < self.config().max_connections
    }

    /// Whether there is an admitted connection to an address that we dialled, or from a peer that
    /// listens there.
    pub fn is_connected_to(&self, address: SocketAddr) -> bool {
        self.connections().any(|of| {
            let here = of.address == address || of.listens_at == Some(address);
            of.is_admitted() && here && !of.is_closing()
        })
    }
}
