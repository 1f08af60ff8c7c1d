//! How many connections there are, of which kind: what every limit is checked against.

use std::collections::BTreeMap;
use std::net::IpAddr;

use p2p_proto::Side;

use crate::connection::{ConnectionState, PeerConnection};

/// Counts of connections. A connection is counted from the moment that it is dialled or accepted
/// until its socket is gone, exactly once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    held: usize,
    established: usize,
    outbound: usize,
    pending_inbound: usize,
    over_capacity: usize,
    inbound_by_ip: BTreeMap<IpAddr, Inbound>,
    /// Of each side, of each state; those without a slot too.
    by_state: [[usize; ConnectionState::ALL.len()]; 2],
}

/// Inbound connections of one IP.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Inbound {
    held: usize,
    pending: usize,
    over_capacity: usize,
}

impl Slots {
    /// Counts a connection in.
    pub(crate) fn add(&mut self, connection: &PeerConnection) {
        self.count(connection, |n| *n += 1);
    }

    /// Counts a connection out, as it was counted in.
    pub(crate) fn remove(&mut self, connection: &PeerConnection) {
        self.count(connection, |n| {
            debug_assert!(*n > 0, "counted out more often than in");
            *n = n.saturating_sub(1);
        });
    }

    /// Slots that are taken: reserved or established.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Connections that are admitted.
    pub(crate) fn established(&self) -> usize {
        self.established
    }

    /// Connections that we dialled, pending ones included.
    pub(crate) fn outbound(&self) -> usize {
        self.outbound
    }

    /// Handshakes of others under way, those that will be turned away apart.
    pub(crate) fn pending_inbound(&self) -> usize {
        self.pending_inbound
    }

    /// Handshakes under way only to say that there is no room.
    pub(crate) fn over_capacity(&self) -> usize {
        self.over_capacity
    }

    /// Connections of a side in a state, those without a slot too.
    pub(crate) fn in_state(&self, side: Side, state: ConnectionState) -> usize {
        self.by_state[side as usize][state as usize]
    }

    /// Slots that inbound connections of this IP hold.
    pub(crate) fn inbound_of(&self, ip: IpAddr) -> usize {
        self.inbound_by_ip.get(&ip).map_or(0, |count| count.held)
    }

    /// Handshakes of this IP under way, those that will be turned away apart.
    pub(crate) fn pending_inbound_of(&self, ip: IpAddr) -> usize {
        self.inbound_by_ip.get(&ip).map_or(0, |count| count.pending)
    }

    /// Handshakes of this IP under way only to say that there is no room.
    pub(crate) fn over_capacity_of(&self, ip: IpAddr) -> usize {
        self.inbound_by_ip
            .get(&ip)
            .map_or(0, |count| count.over_capacity)
    }

    fn count(&mut self, connection: &PeerConnection, mut by_one: impl FnMut(&mut usize)) {
        by_one(&mut self.by_state[connection.side as usize][connection.state as usize]);
        if connection.side == Side::Inbound {
            let ip = connection.address.ip();
            let of_ip = self.inbound_by_ip.entry(ip).or_default();
            by_one(match connection.holds_slot() {
                true => &mut of_ip.held,
                false => &mut of_ip.over_capacity,
            });
            if connection.state == ConnectionState::AwaitingHandshake {
                by_one(&mut of_ip.pending);
            }
            if *of_ip == Inbound::default() {
                self.inbound_by_ip.remove(&ip);
            }
        }
        if !connection.holds_slot() {
            return by_one(&mut self.over_capacity);
        }
        by_one(&mut self.held);
        match (connection.side, connection.state) {
            (_, ConnectionState::Connected) => by_one(&mut self.established),
            (Side::Inbound, ConnectionState::AwaitingHandshake) => {
                by_one(&mut self.pending_inbound);
            }
            (
                _,
                ConnectionState::Disconnected
                | ConnectionState::Connecting
                | ConnectionState::AwaitingHandshake
                | ConnectionState::Rejected
                | ConnectionState::Failed,
            ) => {}
        }
        // One that was told to close does not count towards what we want to have.
        if connection.side == Side::Outbound && connection.state != ConnectionState::Failed {
            by_one(&mut self.outbound);
        }
    }
}
