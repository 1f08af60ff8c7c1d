//! One step of a world, and what is checked after it.

use std::time::Duration;

use super::{What, World, WorldEvent, node_mut};
use crate::invariants::{Rule, Violation};
use crate::network::{HostId, Socket, SocketEvent};
use crate::time::Time;

/// How often all of the world is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// In so many seconds the books of all nodes are counted.
const COUNT_BOOKS: u64 = 600;

impl World {
    pub(super) fn step(&mut self) -> Result<(), Violation> {
        let Some((at, event)) = self.net.queue.pop() else {
            return Ok(());
        };
        self.net.now = at;
        self.steps += 1;
        match event {
            WorldEvent::Arrival { reader } => {
                let mut events = Vec::new();
                self.net.arrive(reader, &mut events);
                for (host, event) in events {
                    self.tell(host, reader, event)?;
                }
                Ok(())
            }
            WorldEvent::Writable { socket } => match self.net.owner(socket) {
                Some(host) => self.tell(host, socket, SocketEvent::Writable),
                None => Ok(()),
            },
            WorldEvent::Wake { host } => self.wake(host),
            WorldEvent::Resolved {
                host,
                incarnation,
                addresses,
            } => self.with_node(host, |node, net| {
                node.resolved(net, incarnation, addresses);
            }),
            WorldEvent::Stored {
                host,
                incarnation,
                batch,
            } => self.with_node(host, |node, net| node.stored(net, incarnation, batch)),
            WorldEvent::Saved { host, incarnation } => {
                self.with_node(host, |node, net| node.saved(net, incarnation))
            }
            WorldEvent::Fault(fault) => self.inject(fault),
            WorldEvent::Look => {
                self.net.queue.push(at + LOOK, WorldEvent::Look);
                self.look()
            }
        }
    }

    fn tell(&mut self, host: HostId, socket: Socket, event: SocketEvent) -> Result<(), Violation> {
        if let Some(there) = self.hosts.get_mut(host.0) {
            there.what.program().handle(&mut self.net, socket, event);
        }
        self.settle(host)
    }

    fn wake(&mut self, host: HostId) -> Result<(), Violation> {
        let now = self.net.now;
        let Some(there) = self.hosts.get_mut(host.0) else {
            return Ok(());
        };
        // An event for a time that another event has taken the place of.
        if there.wake != Some(now) {
            return Ok(());
        }
        there.wake = None;
        if there.what.wake_at().is_some_and(|at| at <= now) {
            there.what.program().wake(&mut self.net);
            if let (Some(at), What::Node(node)) = (there.what.wake_at(), &mut there.what)
                && at <= now
            {
                let what = format!("woken, it wants to be woken at {at} again");
                node.ledger.breaks(Rule::Spin, what);
            }
        }
        self.settle(host)
    }

    /// Takes note of what was found out about a node, and of when it is to be woken.
    pub(super) fn settle(&mut self, host: HostId) -> Result<(), Violation> {
        if let Some(node) = node_mut(&mut self.hosts, host)
            && let Some((rule, what)) = node.ledger.take_broken()
        {
            return Err(Violation {
                time: self.net.now,
                host: Some(host),
                rule,
                what,
            });
        }
        self.reschedule(host);
        Ok(())
    }

    pub(super) fn reschedule(&mut self, host: HostId) {
        let Some(there) = self.hosts.get_mut(host.0) else {
            return;
        };
        if let Some(at) = there.what.wake_at() {
            let at = at.max(self.net.now);
            if there.wake.is_none_or(|scheduled| at < scheduled) {
                there.wake = Some(at);
                self.net.queue.push(at, WorldEvent::Wake { host });
            }
        }
    }

    fn look(&mut self) -> Result<(), Violation> {
        let hosts = self.hosts.len();
        let second = self.net.now.since(Time::ZERO).as_secs();
        let counts_books = second.is_multiple_of(COUNT_BOOKS);
        for at in 0..hosts {
            let host = HostId(at);
            if let Some(node) = node_mut(&mut self.hosts, host) {
                node.check_facts(&self.net);
                if counts_books {
                    node.check_book(hosts);
                }
            }
            self.settle(host)?;
        }
        self.check_duplicates()
    }
}
