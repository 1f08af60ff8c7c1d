//! Wall time in records.

use std::time::Duration;

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
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

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
