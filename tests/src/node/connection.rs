//! One connection of a node, from its dial to the end of its socket.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use p2p_core::{CloseReason, Setup};
use p2p_proto::{Capacity, Connection, Event, NetworkFailure, Side};

use crate::network::{Network, Socket};
use crate::pipe::Read;
use crate::time::Time;

#[derive(Debug)]
pub(crate) struct NodeConnection {
    pub(crate) socket: Socket,
    pub(crate) address: SocketAddr,
    pub(crate) side: Side,
    pub(crate) capacity: Capacity,
    pub(crate) stage: Stage,
    /// When something is due.
    pub(crate) deadline: Option<Time>,
    /// Where the peer says that it listens.
    pub(crate) listens_at: Option<SocketAddr>,
    /// Since when the manager has it among the peers.
    pub(crate) admitted_at: Option<Time>,
    /// What the manager wants it to end for.
    pub(crate) told: Option<CloseReason>,
    /// The last number that our application sent, and the last that it heard.
    pub(crate) said: u64,
    pub(crate) heard: u64,
    pub(crate) latency: Option<Duration>,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// The setup is taken when the transport is there.
    Dialing(Option<Setup>),
    Open(Box<Open>),
    /// We have said goodbye, and wait for the peer to.
    Lingering(CloseReason),
}

/// The state machine of a connection, and the bytes between it and its socket.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) protocol: Connection,
    /// What was read and not used yet.
    pub(crate) input: BytesMut,
    /// What the connection gave and the socket has not taken yet.
    output: Bytes,
}

impl NodeConnection {
    pub(crate) fn dialled(socket: Socket, setup: Setup, deadline: Time) -> Self {
        Self {
            socket,
            address: setup.params.remote,
            side: setup.side,
            capacity: setup.params.capacity,
            stage: Stage::Dialing(Some(setup)),
            deadline: Some(deadline),
            listens_at: None,
            admitted_at: None,
            told: None,
            said: 0,
            heard: 0,
            latency: None,
        }
    }

    pub(crate) fn accepted(socket: Socket, setup: Setup, now: Instant) -> Self {
        let mut accepted = Self::dialled(socket, setup, Time::ZERO);
        accepted.connected(now);
        accepted
    }

    /// The transport is there.
    pub(crate) fn connected(&mut self, now: Instant) {
        if let Stage::Dialing(setup) = &mut self.stage
            && let Some(setup) = setup.take()
        {
            self.deadline = None;
            self.stage = Stage::Open(Box::new(Open {
                protocol: setup.connection(now),
                input: BytesMut::new(),
                output: Bytes::new(),
            }));
        }
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted_at.is_some()
    }

    /// Whether it is admitted, and the manager has not thought better of it.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_admitted() && self.told.is_none()
    }

    /// Whether somebody dialled us whose handshake is under way.
    pub(crate) fn is_pending_inbound(&self) -> bool {
        self.side == Side::Inbound && !self.is_admitted() && self.told.is_none()
    }

    pub(crate) fn is_dialing(&self) -> bool {
        matches!(self.stage, Stage::Dialing(_))
    }

    /// Whether an end has been decided on.
    pub(crate) fn is_closing(&self) -> bool {
        match &self.stage {
            Stage::Dialing(_) => false,
            Stage::Open(open) => open.protocol.is_closing(),
            Stage::Lingering(_) => true,
        }
    }
}

impl Open {
    /// Moves bytes between connection and socket, and gives the next event; `None` when nothing
    /// moves any more.
    pub(crate) fn turn(
        &mut self,
        net: &mut Network,
        socket: Socket,
        now: Instant,
        is_stalled: bool,
    ) -> Option<Event> {
        loop {
            self.write(net, socket, now);
            if !self.input.is_empty() {
                self.protocol.receive(now, &mut self.input);
            }
            // An application that reads nothing holds up messages, and nothing else.
            let holds = is_stalled && self.protocol.is_connected();
            if !holds && let Some(event) = self.protocol.poll_event() {
                return Some(event);
            }
            if !self.protocol.wants_read() || !self.read(net, socket, now) {
                self.write(net, socket, now);
                return self
                    .protocol
                    .is_closing()
                    .then(|| self.protocol.poll_event())?;
            }
        }
    }

    fn write(&mut self, net: &mut Network, socket: Socket, now: Instant) {
        loop {
            if self.output.is_empty() {
                match self.protocol.poll_transmit() {
                    Some(bytes) => self.output = bytes,
                    None => return,
                }
            }
            match net.write(socket, &self.output) {
                Ok(0) => return,
                Ok(n) => {
                    let _ = self.output.split_to(n);
                    self.protocol.handle_written(now, n);
                }
                Err(_) => {
                    self.output = Bytes::new();
                    let reason = NetworkFailure::Reset.into();
                    return self.protocol.close(now, reason);
                }
            }
        }
    }

    /// Reads once; false if there was nothing.
    fn read(&mut self, net: &mut Network, socket: Socket, now: Instant) -> bool {
        let failure = match net.read(socket) {
            Read::Nothing => return false,
            Read::Data(bytes) => {
                self.input.extend_from_slice(&bytes);
                self.protocol.receive(now, &mut self.input);
                return true;
            }
            Read::Eof => NetworkFailure::Eof,
            Read::Reset => NetworkFailure::Reset,
        };
        self.protocol.close(now, failure.into());
        true
    }
}
