//! A visit to one node.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use p2p_proto::{
    Addr, Capacity, Clock, CloseReason, Config, Connection, Event, MAX_ADDR, Message,
    NetworkFailure, Params, Side,
};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

/// How long a connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer to `getaddr` may take: a node that has none to give says nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest visit, whatever the node does.
const VISIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Addresses that are taken of one visit: an answer has at most `MAX_ADDR`, a few may come unasked,
/// and a node may name them without end.
const MAX_NAMED: usize = 4 * MAX_ADDR;

/// What was found at an address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Where.
    pub address: SocketAddr,
    /// The node's software, escaped.
    pub user_agent: Option<String>,
    /// Its protocol version.
    pub version: Option<i32>,
    /// What it offers, as bits.
    pub services: Option<u64>,
    /// Its best block.
    pub height: Option<i32>,
    /// The round-trip time of a ping, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Addresses that it named.
    pub addresses: usize,
    /// Why there was no handshake.
    pub error: Option<String>,
}

impl Node {
    /// Whether a handshake with it was completed.
    pub fn is_reached(&self) -> bool {
        self.error.is_none()
    }
}

/// Shakes hands, pings, asks for addresses once, and leaves. Tells what was found, and whom the
/// node named.
pub(super) async fn visit(address: SocketAddr, config: Arc<Config>) -> (Node, Vec<SocketAddr>) {
    let mut node = Node {
        address,
        user_agent: None,
        version: None,
        services: None,
        height: None,
        latency_ms: None,
        addresses: 0,
        error: None,
    };
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            node.error = Some(NetworkFailure::from(error.kind()).to_string());
            if error.kind() == ErrorKind::ConnectionRefused {
                node.error = Some("connection refused".into());
            }
            return (node, Vec::new());
        }
        Err(_) => {
            node.error = Some("connect timed out".into());
            return (node, Vec::new());
        }
    };
    let mut visit = Visit::new(stream, address, config);
    let reason = match timeout(VISIT_TIMEOUT, visit.run()).await {
        Ok(reason) => reason,
        Err(_) => NetworkFailure::TimedOut.into(),
    };
    match visit.connection.peer_version() {
        Some(version) if visit.is_ready => {
            node.user_agent = Some(version.user_agent.to_string());
            node.version = Some(version.version);
            node.services = Some(version.services.0);
            node.height = Some(version.start_height);
        }
        _ => node.error = Some(reason.to_string()),
    }
    let latency = visit.connection.latency();
    node.latency_ms = latency.map(|latency| latency.as_micros() as f64 / 1e3);
    node.addresses = visit.named.len();
    (node, visit.named)
}

struct Visit {
    stream: TcpStream,
    connection: Connection,
    /// Bytes that were read, and not yet used.
    input: BytesMut,
    is_ready: bool,
    is_answered: bool,
    /// When to leave without an answer.
    leave_at: Option<Instant>,
    named: Vec<SocketAddr>,
}

impl Visit {
    fn new(stream: TcpStream, address: SocketAddr, config: Arc<Config>) -> Self {
        let now = Instant::now();
        let params = Params {
            remote: address,
            nonce: rand::random_range(1..=u64::MAX),
            seed: rand::random(),
            clock: Clock::new(now, SystemTime::now()),
            capacity: Capacity::Free,
        };
        Self {
            stream,
            connection: Connection::new(config, Side::Outbound, params, now),
            input: BytesMut::new(),
            is_ready: false,
            is_answered: false,
            leave_at: None,
            named: Vec::new(),
        }
    }

    /// The driving loop, as the docs of [`Connection`] tell it.
    async fn run(&mut self) -> CloseReason {
        loop {
            if let Err(error) = self.write().await {
                return NetworkFailure::from(error.kind()).into();
            }
            let now = Instant::now();
            self.connection.receive(now, &mut self.input);
            let mut is_quiet = true;
            while let Some(event) = self.connection.poll_event() {
                is_quiet = false;
                match event {
                    Event::Closed(reason) => return reason,
                    event => self.hear(now, event),
                }
            }
            let is_done = self.is_answered && self.connection.latency().is_some();
            if is_done || self.leave_at.is_some_and(|at| at <= now) {
                self.connection.close(now, CloseReason::Requested);
            } else if is_quiet && let Err(error) = self.wait().await {
                let now = Instant::now();
                let reason = NetworkFailure::from(error.kind());
                self.connection.close(now, reason.into());
            }
        }
    }

    fn hear(&mut self, now: Instant, event: Event) {
        match event {
            Event::Ready(_) => {
                self.is_ready = true;
                // The first ping goes out by itself.
                self.connection.admit(now);
                // The queue of a connection that has just begun has room.
                let _ = self.connection.send(now, &Message::GetAddr);
                self.leave_at = Some(now + ANSWER_TIMEOUT);
            }
            Event::Message(Message::Addr(addr)) => {
                take_named(&mut self.named, &addr);
                // A single address is the node's own, which it tells everybody unasked.
                self.is_answered |= addr.len() != 1;
            }
            _ => {}
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        while let Some(bytes) = self.connection.poll_transmit() {
            self.stream.write_all(&bytes).await?;
            self.connection.handle_written(Instant::now(), bytes.len());
        }
        Ok(())
    }

    /// Waits for bytes, or for the next deadline.
    async fn wait(&mut self) -> io::Result<()> {
        let timer = self.connection.poll_timeout().map(|(at, _)| at);
        let deadline = timer.into_iter().chain(self.leave_at).min();
        let read = self.stream.read_buf(&mut self.input);
        let read = match deadline {
            Some(deadline) => timeout_at(deadline.into(), read).await,
            None => Ok(read.await),
        };
        match read {
            Ok(Ok(0)) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.connection.handle_timeout(Instant::now());
                Ok(())
            }
        }
    }
}

fn take_named(named: &mut Vec<SocketAddr>, addr: &Addr) {
    let room = MAX_NAMED.saturating_sub(named.len());
    let addresses = addr.iter().map(|entry| entry.address.socket_addr());
    named.extend(addresses.take(room));
}

#[cfg(test)]
mod tests {
    use p2p_proto::{NetworkAddress, TimedAddress};

    use super::*;

    #[test]
    fn a_node_that_names_addresses_without_end_fills_no_memory() {
        let entry = TimedAddress {
            time: 0,
            address: NetworkAddress::UNSPECIFIED,
        };
        let mut named = Vec::new();
        for entries in [1, MAX_ADDR, 1, MAX_ADDR, MAX_ADDR, MAX_ADDR, MAX_ADDR] {
            take_named(&mut named, &Addr::new(vec![entry; entries]).unwrap());
        }
        assert_eq!(named.len(), MAX_NAMED);
    }
}
