//! Bounds how many lines a flood can make the log grow by.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Lines of one kind that are written in a row: a node with hundreds of peers that starts is told
/// whole.
pub(super) const BURST: u64 = 300;
/// Then one in this time: a flood that lasts for a day writes some twenty megabytes of its kind.
pub(super) const REFILL: Duration = Duration::from_secs(1);

/// A token bucket for lines of one kind, without a lock: what is kept is the time at which the
/// bucket will be full again.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Microseconds since the [`Epoch`].
    full_at: AtomicU64,
    left_out: AtomicU64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Write,
    /// The first since it was told how many were left out?
    LeaveOut {
        is_first: bool,
    },
}

impl Bucket {
    /// Whether a line may be written at this time after the epoch.
    pub(super) fn take(&self, since: Duration) -> Decision {
        let refill = micros(REFILL);
        let now = micros(since);
        let taken = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let full_at = full_at.max(now);
                (full_at - now <= (BURST - 1) * refill).then(|| full_at + refill)
            });
        match taken {
            Ok(_) => Decision::Write,
            Err(_) => {
                let before = self.left_out.fetch_add(1, Ordering::Relaxed);
                Decision::LeaveOut {
                    is_first: before == 0,
                }
            }
        }
    }

    /// How many lines were left out since this was asked last.
    pub(super) fn take_left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

/// tokio's clock, so that its paused time is ours too.
#[derive(Debug)]
pub(super) struct Epoch(Instant);

impl Epoch {
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_written_and_then_one_line_a_second() {
        let bucket = Bucket::default();
        let written = |since: Duration, n: u64| {
            let decisions = (0..n).map(|_| bucket.take(since));
            decisions
                .filter(|&decision| decision == Decision::Write)
                .count() as u64
        };
        assert_eq!(written(Duration::ZERO, 100_000), BURST);
        assert_eq!(bucket.take_left_out(), 100_000 - BURST);
        assert_eq!(bucket.take_left_out(), 0);
        assert_eq!(written(Duration::from_millis(999), 10), 0);
        assert_eq!(written(Duration::from_secs(1), 10), 1);
        assert_eq!(written(Duration::from_secs(11), 100), 10);
        // Rest does not save up more than a burst.
        assert_eq!(written(Duration::from_secs(1_000_000), 100_000), BURST);
    }
}
