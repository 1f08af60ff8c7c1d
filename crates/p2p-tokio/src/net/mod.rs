//! Sockets: made, accepted, and driven.

pub(crate) mod connection;
pub(crate) mod dial;
pub(crate) mod link;
pub(crate) mod listener;
mod socket;
