//! The driver that every test uses: one connection, a socket made of two buffers, virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use p2p_proto::{
    Capacity, Clock, CloseReason, Command, Config, Connection, Decoded, Event, FrameDecoder,
    Limits, Message, Network, NetworkAddress, Nonce, Params, Protoconf, Reject, Services, Side,
    UserAgent, Version, VersionFields, encode_frame,
};

pub(crate) const NETWORK: Network = Network::Regtest;

/// What the socket takes when nothing is said of it.
const ENDLESS: usize = usize::MAX;

/// The moment from which every test counts.
#[expect(clippy::disallowed_methods, reason = "an epoch: all else is an offset")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn config() -> Config {
    Config::new(NETWORK)
}

/// One connection, driven as its documentation says.
pub(crate) struct Driver {
    pub(crate) connection: Connection,
    pub(crate) now: Instant,
    /// Whether `Ready` is answered by `admit` at once.
    pub(crate) admits: bool,
    /// Whether events are taken.
    pub(crate) drains: bool,
    /// Bytes that the socket still takes.
    pub(crate) room: usize,
    /// Every event so far.
    pub(crate) events: Vec<Event>,
    network: Network,
    inbox: BytesMut,
    in_flight: Option<Bytes>,
    outbox: BytesMut,
    log: BytesMut,
}

impl Driver {
    pub(crate) fn new(side: Side) -> Self {
        Self::with(config(), side, Capacity::Free)
    }

    pub(crate) fn with(config: Config, side: Side, capacity: Capacity) -> Self {
        let nonce = match side {
            Side::Outbound => 0x0b0b,
            Side::Inbound => 0x1b1b,
        };
        Self::at(epoch(), config, side, capacity, nonce)
    }

    pub(crate) fn at(
        now: Instant,
        config: Config,
        side: Side,
        capacity: Capacity,
        nonce: u64,
    ) -> Self {
        let network = config.network;
        let params = Params {
            remote: "127.0.0.1:18444".parse().unwrap(),
            nonce,
            seed: [nonce as u8; 32],
            clock: Clock::new(now, SystemTime::UNIX_EPOCH + secs(1_700_000_000)),
            capacity,
        };
        let mut driver = Self {
            connection: Connection::new(Arc::new(config), side, params, now),
            now,
            admits: true,
            drains: true,
            room: ENDLESS,
            events: Vec::new(),
            network,
            inbox: BytesMut::new(),
            in_flight: None,
            outbox: BytesMut::new(),
            log: BytesMut::new(),
        };
        driver.settle();
        driver
    }

    /// A connection whose handshake is over, with nothing to be seen of it.
    pub(crate) fn connected(side: Side) -> Self {
        Self::connected_with(config(), side, version())
    }

    pub(crate) fn connected_with(config: Config, side: Side, peer: Version) -> Self {
        let mut driver = Self::with(config, side, Capacity::Free);
        driver.hear(&Message::Version(Box::new(peer)));
        driver.hear(&Message::Verack);
        assert!(driver.connection.is_connected());
        let ping = driver.said().pop();
        if let Some(Message::Ping(nonce)) = ping {
            driver.hear(&Message::Pong(nonce));
        }
        driver.events.clear();
        driver
    }

    // what the peer does

    /// Bytes come from the peer.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        self.connection.receive(self.now, &mut self.inbox);
        self.settle();
    }

    /// A message comes from the peer.
    pub(crate) fn hear(&mut self, message: &Message) {
        let bytes = frame(self.network, message);
        self.receive(&bytes);
    }

    /// The peer hangs up, or the network between fails.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.connection.close(self.now, reason);
        self.settle();
    }

    // what we do

    /// Time goes by; every deadline is met on the instant, and never twice.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, timer)) = self.connection.poll_timeout() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.connection.handle_timeout(self.now);
            self.settle();
            let next = self.connection.poll_timeout();
            assert!(
                next.is_none_or(|(next, _)| next > self.now),
                "{timer:?} spins: {next:?}"
            );
        }
        self.now = end;
    }

    /// Drains the outputs until there are none, reading on after each round.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut moved = self.transmit();
            while self.drains {
                let Some(event) = self.connection.poll_event() else {
                    break;
                };
                if self.admits && matches!(event, Event::Ready(_)) {
                    self.connection.admit(self.now);
                }
                self.events.push(event);
                moved = true;
            }
            if !moved {
                return;
            }
            self.connection.receive(self.now, &mut self.inbox);
        }
    }

    fn transmit(&mut self) -> bool {
        let mut moved = false;
        loop {
            if self.in_flight.is_none() {
                self.in_flight = self.connection.poll_transmit();
            }
            let Some(bytes) = &mut self.in_flight else {
                return moved;
            };
            let n = bytes.len().min(self.room);
            if n == 0 {
                return moved;
            }
            let written = bytes.split_to(n);
            if bytes.is_empty() {
                self.in_flight = None;
            }
            if self.room != ENDLESS {
                self.room -= n;
            }
            self.connection.handle_written(self.now, n);
            self.outbox.extend_from_slice(&written);
            self.log.extend_from_slice(&written);
            moved = true;
        }
    }

    // what can be seen

    /// The bytes that the socket has taken since the last call, for a wire.
    pub(crate) fn outgoing(&mut self) -> BytesMut {
        self.outbox.split()
    }

    /// The whole messages that the socket has taken since the last call.
    pub(crate) fn said(&mut self) -> Vec<Message> {
        messages(self.network, &mut self.log)
    }

    /// Their commands.
    pub(crate) fn said_commands(&mut self) -> Vec<String> {
        let said = self.said();
        said.iter()
            .map(|message| message.command().to_string())
            .collect()
    }

    /// Bytes from the peer that the connection has left where they are.
    pub(crate) fn unread(&self) -> usize {
        self.inbox.len()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Ready(_)))
    }

    /// The messages that came out, in order.
    pub(crate) fn heard(&self) -> Vec<&Message> {
        let mut messages = Vec::new();
        for event in &self.events {
            if let Event::Message(message) = event {
                messages.push(message);
            }
        }
        messages
    }

    /// Why the connection ended, if it did; nothing may come after that.
    pub(crate) fn closed(&self) -> Option<&CloseReason> {
        let is_closed = |event: &Event| matches!(event, Event::Closed(_));
        let at = self.events.iter().position(is_closed)?;
        assert_eq!(
            at + 1,
            self.events.len(),
            "events after the end: {:?}",
            self.events
        );
        match &self.events[at] {
            Event::Closed(reason) => Some(reason),
            _ => None,
        }
    }
}

/// The whole messages at the front of `bytes`, taken out of them.
pub(crate) fn messages(network: Network, bytes: &mut BytesMut) -> Vec<Message> {
    let mut out = Vec::new();
    loop {
        // A copy, and a decoder for each: what is not whole stays as it was.
        let mut rest = bytes.clone();
        let mut decoder = FrameDecoder::new(network, Limits::DEFAULT);
        match decoder.decode(&mut rest).unwrap() {
            None => return out,
            Some(Decoded::Frame { command, body }) => out.push(body.decode(command).unwrap()),
            Some(other) => panic!("we sent {other:?}"),
        }
        *bytes = rest;
    }
}

pub(crate) fn frame(network: Network, message: &Message) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_frame(network, message, &mut bytes);
    bytes
}

/// What a Bitcoin SV node says of itself.
pub(crate) fn version() -> Version {
    Version {
        services: Services(0x21),
        nonce: 0x5eed,
        user_agent: UserAgent::from_static("/Bitcoin SV:1.2.2/"),
        start_height: 110,
        fields: VersionFields::AssociationId,
        ..Version::minimal(70016, 1_700_000_000, NetworkAddress::UNSPECIFIED)
    }
}

pub(crate) fn version_message() -> Message {
    Message::Version(Box::new(version()))
}

pub(crate) fn protoconf(max_payload: u32) -> Message {
    Message::Protoconf(Box::new(Protoconf::new(max_payload, "Default").unwrap()))
}

pub(crate) fn unknown(name: &str, payload: impl Into<Bytes>) -> Message {
    Message::Unknown {
        command: Command::new(name).unwrap(),
        payload: payload.into(),
    }
}

pub(crate) fn ping(nonce: u64) -> Message {
    Message::Ping(Nonce(nonce))
}

pub(crate) fn pong(nonce: u64) -> Message {
    Message::Pong(Nonce(nonce))
}

pub(crate) fn rejects(said: &[Message]) -> Vec<&Reject> {
    let mut rejects = Vec::new();
    for message in said {
        if let Message::Reject(reject) = message {
            rejects.push(&**reject);
        }
    }
    rejects
}
