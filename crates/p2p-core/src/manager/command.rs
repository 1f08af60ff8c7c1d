//! What the user wants.

use std::net::IpAddr;
use std::time::Duration;

use p2p_proto::CloseReason;

use super::{Manager, Run, canonical};
use crate::config::ManagerConfig;
use crate::connection::ConnId;
use crate::events::ControlEvent;
use crate::io::{Action, Command};
use crate::peer::{BanReason, PeerSource};

/// How long peers and the store may hold up the end: peers get a second to be sent what is queued
/// and one to hang up, the rest is the store's. A driver that has something to end of its own does
/// so within the same time.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);

impl Manager {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Start if self.run == Run::Idle => {
                self.run = Run::Running;
                self.dns.start(self.now);
            }
            Command::Shutdown if matches!(self.run, Run::Idle | Run::Running) => {
                let by = self.now + STOP_WITHIN;
                self.run = Run::Stopping { by };
                self.restarts.clear();
                self.notify(ControlEvent::ShuttingDown);
            }
            Command::Start | Command::Shutdown => {}
            Command::Ban(ip) => self.ban_manually(ip.to_canonical()),
            Command::Unban(ip) => self.unban(ip.to_canonical()),
            Command::AddPeer(address) => {
                self.add(canonical(address), PeerSource::Manual, None);
            }
            Command::Disconnect(peer_id) => {
                let of_peer = |live: &&super::Live| live.connection.peer_id == peer_id;
                let conns: Vec<ConnId> = self
                    .connections
                    .values()
                    .filter(of_peer)
                    .map(|live| live.connection.id)
                    .collect();
                for conn in conns {
                    self.close(conn, CloseReason::Requested);
                }
            }
        }
    }

    fn ban_manually(&mut self, ip: IpAddr) {
        self.ban(ip, BanReason::Manual, None);
    }

    /// Another configuration: connections hear of it, and `reconcile` of the rest.
    pub(super) fn configure(&mut self, config: ManagerConfig) {
        self.config = config;
        self.configure_connections(self.protocol.listen_port);
        self.notify(ControlEvent::ConfigUpdated);
    }

    /// Peers are told where we listen.
    pub(super) fn tell_listen_port(&mut self, port: u16) {
        self.configure_connections(port);
    }

    pub(super) fn configure_connections(&mut self, listen_port: u16) {
        self.protocol = self.protocol_at(listen_port);
        for &conn in self.connections.keys() {
            let config = self.protocol.clone();
            self.actions.push_back(Action::Configure { conn, config });
        }
    }
}
