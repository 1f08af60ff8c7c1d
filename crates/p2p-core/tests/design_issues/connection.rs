//! Issues about one connection, and the bytes of a network.

use std::time::Duration;

use bytes::BytesMut;
use p2p_core::{CloseReason, Network};
use p2p_proto::{FrameHeader, Message, Nonce};

use crate::NETWORK;
use crate::wire::Wire;

#[test]
fn issue_07_timeout_start() {
    // A connection begins when the transport is there, however long the dial took.
    let mut wire = Wire::new();
    let (deadline, _) = wire.connection.poll_timeout().unwrap();
    assert_eq!(deadline, wire.now + Duration::from_secs(60));
    wire.pass(Duration::from_secs(60));
    assert_eq!(wire.closed(), Some(CloseReason::HandshakeTimeout));
}

#[test]
fn issue_08_ping_nonces() {
    let mut wire = Wire::established();
    let sent = wire.sent();
    let nonce = sent.iter().find_map(|message| match message {
        Message::Ping(nonce) => Some(*nonce),
        _ => None,
    });
    let nonce = nonce.expect("a ping follows admission");
    assert_ne!(nonce.0, 0);
    wire.receive(Message::Pong(Nonce(nonce.0 ^ 1)));
    assert_eq!(wire.connection.latency(), None);
    assert_eq!(wire.connection.stats().unknown_pongs, 1);
    wire.receive(Message::Pong(nonce));
    assert!(wire.connection.latency().is_some());
}

#[test]
fn issue_14_network_magic() {
    assert_eq!(Network::Mainnet.magic(), 0xe8f3_e1e3);
    assert_eq!(Network::Mainnet.magic_bytes(), [0xe3, 0xe1, 0xf3, 0xe8]);
}

#[test]
fn issue_18_liveness_by_bytes() {
    for (bytes_a_second, stays) in [(2048, true), (1, false)] {
        let mut wire = Wire::established();
        wire.sent();
        // A block that takes longer than a pong may.
        let mut header = BytesMut::new();
        let header_of_block = FrameHeader {
            command: p2p_proto::Command::BLOCK,
            length: 3 << 20,
            checksum: Some([0; 4]),
        };
        header_of_block.encode(NETWORK.magic_bytes(), &mut header);
        wire.bytes(&header);
        for _ in 0..300 {
            wire.bytes(&vec![0; bytes_a_second]);
            wire.pass(Duration::from_secs(1));
            wire.sent();
        }
        assert_eq!(
            wire.closed().is_none(),
            stays,
            "{bytes_a_second} bytes a second"
        );
    }
}
