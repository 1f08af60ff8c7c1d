//! What an operator sees, compared with what a scenario did: the log, the counters, and what a
//! collector receives.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops when it cannot go on, and waits for one thing among many"
)]

mod capture;
#[cfg(feature = "telemetry")]
mod docs;
mod floods;
#[cfg(feature = "telemetry")]
#[path = "../manager/hanging.rs"]
mod hanging;
mod logs;
#[cfg(feature = "telemetry")]
mod receiver;
mod stats;
#[path = "../manager/support.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;
#[cfg(feature = "telemetry")]
mod telemetry;
