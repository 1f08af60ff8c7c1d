//! The examples, run as programs.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

mod client;
mod crawler;
mod fixed_peers;
mod interrupt;
mod logs;
mod monitor;
mod one_peer;
mod support;
