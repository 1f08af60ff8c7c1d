//! What happened, as lines for people and as one hash for comparison.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use p2p_proto::{Hash256, Sha256d};

use crate::network::HostId;
use crate::time::Time;

/// Lines that are kept for the report of a failure: some seconds of a busy world.
const KEPT: usize = 400;

/// The record of a run: two runs are the same if and only if their hashes are.
///
/// ```
/// use p2p_sim::{HostId, Time, Trace};
///
/// let mut trace = Trace::default();
/// trace.line(Time::ZERO, Some(HostId(3)), format_args!("dials"));
/// assert_eq!(trace.lines().next(), Some("00:00:00.000000 n003 dials"));
/// ```
#[derive(Debug)]
pub struct Trace {
    hasher: Sha256d,
    kept: VecDeque<String>,
    keep: usize,
    count: u64,
}

impl Trace {
    /// Something happened, on a host or to the world.
    pub fn line(&mut self, time: Time, host: Option<HostId>, what: fmt::Arguments<'_>) {
        let mut line = match self.kept.len() < self.keep {
            true => String::new(),
            false => self.kept.pop_front().unwrap_or_default(),
        };
        line.clear();
        // Writing to a string does not fail.
        let _ = match host {
            Some(host) => write!(line, "{time} {host} {what}"),
            None => write!(line, "{time} world {what}"),
        };
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        self.kept.push_back(line);
        self.count += 1;
    }

    /// Something happened that is too small for a line, and still must be the same every time.
    pub fn number(&mut self, time: Time, numbers: [u64; 3]) {
        let [a, b, c] = numbers;
        let mut bytes = [0; 32];
        for (at, number) in [time.as_nanos(), a, b, c].into_iter().enumerate() {
            bytes[8 * at..8 * at + 8].copy_from_slice(&number.to_le_bytes());
        }
        self.hasher.update(&bytes);
    }

    /// Keeps this many of the last lines, instead of 400. The hash is of all of them anyway.
    ///
    /// ```
    /// use p2p_sim::{Time, Trace};
    ///
    /// let mut trace = Trace::default();
    /// (0..5).for_each(|n| trace.line(Time::ZERO, None, format_args!("{n}")));
    /// trace.keep(2);
    /// assert_eq!(trace.lines().count(), 2);
    /// trace.line(Time::ZERO, None, format_args!("5"));
    /// assert_eq!(trace.lines().last(), Some("00:00:00.000000 world 5"));
    /// assert_eq!(trace.lines().count(), 2);
    /// ```
    pub fn keep(&mut self, lines: usize) {
        self.keep = lines.max(1);
        let too_many = self.kept.len().saturating_sub(self.keep);
        self.kept.drain(..too_many);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> Hash256 {
        self.hasher.clone().finish()
    }

    /// The last lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().map(String::as_str)
    }

    /// Lines so far.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            hasher: Sha256d::new(),
            kept: VecDeque::with_capacity(KEPT),
            keep: KEPT,
            count: 0,
        }
    }
}
