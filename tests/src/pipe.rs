//! One direction of a connection, as TCP makes it: ordered, delayed, cut anywhere, windowed.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::rng::Rng;
use crate::time::Time;

/// What a line between two hosts is like.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::{Line, World};
///
/// let mut world = World::new(1);
/// // A satellite.
/// world.net.line = Line { latency: Duration::from_millis(300), ..Line::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// How long a byte takes at least.
    pub latency: Duration,
    /// By how much it may be later than that. The order is kept.
    pub jitter: Duration,
    /// Bytes a second.
    pub rate: u64,
    /// Bytes that may be written and not read yet: what both systems buffer.
    pub window: usize,
    /// In so many of a thousand cases what is written in one piece arrives in several.
    pub cuts: u32,
}

impl Default for Line {
    /// A line through a continent: 20 to 60 ms, 10 Mbit/s, 64 KiB on the way, one write in five
    /// cut.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(40),
            rate: 1_250_000,
            window: 64 * 1024,
            cuts: 200,
        }
    }
}

/// What travels through a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// The dialler asks for a connection.
    Ask,
    /// It has one.
    Accept,
    /// It gets none.
    Refuse,
    Data(Bytes),
    /// The writer has written everything.
    Fin,
    /// The writer knows nothing of this connection any more.
    Reset,
}

/// What a read gives.
///
/// ```
/// use p2p_sim::{Network, Read, Socket};
///
/// /// Reads all that there is; tells whether more may come.
/// fn drain(net: &mut Network, socket: Socket) -> bool {
///     loop {
///         match net.read(socket) {
///             Read::Data(bytes) => assert!(!bytes.is_empty()),
///             Read::Nothing => return true,
///             Read::Eof | Read::Reset => return false,
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next bytes.
    Data(Bytes),
    /// None now.
    Nothing,
    /// None ever again: the writer has closed its side.
    Eof,
    /// None ever again: the connection was reset.
    Reset,
}

/// What becomes of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// It waits for the line to come back, as TCP repeats what is not acknowledged.
    Held,
    /// It vanishes, and nobody is told.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    line: Line,
    flow: Flow,
    in_flight: VecDeque<(Time, Item)>,
    /// When the line has sent what was written so far.
    free_at: Time,
    last_arrival: Time,
    unread: VecDeque<Bytes>,
    end: Option<Read>,
    /// Bytes whose room the writer has not got back.
    outstanding: usize,
    /// Room on its way back to the writer.
    returning: VecDeque<(Time, usize)>,
    writer_waits: bool,
    flip_next: bool,
    /// For which arrival there is an event already.
    pub(crate) scheduled: Option<Time>,
}

impl Pipe {
    pub(crate) fn new(line: Line) -> Self {
        Self {
            line,
            flow: Flow::Open,
            in_flight: VecDeque::new(),
            free_at: Time::ZERO,
            last_arrival: Time::ZERO,
            unread: VecDeque::new(),
            end: None,
            outstanding: 0,
            returning: VecDeque::new(),
            writer_waits: false,
            flip_next: false,
            scheduled: None,
        }
    }

    // the writer's end

    /// Takes as many bytes as there is room for; if that is not all, the writer waits.
    pub(crate) fn write(&mut self, now: Time, rng: &mut Rng, bytes: &Bytes) -> usize {
        while let Some(&(at, n)) = self.returning.front() {
            if at > now {
                break;
            }
            self.outstanding -= n;
            self.returning.pop_front();
        }
        let room = self.line.window.saturating_sub(self.outstanding);
        let n = room.min(bytes.len());
        self.writer_waits = n < bytes.len();
        self.outstanding += n;
        let mut rest = bytes.slice(..n);
        if rng.chance(self.line.cuts) {
            for _ in 0..=rng.below(2) {
                let piece = rest.split_to(rng.below(rest.len() as u64) as usize);
                self.data(now, rng, piece);
            }
        }
        self.data(now, rng, rest);
        n
    }

    fn data(&mut self, now: Time, rng: &mut Rng, mut bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.flip_next) {
            let mut flipped = BytesMut::from(bytes.as_ref());
            let bit = rng.below(8 * flipped.len() as u64) as usize;
            flipped[bit / 8] ^= 1 << (bit % 8);
            bytes = flipped.freeze();
        }
        self.put(now, rng, Item::Data(bytes));
    }

    /// Sends an item after all that was sent before.
    pub(crate) fn put(&mut self, now: Time, rng: &mut Rng, item: Item) {
        if self.flow == Flow::Lost {
            return;
        }
        let length = match &item {
            Item::Data(bytes) => bytes.len() as u64,
            Item::Ask | Item::Accept | Item::Refuse | Item::Fin | Item::Reset => 0,
        };
        let takes = Duration::from_nanos(length * 1_000_000_000 / self.line.rate.max(1));
        self.free_at = self.free_at.max(now) + takes;
        let delay = rng.duration(Duration::ZERO, self.line.jitter) + self.line.latency;
        self.last_arrival = self.last_arrival.max(self.free_at + delay);
        self.in_flight.push_back((self.last_arrival, item));
    }

    /// When a waiting writer may go on.
    pub(crate) fn writable_at(&mut self) -> Option<Time> {
        if !self.writer_waits {
            return None;
        }
        let at = self.returning.front()?.0;
        self.writer_waits = false;
        Some(at)
    }

    /// The next piece of data has one wrong bit.
    pub(crate) fn flip_next(&mut self) {
        self.flip_next = true;
    }

    // the line

    /// When the next item arrives.
    pub(crate) fn next_arrival(&self) -> Option<Time> {
        match self.flow {
            Flow::Open => self.in_flight.front().map(|(at, _)| *at),
            Flow::Held | Flow::Lost => None,
        }
    }

    /// The next item, if it has arrived by now.
    pub(crate) fn arrive(&mut self, now: Time) -> Option<Item> {
        if self.next_arrival()? > now {
            return None;
        }
        self.in_flight.pop_front().map(|(_, item)| item)
    }

    /// The line is down: nothing moves until it is back.
    pub(crate) fn hold(&mut self) {
        if self.flow == Flow::Open {
            self.flow = Flow::Held;
        }
    }

    /// The line is back.
    pub(crate) fn release(&mut self, now: Time) {
        if self.flow != Flow::Held {
            return;
        }
        self.flow = Flow::Open;
        for (at, _) in &mut self.in_flight {
            *at = (*at).max(now + self.line.latency);
        }
        if let Some((last, _)) = self.in_flight.back() {
            self.last_arrival = self.last_arrival.max(*last);
        }
    }

    /// From now on everything vanishes, what is in flight too.
    pub(crate) fn lose(&mut self) {
        self.flow = Flow::Lost;
        self.in_flight.clear();
    }

    /// What is in flight vanishes.
    pub(crate) fn drop_in_flight(&mut self) {
        self.in_flight.clear();
    }

    // the reader's end

    pub(crate) fn deliver(&mut self, bytes: Bytes) {
        if self.end.is_none() {
            self.unread.push_back(bytes);
        }
    }

    pub(crate) fn end(&mut self, end: Read) {
        if end == Read::Reset {
            self.unread.clear();
        }
        self.end = Some(end);
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.end == Some(Read::Reset)
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Up to `max` bytes.
    pub(crate) fn read(&mut self, now: Time, max: usize) -> Read {
        let Some(bytes) = self.unread.front_mut() else {
            return self.end.clone().unwrap_or(Read::Nothing);
        };
        let taken = match bytes.len() > max {
            true => bytes.split_to(max),
            false => self.unread.pop_front().unwrap_or_default(),
        };
        let back = now + self.line.latency;
        match self.returning.back_mut() {
            Some((at, n)) if *at == back => *n += taken.len(),
            _ => self.returning.push_back((back, taken.len())),
        }
        Read::Data(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line = Line {
        latency: Duration::from_millis(10),
        jitter: Duration::from_millis(100),
        rate: 1_000_000,
        window: 100,
        cuts: 500,
    };

    fn millis(n: u64) -> Time {
        Time::ZERO + Duration::from_millis(n)
    }

    /// Everything that arrives until `now` becomes readable.
    fn settle(pipe: &mut Pipe, now: Time) {
        while let Some(item) = pipe.arrive(now) {
            match item {
                Item::Data(bytes) => pipe.deliver(bytes),
                Item::Fin => pipe.end(Read::Eof),
                other => panic!("{other:?}"),
            }
        }
    }

    fn read_all(pipe: &mut Pipe, now: Time) -> Vec<u8> {
        let mut all = Vec::new();
        while let Read::Data(bytes) = pipe.read(now, 7) {
            all.extend_from_slice(&bytes);
        }
        all
    }

    #[test]
    fn bytes_come_out_in_order_however_they_are_cut() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let mut pipe = Pipe::new(LINE);
            let mut now = Time::ZERO;
            let sent: Vec<u8> = (0..2000).map(|n| n as u8).collect();
            let mut rest = Bytes::from(sent.clone());
            let mut got = Vec::new();
            while got.len() < sent.len() {
                let n = pipe.write(now, &mut rng, &rest);
                let _ = rest.split_to(n);
                now = now + Duration::from_millis(rng.below(30));
                settle(&mut pipe, now);
                got.extend(read_all(&mut pipe, now));
            }
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn a_writer_waits_until_the_reader_has_read() {
        let mut rng = Rng::new(0);
        let mut pipe = Pipe::new(LINE);
        let bytes = Bytes::from(vec![0; 150]);
        assert_eq!(pipe.write(millis(0), &mut rng, &bytes), 100);
        assert_eq!(pipe.writable_at(), None, "nothing was read yet");
        settle(&mut pipe, millis(1000));
        assert_eq!(pipe.write(millis(1000), &mut rng, &bytes), 0);
        assert_eq!(read_all(&mut pipe, millis(1000)).len(), 100);
        assert_eq!(pipe.writable_at(), Some(millis(1010)));
        assert_eq!(pipe.write(millis(1009), &mut rng, &bytes), 0);
        assert_eq!(pipe.write(millis(1010), &mut rng, &bytes), 100);
    }

    #[test]
    fn a_narrow_line_takes_its_time() {
        let line = Line {
            jitter: Duration::ZERO,
            rate: 1000,
            ..LINE
        };
        let mut pipe = Pipe::new(line);
        let mut rng = Rng::new(0);
        pipe.write(millis(0), &mut rng, &Bytes::from(vec![0; 100]));
        settle(&mut pipe, millis(109));
        assert!(read_all(&mut pipe, millis(109)).len() < 100);
        settle(&mut pipe, millis(110));
        pipe.put(millis(110), &mut rng, Item::Fin);
        settle(&mut pipe, millis(120));
        read_all(&mut pipe, millis(120));
        assert_eq!(pipe.read(millis(120), 1), Read::Eof);
    }

    #[test]
    fn what_is_held_comes_later_and_what_is_lost_never() {
        let mut rng = Rng::new(0);
        let mut pipe = Pipe::new(LINE);
        pipe.write(millis(0), &mut rng, &Bytes::from_static(b"first"));
        pipe.hold();
        pipe.write(millis(5), &mut rng, &Bytes::from_static(b"second"));
        assert_eq!(pipe.arrive(millis(5000)), None);
        pipe.release(millis(5000));
        assert_eq!(pipe.next_arrival(), Some(millis(5010)));
        settle(&mut pipe, millis(6000));
        assert_eq!(read_all(&mut pipe, millis(6000)), b"firstsecond");
        pipe.lose();
        assert_eq!(
            pipe.write(millis(7000), &mut rng, &Bytes::from(vec![0; 200])),
            100
        );
        assert_eq!(pipe.next_arrival(), None);
        assert_eq!(pipe.writable_at(), None);
    }

    #[test]
    fn a_flip_changes_one_bit() {
        let mut rng = Rng::new(0);
        let mut pipe = Pipe::new(LINE);
        pipe.flip_next();
        for _ in 0..2 {
            pipe.write(millis(0), &mut rng, &Bytes::from(vec![0; 40]));
        }
        settle(&mut pipe, millis(1000));
        let got = read_all(&mut pipe, millis(1000));
        let ones: u32 = got.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!((got.len(), ones), (80, 1));
    }
}
