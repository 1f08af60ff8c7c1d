//! What a fault does to the world.

use std::time::Duration;

use crate::faults::Fault;
use crate::invariants::Violation;
use crate::network::{Crash, HostId, Network};
use crate::world::World;

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
            Fault::Outage(is_on) => {
                let hosts: Vec<HostId> = self.nodes().map(|(id, _)| id).collect();
                for host in hosts {
                    self.net.set_cut_off(host, is_on);
                }
            }
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
                self.with_node(host, |node, net| node.crash(net, crash))?;
                self.net.set_cut_off(host, crash == Crash::Machine);
            }
            Fault::Start(host) => self.start(host),
            Fault::Command(host, command) => {
                return self.with_node(host, |node, net| node.command(net, command));
            }
            Fault::Limits(host, limits) => {
                let first = self.first_limits(host);
                return self.with_node(host, |node, net| {
                    let mut config = node.config().clone();
                    let (target, max) = limits.unwrap_or(first);
                    config.target_connections = target;
                    config.max_connections = max;
                    config.min_outbound = limits.map(|_| target.min(4));
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

    /// The shortest time in which whoever was written off is tried again, and what a dial and its
    /// backoff take: nodes that can reach their target have reached it by then.
    pub fn patience(&self) -> Duration {
        let longest = |(_, node): (HostId, &crate::Node)| {
            let config = node.config();
            let connection = &config.connection;
            config.inaccessible_retry + 2 * connection.max_backoff + connection.handshake_timeout
        };
        self.nodes().map(longest).max().unwrap_or_default()
    }
}
