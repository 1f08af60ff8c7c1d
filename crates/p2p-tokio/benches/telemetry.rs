//! Messages a second with telemetry and without, in one run: short rounds take turns, each is
//! compared with its neighbour, and of all comparisons the median counts, so that whatever else
//! the machine does meets both.
//!
//! ```text
//! cargo bench -p p2p-tokio --features telemetry --bench telemetry
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that stops when it cannot go on, and prints"
)]

#[path = "../tests/observe/receiver.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod receiver;
#[path = "../tests/manager/support.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use p2p_tokio::p2p_proto::{Hash256, Inventory, InventoryItem, InventoryKind, Nonce};
use p2p_tokio::{Manager, ManagerConfig, Message, MessageCodec, Network, RecvError};
use tokio::runtime::Runtime;
use tokio_util::codec::Encoder;

use receiver::Receiver;
use support::{Node, listening, version};

/// Announcements of one transaction, the most frequent message there is.
const MESSAGES: usize = 100_000;
/// Those that leave in one write.
const CHUNK: usize = 1000;
/// Pairs of rounds.
const PAIRS: usize = 200;
/// Sixty times as often as usual.
const INTERVAL: Duration = Duration::from_secs(1);

fn main() {
    let runtime = Runtime::new().unwrap();
    let receiver = runtime.block_on(Receiver::start());
    let config = |enable_telemetry| ManagerConfig {
        enable_telemetry,
        telemetry_endpoint: Some(receiver.endpoint()),
        ..listening()
    };
    let mut without = Peer::of(&runtime, config(false));
    let mut with = Peer::of(&runtime, config(true));
    // Caches, and the window of the socket.
    for peer in [&mut without, &mut with] {
        peer.round();
    }
    let (mut rates_without, mut rates_with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Whoever is first has no advantage.
        let (one, other) = match pair % 2 {
            0 => (without.round(), with.round()),
            _ => {
                let with = with.round();
                (without.round(), with)
            }
        };
        rates_without.push(one);
        rates_with.push(other);
        ratios.push(other / one);
    }
    let exports = receiver.received().exports;
    assert!(exports > 0, "nothing was exported meanwhile");
    let (without, with) = (median(rates_without), median(rates_with));
    println!("without telemetry  {without:>9.0} messages/s");
    println!("with telemetry     {with:>9.0} messages/s, {exports} exports");
    println!(
        "slower by          {:>9.2} %",
        (1.0 - median(ratios)) * 100.0
    );
}

/// A peer that sends as fast as it can to a node of ours.
struct Peer {
    stream: TcpStream,
    chunk: BytesMut,
    nonce: u64,
    _node: Node,
}

impl Peer {
    fn of(runtime: &Runtime, config: ManagerConfig) -> Self {
        let mut node = runtime.block_on(async {
            let manager = Manager::builder(config).telemetry_interval(INTERVAL);
            Node::of(manager.build().unwrap()).await
        });
        let address: SocketAddr = runtime.block_on(node.address());
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut codec = MessageCodec::new(Network::Regtest);
        let mut bytes = BytesMut::new();
        for message in [version("/bench/"), Message::Verack] {
            codec.encode(message, &mut bytes).unwrap();
        }
        stream.write_all(&bytes).unwrap();
        runtime.block_on(node.established());
        // Somebody listens, as in every application.
        let mut messages = node.manager.subscribe_bitcoin_messages();
        runtime.spawn(async move { while messages.recv().await != Err(RecvError::Closed) {} });
        let mut chunk = BytesMut::new();
        let item = InventoryItem {
            kind: InventoryKind::Tx,
            hash: Hash256::ZERO,
        };
        for _ in 0..CHUNK {
            let inventory = Inventory::new([item]);
            codec.encode(Message::Inv(inventory), &mut chunk).unwrap();
        }
        Self {
            stream,
            chunk,
            nonce: 1,
            _node: node,
        }
    }

    /// Messages a second, until the last of them was dealt with.
    fn round(&mut self) -> f64 {
        let start = Instant::now();
        for _ in 0..MESSAGES / CHUNK {
            self.stream.write_all(&self.chunk).unwrap();
        }
        let mut bytes = BytesMut::new();
        let mut codec = MessageCodec::new(Network::Regtest);
        self.nonce += 1;
        let ping = Message::Ping(Nonce(self.nonce));
        codec.encode(ping, &mut bytes).unwrap();
        self.stream.write_all(&bytes).unwrap();
        // The pong ends with the nonce.
        let nonce = self.nonce.to_le_bytes();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !answer.ends_with(&nonce) {
            let n = self.stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the node has hung up");
            answer.extend_from_slice(&buffer[..n]);
        }
        MESSAGES as f64 / start.elapsed().as_secs_f64()
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
