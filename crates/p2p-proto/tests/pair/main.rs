//! Two connections joined by a pipe, and one connection against a scripted peer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admission;
mod ending;
mod handshake;
mod liveness;
mod offences;
mod refusals;
mod repeats;
mod sending;
mod settings;
mod streaming;
mod waiting;

#[allow(dead_code, reason = "each test file uses its part")]
#[path = "../support"]
mod support {
    pub(crate) mod driver;
    pub(crate) mod pair;
}

use bytes::BytesMut;
use p2p_proto::{
    CloseReason, Command, FrameHeader, Message, Reject, RejectCode, SendError, Side, Version,
};
use support::driver::{Driver, NETWORK, unknown};

const BOTH: [Side; 2] = [Side::Inbound, Side::Outbound];

fn said_by(version: Version) -> Message {
    Message::Version(Box::new(version))
}

fn reject(command: Command, code: RejectCode, reason: &'static str) -> Message {
    Message::Reject(Box::new(Reject::new(command, code, reason)))
}

/// A header of the test network, alone.
fn header(command: Command, length: u64) -> BytesMut {
    let mut bytes = BytesMut::new();
    let checksum = u32::try_from(length).is_ok().then_some([0; 4]);
    let header = FrameHeader {
        command,
        length,
        checksum,
    };
    header.encode(NETWORK.magic_bytes(), &mut bytes);
    bytes
}

fn closes_with(driver: &Driver, expected: &CloseReason) {
    assert_eq!(driver.closed(), Some(expected));
}

fn send(driver: &mut Driver, command: &str, length: usize) -> Result<(), SendError> {
    let message = unknown(command, vec![0; length]);
    let sent = driver.connection.send(driver.now, &message);
    driver.settle();
    sent
}

fn begin(driver: &mut Driver, command: Command, length: u64) -> Result<(), SendError> {
    let checksum = u32::try_from(length).is_ok().then_some([0; 4]);
    driver
        .connection
        .send_begin(driver.now, command, length, checksum)
}

fn answer_pings(driver: &mut Driver) {
    for message in driver.said() {
        if let Message::Ping(nonce) = message {
            driver.hear(&Message::Pong(nonce));
        }
    }
}
