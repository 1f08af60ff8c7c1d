//! What a message costs the allocator once a connection runs.
//!
//! One test, for the heap profiler is one for the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test file uses its part")]
mod support {
    pub(crate) mod driver;
}

use bytes::BytesMut;
use p2p_proto::{Connection, Event, Message, Side};
use support::driver::{Driver, NETWORK, frame, ping};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const PINGS: usize = 1000;

#[test]
fn a_thousand_pings_cost_a_few_allocations() {
    let Driver {
        mut connection,
        now,
        ..
    } = Driver::connected(Side::Inbound);
    let pings: Vec<_> = (0..PINGS as u64)
        .map(|nonce| frame(NETWORK, &ping(nonce)))
        .collect();
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    let mut hear = |connection: &mut Connection, ping: &[u8]| {
        buffer.extend_from_slice(ping);
        connection.receive(now, &mut buffer);
        while let Some(bytes) = connection.poll_transmit() {
            connection.handle_written(now, bytes.len());
        }
        assert!(matches!(
            connection.poll_event(),
            Some(Event::Message(Message::Ping(_)))
        ));
    };
    // The queues reach their size.
    for ping in &pings {
        hear(&mut connection, ping);
    }

    let profiler = dhat::Profiler::builder().testing().build();
    for ping in &pings {
        hear(&mut connection, ping);
    }
    let stats = dhat::HeapStats::get();
    drop(profiler);
    print(&stats);
    assert!(
        stats.total_blocks <= 10,
        "{} allocations",
        stats.total_blocks
    );
}

#[expect(clippy::print_stdout, reason = "a number to look at when it changes")]
fn print(stats: &dhat::HeapStats) {
    println!(
        "{PINGS} pings: {} allocations, {} bytes",
        stats.total_blocks, stats.total_bytes
    );
}
