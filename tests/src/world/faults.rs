//! What a fault does to the world.

use std::time::Duration;

use p2p_core::Command;
use uuid::Uuid;

use crate::faults::Fault;
use crate::invariants::Violation;
use crate::network::{Crash, HostId, Network};
use crate::node::Node;
use crate::world::{Limits, World};

impl World {
    /// Lets something go wrong now.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn inject(&mut self, fault: Fault) -> Result<(), Violation> {
        self.net
            .trace
            .line(self.net.now, None, format_args!("fault {fault:?}"));
        let now = self.net.now;
        match fault {
            Fault::Reset(host) => self.harm_a_socket(host, Network::reset),
            Fault::HalfOpen(host) => self.harm_a_socket(host, Network::half_open),
            Fault::BitFlip(host) => self.harm_a_socket(host, Network::flip_bit),
            Fault::Refuse(host, refuses) => self.net.set_refusing(host, refuses),
            Fault::CutOff(host, is_cut_off) => self.net.set_cut_off(host, is_cut_off),
            Fault::Partition(apart) => self.net.set_island(apart),
            Fault::Outage(is_on) => self.net.set_outage(is_on),
            Fault::Dns(failures) => self.net.dns.failures = failures,
            Fault::Stall(host, length) => {
                return self.with_node(host, |node, _| node.stall(now + length));
            }
            Fault::DiskFails(host, fails) => {
                return self.with_node(host, |node, _| node.disk.fails = fails);
            }
            Fault::DiskSlow(host, slowness) => {
                return self.with_node(host, |node, _| node.disk.slowness = slowness);
            }
            Fault::ListenFails(host, fails) => {
                return self.with_node(host, |node, net| node.set_cannot_listen(net, fails));
            }
            Fault::Crash(host, crash) => {
                return self.with_node(host, |node, net| {
                    node.crash(net, crash);
                    if crash == Crash::Machine {
                        net.set_off(host, true);
                    }
                });
            }
            Fault::Start(host) => self.start(host),
            Fault::Disconnect(host) => return self.disconnect_a_peer(host),
            Fault::Command(host, command) => {
                return self.with_node(host, |node, net| node.command(net, command));
            }
            Fault::Limits(host, limits) => {
                let Some(first) = self.first_limits(host) else {
                    return Ok(());
                };
                return self.with_node(host, |node, net| {
                    let mut config = node.config().clone();
                    let limits = limits.map_or(first, |(target, max)| Limits {
                        target,
                        max,
                        min_outbound: Some(target.min(4)),
                    });
                    limits.apply(&mut config);
                    node.configure(net, config);
                });
            }
        }
        Ok(())
    }

    fn harm_a_socket(&mut self, host: HostId, fault: impl FnOnce(&mut Network, crate::Socket)) {
        let sockets = self.net.sockets_of(host);
        if let Some(&socket) = self.net.rng.pick(&sockets) {
            fault(&mut self.net, socket);
        }
    }

    fn disconnect_a_peer(&mut self, host: HostId) -> Result<(), Violation> {
        let manager = self.node(host).and_then(Node::manager);
        let connections = manager
            .into_iter()
            .flat_map(|manager| manager.connections());
        let peers: Vec<Uuid> = connections.map(|of| of.peer_id()).collect();
        let Some(&peer) = self.net.rng.pick(&peers) else {
            return Ok(());
        };
        let disconnect = Command::Disconnect(peer);
        self.with_node(host, |node, net| node.command(net, disconnect))
    }

    /// The shortest time in which whoever was written off is tried again, and what a dial and its
    /// backoff take: nodes that can reach their target have reached it by then.
    pub fn patience(&self) -> Duration {
        let longest = |(_, node): (HostId, &Node)| {
            let config = node.config();
            let connection = &config.connection;
            config.inaccessible_retry + 2 * connection.max_backoff + connection.handshake_timeout
        };
        self.nodes().map(longest).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::*;
    use crate::network::{Socket, SocketEvent};
    use crate::program::Program;
    use crate::scenario;
    use crate::time::Time;

    #[test]
    fn a_line_comes_back_when_nothing_holds_it_down_any_more() {
        let mut world = World::new(1);
        let [here, there] = [(), ()].map(|()| world.add_node(scenario::node()));
        let mut is_cut_after = |fault| {
            world.inject(fault).unwrap();
            world.net.is_cut(here, there)
        };
        assert!(is_cut_after(Fault::CutOff(here, true)));
        for fault in [
            Fault::Crash(here, Crash::Process),
            Fault::Start(here),
            Fault::Crash(here, Crash::Machine),
            Fault::Start(here),
            Fault::Outage(true),
            Fault::Outage(false),
        ] {
            assert!(is_cut_after(fault.clone()), "{fault:?}");
        }
        assert!(!is_cut_after(Fault::CutOff(here, false)));
        assert!(is_cut_after(Fault::Crash(here, Crash::Machine)));
        assert!(is_cut_after(Fault::CutOff(here, false)));
        assert!(is_cut_after(Fault::Crash(here, Crash::Process)));
        assert!(!is_cut_after(Fault::Start(here)));
    }

    #[test]
    fn the_first_limits_come_back_all_of_them() {
        let mut spec = scenario::node();
        spec.config.min_outbound = Some(1);
        let mut world = World::new(1);
        let node = world.add_node(spec.clone());
        let config = |world: &World| world.node(node).unwrap().config().clone();
        world.inject(Fault::Limits(node, Some((5, 6)))).unwrap();
        assert_eq!(config(&world).max_connections, 6);
        world.inject(Fault::Limits(node, None)).unwrap();
        assert_eq!(config(&world), spec.config);
    }

    /// Listens, which it can do once.
    #[derive(Debug)]
    struct Once(HostId, SocketAddr);

    impl Program for Once {
        fn start(&mut self, net: &mut Network) {
            net.listen(self.0, self.1).expect("it does not run yet");
        }

        fn handle(&mut self, _: &mut Network, _: Socket, _: SocketEvent) {}

        fn wake(&mut self, _: &mut Network) {}

        fn wake_at(&self) -> Option<Time> {
            None
        }
    }

    #[test]
    fn a_program_that_runs_is_not_started_again() {
        let mut world = World::new(1);
        let host = world.add_program(|host, ip: IpAddr| Box::new(Once(host, (ip, 7).into())));
        world.start(host);
        world.inject(Fault::Start(host)).unwrap();
    }
}
