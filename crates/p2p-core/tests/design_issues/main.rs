//! The design issues of the plan, each closed by a test that bears its number.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod connection;
mod manager;
mod node;
mod wire;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_core::Network;
use p2p_proto::{NetworkAddress, Version, VersionFields};

const NETWORK: Network = Network::Regtest;

/// Where a peer dials us from.
fn source(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 100, n, 1], 50_000))
}

fn version(nonce: u64, port: u16) -> Version {
    let addr_from = NetworkAddress {
        port,
        ..NetworkAddress::UNSPECIFIED
    };
    Version {
        nonce,
        addr_from,
        fields: VersionFields::AssociationId,
        ..Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED)
    }
}

/// Seconds after the tests begin.
fn unix(secs: u64) -> Duration {
    Duration::from_secs(1_700_000_000 + secs)
}

#[expect(clippy::disallowed_methods, reason = "an epoch: all else is an offset")]
fn epoch() -> Instant {
    Instant::now()
}
