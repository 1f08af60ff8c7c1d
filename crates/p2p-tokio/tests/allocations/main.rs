//! What a message costs the allocator between the socket and a subscriber, and a broadcast to
//! many beside one to few.
//!
//! One test, for the heap profiler is one for the whole process. Its own peers read and write by
//! fixed buffers: all that is allocated is the manager's doing, and tokio's.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops when it cannot go on, and tells its figures"
)]

#[allow(dead_code, reason = "shared with the other tests of the manager")]
#[path = "../manager/support.rs"]
mod support;

use bytes::BytesMut;
use p2p_tokio::p2p_proto::{
    HEADER_LEN, Hash256, Inventory, InventoryItem, InventoryKind, Nonce, OutPoint, Tx, TxInput,
    TxOutput, encode_frame,
};
use p2p_tokio::{Event, Message, Network};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Batches that are counted, and messages in each.
const BATCHES: usize = 64;
const BATCH: usize = 16;
/// Bytes of a ping or a pong.
const PING: usize = HEADER_LEN + 8;
/// Connections of a broadcast.
const MANY: usize = 50;

#[tokio::test]
async fn a_message_costs_its_payload_and_a_broadcast_one_encoding() {
    // The pong's bytes, shared by all that a write takes, and blocks of queues.
    costs("pings", Message::Ping(Nonce(7)), 0.25).await;
    // A copy of the payload, so that it does not keep the read buffer, and the count of those who
    // share it: the publisher has one, the subscriber another.
    costs("inv of 8 entries", inv(), 2.2).await;
    costs("tx of 300 bytes", tx(), 2.2).await;
    broadcast().await;
}

/// Hears these messages, in batches with a ping behind them, with so many allocations each.
async fn costs(name: &str, message: Message, most: f64) {
    let mut config = listening();
    config.event_channel_capacity = 2 * BATCH;
    let mut node = Node::start(config).await;
    let mut peer = connected(&mut node, 2).await;
    let mut batch = BytesMut::new();
    for _ in 0..BATCH {
        encode_frame(Network::Regtest, &message, &mut batch);
    }
    encode_frame(Network::Regtest, &Message::Ping(Nonce(1)), &mut batch);
    let answers = match message {
        Message::Ping(_) => BATCH + 1,
        _ => 1,
    };
    let mut pongs = vec![0; answers * PING];
    // Queues and buffers reach their size.
    for _ in 0..4 {
        exchange(&mut node, &mut peer, &batch, &mut pongs).await;
    }
    let profiler = dhat::Profiler::builder().testing().build();
    for _ in 0..BATCHES {
        exchange(&mut node, &mut peer, &batch, &mut pongs).await;
    }
    let stats = dhat::HeapStats::get();
    drop(profiler);
    let messages = BATCHES * (BATCH + 1);
    println!(
        "{messages} {name}: {} allocations, {} bytes",
        stats.total_blocks, stats.total_bytes
    );
    let each = stats.total_blocks as f64 / messages as f64;
    assert!(each <= most, "{name}: {each} allocations each");
    node.manager.shutdown().await;
}

/// Sends a batch, and hears everything that comes of it.
async fn exchange(node: &mut Node, peer: &mut TcpStream, batch: &[u8], pongs: &mut [u8]) {
    peer.write_all(batch).await.unwrap();
    peer.read_exact(pongs).await.unwrap();
    for _ in 0..=BATCH {
        let event = node.events.recv().await.unwrap();
        assert!(matches!(event, Event::Message(_)));
    }
}

/// Sent to many, a message is encoded and hashed as often as sent to one: each further connection
/// costs what its own queue does, and none of the payload.
async fn broadcast() {
    let mut config = listening();
    config.max_connections = MANY;
    let mut node = Node::start(config).await;
    let mut peers = Vec::new();
    for _ in 0..MANY {
        peers.push(connected(&mut node, 2).await);
    }
    let message = tx();
    let mut frame = BytesMut::new();
    encode_frame(Network::Regtest, &message, &mut frame);
    let mut received = vec![0; frame.len()];
    for measured in [false, true] {
        let profiler = measured.then(|| dhat::Profiler::builder().testing().build());
        assert_eq!(node.manager.broadcast(&message), MANY);
        if let Some(profiler) = profiler {
            // Before any connection's task has run: what the call itself has allocated.
            let stats = dhat::HeapStats::get();
            drop(profiler);
            println!(
                "a broadcast to {MANY}: {} allocations, {} bytes",
                stats.total_blocks, stats.total_bytes
            );
            assert!(
                stats.total_blocks <= 2,
                "{} allocations",
                stats.total_blocks
            );
            assert!(stats.total_bytes < frame.len() as u64, "{stats:?}");
        }
        for peer in &mut peers {
            peer.read_exact(&mut received).await.unwrap();
            assert_eq!(received[..], frame[..]);
        }
    }
    node.manager.shutdown().await;
}

/// A peer that has shaken hands, and of which the manager has nothing more to say.
async fn connected(node: &mut Node, from: u8) -> TcpStream {
    let address = match node.listens_at {
        Some(address) => address,
        None => node.address().await,
    };
    let mut peer = RemotePeer::dial(address, from).await;
    peer.shake_hands().await;
    node.established().await;
    peer.barrier(1).await;
    node.message(|message| matches!(message, Message::Ping(_)).then_some(()))
        .await;
    let parts = peer.frames.into_parts();
    assert!(parts.read_buf.is_empty());
    parts.io
}

fn inv() -> Message {
    Message::Inv(Inventory::new((0..8_u64).map(|entry| InventoryItem {
        kind: InventoryKind::Tx,
        hash: Hash256::of(&entry.to_le_bytes()),
    })))
}

fn tx() -> Message {
    let input = TxInput {
        previous: OutPoint {
            txid: Hash256::of(&[7]),
            index: 1,
        },
        script: &[0x51; 181],
        sequence: u32::MAX,
    };
    let output = TxOutput {
        value: 5_000,
        script: &[0x51; 25],
    };
    Message::Tx(Tx::new(1, &[input], &[output; 2], 0).unwrap())
}
