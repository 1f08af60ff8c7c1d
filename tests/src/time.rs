//! Virtual time, and the clocks by which nodes see it.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, Instant, UNIX_EPOCH};

use p2p_proto::Clock;

/// Unix time at which every world begins, in seconds: any will do, as long as it stays.
const WALL_AT_START: u64 = 1_700_000_000;
const MILLION: u128 = 1_000_000;

/// A moment of virtual time, in nanoseconds since the world began.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::Time;
///
/// let time = Time::ZERO + Duration::from_millis(3_723_004);
/// assert_eq!(time.to_string(), "01:02:03.004000");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The beginning.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds since the beginning.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the beginning.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time that has passed since `earlier`; none if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1000;
        let secs = micros / 1_000_000;
        let (hours, minutes, rest) = (secs / 3600, secs / 60 % 60, secs % 60);
        write!(
            f,
            "{hours:02}:{minutes:02}:{rest:02}.{:06}",
            micros % 1_000_000
        )
    }
}

/// How wrong a host's clock is.
///
/// ```
/// use p2p_sim::{NodeSpec, Skew, scenario};
///
/// let an_hour_late = Skew { wall_millis: -3_600_000, drift_ppm: 0 };
/// let spec = NodeSpec { skew: an_hour_late, ..scenario::node() };
/// assert_eq!(spec.skew.drift_ppm, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skew {
    /// Milliseconds by which its wall clock is ahead.
    pub wall_millis: i64,
    /// Parts per million by which both of its clocks run fast; more than -1,000,000.
    pub drift_ppm: i32,
}

/// Virtual time as one host sees it: as [`Instant`]s, the only form that the state machines know.
///
/// An `Instant` cannot be made from nothing, so each world takes one when it is made, and counts
/// from there; where it lies decides nothing.
///
/// ```
/// use std::time::{Duration, Instant};
/// use p2p_sim::{LocalTime, Skew, Time};
///
/// let epoch = Instant::now();
/// let fast = LocalTime::new(epoch, Skew { drift_ppm: 1_000, ..Skew::default() });
/// let second = Time::ZERO + Duration::from_secs(1);
/// assert_eq!(fast.instant(second) - epoch, Duration::from_millis(1_001));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LocalTime {
    epoch: Instant,
    skew: Skew,
}

impl LocalTime {
    /// A host's time in the world that began at `epoch`.
    pub fn new(epoch: Instant, skew: Skew) -> Self {
        Self { epoch, skew }
    }

    /// What the host's monotonic clock says at `time`.
    pub fn instant(&self, time: Time) -> Instant {
        let nanos = u128::from(time.0) * self.rate() / MILLION;
        self.epoch + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The first moment at which the host's monotonic clock says `instant` or later.
    pub fn time(&self, instant: Instant) -> Time {
        let local = instant.saturating_duration_since(self.epoch).as_nanos();
        let nanos = (local * MILLION).div_ceil(self.rate());
        Time(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The host's wall clock, read at `time`.
    pub fn clock(&self, time: Time) -> Clock {
        let now = self.instant(time);
        let start = Duration::from_secs(WALL_AT_START);
        let unix = start + now.saturating_duration_since(self.epoch);
        let skew = Duration::from_millis(self.skew.wall_millis.unsigned_abs());
        let unix = match self.skew.wall_millis < 0 {
            true => unix.saturating_sub(skew),
            false => unix + skew,
        };
        Clock::new(now, UNIX_EPOCH + unix)
    }

    fn rate(&self) -> u128 {
        u128::try_from(1_000_000 + i64::from(self.skew.drift_ppm)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_passed_when_its_time_comes_whatever_the_drift() {
        let epoch = Instant::now();
        for drift_ppm in [-500_000, -200, -1, 0, 1, 333, 500_000] {
            let local = LocalTime::new(
                epoch,
                Skew {
                    wall_millis: 0,
                    drift_ppm,
                },
            );
            for nanos in [0, 1, 2, 999, 1_000_003, 7_777_777_777_777] {
                let deadline = epoch + Duration::from_nanos(nanos);
                let time = local.time(deadline);
                assert!(local.instant(time) >= deadline, "{drift_ppm} {nanos}");
                if let Some(before) = time.0.checked_sub(1) {
                    assert!(
                        local.instant(Time(before)) < deadline,
                        "{drift_ppm} {nanos}"
                    );
                }
            }
        }
    }

    #[test]
    fn wall_clocks_are_off_by_their_skew() {
        let epoch = Instant::now();
        for (wall_millis, unix) in [(0, 1_700_000_060), (-5_000, 1_700_000_055)] {
            let skew = Skew {
                wall_millis,
                drift_ppm: 0,
            };
            let local = LocalTime::new(epoch, skew);
            let minute = Time::ZERO + Duration::from_secs(60);
            let clock = local.clock(minute);
            assert_eq!(clock.unix(local.instant(minute)).as_secs(), unix);
        }
    }
}
