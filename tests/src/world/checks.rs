//! What can be seen of a world only from above.

use std::collections::BTreeSet;
use std::time::Duration;

use p2p_core::Manager;
use p2p_proto::Side;

use super::World;
use crate::invariants::{Rule, Violation};
use crate::ledger::Tally;
use crate::network::HostId;
use crate::node::Node;

/// How long two nodes may take to see that they have two connections, and to end one.
const RESOLUTION: Duration = Duration::from_secs(10);

impl World {
    /// What all nodes together did.
    pub fn tally(&self) -> Tally {
        self.nodes().map(|(_, node)| node.tally()).sum()
    }

    /// Connections between these hosts and others, that both ends keep.
    pub fn bridges(&self, these: &BTreeSet<HostId>) -> usize {
        let now = self.net.now;
        let mut count = 0;
        for (_, node) in self.nodes().filter(|(host, _)| these.contains(host)) {
            let kept = node.settled(now, Duration::ZERO).map(|of| of.socket);
            let peers = kept.filter_map(|socket| self.net.owner(socket.peer()));
            count += peers.filter(|peer| !these.contains(peer)).count();
        }
        count
    }

    /// Into how many parts the running nodes fall, none connected to another.
    pub fn parts(&self) -> usize {
        let now = self.net.now;
        let mut left: BTreeSet<HostId> = self.nodes().map(|(host, _)| host).collect();
        left.retain(|&host| self.node(host).is_some_and(Node::is_up));
        let mut parts = 0;
        while let Some(first) = left.pop_first() {
            parts += 1;
            let mut reached = vec![first];
            while let Some(node) = reached.pop().and_then(|host| self.node(host)) {
                let kept = node.settled(now, Duration::ZERO).map(|of| of.socket);
                let peers = kept.filter_map(|socket| self.net.owner(socket.peer()));
                reached.extend(peers.filter(|peer| left.remove(peer)));
            }
        }
        parts
    }

    /// Connections of a host with nodes, which other programs are not.
    pub fn honest_connections(&self, host: HostId) -> usize {
        let Some(node) = self.node(host) else {
            return 0;
        };
        let sockets = node
            .settled(self.net.now, Duration::ZERO)
            .map(|of| of.socket);
        let peers = sockets.filter_map(|socket| self.net.owner(socket.peer()));
        peers.filter(|&peer| self.node(peer).is_some()).count()
    }

    /// Nodes that have fewer connections than they should, faults apart: fewer than their target
    /// while there are others with room for them; with a fixed list, without one of those, and
    /// with room for it.
    pub fn below_target(&self) -> Vec<HostId> {
        let below_target = |(id, node): &(HostId, &Node)| match node.mode().fixed_peers() {
            None => {
                let (has, target) = (node.connected(), node.config().target_connections);
                node.manager().is_some() && has < target && has < self.within_reach(*id)
            }
            Some(list) => list.iter().any(|&address| {
                let other = self.nodes().find(|(_, other)| other.address() == address);
                other.is_some_and(|(_, other)| {
                    Self::get_along(node, other)
                        && other.has_room()
                        && !node.is_connected_to(address)
                })
            }),
        };
        let below_target = self.nodes().filter(below_target);
        below_target.map(|(id, _)| id).collect()
    }

    /// Writes into the record what the managers of nodes below their targets say about it.
    pub(super) fn explain_shortage(&mut self) {
        for host in self.below_target() {
            let explanation = self
                .node(host)
                .and_then(Node::manager)
                .map(Manager::explain);
            let reach = self.within_reach(host);
            self.net.note(
                host,
                format_args!("is below its target, {reach} in reach: {explanation:?}"),
            );
        }
    }

    /// How many other nodes a node could connect to.
    fn within_reach(&self, id: HostId) -> usize {
        let Some(node) = self.node(id) else {
            return 0;
        };
        let others = self.nodes().filter(|(other, _)| *other != id);
        let reachable = |other: &Node| {
            let has_room = other.has_room() || node.is_connected_to(other.address());
            has_room && Self::get_along(node, other)
        };
        others.filter(|(_, other)| reachable(other)).count()
    }

    /// Whether one could dial the other. A ban that was lifted may be back after a crash: what is
    /// promised is that none is lost.
    fn get_along(a: &Node, b: &Node) -> bool {
        let (Some(of_a), Some(of_b)) = (a.manager(), b.manager()) else {
            return false;
        };
        b.config().enable_listener && !of_a.is_banned(b.ip()) && !of_b.is_banned(a.ip())
    }

    /// Two nodes with two connections that both of them keep. That two which dialled each other are
    /// the same can only be seen if one of them told where it listens when it dialled.
    pub(super) fn check_duplicates(&self) -> Result<(), Violation> {
        let now = self.net.now;
        if now < self.net.lines_changed_at + RESOLUTION {
            return Ok(());
        }
        let worth_a_look = self.nodes().filter(|(_, node)| node.has_an_ip_twice());
        for (host, node) in worth_a_look {
            let mut peers = Vec::new();
            for here in node.settled(now, RESOLUTION) {
                let socket = here.socket.peer();
                if let Some(other) = self.net.owner(socket)
                    && !self.net.is_broken(here.socket)
                    && !self.net.is_cut(host, other)
                    && let Some(node) = self.node(other)
                    && let Some(there) = node.settled_at(socket, now, RESOLUTION)
                {
                    let told = match here.side {
                        Side::Inbound => here.listens_at,
                        Side::Outbound => there.listens_at,
                    };
                    peers.push((other, here.side == Side::Inbound, told.is_some()));
                }
            }
            peers.sort_unstable();
            let twice = peers.windows(2).find(|pair| {
                let [(one, one_side, one_told), (other, other_side, other_told)] = pair else {
                    return false;
                };
                one == other && (one_side == other_side || *one_told || *other_told)
            });
            if let Some(twice) = twice {
                return Err(Violation {
                    time: now,
                    host: Some(host),
                    rule: Rule::Duplicate,
                    what: format!("two connections with {}", twice[0].0),
                });
            }
        }
        Ok(())
    }
}
