//! What happens to connections: made, admitted, ended.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_proto::{Capacity, CloseReason, Message, Ready, Side};
use rand_core::Rng;

use super::{Manager, Run};
use crate::backoff::jittered;
use crate::book::Availability;
use crate::breaker::LONGEST_PAUSE;
use crate::connection::{ConnId, ConnectionState};
use crate::error::{ConnectionError, DialFailure};
use crate::events::ControlEvent;
use crate::io::{Action, InboundRefusal};
use crate::mode::OperatingMode;
use crate::peer::PeerStatus;
use crate::restart::restart;
use crate::verdict::{Verdict, is_failed_dial, verdict};

/// Addresses at which we met ourselves that are kept: a node has a handful.
const MAX_OURS: usize = 64;
/// Ask a new outbound peer for addresses while fewer than this many are known: enough to find a
/// full set of peers many times over.
const ENOUGH_PEERS: usize = 1000;

impl Manager {
    /// Whether a connection that was just accepted may be spoken to, and what about.
    pub(super) fn admission(&self, remote: SocketAddr) -> Result<Capacity, InboundRefusal> {
        let ip = remote.ip();
        if self.run != Run::Running {
            return Err(InboundRefusal::NotRunning);
        }
        if self.bans.get(ip).is_some() {
            return Err(InboundRefusal::Banned);
        }
        if self.by_address.contains_key(&remote) {
            return Err(InboundRefusal::Duplicate);
        }
        if self.slots.inbound_of(ip) >= self.config.max_connections_per_ip() {
            return Err(InboundRefusal::PerIp);
        }
        if self.slots.held() + self.earmarks < self.config.max_connections {
            if self.slots.pending_inbound() >= self.config.max_pending_inbound {
                return Err(InboundRefusal::Pending);
            }
            return Ok(Capacity::Free);
        }
        if self.slots.over_capacity() >= self.config.max_over_capacity
            || self.slots.over_capacity_of(ip) >= MAX_OVER_CAPACITY_PER_IP
        {
            return Err(InboundRefusal::OverCapacity);
        }
        Ok(Capacity::Full)
    }

    pub(super) fn connected(&mut self, conn: ConnId) {
        self.go(conn, ConnectionState::AwaitingHandshake);
    }

    pub(super) fn dial_failed(&mut self, conn: ConnId, failure: DialFailure) {
        // An answer about a connection that has ended, or whose transport was there.
        let known = self.connections.get(&conn);
        if !known.is_some_and(|live| {
            live.connection.side == Side::Outbound && live.connection.ready.is_none()
        }) {
            return;
        }
        let told = known.is_some_and(|live| live.told.is_some());
        let Some(address) = self.forget(conn, &ConnectionError::Dial(failure)) else {
            return;
        };
        if told {
            // We gave it up ourselves.
            return self.rest(address);
        }
        self.came_to_nothing(address);
        match self.breaker.is_open() {
            true => self.set_aside(address),
            false => self.back_off(address),
        }
    }

    /// The handshake is complete: who is it, and may it stay?
    pub(super) fn ready(&mut self, conn: ConnId, ready: Box<Ready>) {
        let Some(live) = self.connections.get_mut(&conn) else {
            return;
        };
        if live.connection.state != ConnectionState::AwaitingHandshake {
            return;
        }
        let (peer_nonce, ip) = (ready.version.nonce, live.connection.address.ip());
        live.connection.ready = Some(ready);
        if self.bans.get(ip).is_some() {
            return self.close(conn, CloseReason::Banned);
        }
        if let Some(other) = self.connection_of_ours(peer_nonce) {
            self.close(other, CloseReason::SelfConnection);
            return self.close(conn, CloseReason::SelfConnection);
        }
        while let Some(other) = self.same_node(conn) {
            // Both ends see the same two nonces, and so keep the same connection.
            let nonce = |conn| {
                self.connections
                    .get(&conn)
                    .and_then(|live| live.connection.dialler_nonce())
            };
            if nonce(other) <= nonce(conn) {
                return self.close(conn, CloseReason::Duplicate);
            }
            self.close(other, CloseReason::Duplicate);
        }
        self.admit(conn);
    }

    /// The connection in whose version we sent this nonce.
    fn connection_of_ours(&self, nonce: u64) -> Option<ConnId> {
        let range = (nonce, ConnId(0))..=(nonce, ConnId(u64::MAX));
        self.nonces.range(range).map(|&(_, conn)| conn).next()
    }

    /// The connection of the other direction to the same node.
    fn same_node(&self, conn: ConnId) -> Option<ConnId> {
        let connection = &self.connections.get(&conn)?.connection;
        let (ip, port) = connection.listens_at()?;
        let address = SocketAddr::new(ip, port);
        let others: Vec<_> = match connection.side {
            Side::Inbound => self.by_address.get(&address).copied().into_iter().collect(),
            Side::Outbound => self.listening_at(address).collect(),
        };
        others.into_iter().find(|other| {
            let other = self.connections.get(other).map(|live| &live.connection);
            other.is_some_and(|other| {
                other.side != connection.side && other.state != ConnectionState::Failed
            })
        })
    }

    fn admit(&mut self, conn: ConnId) {
        self.go(conn, ConnectionState::Connected);
        let now = self.now;
        let Some(live) = self.connections.get_mut(&conn) else {
            return;
        };
        live.was_established = true;
        live.retries = self
            .book
            .retries(live.connection.address)
            .unwrap_or_default();
        live.connection.since = now;
        let connection = &live.connection;
        let Some(ready) = &connection.ready else {
            return;
        };
        let (peer_id, address, side) = (connection.peer_id, connection.address, connection.side);
        let listens_at = connection.listens_at();
        let (user_agent, services) = (ready.version.user_agent.clone(), ready.version.services);
        let (version, height) = (ready.version.version, ready.version.start_height);
        self.breaker.worked();
        match side {
            Side::Outbound => self.was_reached(address, &user_agent, services),
            Side::Inbound => {
                if let Some((ip, port)) = listens_at {
                    let listens_at = SocketAddr::new(ip, port);
                    self.listening_peers.insert((listens_at, conn));
                    self.occupy(listens_at);
                }
            }
        }
        self.notify(ControlEvent::HandshakeComplete {
            peer_id,
            address,
            user_agent,
            version,
            services,
            height,
        });
        self.notify(ControlEvent::ConnectionEstablished {
            peer_id,
            address,
            is_inbound: side == Side::Inbound,
        });
        // After its events: messages come after them.
        self.actions.push_back(Action::Admit { conn });
        if side == Side::Outbound
            && self.mode == OperatingMode::Normal
            && self.book.len() < ENOUGH_PEERS
        {
            let message = Message::GetAddr;
            self.actions.push_back(Action::Send { conn, message });
        }
    }

    /// The connection has ended: what becomes of the peer?
    pub(super) fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(live) = self.connections.get(&conn) else {
            return;
        };
        let (established, retries) = (live.was_established, live.retries);
        let (peer_id, side) = (live.connection.peer_id, live.connection.side);
        // Whoever hung up first, one that we wanted gone is not made again.
        let judged = match (&live.told, &reason) {
            (Some(told), reason) if !matches!(reason, CloseReason::Violation(_)) => told,
            (_, reason) => reason,
        };
        let verdict = verdict(judged, side, established);
        let is_attempt = side == Side::Outbound && !established;
        let is_failed_dial = is_attempt && is_failed_dial(judged);
        let was_rejected = matches!(reason, CloseReason::RejectedByPeer(_));
        let error = ConnectionError::Closed(reason);
        let Some(address) = self.forget(conn, &error) else {
            return;
        };
        if let ConnectionError::Closed(CloseReason::Misbehavior(_) | CloseReason::FramingLost(_)) =
            error
        {
            self.notify(ControlEvent::PeerMisbehavior {
                peer_id,
                address,
                reason: error.clone(),
            });
        }
        if is_failed_dial || (is_attempt && self.breaker.is_open()) {
            self.came_to_nothing(address);
        }
        if is_failed_dial && self.breaker.is_open() {
            return self.set_aside(address);
        }
        if established && was_rejected {
            // A handshake only to hear that there is no room is no success.
            self.book.set_retries(address, retries);
        }
        let ban_until = self.config.ban_duration;
        match verdict {
            Verdict::Ban(reason) => {
                self.ban(address.ip(), reason, ban_until);
                if side == Side::Outbound {
                    // There may be no room for one more ban.
                    self.rest(address);
                }
            }
            _ if side == Side::Inbound => {}
            Verdict::Restart => self.restart(address, error),
            Verdict::Backoff => self.back_off(address),
            Verdict::Inaccessible => self.write_off(address),
            Verdict::Ours => {
                if self.ours.len() < MAX_OURS {
                    self.ours.insert(address);
                }
                self.book.set_availability(address, Availability::Never);
            }
            Verdict::Nothing => self.rest(address),
        }
    }

    pub(super) fn measured(&mut self, conn: ConnId, latency: Duration) {
        if let Some(live) = self.connections.get_mut(&conn) {
            live.latency = Some(latency);
        }
    }

    pub(super) fn send_headers(&mut self, conn: ConnId) {
        if let Some(live) = self.connections.get_mut(&conn) {
            live.connection.send_headers_mode = true;
        }
    }

    /// Tells the driver to end a connection. Its slot stays taken until the socket is gone.
    pub(super) fn close(&mut self, conn: ConnId, reason: CloseReason) {
        if self.go(conn, ConnectionState::Failed) {
            if let Some(live) = self.connections.get_mut(&conn) {
                live.told = Some(reason.clone());
            }
            self.actions.push_back(Action::Close { conn, reason });
        }
    }

    /// Takes a connection out of every table, and tells what became of it.
    pub(super) fn forget(&mut self, conn: ConnId, reason: &ConnectionError) -> Option<SocketAddr> {
        let live = self.connections.remove(&conn)?;
        let connection = live.connection;
        let (peer_id, address) = (connection.peer_id, connection.address);
        self.slots.remove(&connection);
        self.by_address.remove(&address);
        self.nonces.remove(&(connection.our_nonce, conn));
        if connection.side == Side::Outbound {
            self.book.set_last_failure(address, reason.clone());
            if live.was_established {
                self.book.disconnected(address);
                let now = self.timestamp();
                self.book.update(address, |peer| peer.last_seen = Some(now));
                self.records.touch(address);
            }
        } else if let Some((ip, port)) = connection.listens_at() {
            let listens_at = SocketAddr::new(ip, port);
            if self.listening_peers.remove(&(listens_at, conn)) {
                self.vacate(listens_at);
            }
        }
        if connection.side == Side::Inbound {
            self.vacate(address);
        }
        if live.told == Some(CloseReason::Evicted) {
            self.earmarks += 1;
        }
        let reason = reason.clone();
        self.notify(match &reason {
            ConnectionError::Closed(closed) if live.was_established => {
                ControlEvent::ConnectionLost {
                    peer_id,
                    address,
                    initiator: closed.initiator(),
                    reason,
                }
            }
            ConnectionError::Closed(CloseReason::OverCapacity) => {
                ControlEvent::ConnectionRejectedCapacity { peer_id, address }
            }
            ConnectionError::Closed(_) | ConnectionError::Dial(_) => {
                ControlEvent::ConnectionFailed {
                    peer_id,
                    address,
                    reason,
                }
            }
        });
        Some(address)
    }

    /// Moves a connection on, and its count with it; false if its lifecycle does not allow it.
    fn go(&mut self, conn: ConnId, to: ConnectionState) -> bool {
        let Some(live) = self.connections.get_mut(&conn) else {
            return false;
        };
        self.slots.remove(&live.connection);
        let went = live.connection.go(to).is_ok();
        self.slots.add(&live.connection);
        went
    }

    /// A lost connection is made again at once, if restarts are left and it is wanted: inbound
    /// peers may make up the target without it. Counted it is in any case, or who has both ends of
    /// that in hand could be dialled and hang up for ever.
    fn restart(&mut self, address: SocketAddr, reason: ConnectionError) {
        let now = self.timestamp();
        let (max, window) = (
            self.config.connection.max_restarts,
            self.config.connection.restart_window,
        );
        let attempt = self
            .book
            .update(address, |peer| (peer.id, restart(peer, now, max, window)));
        self.records.touch(address);
        match attempt {
            // The peer may have closed one of two connections, and the other is not complete yet.
            Some((_, Some(_)))
                if !self.wants_more() || self.slots.pending_inbound_of(address.ip()) > 0 =>
            {
                self.rest(address);
            }
            Some((peer_id, Some(attempt))) if self.run == Run::Running => {
                self.free(address);
                if !self.restarts.contains(&address) {
                    self.restarts.push_back(address);
                }
                self.notify(ControlEvent::ConnectionRestarting {
                    peer_id,
                    address,
                    reason,
                    attempt,
                });
            }
            Some(_) if self.run != Run::Running => self.rest(address),
            _ => self.write_off(address),
        }
    }

    /// A peer that we dialled was not reached: one more sign of an outage, or a probe in vain.
    fn came_to_nothing(&mut self, address: SocketAddr) {
        let connections = self.slots.established();
        self.breaker.failed(self.now, address, connections);
    }

    /// A failed attempt: later again, and each time later still, until there were too many. One
    /// that was written off, and was revisited in vain, has had them.
    fn back_off(&mut self, address: SocketAddr) {
        let entry = self.book.get(address);
        let retries = entry.map_or(0, |entry| entry.retries);
        let is_revisited = entry.is_some_and(|entry| entry.peer.status == PeerStatus::Inaccessible);
        let connection = &self.config.connection;
        let backoff = match self.mode {
            OperatingMode::FixedPeerList(_) => connection.backoff(retries),
            OperatingMode::Normal if is_revisited => return self.write_off(address),
            OperatingMode::Normal => match connection.retry_after(retries) {
                Some(backoff) => backoff,
                None => return self.write_off(address),
            },
        };
        let pause = jittered(backoff, self.rng.next_u64());
        self.book.set_retries(address, retries.saturating_add(1));
        self.available_at(address, pause);
    }

    /// What was tried in an outage was in vain: nobody is to blame. But the next probe is for
    /// another, or one that is gone for good would be all that is ever probed.
    fn set_aside(&mut self, address: SocketAddr) {
        self.set_aside.push_back(address);
        if self.set_aside.len() > MAX_SET_ASIDE {
            self.set_aside.pop_front();
        }
        self.available_at(address, LONGEST_PAUSE * MAX_SET_ASIDE as u32);
    }

    /// Those that were probed in vain may be dialled again; whether there were any.
    pub(super) fn bring_back(&mut self) -> bool {
        let any = !self.set_aside.is_empty();
        for address in std::mem::take(&mut self.set_aside) {
            self.free(address);
        }
        any
    }

    /// Not to be reached or kept: revisited later. One on the fixed list is never given up.
    fn write_off(&mut self, address: SocketAddr) {
        let now = self.timestamp();
        self.book.update(address, |peer| {
            peer.set_status(PeerStatus::Inaccessible, now)
        });
        self.records.touch(address);
        if self.mode == OperatingMode::Normal {
            self.book.set_retries(address, 0);
            self.available_at(address, self.config.inaccessible_retry);
        } else {
            let retries = self.book.retries(address).unwrap_or_default();
            let pause = jittered(self.config.connection.backoff(retries), self.rng.next_u64());
            self.book.set_retries(address, retries.saturating_add(1));
            self.available_at(address, pause);
        }
    }

    /// Nothing is held against the peer, but there is no hurry either.
    fn rest(&mut self, address: SocketAddr) {
        self.available_at(address, self.config.connection.initial_backoff);
    }

    /// The address may be dialled after a pause, unless something else is against it by then.
    fn available_at(&mut self, address: SocketAddr, pause: Duration) {
        let due = Availability::At(self.now + pause);
        self.book.set_availability(address, due);
        self.occupy(address);
    }

    /// The address may be dialled again, unless something else is against it.
    pub(super) fn free(&mut self, address: SocketAddr) {
        match self.availability(address) {
            Availability::Ready | Availability::At(_) => {
                self.book.set_availability(address, Availability::Ready);
            }
            // After that at once.
            Availability::Busy | Availability::Never => self.available_at(address, Duration::ZERO),
        }
    }
}

/// Handshakes of one IP at once that only tell "no room".
const MAX_OVER_CAPACITY_PER_IP: usize = 2;
/// Others that are probed in an outage before the same peer is again: an hour's worth.
const MAX_SET_ASIDE: usize = 60;
