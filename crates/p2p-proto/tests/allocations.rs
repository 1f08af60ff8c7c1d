//! What a message costs the allocator once a connection runs.
//!
//! One test, for the heap profiler is one for the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test file uses its part")]
mod support {
    pub(crate) mod driver;
}

use std::time::Instant;

use bytes::BytesMut;
use p2p_proto::{
    Connection, Event, Hash256, Inventory, InventoryItem, InventoryKind, Message, OutPoint, Side,
    Tx, TxInput, TxOutput,
};
use support::driver::{Driver, NETWORK, frame, ping};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const MESSAGES: u64 = 1000;

#[test]
fn a_message_costs_its_payload_and_no_more() {
    // A ping and its pong need nothing; what has a payload of any length keeps a copy of it, or
    // it would keep the read buffer.
    costs("pings", ping, 1, 10);
    costs("inv of 8 entries", inv, 1, MESSAGES + 10);
    costs("tx of 300 bytes", tx, 1, MESSAGES + 10);
    // Those that come together share memory: a dozen a block, and the count of who holds it.
    costs("inv of 8 entries", inv, 100, MESSAGES / 6);
    costs("tx of 300 bytes", tx, 100, MESSAGES / 6);
}

/// Hears a thousand of these messages, so many at once, with at most so many allocations.
fn costs(name: &str, message: impl Fn(u64) -> Message, at_once: usize, most: u64) {
    let Driver {
        mut connection,
        now,
        ..
    } = Driver::connected(Side::Inbound);
    let frames: Vec<_> = (0..MESSAGES).map(|n| frame(NETWORK, &message(n))).collect();
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    // The queues reach their size.
    for frames in frames.chunks(at_once) {
        hear(&mut connection, now, &mut buffer, frames);
    }

    let profiler = dhat::Profiler::builder().testing().build();
    for frames in frames.chunks(at_once) {
        hear(&mut connection, now, &mut buffer, frames);
    }
    let stats = dhat::HeapStats::get();
    drop(profiler);
    print(name, at_once, &stats);
    assert!(
        stats.total_blocks <= most,
        "{MESSAGES} {name}, {at_once} at once: {} allocations",
        stats.total_blocks
    );
}

fn hear(connection: &mut Connection, now: Instant, buffer: &mut BytesMut, frames: &[BytesMut]) {
    for frame in frames {
        buffer.extend_from_slice(frame);
    }
    connection.receive(now, buffer);
    while let Some(bytes) = connection.poll_transmit() {
        connection.handle_written(now, bytes.len());
    }
    for _ in frames {
        // Not taken at once: each keeps its memory until all were heard.
        connection.receive(now, buffer);
        assert!(matches!(connection.poll_event(), Some(Event::Message(_))));
    }
}

fn inv(n: u64) -> Message {
    Message::Inv(Inventory::new((0..8).map(|entry| InventoryItem {
        kind: InventoryKind::Tx,
        hash: Hash256::of(&(n * 8 + entry).to_le_bytes()),
    })))
}

fn tx(n: u64) -> Message {
    let input = TxInput {
        previous: OutPoint {
            txid: Hash256::of(&n.to_le_bytes()),
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

#[expect(clippy::print_stdout, reason = "a number to look at when it changes")]
fn print(name: &str, at_once: usize, stats: &dhat::HeapStats) {
    println!(
        "{MESSAGES} {name}, {at_once} at once: {} allocations, {} bytes",
        stats.total_blocks, stats.total_bytes
    );
}
