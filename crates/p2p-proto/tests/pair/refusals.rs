//! Whom we refuse and what we say to them; who refuses us.

use std::sync::Arc;

use bytes::BytesMut;
use p2p_proto::{
    Capacity, ChainPolicy, CloseReason, Command, Config, DecodeError, Event, FrameError,
    HANDSHAKE_PAYLOAD, Initiator, Message, Network, NetworkFailure, PeerPolicy, Refusal, Reject,
    RejectCode, Services, Side, StandardPolicy, UserAgent, Version, Violation,
};

use crate::support::driver::{
    Driver, NETWORK, config, frame, rejects, unknown, version, version_message,
};
use crate::support::pair::Pair;
use crate::{BOTH, closes_with, header, reject, said_by};

#[test]
fn test_handshake_validation_rejects_wrong_network() {
    let expected = NETWORK.magic_bytes();
    let error = |received| Violation::NetworkMismatch { expected, received };
    for other in [Network::Mainnet, Network::Testnet, Network::Stn] {
        for side in BOTH {
            let mut driver = Driver::new(side);
            driver.receive(&frame(other, &version_message()));
            closes_with(&driver, &CloseReason::Violation(error(other.magic_bytes())));
            assert!(!driver.is_ready());
        }
    }
    // Four bytes are enough, and fewer are not: a peer of another protocol may wait for us.
    let mut driver = Driver::new(Side::Inbound);
    driver.receive(b"GET");
    assert_eq!(driver.closed(), None);
    driver.receive(b" ");
    closes_with(&driver, &CloseReason::Violation(error(*b"GET ")));
    assert_eq!(driver.said(), []);

    // Two of our own on two networks: each sees it.
    let other = Config::new(Network::Testnet);
    let mut pair = Pair::with(config(), other, Capacity::Free, &[5]);
    pair.drive();
    let reason = Violation::NetworkMismatch {
        expected: Network::Testnet.magic_bytes(),
        received: expected,
    };
    closes_with(&pair.listener, &CloseReason::Violation(reason));
}

#[test]
fn a_bad_magic_after_the_first_frame_is_lost_framing_and_no_ban() {
    let error = FrameError::BadMagic {
        expected: NETWORK.magic_bytes(),
        received: *b"oops",
    };
    let mut handshaking = Driver::new(Side::Inbound);
    handshaking.hear(&version_message());
    let connected = Driver::connected(Side::Inbound);
    for mut driver in [handshaking, connected] {
        driver.receive(b"oops");
        closes_with(&driver, &CloseReason::FramingLost(error));
    }
    // A first frame that is dropped is a frame of our network all the same.
    let mut driver = Driver::new(Side::Inbound);
    driver.hear(&unknown(
        "whatever",
        vec![0; HANDSHAKE_PAYLOAD as usize + 1],
    ));
    driver.receive(b"oops");
    closes_with(&driver, &CloseReason::FramingLost(error));
}

#[test]
fn test_handshake_validation_rejects_banned_user_agent() {
    let policy = StandardPolicy::new(ChainPolicy::Default, ["/spy:*/"]);
    let config = Config {
        policy: Arc::new(policy),
        ..config()
    };
    for side in BOTH {
        for (agent, other_chain) in [
            ("/spy:1.0/", false),
            ("/SPY:2.0/", false),
            ("/Bitcoin ABC:0.30.0/", true),
            ("/Satoshi:27.0.0/", true),
        ] {
            let user_agent = UserAgent::from_static(agent);
            let mut driver = Driver::with(config.clone(), side, Capacity::Free);
            driver.said();
            driver.hear(&said_by(Version {
                user_agent: user_agent.clone(),
                ..version()
            }));
            let violation = match other_chain {
                true => Violation::OtherChain { user_agent },
                false => Violation::BannedUserAgent { user_agent },
            };
            closes_with(&driver, &CloseReason::Violation(violation));
            assert_eq!(driver.said(), [], "judged before our verack");
            assert!(!driver.is_ready());
        }
        let mut driver = Driver::with(config.clone(), side, Capacity::Free);
        driver.hear(&version_message());
        driver.hear(&Message::Verack);
        assert!(driver.is_ready());
    }
}

#[test]
fn a_policy_of_the_users_own_refuses_without_blame() {
    #[derive(Debug)]
    struct FullNodesOnly;
    impl PeerPolicy for FullNodesOnly {
        fn check(&self, version: &Version) -> Result<(), Refusal> {
            match version.services.contains(Services::NETWORK) {
                true => Ok(()),
                false => Err(Refusal::Unwanted {
                    why: "serves no blocks",
                }),
            }
        }
    }
    let config = Config {
        policy: Arc::new(FullNodesOnly),
        ..config()
    };
    let mut driver = Driver::with(config.clone(), Side::Inbound, Capacity::Free);
    driver.hear(&said_by(Version {
        services: Services::NONE,
        ..version()
    }));
    closes_with(
        &driver,
        &CloseReason::Unwanted {
            why: "serves no blocks",
        },
    );
    assert_eq!(driver.said(), []);
    let mut driver = Driver::with(config, Side::Inbound, Capacity::Free);
    driver.hear(&version_message());
    driver.hear(&Message::Verack);
    assert!(driver.is_ready());
}

#[test]
fn an_obsolete_version_is_told_so_and_not_banned() {
    for side in BOTH {
        let mut driver = Driver::new(side);
        driver.said();
        driver.hear(&said_by(Version {
            version: 31799,
            ..version()
        }));
        let text = "Version must be 31800 or greater";
        assert_eq!(
            driver.said(),
            [reject(Command::VERSION, RejectCode::OBSOLETE, text)]
        );
        closes_with(
            &driver,
            &CloseReason::ObsoleteVersion {
                version: 31799,
                least: 31800,
            },
        );

        let mut driver = Driver::new(side);
        driver.hear(&said_by(Version {
            version: 31800,
            ..version()
        }));
        driver.hear(&Message::Verack);
        assert!(driver.is_ready());
    }
}

#[test]
fn the_minimum_that_is_told_is_the_one_in_force() {
    let config = Config {
        min_protocol_version: 70015,
        ..config()
    };
    let mut driver = Driver::with(config, Side::Inbound, Capacity::Free);
    driver.hear(&said_by(Version {
        version: 70014,
        ..version()
    }));
    let said = driver.said();
    let [reject] = rejects(&said)[..] else {
        panic!("{said:?}")
    };
    assert_eq!(reject.reason(), b"Version must be 70015 or greater");
}

#[test]
fn a_malformed_version_is_a_violation() {
    for side in BOTH {
        let mut driver = Driver::new(side);
        driver.said();
        driver.hear(&unknown("version", vec![0; 45]));
        let error = DecodeError::Truncated {
            field: "addr_recv",
            needed: 2,
            left: 1,
        };
        says_malformed_version(driver, error);
    }
}

/// A version that cannot be read is answered, and then there is nothing to agree on.
fn says_malformed_version(mut driver: Driver, error: DecodeError) {
    let said = driver.said();
    let [reject] = rejects(&said)[..] else {
        panic!("{said:?}")
    };
    assert_eq!(reject.code(), RejectCode::MALFORMED);
    assert_eq!(reject.command(), b"version");
    closes_with(
        &driver,
        &CloseReason::Violation(Violation::MalformedVersion(error)),
    );
    assert!(!driver.is_ready());
}

#[test]
fn a_version_of_more_than_4_kib_is_a_violation() {
    for (length, allowed) in [(HANDSHAKE_PAYLOAD, true), (HANDSHAKE_PAYLOAD + 1, false)] {
        let mut driver = Driver::new(Side::Inbound);
        let mut payload = version_message().payload().to_vec();
        payload.resize(length as usize, 0);
        driver.hear(&unknown("version", payload));
        if allowed {
            driver.hear(&Message::Verack);
            assert!(driver.is_ready());
            continue;
        }
        let error = DecodeError::TooLarge {
            field: "version",
            value: length,
            max: HANDSHAKE_PAYLOAD,
        };
        says_malformed_version(driver, error);
    }
}

#[test]
fn an_announced_length_over_the_limit_is_a_ban_only_before_the_handshake_is_over() {
    let (command, limit) = (Command::PING, 2_097_152);
    for length in [limit + 1, u64::from(u32::MAX), u64::MAX] {
        let error = FrameError::Oversize {
            command,
            length,
            limit,
        };
        for side in BOTH {
            let mut fresh = Driver::new(side);
            fresh.receive(&header(command, length));
            closes_with(&fresh, &CloseReason::Violation(Violation::Oversize(error)));

            let mut half = Driver::new(side);
            half.hear(&version_message());
            half.receive(&header(command, length));
            closes_with(&half, &CloseReason::Violation(Violation::Oversize(error)));

            let mut connected = Driver::connected(side);
            connected.receive(&header(command, length));
            closes_with(&connected, &CloseReason::FramingLost(error));
        }
    }
    let mut driver = Driver::connected(Side::Inbound);
    driver.receive(&header(command, limit));
    assert_eq!(driver.closed(), None);
}

#[test]
fn over_capacity_the_handshake_is_completed_and_then_refused() {
    for side in BOTH {
        for verack_first in [false, true] {
            let mut driver = Driver::with(config(), side, Capacity::Full);
            let mut order = [version_message(), Message::Verack];
            if verack_first {
                order.reverse();
            }
            driver.hear(&order[0]);
            assert_eq!(driver.closed(), None);
            driver.hear(&order[1]);
            let mut said = driver.said();
            let last = said.pop();
            let limit = reject(Command::VERSION, RejectCode::TOO_BUSY, "connection limit");
            assert_eq!(last, Some(limit));
            assert_eq!(RejectCode::TOO_BUSY.0, 0x44);
            let commands: Vec<_> = said.iter().map(Message::command).collect();
            assert_eq!(
                commands,
                [Command::VERSION, Command::VERACK, Command::PROTOCONF]
            );
            assert_eq!(driver.events, [Event::Closed(CloseReason::OverCapacity)]);
        }
    }
}

#[test]
fn a_dialler_learns_that_there_was_no_room() {
    let mut pair = Pair::with(config(), config(), Capacity::Full, &[7]);
    pair.drive();
    assert_eq!(
        pair.listener.events,
        [Event::Closed(CloseReason::OverCapacity)]
    );
    let heard = pair.dialler.heard();
    let limit = reject(Command::VERSION, RejectCode::TOO_BUSY, "connection limit");
    assert_eq!(heard.last(), Some(&&limit));
}

#[test]
fn a_reject_before_hanging_up_in_the_handshake_is_the_reason() {
    let refusal = Box::new(Reject::new(
        Command::VERSION,
        RejectCode::OBSOLETE,
        "too old for us",
    ));
    let eof = CloseReason::Network(NetworkFailure::Eof);
    for after_version in [false, true] {
        let mut driver = Driver::new(Side::Outbound);
        if after_version {
            driver.hear(&version_message());
        }
        driver.hear(&Message::Reject(refusal.clone()));
        assert_eq!(driver.closed(), None, "it may go on");
        driver.close(eof.clone());
        closes_with(&driver, &CloseReason::RejectedByPeer(refusal.clone()));
        assert_eq!(driver.closed().unwrap().initiator(), Initiator::Remote);
    }
    let mut driver = Driver::new(Side::Outbound);
    driver.close(eof.clone());
    closes_with(&driver, &eof);
}

#[test]
fn a_reason_longer_than_the_nodes_is_heard_all_the_same() {
    // `reject` of Teranode: a whole error, as long as that is.
    let mut payload = BytesMut::new();
    payload.extend_from_slice(b"\x07version\x01\xc8");
    payload.extend_from_slice(&[b'x'; 200]);
    let mut driver = Driver::new(Side::Outbound);
    driver.hear(&unknown("reject", payload.freeze()));
    driver.close(CloseReason::Network(NetworkFailure::Eof));
    let kept = "x".repeat(111);
    let refusal = Reject::new(Command::VERSION, RejectCode::MALFORMED, kept);
    closes_with(&driver, &CloseReason::RejectedByPeer(Box::new(refusal)));
}

#[test]
fn a_reject_that_cannot_be_read_is_counted() {
    let mut driver = Driver::new(Side::Outbound);
    driver.hear(&unknown("reject", vec![13]));
    assert_eq!(driver.connection.stats().discarded, 1);
}

#[test]
fn having_no_room_is_why_the_peer_hung_up() {
    let eof = CloseReason::Network(NetworkFailure::Eof);
    let limit = Box::new(Reject::new(
        Command::VERSION,
        RejectCode::TOO_BUSY,
        "connection limit",
    ));

    let mut pair = Pair::with(config(), config(), Capacity::Full, &[7]);
    pair.drive();
    assert!(pair.dialler.is_ready());
    pair.dialler.close(eof.clone());
    closes_with(&pair.dialler, &CloseReason::RejectedByPeer(limit.clone()));

    let mut driver = Driver::connected(Side::Outbound);
    driver.hear(&Message::Reject(limit.clone()));
    assert_eq!(driver.closed(), None, "it may go on");
    driver.close(CloseReason::Requested);
    closes_with(&driver, &CloseReason::Requested);
}

#[test]
fn any_other_reject_after_the_handshake_is_no_reason() {
    let eof = CloseReason::Network(NetworkFailure::Eof);
    let duplicate = reject(Command::VERSION, RejectCode::DUPLICATE, "");
    let mut connected = Driver::connected(Side::Outbound);
    connected.hear(&duplicate);
    // A peer says so that has no time for a request, and stays.
    connected.hear(&reject(Command::GETDATA, RejectCode::TOO_BUSY, ""));
    // One that the handshake went on after is forgotten with it.
    let mut survived = Driver::new(Side::Outbound);
    survived.hear(&version_message());
    survived.hear(&duplicate);
    survived.hear(&Message::Verack);
    for mut driver in [connected, survived] {
        driver.close(eof.clone());
        closes_with(&driver, &eof);
    }
}
