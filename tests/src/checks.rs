//! What must hold on a node after every step.

use std::net::{IpAddr, SocketAddr};
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
    /// Counts a step, and tells whether there were too many at one moment.
    pub(crate) fn spins(&mut self, net: &Network) -> bool {
        if self.steps.0 != net.now {
            self.steps = (net.now, 0);
        }
        self.steps.1 += 1;
        let spins = self.steps.1 > MAX_STEPS;
        if spins {
            let what = format!("{MAX_STEPS} steps at one moment");
            self.ledger.breaks(Rule::Spin, what);
        }
        spins
    }

    /// After every step.
    pub(crate) fn check(&mut self, net: &Network) {
        self.check_facts(net);
        self.check_bounds();
    }

    /// What can come to be wrong, or be found to be, without a step: by time, or by others.
    pub(crate) fn check_facts(&mut self, net: &Network) {
        self.check_tables();
        self.check_bans(net);
    }

    /// After a connection was made. At other times there may be more: a limit that is lowered
    /// closes nobody.
    pub(crate) fn check_slots(&mut self, made: Capacity) {
        let lives = self
            .running
            .iter()
            .flat_map(|running| running.lives.values());
        let taken = lives.filter(|live| live.capacity == made).count();
        let most = match made {
            Capacity::Free => self.config().max_connections,
            Capacity::Full => self.config().max_over_capacity,
        };
        if taken > most {
            let what = format!("{taken} connections, {made:?}, at most {most}");
            self.ledger.breaks(Rule::Slots, what);
        }
    }

    pub(crate) fn dialing(&self) -> usize {
        let lives = self
            .running
            .iter()
            .flat_map(|running| running.lives.values());
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
        let banned =
            |live: &&Live| !live.is_closing() && self.ledger.is_banned(live.address.ip(), wall);
        let lives = self
            .running
            .iter()
            .flat_map(|running| running.lives.values());
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
        let broken = self
            .open_connections()
            .find_map(|(conn, live, connection)| {
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
        let lives = self
            .running
            .iter()
            .flat_map(|running| running.lives.values());
        let settled = move |live: &&Live| live.admitted && live.admitted_at + age <= now;
        let kept = lives.filter(settled).filter(|live| !live.is_closing());
        // Who reads nothing does not learn that the other end has hung up.
        kept.filter(|_| self.stalled_until.is_none())
            .map(|live| live.socket)
    }

    /// Whether two admitted connections lead to the same IP: worth a closer look.
    pub(crate) fn has_an_ip_twice(&self) -> bool {
        let lives = self
            .running
            .iter()
            .flat_map(|running| running.lives.values());
        let mut ips: Vec<IpAddr> = lives
            .filter(|live| live.admitted)
            .map(|live| live.address.ip())
            .collect();
        ips.sort_unstable();
        ips.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Whether a socket is one of those.
    pub(crate) fn keeps(&self, socket: Socket, now: Time, age: Duration) -> bool {
        self.settled_sockets(now, age).any(|kept| kept == socket)
    }

    /// Whether there is an admitted connection to an address that we dialled, or from a peer that
    /// listens there.
    pub fn is_connected_to(&self, address: SocketAddr) -> bool {
        let mut lives = self
            .running
            .iter()
            .flat_map(|running| running.lives.values());
        lives.any(|live| {
            let here = live.address == address || live.listens_at == Some(address);
            live.admitted && here && !live.is_closing()
        })
    }
}
