//! Wall time in records.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Unix time in milliseconds: what records carry, for they outlive the process.
///
/// ```
/// use p2p_core::Timestamp;
///
/// let later = Timestamp::from_millis(1_500);
/// assert_eq!(later.since(Timestamp::from_millis(500)).as_secs(), 1);
/// // A stored time in the future counts as now.
/// assert!(Timestamp::from_millis(500).since(later).is_zero());
/// assert_eq!(later.to_string(), "1970-01-01T00:00:01Z");
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl fmt::Display for Timestamp {
    /// As RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Later than year 9999 is written as that.
        let time = Duration::from_millis(self.0).min(LAST);
        humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + time).fmt(f)
    }
}

/// The end of year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

impl Timestamp {
    /// From Unix time in milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From Unix time.
    pub fn from_unix(unix: Duration) -> Self {
        Self(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX))
    }

    /// Unix time in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time that has passed since `earlier`; none if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
