//! What must hold on a node after every step.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_core::ConnectionState;
use p2p_proto::{Capacity, HEADER_LEN, Side};

use crate::invariants::Rule;
use crate::live::{Live, Stage};
use crate::network::{Network, Socket};
use crate::node::Node;
use crate::time::Time;

/// Steps of one node at one moment: far more than a flood of messages needs, and few enough to
/// end a loop.
const MAX_STEPS: u32 = 100_000;
/// Bytes that one read adds to an input buffer beyond a message.
const ONE_READ: usize = 64 * 1024;
/// Pings, pongs and the like that may wait beyond the limit of the application's messages.
const CONTROL: u64 = 128 * 1024;

impl Node {
    /// After every step.
    pub(crate) fn check(&mut self, net: &Network) {
        if self.steps.0 != net.now {
            self.steps = (net.now, 0);
        }
        self.steps.1 += 1;
        if self.steps.1 > MAX_STEPS {
            self.ledger
                .breaks(Rule::Spin, format!("{MAX_STEPS} steps at one moment"));
        }
        self.check_tables();
        self.check_bans(net);
        self.check_bounds();
    }

    /// After a connection was made: a lower limit closes nobody, so it is not always so.
    pub(crate) fn check_slots(&mut self) {
        let count = |node: &Self, capacity| {
            let lives = node.running.iter().flat_map(|running| running.lives.values());
            lives.filter(|live| live.capacity == capacity).count()
        };
        let (free, full) = (count(self, Capacity::Free), count(self, Capacity::Full));
        let config = self.config();
        let (max, over) = (config.max_connections, config.max_over_capacity);
        if free > max {
            self.ledger
                .breaks(Rule::Slots, format!("{free} connections, at most {max}"));
        }
        if full > over {
            let what = format!("{full} over capacity, at most {over}");
            self.ledger.breaks(Rule::Slots, what);
        }
    }

    pub(crate) fn dialing(&self) -> usize {
        let lives = self.running.iter().flat_map(|running| running.lives.values());
        lives
            .filter(|live| matches!(live.stage, Stage::Dialing(_)))
            .count()
    }

    fn check_tables(&mut self) {
        let Some(running) = &self.running else {
            return;
        };
        let mut connected = 0;
        let mut ours = running.lives.iter();
        for theirs in running.manager.connections() {
            connected += usize::from(theirs.state() == ConnectionState::Connected);
            let same = ours.next().is_some_and(|(&conn, live)| {
                let is_full = live.capacity == Capacity::Full;
                conn == theirs.id()
                    && live.address == theirs.address()
                    && (live.side == Side::Inbound) == theirs.is_inbound()
                    && is_full == theirs.reject_after_handshake()
            });
            if !same {
                let what = format!("{} {} is not the driver's", theirs.id(), theirs.address());
                return self.ledger.breaks(Rule::Tables, what);
            }
        }
        if let Some((conn, live)) = ours.next() {
            let what = format!("{conn} {} is not the manager's", live.address);
            return self.ledger.breaks(Rule::Tables, what);
        }
        let count = running.manager.connection_count();
        if connected != count {
            let what = format!("{connected} are connected, {count} are counted");
            self.ledger.breaks(Rule::OverCapacity, what);
        }
        let admitted = running.lives.values().filter(|live| live.admitted);
        let (admitted, told) = (admitted.count(), self.ledger.established());
        if admitted != told {
            let what = format!("{admitted} are admitted, {told} are established");
            self.ledger.breaks(Rule::EventOrder, what);
        }
    }

    fn check_bans(&mut self, net: &Network) {
        if !self.ledger.has_bans() {
            return;
        }
        let wall = self.wall(self.now(net));
        let banned = |live: &&Live| {
            !live.is_closing() && self.ledger.is_banned(live.address.ip(), wall)
        };
        let lives = self.running.iter().flat_map(|running| running.lives.values());
        let found = lives.filter(banned).map(|live| live.address).next();
        if let Some(address) = found {
            let what = format!("{address} is banned, and connected");
            self.ledger.breaks(Rule::Bans, what);
        }
    }

    fn check_bounds(&mut self) {
        let config = &self.config().connection;
        let most_in = config.max_message_bytes as usize + HEADER_LEN + ONE_READ;
        let most_out = config.send_queue_bytes as u64 + CONTROL;
        let broken = self.open_connections().find_map(|(conn, live, connection)| {
            let Stage::Open(open) = &live.stage else {
                return None;
            };
            let (input, output) = (open.input.len(), connection.unsent_bytes());
            (input > most_in || output > most_out)
                .then(|| format!("{conn} holds {input} bytes in and {output} out"))
        });
        if let Some(what) = broken {
            self.ledger.breaks(Rule::Bounds, what);
        }
    }
}

impl Node {
    /// Sockets of connections that were admitted some time ago and are kept.
    pub(crate) fn settled_sockets(&self, now: Time, age: Duration) -> impl Iterator<Item = Socket> {
        let lives = self.running.iter().flat_map(|running| running.lives.values());
        let settled = move |live: &&Live| live.admitted && live.admitted_at + age <= now;
        let kept = lives.filter(settled).filter(|live| !live.is_closing());
        // Who reads nothing does not learn that the other end has hung up.
        kept.filter(|_| self.stalled_until.is_none())
            .map(|live| live.socket)
    }

    /// Whether a socket is one of those.
    pub(crate) fn keeps(&self, socket: Socket, now: Time, age: Duration) -> bool {
        self.settled_sockets(now, age).any(|kept| kept == socket)
    }

    /// Whether there is an admitted connection to an address that we dialled, or from a peer that
    /// listens there.
    pub fn is_connected_to(&self, address: SocketAddr) -> bool {
        let mut lives = self.running.iter().flat_map(|running| running.lives.values());
        lives.any(|live| {
            let here = live.address == address || live.listens_at == Some(address);
            live.admitted && here && !live.is_closing()
        })
    }
}
