//! What comes twice, and what comes too early.

use p2p_proto::{
    Command, DiscardReason, Event, HANDSHAKE_PAYLOAD, Message, RejectCode, Side, Version,
};

use crate::support::driver::{Driver, ping, pong, protoconf, unknown, version, version_message};
use crate::{BOTH, reject, said_by};

#[test]
fn a_second_version_is_rejected_and_the_peer_kept() {
    let duplicate = reject(
        Command::VERSION,
        RejectCode::DUPLICATE,
        "Duplicate version message",
    );
    for side in BOTH {
        let mut driver = Driver::new(side);
        driver.hear(&version_message());
        driver.said();
        driver.hear(&said_by(Version {
            start_height: 1,
            ..version()
        }));
        assert_eq!(driver.said(), std::slice::from_ref(&duplicate));
        assert_eq!(
            driver.connection.peer_version(),
            Some(&version()),
            "the first one counts"
        );
        driver.hear(&Message::Verack);
        assert!(driver.is_ready());
        driver.said();

        driver.events.clear();
        driver.hear(&version_message());
        assert_eq!(driver.said(), std::slice::from_ref(&duplicate));
        assert_eq!(driver.heard(), [&Message::Verack; 0]);
        driver.hear(&ping(1));
        assert_eq!(driver.said(), [pong(1)]);
    }
}

#[test]
fn a_second_verack_is_dropped() {
    let mut driver = Driver::new(Side::Outbound);
    driver.hear(&Message::Verack);
    driver.said();
    driver.hear(&Message::Verack);
    assert_eq!(driver.said(), []);
    driver.hear(&version_message());
    assert!(driver.is_ready());
    driver.said();
    driver.hear(&Message::Verack);
    assert_eq!(driver.said(), []);
    assert_eq!(driver.heard(), [&Message::Verack; 0]);
    assert!(driver.connection.is_connected());
}

#[test]
fn a_second_protoconf_is_dropped_and_the_first_counts() {
    for before_verack in [false, true] {
        let mut driver = Driver::new(Side::Outbound);
        driver.hear(&version_message());
        if before_verack {
            driver.hear(&protoconf(3 << 20));
        }
        driver.hear(&Message::Verack);
        if !before_verack {
            driver.hear(&protoconf(3 << 20));
        }
        driver.hear(&protoconf(4 << 20));
        assert_eq!(
            driver.connection.peer_protoconf().unwrap().max_payload(),
            3 << 20
        );
        assert_eq!(driver.connection.stats().discarded, 1);
        assert!(driver.connection.is_connected());
    }
}

#[test]
fn a_message_before_the_handshake_is_over_is_dropped() {
    for side in BOTH {
        for after_version in [false, true] {
            let mut driver = Driver::new(side);
            if after_version {
                driver.hear(&version_message());
            }
            driver.said();
            for early in [
                ping(1),
                Message::GetAddr,
                Message::SendHeaders,
                unknown("odd", ""),
            ] {
                driver.hear(&early);
            }
            assert_eq!(driver.said(), []);
            assert_eq!(driver.connection.stats().discarded, 4);
            if !after_version {
                driver.hear(&version_message());
            }
            driver.hear(&Message::Verack);
            assert!(driver.is_ready());
            assert_eq!(driver.heard(), [&Message::Verack; 0]);
            assert!(!driver.connection.send_headers_mode());
        }
    }
}

#[test]
fn large_payloads_before_the_handshake_are_skipped() {
    let mut driver = Driver::new(Side::Inbound);
    driver.hear(&unknown("inv", vec![0; 1 << 20]));
    assert_eq!(driver.unread(), 0);
    assert_eq!(driver.connection.stats().discarded, 1);
    driver.hear(&version_message());
    driver.hear(&Message::Verack);
    assert!(driver.is_ready());
}

#[test]
fn what_comes_twice_after_the_handshake_is_told_to_the_application() {
    for side in BOTH {
        let mut driver = Driver::connected(side);
        driver.hear(&protoconf(3 << 20));
        for message in [version_message(), Message::Verack, protoconf(4 << 20)] {
            driver.said();
            driver.events.clear();
            driver.hear(&message);
            let [Event::Discarded(discarded)] = driver.events[..] else {
                panic!("{:?}", driver.events)
            };
            assert_eq!(discarded.command, Some(message.command()));
            assert_eq!(discarded.length, message.payload_len() as u64);
            assert_eq!(discarded.why, DiscardReason::Repeated);
            let answer = match message {
                Message::Version(_) => vec![duplicate_version()],
                _ => vec![],
            };
            assert_eq!(driver.said(), answer);
        }
        assert_eq!(driver.connection.stats().discarded, 3);
        assert!(driver.connection.is_connected());
    }
}

/// Nothing depends on it any more: it cannot be worse than one that can be read.
#[test]
fn a_second_version_that_cannot_be_read_is_a_second_version() {
    let malformed = unknown("version", vec![0; 45]);
    let large = unknown("version", vec![0; HANDSHAKE_PAYLOAD as usize + 1]);
    for second in [malformed, large] {
        for side in BOTH {
            let mut handshaking = Driver::new(side);
            handshaking.hear(&version_message());
            let connected = Driver::connected(side);
            for mut driver in [handshaking, connected] {
                driver.said();
                driver.hear(&second);
                assert_eq!(driver.said(), [duplicate_version()], "{second:?}");
                assert_eq!(driver.connection.stats().discarded, 1);
                assert_eq!(driver.closed(), None);
            }
            let mut driver = Driver::new(side);
            driver.hear(&version_message());
            driver.hear(&second);
            driver.hear(&Message::Verack);
            assert!(driver.is_ready());
        }
    }
}

fn duplicate_version() -> Message {
    let reason = "Duplicate version message";
    reject(Command::VERSION, RejectCode::DUPLICATE, reason)
}
