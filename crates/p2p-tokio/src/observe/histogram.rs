//! How long handshakes take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds: from a peer on the same host to the timeout.
pub(crate) const BOUNDS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Durations of completed handshakes, from the connection to the last of both `verack`s.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeTimes {
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub total: Duration,
    /// How many took up to each of [`BOUNDS`](Self::BOUNDS), and no longer than the one before;
    /// the last is for those that took longer than all.
    pub buckets: [u64; BOUNDS.len() + 1],
}

impl HandshakeTimes {
    /// The upper bounds of the buckets, in seconds.
    pub const BOUNDS: [f64; BOUNDS.len()] = BOUNDS;

    /// The average; `None` before the first.
    pub fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        (count > 0).then(|| self.total / count)
    }
}

/// The same, while it is counted. Rare beside messages, so shared.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    micros: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
}

impl Histogram {
    pub(super) fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = BOUNDS.partition_point(|&bound| bound < seconds);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn times(&self) -> HandshakeTimes {
        let mut times = HandshakeTimes {
            total: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
            ..HandshakeTimes::default()
        };
        for (shown, bucket) in times.buckets.iter_mut().zip(&self.buckets) {
            *shown = bucket.load(Ordering::Relaxed);
        }
        times.count = times.buckets.iter().sum();
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_ends_with_it() {
        let histogram = Histogram::default();
        for millis in [0, 5, 6, 1000, 60_000, 60_001] {
            histogram.record(Duration::from_millis(millis));
        }
        let times = histogram.times();
        assert_eq!(times.buckets, [2, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1]);
        assert_eq!((times.count, times.total.as_millis()), (6, 121_012));
        assert_eq!(times.mean(), Some(times.total / 6));
        assert_eq!(HandshakeTimes::default().mean(), None);
    }
}
