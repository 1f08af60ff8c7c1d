//! What an operator sees: the log, counters, and, with the feature `telemetry`, metrics and spans.
//!
//! Everything is counted once, in [`Counters`]; [`Stats`] and the exported metrics are views of
//! that. On the way of a message nothing is touched that connections share: see
//! [`counters`](self::counters).

mod counters;
mod histogram;
mod level;
mod limiter;
mod log;
#[cfg(feature = "logging")]
pub mod logging;
mod meter;
mod stats;
#[cfg(feature = "telemetry")]
pub mod telemetry;
#[cfg(not(feature = "telemetry"))]
#[path = "telemetry/off.rs"]
mod telemetry;
mod witness;

pub(crate) use counters::Counters;
pub use histogram::HandshakeTimes;
pub use level::LogHandle;
pub(crate) use log::Log;
pub(crate) use meter::Meter;
pub use stats::{Disconnects, MessageCounts, Stats};
use telemetry::Telemetry;
pub(crate) use witness::Witness;
