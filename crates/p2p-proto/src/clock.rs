//! Wall time from monotonic time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment seen on both clocks, from which all other wall times follow.
///
/// The driver reads both clocks once; the state machines only count from there, so that a run
/// can be repeated exactly.
///
/// ```
/// use std::time::{Duration, Instant, SystemTime};
/// use p2p_proto::Clock;
///
/// let now = Instant::now();
/// let clock = Clock::new(now, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
/// assert_eq!(clock.unix(now + Duration::from_secs(5)).as_secs(), 1_700_000_005);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    at: Instant,
    unix: Duration,
}

impl Clock {
    /// A clock from one moment on both; a wall clock before 1970 counts as 1970.
    pub fn new(at: Instant, wall: SystemTime) -> Self {
        Self {
            at,
            unix: wall.duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// Unix time at `now`.
    pub fn unix(&self, now: Instant) -> Duration {
        match now.checked_duration_since(self.at) {
            Some(later) => self.unix + later,
            None => self.unix.saturating_sub(self.at.duration_since(now)),
        }
    }
}
