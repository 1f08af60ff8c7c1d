//! Contenders that run in turn, so that whatever else the machine does hits all of them alike.

use std::fmt;
use std::time::{Duration, Instant};

/// How long a contender runs before it is the next one's turn, at least one operation.
const TURN: Duration = Duration::from_millis(2);
const ROUNDS: usize = 101;
/// Rounds of a row whose turns are long.
const LEAST_ROUNDS: usize = 15;
/// No new round after this long.
const LONG: Duration = Duration::from_secs(10);

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Enough to publish.
    Full,
    /// Everything once: whether it still runs.
    Once,
}

/// Something to be timed: a batch of a fixed number of operations.
pub(crate) struct Contender<'a> {
    operations: usize,
    batch: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    /// `batch` prepares as long as it likes and returns the time of the operations alone.
    pub(crate) fn new(operations: usize, batch: impl FnMut() -> Duration + 'a) -> Self {
        Self {
            operations,
            batch: Box::new(batch),
        }
    }

    /// Runs for one turn; nanoseconds an operation.
    fn turn(&mut self, turn: Duration) -> f64 {
        let (mut spent, mut operations) = (Duration::ZERO, 0);
        loop {
            spent += (self.batch)();
            operations += self.operations;
            if spent >= turn {
                return spent.as_nanos() as f64 / operations as f64;
            }
        }
    }
}

/// Times `work` alone.
pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// What was measured: for each round, nanoseconds an operation of each contender.
pub(crate) struct Row(Vec<Vec<f64>>);

impl Row {
    /// Measures the contenders, in turn.
    pub(crate) fn measure(effort: Effort, mut contenders: Vec<Contender<'_>>) -> Self {
        let (turn, rounds) = match effort {
            Effort::Full => (TURN, ROUNDS),
            Effort::Once => (Duration::ZERO, 1),
        };
        let mut row = Vec::new();
        let start = Instant::now();
        // The first round warms caches and branch predictors up and is not kept.
        for round in 0..=rounds {
            if round > LEAST_ROUNDS && start.elapsed() > LONG {
                break;
            }
            // Who comes first changes, so that none has it always.
            let mut times = vec![0.0; contenders.len()];
            for turn_of in 0..contenders.len() {
                let i = (turn_of + round) % contenders.len();
                times[i] = contenders[i].turn(turn);
            }
            if round > 0 {
                row.push(times);
            }
        }
        Self(row)
    }

    /// The median time of a contender.
    pub(crate) fn time(&self, contender: usize) -> Nanos {
        Nanos(Quartiles::of(self.0.iter().map(|times| times[contender])).median)
    }

    /// How many times as long one contender takes as another, within one round.
    pub(crate) fn ratio(&self, of: usize, to: usize) -> Quartiles {
        Quartiles::of(self.0.iter().map(|times| times[of] / times[to]))
    }
}

/// A median, and between what the middle half lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quartiles {
    lower: f64,
    /// Half are below.
    pub(crate) median: f64,
    upper: f64,
}

impl Quartiles {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
        Self {
            lower: at(1),
            median: at(2),
            upper: at(3),
        }
    }
}

impl fmt::Display for Quartiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lower,
            median,
            upper,
        } = self;
        write!(f, "**{median:.2}** ({lower:.2}–{upper:.2})")
    }
}

/// Nanoseconds, shown in the unit that suits them.
pub(crate) struct Nanos(f64);

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns if ns < 1e3 => write!(f, "{ns:.0} ns"),
            ns if ns < 1e6 => write!(f, "{:.2} µs", ns / 1e3),
            ns => write!(f, "{:.2} ms", ns / 1e6),
        }
    }
}
