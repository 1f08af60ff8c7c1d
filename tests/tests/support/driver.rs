//! The plainest driver of a [`Connection`]: one blocking socket, one thread.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use p2p_proto::{
    Capacity, Clock, CloseReason, Config, Connection, Event, Message, NetworkFailure, Params,
    Ready, SendError, Side,
};

use super::foreign::PATIENCE;

/// A connection and its socket.
pub(crate) struct Driver {
    stream: TcpStream,
    connection: Connection,
    /// Read from the socket and not taken by the connection yet.
    incoming: BytesMut,
    /// Drained from the connection and not given out yet.
    events: VecDeque<Event>,
    closed: bool,
}

impl Driver {
    /// Dials 127.0.0.1.
    pub(crate) fn dial(port: u16, config: Config) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        Self::new(stream, Side::Outbound, config)
    }

    /// Drives a socket that was just connected.
    pub(crate) fn new(stream: TcpStream, side: Side, config: Config) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let now = Instant::now();
        let params = Params {
            remote: stream.peer_addr().unwrap(),
            nonce: 0x6e6f_6e63_6521,
            seed: [7; 32],
            clock: Clock::new(now, SystemTime::now()),
            capacity: Capacity::Free,
        };
        Self {
            stream,
            connection: Connection::new(Arc::new(config), side, params, now),
            incoming: BytesMut::new(),
            events: VecDeque::new(),
            closed: false,
        }
    }

    /// Runs the handshake, and admits the peer.
    #[track_caller]
    pub(crate) fn handshake(&mut self) -> Ready {
        match self.next_event("Ready") {
            Event::Ready(ready) => {
                self.connection.admit(Instant::now());
                *ready
            }
            other => panic!("{other:?} where Ready was due"),
        }
    }

    pub(crate) fn send(&mut self, message: &Message) -> Result<(), SendError> {
        self.connection.send(Instant::now(), message)?;
        self.flush();
        Ok(())
    }

    /// The next event; `what` is expected of it, for the panic message.
    #[track_caller]
    pub(crate) fn next_event(&mut self, what: &str) -> Event {
        self.next_event_by(Instant::now() + PATIENCE, what)
    }

    /// The first message from which `pick` takes something; the others are passed over.
    #[track_caller]
    pub(crate) fn wait_for<T>(&mut self, what: &str, pick: impl Fn(Message) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_event_by(deadline, what) {
                Event::Message(message) => {
                    if let Some(picked) = pick(message) {
                        return picked;
                    }
                }
                other => panic!("{other:?} where {what} was due"),
            }
        }
    }

    /// Runs the connection until it is as `condition` says, keeping events for later.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, what: &str, condition: impl Fn(&Connection) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(&self.connection) {
            assert!(Instant::now() < deadline, "no {what} in time");
            self.step(deadline, what);
        }
    }

    /// Passes over everything up to the end of the connection.
    #[track_caller]
    pub(crate) fn wait_for_close(&mut self) -> CloseReason {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Event::Closed(reason) = self.next_event_by(deadline, "Closed") {
                return reason;
            }
        }
    }

    #[track_caller]
    fn next_event_by(&mut self, deadline: Instant, what: &str) -> Event {
        loop {
            assert!(Instant::now() < deadline, "no {what} in time");
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.step(deadline, what);
        }
    }

    /// One round: drains the outputs; where that brings no event, waits for the socket or a timer.
    #[track_caller]
    fn step(&mut self, deadline: Instant, what: &str) {
        assert!(!self.closed, "no {what}: the connection is closed");
        self.flush();
        if self.drain_events() || self.offer_incoming() {
            return;
        }
        let now = Instant::now();
        let wake = match self.connection.poll_timeout() {
            Some((at, _)) => at.min(deadline),
            None => deadline,
        };
        let patience = wake.saturating_duration_since(now);
        if patience.is_zero() {
            self.connection.handle_timeout(now);
        } else {
            self.read(patience);
        }
    }

    fn flush(&mut self) {
        while let Some(bytes) = self.connection.poll_transmit() {
            let written = self.stream.write_all(&bytes);
            let now = Instant::now();
            match written {
                Ok(()) => self.connection.handle_written(now, bytes.len()),
                Err(error) => self
                    .connection
                    .close(now, CloseReason::Network(error.kind().into())),
            }
        }
    }

    /// Whether there was any.
    fn drain_events(&mut self) -> bool {
        let before = self.events.len();
        while let Some(event) = self.connection.poll_event() {
            self.closed |= matches!(event, Event::Closed(_));
            self.events.push_back(event);
        }
        self.events.len() > before
    }

    /// Whether the connection took any of what it had left.
    fn offer_incoming(&mut self) -> bool {
        let before = self.incoming.len();
        self.connection.receive(Instant::now(), &mut self.incoming);
        self.incoming.len() < before
    }

    fn read(&mut self, patience: Duration) {
        assert!(self.connection.wants_read(), "its events were drained");
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut chunk = [0; 64 * 1024];
        let read = self.stream.read(&mut chunk);
        let now = Instant::now();
        match read {
            Ok(0) => self
                .connection
                .close(now, CloseReason::Network(NetworkFailure::Eof)),
            Ok(n) => {
                self.incoming.extend_from_slice(&chunk[..n]);
                self.connection.receive(now, &mut self.incoming);
            }
            // The next round sees which timer it is.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => self
                .connection
                .close(now, CloseReason::Network(error.kind().into())),
        }
    }
}
