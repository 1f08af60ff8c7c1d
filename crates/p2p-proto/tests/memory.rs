//! What a hostile peer can make us reserve: no more than twice what it has sent, and 64 KiB.
//!
//! One test, for the heap profiler is one for the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test file uses its part")]
mod support {
    pub(crate) mod driver;
}

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::{BufMut, BytesMut};
use p2p_proto::codec::WriteExt;
use p2p_proto::{
    Capacity, Clock, Command, Config, Connection, Event, FrameHeader, Message, Params, Side,
    checksum,
};
use support::driver::{NETWORK, config, epoch, frame, ping, unknown, version_message};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// What is reserved at a time, as bytes arrive.
const READ: usize = 32 * 1024;
/// Connection, read buffer and queues of a peer that has sent nothing.
const FIXED: u64 = 64 * 1024;

/// The loop that the documentation of `Connection` asks for, with nothing that allocates of its
/// own.
struct Loop {
    connection: Connection,
    buffer: BytesMut,
    now: Instant,
    /// Whether events are taken; if not, they are what fills the memory.
    drains: bool,
    received: u64,
}

impl Loop {
    fn new(config: Arc<Config>, now: Instant) -> Self {
        let params = Params {
            remote: "127.0.0.1:18444".parse().unwrap(),
            nonce: 1,
            seed: [0; 32],
            clock: Clock::new(now, SystemTime::UNIX_EPOCH),
            capacity: Capacity::Free,
        };
        Self {
            connection: Connection::new(config, Side::Inbound, params, now),
            buffer: BytesMut::new(),
            now,
            drains: true,
            received: 0,
        }
    }

    /// Reads all of `bytes`, or as much as is wanted.
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.connection.wants_read() {
            if self.buffer.len() == self.buffer.capacity() {
                self.buffer.reserve(READ);
            }
            let room = self.buffer.capacity() - self.buffer.len();
            let (piece, rest) = bytes.split_at(bytes.len().min(room));
            self.buffer.put_slice(piece);
            self.received += piece.len() as u64;
            bytes = rest;
            self.connection.receive(self.now, &mut self.buffer);
            self.drain();
            let most = dhat::HeapStats::get().max_bytes as u64;
            let bound = 2 * self.received + FIXED;
            assert!(
                most <= bound,
                "{most} bytes reserved for {} received",
                self.received
            );
        }
    }

    fn drain(&mut self) {
        loop {
            let mut moved = false;
            while let Some(bytes) = self.connection.poll_transmit() {
                self.connection.handle_written(self.now, bytes.len());
                moved = true;
            }
            while self.drains {
                let Some(event) = self.connection.poll_event() else {
                    break;
                };
                if let Event::Ready(_) = event {
                    self.connection.admit(self.now);
                }
                moved = true;
            }
            if !moved {
                return;
            }
            self.connection.receive(self.now, &mut self.buffer);
        }
    }
}

#[test]
fn memory_follows_what_has_arrived_and_not_what_is_announced() {
    let handshake = [
        frame(NETWORK, &version_message()),
        frame(NETWORK, &Message::Verack),
    ]
    .concat();
    let (config, now) = (Arc::new(config()), epoch());
    for (name, stream, step) in streams().into_iter().chain(dense()) {
        for (connected, drains) in [(false, true), (true, true), (true, false)] {
            let profiler = dhat::Profiler::builder().testing().build();
            let mut driver = Loop::new(config.clone(), now);
            if connected {
                driver.read(&handshake);
                assert!(driver.connection.is_connected(), "{name}");
            }
            driver.drains = drains;
            for piece in stream.chunks(step) {
                driver.read(piece);
            }
            assert!(driver.received > 0, "{name}");
            // What was kept can be let go of.
            driver.drains = true;
            driver.drain();
            drop(driver);
            let left = dhat::HeapStats::get().curr_bytes;
            assert_eq!(left, 0, "{name}");
            drop(profiler);
        }
    }
}

fn streams() -> Vec<Stream> {
    let mut streams = Vec::new();
    for (command, length) in [
        (Command::INV, 2 << 20),
        (Command::VERSION, 2 << 20),
        (Command::TX, 1_000_000_000),
        (Command::BLOCK, 1_000_000_000),
        (Command::BLOCK, 1 << 63),
        (Command::GETBLOCKTXN, 1 << 50),
    ] {
        let mut stream = header(command, length);
        stream.put_bytes(0, 1000);
        streams.push((
            format!("{command} of {length} and then little"),
            stream,
            100,
        ));
    }
    for (command, before) in counted() {
        for count in [u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut payload = BytesMut::new();
            payload.put_bytes(0, before);
            payload.put_compact_size(count);
            payload.put_bytes(0, 3000);
            let stream = frame(NETWORK, &unknown(command.as_str(), payload.freeze()));
            streams.push((format!("{command} of {count} items"), stream, 100));
        }
    }
    for (name, stream) in [
        (
            "empty frames",
            frame(NETWORK, &unknown("x", "")).repeat(20_000),
        ),
        ("pings", frame(NETWORK, &ping(1)).repeat(20_000)),
        ("getaddr", frame(NETWORK, &Message::GetAddr).repeat(20_000)),
        (
            "frames of one byte",
            frame(NETWORK, &unknown("x", "x")).repeat(20_000),
        ),
    ] {
        for step in [10, 1 << 20] {
            streams.push((format!("{name}, {step} at a time"), stream[..].into(), step));
        }
    }
    for (size, step) in [
        (30_000, 1),
        (200_000, 10),
        (2_000_000, 1000),
        (2_000_000, READ),
    ] {
        let stream = frame(NETWORK, &unknown("inv", vec![0; size]));
        streams.push((format!("a drip of {size}, {step} at a time"), stream, step));
    }
    streams
}

/// Commands with a count, and how many bytes stand before it.
fn counted() -> [(Command, usize); 17] {
    [
        (Command::INV, 0),
        (Command::ADDR, 0),
        (Command::HEADERS, 0),
        (Command::HDRSEN, 0),
        (Command::GETHEADERS, 4),
        (Command::TX, 4),
        (Command::BLOCK, 80),
        (Command::MERKLEBLOCK, 84),
        (Command::CMPCTBLOCK, 88),
        (Command::GETBLOCKTXN, 32),
        (Command::BLOCKTXN, 32),
        (Command::DSDETECTED, 2),
        (Command::VERSION, 80),
        (Command::PROTOCONF, 5),
        (Command::REJECT, 0),
        (Command::FILTERLOAD, 0),
        (Command::CREATESTRM, 0),
    ]
}

/// What to send, and in pieces of how many bytes.
type Stream = (String, BytesMut, usize);

/// Messages of items that would be larger in memory than they are on the wire.
fn dense() -> impl Iterator<Item = Stream> {
    let mut request = BytesMut::new();
    request.put_bytes(0, 32);
    request.put_compact_size(1_000_000);
    request.put_bytes(0, 1_000_000);

    let mut conflicts = BytesMut::new();
    conflicts.put_u16_le(1);
    conflicts.put_compact_size(20_000);
    for _ in 0..20_000 {
        // No headers; flags of a whole transaction, index, its ten bytes; target, no nodes.
        conflicts.put_slice(&[0, 1, 0, 10]);
        conflicts.put_bytes(0, 10 + 32 + 1);
    }

    let mut part = BytesMut::new();
    part.put_bytes(0, 84);
    part.put_compact_size(50_000);
    part.put_bytes(0, 50_000 * 32 + 1);

    let mut proved = BytesMut::new();
    // A transaction of nothing; flags, index, txid, target; nodes of the only type there is.
    proved.put_bytes(0, 10 + 2 + 64);
    proved.put_compact_size(50_000);
    proved.put_bytes(0, 50_000 * 33);

    [
        (Command::DATAREFTX, proved),
        (Command::GETBLOCKTXN, request),
        (Command::DSDETECTED, conflicts),
        (Command::MERKLEBLOCK, part),
    ]
    .into_iter()
    .map(|(command, payload)| {
        // One that does not decode would prove nothing.
        assert!(Message::decode(command, &payload).is_ok(), "{command}");
        let mut stream = BytesMut::new();
        let header = FrameHeader {
            command,
            length: payload.len() as u64,
            checksum: Some(checksum(&payload)),
        };
        header.encode(NETWORK.magic_bytes(), &mut stream);
        stream.put_slice(&payload);
        (format!("a dense {command}"), stream, 1000)
    })
}

fn header(command: Command, length: u64) -> BytesMut {
    let checksum = u32::try_from(length).is_ok().then_some([0; 4]);
    let mut stream = BytesMut::new();
    let header = FrameHeader {
        command,
        length,
        checksum,
    };
    header.encode(NETWORK.magic_bytes(), &mut stream);
    stream
}
