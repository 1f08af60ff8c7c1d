//! Two connections joined by a pipe that behaves like TCP: ordered, and cut anywhere.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use p2p_proto::{Capacity, Config, Side};

use super::driver::{Driver, epoch};

/// What becomes of the bytes on their way to one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// They arrive.
    Open,
    /// They are on their way.
    Held,
    /// They are lost, and nobody notices.
    Dropped,
}

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) dialler: Driver,
    pub(crate) listener: Driver,
    pub(crate) to_dialler: Wire,
    pub(crate) to_listener: Wire,
}

/// One direction.
pub(crate) struct Wire {
    pub(crate) path: Path,
    bytes: BytesMut,
    /// How many bytes arrive at a time, over and over.
    cuts: Vec<usize>,
    next_cut: usize,
}

impl Pair {
    /// Both sides whole, bytes arriving as they were sent.
    pub(crate) fn new(config: Config) -> Self {
        Self::with(config.clone(), config, Capacity::Free, &[usize::MAX])
    }

    pub(crate) fn with(
        dialler: Config,
        listener: Config,
        capacity: Capacity,
        cuts: &[usize],
    ) -> Self {
        let now = epoch();
        Self {
            now,
            dialler: Driver::at(now, dialler, Side::Outbound, Capacity::Free, 0x0b0b),
            listener: Driver::at(now, listener, Side::Inbound, capacity, 0x1b1b),
            to_dialler: Wire::new(cuts),
            to_listener: Wire::new(cuts),
        }
    }

    /// Lets bytes travel until both sides are at rest.
    pub(crate) fn drive(&mut self) {
        while self.step(Side::Inbound, usize::MAX) | self.step(Side::Outbound, usize::MAX) {}
    }

    /// One piece of at most `most` bytes arrives at a side; whether there was one.
    pub(crate) fn step(&mut self, side: Side, most: usize) -> bool {
        let (from, to, wire) = match side {
            Side::Inbound => (&mut self.dialler, &mut self.listener, &mut self.to_listener),
            Side::Outbound => (&mut self.listener, &mut self.dialler, &mut self.to_dialler),
        };
        wire.put(&from.outgoing());
        let piece = wire.take(most);
        if piece.is_empty() {
            return false;
        }
        to.receive(&piece);
        true
    }

    /// Time goes by for both sides, in steps small enough that none misses what the other says.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.drive();
        while self.now < end {
            let next = [&self.dialler, &self.listener]
                .into_iter()
                .filter_map(|side| side.connection.poll_timeout())
                .map(|(at, _)| at)
                .min()
                .map_or(end, |at| at.min(end).max(self.now));
            let step = next - self.now;
            self.dialler.wait(step);
            self.listener.wait(step);
            self.now = next;
            self.drive();
        }
    }
}

impl Wire {
    fn new(cuts: &[usize]) -> Self {
        Self {
            path: Path::Open,
            bytes: BytesMut::new(),
            cuts: cuts.to_vec(),
            next_cut: 0,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.path != Path::Dropped {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn take(&mut self, most: usize) -> BytesMut {
        if self.path != Path::Open || self.bytes.is_empty() {
            return BytesMut::new();
        }
        let cut = self.cuts[self.next_cut % self.cuts.len()];
        self.next_cut += 1;
        let n = cut.max(1).min(most.max(1)).min(self.bytes.len());
        self.bytes.split_to(n)
    }
}
