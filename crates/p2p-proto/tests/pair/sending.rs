//! What the application may send, and how much of it.

use bytes::Bytes;
use p2p_proto::{Command, Config, EncodedMessage, Message, Network, SendError, Side, Version};

use crate::support::driver::{
    Driver, NETWORK, config, protoconf, unknown, version, version_message,
};
use crate::{BOTH, begin, send};

#[test]
fn messages_are_as_large_as_the_peer_takes() {
    let mut driver = Driver::connected(Side::Inbound);
    let legacy = 1 << 20;
    assert_eq!(send(&mut driver, "whatever", legacy), Ok(()));
    let too_large = |length, limit| Err(SendError::TooLarge { length, limit });
    assert_eq!(
        send(&mut driver, "whatever", legacy + 1),
        too_large(legacy as u64 + 1, 1 << 20)
    );
    driver.hear(&protoconf(3 << 20));
    assert_eq!(send(&mut driver, "whatever", 3 << 20), Ok(()));
    let length = (3 << 20) + 1;
    assert_eq!(
        send(&mut driver, "whatever", length),
        too_large(length as u64, 3 << 20)
    );
}

#[test]
fn transactions_and_blocks_have_limits_of_their_own() {
    const TX: u64 = 1_000_000_000;
    for command in [Command::TX, Command::DATAREFTX] {
        let mut driver = Driver::connected(Side::Inbound);
        let too_large = SendError::TooLarge {
            length: TX + 1,
            limit: TX,
        };
        assert_eq!(begin(&mut driver, command, TX + 1), Err(too_large));
        assert_eq!(begin(&mut driver, command, TX), Ok(()));
    }
    let mut driver = Driver::connected(Side::Inbound);
    assert_eq!(begin(&mut driver, Command::BLOCK, u64::MAX), Ok(()));
}

#[test]
fn extended_frames_go_to_peers_of_70016_and_above_only() {
    const MOST: u64 = u32::MAX as u64;
    for (number, extended) in [(70015, false), (70016, true), (70017, true)] {
        let peer = Version {
            version: number,
            ..version()
        };
        let mut driver = Driver::connected_with(config(), Side::Inbound, peer.clone());
        let begun = begin(&mut driver, Command::BLOCK, MOST + 1);
        match extended {
            true => assert_eq!(begun, Ok(()), "{number}"),
            false => {
                let too_large = SendError::TooLarge {
                    length: MOST + 1,
                    limit: MOST,
                };
                assert_eq!(begun, Err(too_large), "{number}");
            }
        }
        let mut driver = Driver::connected_with(config(), Side::Inbound, peer);
        assert_eq!(begin(&mut driver, Command::BLOCK, MOST), Ok(()), "{number}");
    }
}

#[test]
fn a_full_queue_says_so_and_takes_more_once_the_peer_has_read() {
    let config = Config {
        send_queue_bytes: 10_000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    driver.said();
    driver.room = 0;
    assert_eq!(
        send(&mut driver, "whatever", 20_000),
        Ok(()),
        "one of any size"
    );
    assert_eq!(send(&mut driver, "whatever", 0), Err(SendError::Full));
    driver.room = 15_000;
    driver.settle();
    assert_eq!(send(&mut driver, "whatever", 4000), Ok(()));
    assert_eq!(send(&mut driver, "whatever", 4000), Err(SendError::Full));
    assert!(driver.connection.unsent_bytes() < 10_000);
    driver.room = usize::MAX;
    driver.settle();
    assert_eq!(send(&mut driver, "whatever", 4000), Ok(()));
    assert_eq!(driver.said_commands(), ["whatever"; 3]);
    assert_eq!(driver.connection.unsent_bytes(), 0);
}

#[test]
fn the_queue_is_bounded_for_messages_without_payload_too() {
    let config = Config {
        send_queue_bytes: 10_000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    driver.room = 0;
    while driver.connection.send(driver.now, &Message::GetAddr) != Err(SendError::Full) {
        assert!(driver.connection.unsent_bytes() <= 10_000 + 24);
    }
}

#[test]
fn the_handshake_is_not_the_applications_to_send() {
    let mut driver = Driver::connected(Side::Inbound);
    for message in [version_message(), Message::Verack, protoconf(2 << 20)] {
        let sent = driver.connection.send(driver.now, &message);
        assert_eq!(sent, Err(SendError::Reserved));
    }
    let begun = begin(&mut driver, Command::VERACK, 0);
    assert_eq!(begun, Err(SendError::Reserved));
}

#[test]
fn a_message_encoded_once_goes_to_many() {
    let message = unknown("whatever", vec![7; 10_000]);
    let encoded = EncodedMessage::new(NETWORK, &message);
    for side in BOTH {
        let mut driver = Driver::connected(side);
        driver
            .connection
            .send_encoded(driver.now, &encoded)
            .unwrap();
        driver.settle();
        assert_eq!(driver.said(), std::slice::from_ref(&message));
    }
    let mut driver = Driver::connected(Side::Inbound);
    let foreign = EncodedMessage::new(Network::Mainnet, &message);
    let sent = driver.connection.send_encoded(driver.now, &foreign);
    assert_eq!(sent, Err(SendError::OtherNetwork));
    let too_large = EncodedMessage::new(NETWORK, &unknown("whatever", vec![0; (1 << 20) + 1]));
    let sent = driver.connection.send_encoded(driver.now, &too_large);
    assert!(matches!(sent, Err(SendError::TooLarge { .. })));
}

#[test]
fn the_extended_header_is_not_the_applications_to_send() {
    let mut driver = Driver::connected(Side::Inbound);
    let message = Message::Unknown {
        command: Command::EXTMSG,
        payload: Bytes::new(),
    };
    let encoded = EncodedMessage::new(NETWORK, &message);
    let connection = &mut driver.connection;
    for sent in [
        connection.send(driver.now, &message),
        connection.send_encoded(driver.now, &encoded),
        connection.send_begin(driver.now, Command::EXTMSG, 9, Some([0; 4])),
    ] {
        assert_eq!(sent, Err(SendError::Reserved));
    }
}
