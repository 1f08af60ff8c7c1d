//! What is wrong with the network: lines, connections, and hosts that go down.

use std::collections::BTreeSet;

use super::{End, HostId, Network, Socket};
use crate::pipe::{Item, Pipe};

/// Faults.
impl Network {
    /// Breaks a connection: both ends see a reset, and what is in flight is lost.
    pub fn reset(&mut self, socket: Socket) {
        if let Some(link) = self.links.get_mut(&socket.link) {
            link.broken = true;
        }
        self.put(socket, Item::Reset);
        self.put(socket.peer(), Item::Reset);
    }

    /// From now on everything that is written vanishes, and neither end is told.
    pub fn half_open(&mut self, socket: Socket) {
        if let Some(link) = self.links.get_mut(&socket.link) {
            link.broken = true;
            link.pipes.iter_mut().for_each(Pipe::lose);
        }
    }

    /// The next bytes that this end writes have a wrong bit.
    pub fn flip_bit(&mut self, socket: Socket) {
        if let Some(link) = self.links.get_mut(&socket.link) {
            link.flipped = true;
            link.pipes[socket.end.other() as usize].flip_next();
        }
    }

    /// A host refuses all dials, or no longer.
    pub fn set_refusing(&mut self, host: HostId, refuses: bool) {
        match refuses {
            true => self.refusing.insert(host),
            false => self.refusing.remove(&host),
        };
    }

    /// These hosts reach each other and nobody else; an empty set heals the network.
    pub fn set_island(&mut self, island: BTreeSet<HostId>) {
        self.island = island;
        self.lines_changed();
    }

    /// A host's line goes down, or comes back if nothing else holds it down.
    pub fn set_cut_off(&mut self, host: HostId, is_cut_off: bool) {
        match is_cut_off {
            true => self.cut_off.insert(host),
            false => self.cut_off.remove(&host),
        };
        self.lines_changed();
    }

    /// Every line goes down, or comes back if nothing else holds it down.
    pub fn set_outage(&mut self, is_on: bool) {
        self.outage = is_on;
        self.lines_changed();
    }

    /// A machine goes off, or is on again. Its line stays as it is.
    pub(crate) fn set_off(&mut self, host: HostId, is_off: bool) {
        let changed = match is_off {
            true => self.off.insert(host),
            false => self.off.remove(&host),
        };
        if changed {
            self.lines_changed();
        }
    }

    /// Every socket and listener of a host is gone; its peers see resets, or nothing at all.
    pub fn crash(&mut self, host: HostId, crash: Crash) {
        self.listeners.retain(|_, &mut listener| listener != host);
        for socket in self.sockets_of(host) {
            match crash {
                Crash::Process => self.abort(socket),
                Crash::Machine => {
                    self.half_open(socket);
                    self.leave(socket);
                }
            }
        }
    }

    /// The sockets of a host, in the order in which they were made.
    pub fn sockets_of(&self, host: HostId) -> Vec<Socket> {
        let ends = [End::Dialler, End::Acceptor];
        self.links
            .iter()
            .flat_map(|(&id, link)| ends.map(|end| (id, link, end)))
            .filter(|(_, link, end)| {
                let is_there = link.accepted || *end == End::Dialler;
                is_there && link.hosts[*end as usize] == host && !link.gone[*end as usize]
            })
            .map(|(link, _, end)| Socket { link, end })
            .collect()
    }

    /// Whether a fault has made the ends of a connection disagree.
    pub fn is_broken(&self, socket: Socket) -> bool {
        self.links.get(&socket.link).is_none_or(|link| link.broken)
    }

    /// Whether a bit was flipped in what either end wrote.
    pub fn was_flipped(&self, socket: Socket) -> bool {
        self.links
            .get(&socket.link)
            .is_some_and(|link| link.flipped)
    }

    /// Whether no byte passes between two hosts.
    pub fn is_cut(&self, a: HostId, b: HostId) -> bool {
        self.island.contains(&a) != self.island.contains(&b)
            || (a != b && (self.outage || self.is_cut_off(a) || self.is_cut_off(b)))
    }

    fn is_cut_off(&self, host: HostId) -> bool {
        self.cut_off.contains(&host) || self.off.contains(&host)
    }

    fn lines_changed(&mut self) {
        let now = self.now;
        self.lines_changed_at = now;
        let mut ids = Vec::new();
        for (&id, link) in &self.links {
            ids.push((id, self.is_cut(link.hosts[0], link.hosts[1])));
        }
        for (id, is_cut) in ids {
            if let Some(link) = self.links.get_mut(&id) {
                for pipe in &mut link.pipes {
                    match is_cut {
                        true => pipe.hold(),
                        false => pipe.release(now),
                    }
                }
            }
            for end in [End::Dialler, End::Acceptor] {
                self.schedule(Socket { link: id, end });
            }
        }
    }
}

/// How a host goes down.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::{Crash, Fault, World, scenario};
///
/// let mut world = World::new(1);
/// let node = world.add_node(scenario::node());
/// world.inject(Fault::Crash(node, Crash::Machine))?;
/// assert!(world.node(node).unwrap().manager().is_none());
/// world.inject(Fault::Start(node))?;
/// world.run_for(Duration::from_secs(1))?;
/// assert!(world.node(node).unwrap().manager().is_some());
/// # Ok::<(), p2p_sim::Violation>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The program dies: the system resets its connections.
    Process,
    /// The machine does: nobody is told.
    Machine,
}
