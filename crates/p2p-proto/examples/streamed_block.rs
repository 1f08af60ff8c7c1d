//! A block larger than memory ought to be, through two connections, in constant memory.
//!
//! ```text
//! cargo run --release -p p2p-proto --example streamed_block -- --gib 6
//! ```
//!
//! One connection sends the block in pieces that are made as room for them comes; the other
//! receives it in reads of 64 to 256 KiB and takes it apart with a [`TxSplitter`]. Every
//! transaction comes out, and the merkle root, computed beforehand, tells that none was changed.
//! Ends with an error if something did not arrive as it was sent, or if the peak of resident
//! memory grew by 32 MiB.
//!
//! `--gib N` or `--mib N` is the size, 64 MiB unless told otherwise. Above 4 GiB the frame is an
//! `extmsg`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a driver reads the clock, and this one prints what it measured"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use p2p_proto::codec::{WriteExt, compact_size_len};
use p2p_proto::{
    BlockHeader, BlockPart, BlockSummary, Capacity, Clock, Command, Config, Connection, Event,
    Hash256, MAX_WHOLE_TX, MerkleTree, Network, Params, PayloadEvent, SendError, Sha256d, Side,
    TxSplitter,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How much the peak of resident memory may grow, whatever the size of the block.
const MAX_GROWTH: u64 = 32 << 20;
/// Bytes that are on their way: what a socket's buffers hold.
const PIPE: usize = 512 * 1024;
/// What the receiver reads at once, in turn.
const READS: [usize; 4] = [64 * 1024, 100_000, 256 * 1024, 131_071];
/// Bytes of the block that are made at once.
const CHUNK: usize = 128 * 1024;

fn main() -> Result<()> {
    let size = size_argument()?;
    let before = peak_memory();

    let start = Instant::now();
    let block = SyntheticBlock::new(size);
    let length = block.length();
    let checksum = u32::try_from(length).is_ok().then(|| block.checksum());
    println!(
        "block       {length} bytes in {} frame, {} transactions, {} of them over {} MiB",
        if checksum.is_some() {
            "a basic"
        } else {
            "an extended"
        },
        block.tx_count,
        block.large_count(),
        MAX_WHOLE_TX >> 20,
    );
    println!(
        "made        its transaction ids and merkle root, in {:.1} s",
        start.elapsed().as_secs_f64()
    );

    let start = Instant::now();
    let received = Wire::connect(start)?.pass(&block, checksum)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "received    {} bytes in {seconds:.1} s, {:.0} MB/s; {} transactions whole, {} in pieces",
        received.bytes,
        received.bytes as f64 / seconds / 1e6,
        received.whole,
        received.in_pieces,
    );
    received.check(&block)?;
    println!("merkle root {}, as it was sent", block.header.merkle_root);

    match (before, peak_memory()) {
        (Some(before), Some(after)) => {
            let growth = after - before;
            println!(
                "memory      peak grew by {:.1} MiB, from {:.1} to {:.1} MiB",
                mib(growth),
                mib(before),
                mib(after)
            );
            ensure(growth < MAX_GROWTH, "memory grew by 32 MiB or more")
        }
        _ => {
            println!("memory      not measured: no /proc/self/status here");
            Ok(())
        }
    }
}

/// The block that is sent: made of a rule, so that it need not be kept.
struct SyntheticBlock {
    header: BlockHeader,
    tx_count: u64,
    /// Bytes of all transactions.
    txs_len: u64,
    /// What scripts are made of.
    pattern: Vec<u8>,
}

impl SyntheticBlock {
    /// Between the script and the end of a transaction: sequence, one output, lock time.
    const AFTER_SCRIPT: [u8; 43] = {
        let mut bytes = [0x51; 43];
        (bytes[4], bytes[13]) = (1, 25);
        bytes
    };

    /// As many transactions as it takes for `size` bytes.
    fn new(size: u64) -> Self {
        let mut block = Self {
            header: BlockHeader::from_bytes(&[0; BlockHeader::LEN]),
            tx_count: 0,
            txs_len: 0,
            // A period that no power of two divides: pieces of scripts differ.
            pattern: (0..251 * 4096_u32).map(|i| (i % 251) as u8).collect(),
        };
        let mut merkle = MerkleTree::new();
        while block.txs_len < size {
            merkle.push(block.txid(block.tx_count));
            block.txs_len += block.tx_len(block.tx_count);
            block.tx_count += 1;
        }
        block.header.merkle_root = merkle.root().unwrap_or_default();
        block
    }

    /// Bytes of the script of transaction `n`: a few hundred, now and then 100 kB, rarely 6 MiB.
    fn script_len(n: u64) -> usize {
        match (n % 20_011, n % 997) {
            (5, _) => 6 << 20,
            (_, 3) => 100_000,
            _ => 80 + (n.wrapping_mul(2_654_435_761) >> 16) as usize % 900,
        }
    }

    /// Transaction `n` up to its script: version, one input.
    fn before_script(n: u64, out: &mut BytesMut) {
        out.put_i32_le(1);
        out.put_u8(1);
        out.put_u64_le(n);
        out.put_bytes(0x77, 24);
        out.put_u32_le(0);
        out.put_compact_size(Self::script_len(n) as u64);
    }

    /// Bytes of the script of transaction `n` from `at` on, at most `most` of them.
    fn script(&self, n: u64, at: usize, most: usize) -> &[u8] {
        let from = (n as usize + at) % self.pattern.len();
        let left = Self::script_len(n) - at;
        let len = most.min(left).min(self.pattern.len() - from);
        &self.pattern[from..from + len]
    }

    fn txid(&self, n: u64) -> Hash256 {
        let mut hasher = Sha256d::new();
        let mut start = BytesMut::new();
        Self::before_script(n, &mut start);
        hasher.update(&start);
        let mut at = 0;
        while at < Self::script_len(n) {
            let piece = self.script(n, at, usize::MAX);
            hasher.update(piece);
            at += piece.len();
        }
        hasher.update(&Self::AFTER_SCRIPT);
        hasher.finish()
    }

    fn tx_len(&self, n: u64) -> u64 {
        let script = Self::script_len(n);
        (4 + 1 + 36 + compact_size_len(script as u64) + script + Self::AFTER_SCRIPT.len()) as u64
    }

    fn length(&self) -> u64 {
        (BlockHeader::LEN + compact_size_len(self.tx_count)) as u64 + self.txs_len
    }

    fn large_count(&self) -> u64 {
        let large = |&n: &u64| self.tx_len(n) > MAX_WHOLE_TX as u64;
        (0..self.tx_count).filter(large).count() as u64
    }

    fn checksum(&self) -> [u8; 4] {
        let mut hasher = Sha256d::new();
        let mut payload = Payload::new(self);
        while let Some(chunk) = payload.next_chunk() {
            hasher.update(&chunk);
        }
        hasher.checksum()
    }
}

/// The block's bytes, in order.
struct Payload<'a> {
    block: &'a SyntheticBlock,
    buffer: BytesMut,
    /// The transaction at hand, and the bytes of its script that were made.
    tx: u64,
    script: Option<usize>,
}

impl<'a> Payload<'a> {
    fn new(block: &'a SyntheticBlock) -> Self {
        let mut buffer = BytesMut::new();
        block.header.encode(&mut buffer);
        buffer.put_compact_size(block.tx_count);
        Self {
            block,
            buffer,
            tx: 0,
            script: None,
        }
    }

    /// The next `CHUNK` bytes, or a few more.
    fn next_chunk(&mut self) -> Option<Bytes> {
        self.buffer.reserve(CHUNK + 100);
        while self.buffer.len() < CHUNK && self.tx < self.block.tx_count {
            let Some(at) = self.script else {
                SyntheticBlock::before_script(self.tx, &mut self.buffer);
                self.script = Some(0);
                continue;
            };
            let room = CHUNK - self.buffer.len();
            let piece = self.block.script(self.tx, at, room);
            self.buffer.put_slice(piece);
            self.script = Some(at + piece.len());
            if at + piece.len() == SyntheticBlock::script_len(self.tx) {
                self.buffer.put_slice(&SyntheticBlock::AFTER_SCRIPT);
                self.tx += 1;
                self.script = None;
            }
        }
        (!self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }
}

/// What came out at the other end.
#[derive(Default)]
struct Received {
    /// Bytes of the block.
    bytes: u64,
    /// Transactions that came whole.
    whole: u64,
    /// Transactions that came in pieces.
    in_pieces: u64,
    /// Bytes of all transactions.
    txs_len: u64,
    checksum_ok: Option<bool>,
    summary: Option<BlockSummary>,
}

impl Received {
    fn check(&self, block: &SyntheticBlock) -> Result<()> {
        ensure(self.bytes == block.length(), "bytes are missing")?;
        ensure(
            (self.whole + self.in_pieces, self.txs_len) == (block.tx_count, block.txs_len),
            "transactions are missing",
        )?;
        ensure(
            self.in_pieces == block.large_count(),
            "a large transaction came whole, or a small one in pieces",
        )?;
        ensure(self.checksum_ok != Some(false), "the checksum is wrong")?;
        let summary = self.summary.ok_or("the block did not end")?;
        ensure(
            summary.merkle_ok && summary.header == block.header,
            "the merkle root is another",
        )
    }
}

/// Two connections, and the bytes on the way from the one to the other.
struct Wire {
    sender: Connection,
    receiver: Connection,
    pipe: BytesMut,
    /// What the receiver has read and could not use yet.
    unread: BytesMut,
    reads: usize,
}

impl Wire {
    /// Two connections that have shaken hands.
    fn connect(now: Instant) -> Result<Self> {
        let config = Arc::new(Config::new(Network::Regtest));
        let params = |nonce| Params {
            remote: ([127, 0, 0, 1], 18444).into(),
            nonce,
            seed: [0; 32],
            clock: Clock::new(now, SystemTime::now()),
            capacity: Capacity::Free,
        };
        let mut wire = Self {
            sender: Connection::new(config.clone(), Side::Outbound, params(1), now),
            receiver: Connection::new(config, Side::Inbound, params(2), now),
            pipe: BytesMut::with_capacity(PIPE),
            unread: BytesMut::new(),
            reads: 0,
        };
        while !(wire.sender.is_connected() && wire.receiver.is_connected()) {
            wire.forth(now);
            while let Some(event) = wire.receiver.poll_event() {
                if let Event::Ready(_) = event {
                    wire.receiver.admit(now);
                }
            }
            wire.back(now)?;
        }
        Ok(wire)
    }

    /// Sends the block and takes it apart.
    fn pass(mut self, block: &SyntheticBlock, checksum: Option<[u8; 4]>) -> Result<Received> {
        let mut payload = Payload::new(block);
        let mut splitter = Some(TxSplitter::new());
        let mut received = Received::default();
        let mut waiting = payload.next_chunk();
        self.sender
            .send_begin(Instant::now(), Command::BLOCK, block.length(), checksum)?;
        while received.summary.is_none() {
            let now = Instant::now();
            while let Some(chunk) = &waiting {
                match self.sender.send_chunk(now, chunk.clone()) {
                    Ok(()) => waiting = payload.next_chunk(),
                    Err(SendError::Full) => break,
                    Err(error) => return Err(error.into()),
                }
                if waiting.is_none() {
                    self.sender.send_end(now)?;
                }
            }
            self.forth(now);
            while let Some(event) = self.receiver.poll_event() {
                received.take(event, &mut splitter)?;
            }
            self.back(now)?;
        }
        Ok(received)
    }

    /// What the sender has for the wire, as far as the wire takes it, and one read by the receiver.
    fn forth(&mut self, now: Instant) {
        while self.pipe.len() < PIPE {
            let Some(bytes) = self.sender.poll_transmit() else {
                break;
            };
            self.pipe.put_slice(&bytes);
            self.sender.handle_written(now, bytes.len());
        }
        if self.receiver.wants_read() {
            let n = READS[self.reads % READS.len()].min(self.pipe.len());
            self.reads += 1;
            self.unread.put_slice(&self.pipe[..n]);
            self.pipe.advance(n);
        }
        self.receiver.receive(now, &mut self.unread);
    }

    /// The other direction carries next to nothing.
    fn back(&mut self, now: Instant) -> Result<()> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.receiver.poll_transmit() {
            self.receiver.handle_written(now, piece.len());
            bytes.put_slice(&piece);
        }
        loop {
            self.sender.receive(now, &mut bytes);
            match self.sender.poll_event() {
                Some(Event::Ready(_)) => self.sender.admit(now),
                Some(Event::Message(_)) => {}
                Some(other) => return Err(format!("the sender was told {other:?}").into()),
                None => return Ok(()),
            }
        }
    }
}

impl Received {
    fn take(&mut self, event: Event, splitter: &mut Option<TxSplitter>) -> Result<()> {
        match (event, splitter.as_mut()) {
            (Event::Payload(PayloadEvent::Chunk(chunk)), Some(splitter)) => {
                self.bytes += chunk.len() as u64;
                splitter.push(chunk);
                while let Some(part) = splitter.poll()? {
                    self.part(&part);
                }
            }
            (Event::Payload(PayloadEvent::End { checksum_ok }), Some(_)) => {
                self.checksum_ok = checksum_ok;
                self.summary = splitter.take().map(TxSplitter::finish).transpose()?;
            }
            (Event::Payload(PayloadEvent::Begin { .. }) | Event::Message(_), _) => {}
            (other, _) => return Err(format!("the receiver was told {other:?}").into()),
        }
        Ok(())
    }

    fn part(&mut self, part: &BlockPart) {
        match part {
            BlockPart::Tx { tx, .. } => {
                self.whole += 1;
                self.txs_len += tx.len() as u64;
            }
            BlockPart::TxEnd { length, .. } => {
                self.in_pieces += 1;
                self.txs_len += length;
            }
            _ => {}
        }
    }
}

fn size_argument() -> Result<u64> {
    let mut args = std::env::args().skip(1);
    let Some(unit) = args.next() else {
        return Ok(64 << 20);
    };
    let shift = match unit.as_str() {
        "--gib" => 30,
        "--mib" => 20,
        _ => return Err("usage: streamed_block [--gib N | --mib N]".into()),
    };
    let n: u64 = args.next().ok_or("how many?")?.parse()?;
    Ok(n << shift)
}

/// The most resident memory that the process has had so far, in bytes.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
