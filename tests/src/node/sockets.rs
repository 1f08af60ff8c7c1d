//! The sockets of a node: what they bring, and how they end.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_core::{ConnId, DialFailure, Input};
use p2p_proto::Connection;

use super::Node;
use super::connection::{NodeConnection, Stage};
use crate::network::{Network, Socket, SocketEvent};
use crate::pipe::Read;

/// How long a peer may take to hang up after we did, as in the tokio adapter.
pub(super) const LINGER: Duration = Duration::from_secs(1);

impl Node {
    pub(super) fn socket_event(&mut self, net: &mut Network, socket: Socket, event: SocketEvent) {
        let Some(running) = &mut self.running else {
            return;
        };
        let conn = running.by_socket.get(&socket).copied();
        match (event, conn) {
            (SocketEvent::Incoming { from }, _) => self.incoming(net, socket, from),
            (_, None) => {}
            (SocketEvent::Connected, Some(conn)) => self.dial_answered(net, conn, None),
            (SocketEvent::Refused, Some(conn)) => {
                self.dial_answered(net, conn, Some(DialFailure::Refused));
            }
            (SocketEvent::Readable | SocketEvent::Writable, Some(conn)) => {
                match running.connections.get(&conn).map(|of| &of.stage) {
                    Some(Stage::Dialing(_)) => {
                        let is_reset = net.read(socket) == Read::Reset;
                        if is_reset {
                            self.dial_answered(net, conn, Some(DialFailure::Reset));
                        }
                    }
                    Some(Stage::Lingering(_)) => self.linger(net, conn, socket),
                    Some(Stage::Open(_)) => {
                        running.touched.insert(conn);
                    }
                    None => {}
                }
            }
        }
    }

    fn incoming(&mut self, net: &mut Network, socket: Socket, from: SocketAddr) {
        let now = self.now(net);
        let Some(running) = &mut self.running else {
            return;
        };
        net.accept(socket);
        let admission = running.manager.accept(now, from);
        running.told = true;
        match admission {
            Ok(setup) => {
                net.note(self.host, format_args!("accepts {from} as {}", setup.conn));
                let conn = setup.conn;
                let accepted = NodeConnection::accepted(socket, setup, now);
                running.by_socket.insert(socket, conn);
                running.connections.insert(conn, accepted);
                running.touched.insert(conn);
                let (terms, ledger) = self.judge(now);
                ledger.accepted(terms, from);
                self.check_slots(conn);
            }
            Err(refusal) => {
                net.note(self.host, format_args!("refuses {from}: {refusal}"));
                net.close(socket);
            }
        }
    }

    fn dial_answered(&mut self, net: &mut Network, conn: ConnId, failure: Option<DialFailure>) {
        let now = self.now(net);
        let Some(running) = &mut self.running else {
            return;
        };
        match failure {
            None => {
                if let Some(dialled) = running.connections.get_mut(&conn) {
                    dialled.connected(now);
                    running.touched.insert(conn);
                }
                running.answers.push_back(Input::Connected { conn });
            }
            Some(failure) => self.dial_failed(net, conn, failure),
        }
    }

    /// Takes a connection out of the table. The manager is told by the answer, next.
    pub(super) fn remove(&mut self, net: &mut Network, conn: ConnId) -> Option<NodeConnection> {
        let running = self.running.as_mut()?;
        let removed = running.connections.remove(&conn)?;
        running.by_socket.remove(&removed.socket);
        running.touched.remove(&conn);
        if removed.is_admitted()
            && let Some(count) = running.admitted.get_mut(&removed.address.ip())
        {
            *count -= 1;
            running.shared_ips -= usize::from(*count == 1);
            if *count == 0 {
                running.admitted.remove(&removed.address.ip());
            }
        }
        net.close(removed.socket);
        Some(removed)
    }

    pub(super) fn linger(&mut self, net: &mut Network, conn: ConnId, socket: Socket) {
        loop {
            match net.read(socket) {
                Read::Data(_) => {}
                Read::Nothing => return,
                Read::Eof | Read::Reset => return self.closed(net, conn),
            }
        }
    }

    /// The socket of a connection that was told goodbye is gone.
    fn closed(&mut self, net: &mut Network, conn: ConnId) {
        if let Some(removed) = self.remove(net, conn)
            && let Stage::Lingering(reason) = &removed.stage
        {
            let reason = reason.clone();
            self.report_closed(net, conn, &removed, reason);
        }
    }

    pub(super) fn wake_connections(&mut self, net: &mut Network) {
        let now = self.now(net);
        let Some(running) = &mut self.running else {
            return;
        };
        let due = |of: &NodeConnection| of.deadline.is_some_and(|at| at <= net.now);
        let all = running.connections.iter();
        let due: Vec<ConnId> = all
            .filter(|(_, of)| due(of))
            .map(|(&conn, _)| conn)
            .collect();
        for conn in due {
            let Some(running) = &mut self.running else {
                return;
            };
            let Some(of) = running.connections.get_mut(&conn) else {
                continue;
            };
            match &mut of.stage {
                Stage::Dialing(_) => self.dial_failed(net, conn, DialFailure::TimedOut),
                Stage::Open(open) => {
                    open.protocol.handle_timeout(now);
                    running.touched.insert(conn);
                }
                Stage::Lingering(_) => self.closed(net, conn),
            }
            self.pump(net);
        }
    }

    pub(super) fn stop_stalling(&mut self, net: &Network) {
        if self.stalled_until.is_some_and(|until| until <= net.now) {
            self.stalled_until = None;
            if let Some(running) = &mut self.running {
                running.touched.extend(running.connections.keys().copied());
            }
        }
    }

    /// Connections whose transport is there, and that were not told goodbye.
    pub(super) fn open_connections(
        &self,
    ) -> impl Iterator<Item = (ConnId, &NodeConnection, &Connection)> {
        let running = self.running.iter();
        let all = running.flat_map(|running| &running.connections);
        all.filter_map(|(&conn, of)| match &of.stage {
            Stage::Open(open) => Some((conn, of, &open.protocol)),
            Stage::Dialing(_) | Stage::Lingering(_) => None,
        })
    }
}
