//! Each harness asserts properties, so a finding is more than a crash.
#![allow(
    clippy::unwrap_used,
    reason = "a harness panics when something is wrong"
)]

mod api;
mod connection;
mod frame;
mod input;
mod message;
mod outbox;
mod pair;
mod probe;
mod splitter;
mod text;
mod traffic;
mod transcript;

pub use api::api;
pub use connection::{connection_after, connection_before};
pub use frame::frame;
pub use message::message;
pub use pair::pair_mutator;
pub use splitter::splitter;
pub use text::text;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("api", api),
    ("connection_after", connection_after),
    ("connection_before", connection_before),
    ("frame", frame),
    ("message", message),
    ("pair_mutator", pair_mutator),
    ("splitter", splitter),
    ("text", text),
];
