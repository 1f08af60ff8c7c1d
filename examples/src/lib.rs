//! What the example programs share: options, output, and a peer to talk to.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these are programs"
)]

pub mod embedded;
pub mod json;
pub mod options;
pub mod report;
