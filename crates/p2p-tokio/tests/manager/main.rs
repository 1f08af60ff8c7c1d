//! The manager over real sockets on loopback: with other managers, and with peers that do as a
//! test says.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops when it cannot go on, and waits for one thing among many"
)]

mod api;
mod configuration;
mod dialling;
mod dns;
mod events;
mod faults;
mod hanging;
mod listener;
mod outside;
mod proxy;
mod scripted;
mod shutdown;
mod starting;
mod store;
mod support;
mod system;
