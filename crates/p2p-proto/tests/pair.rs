//! Two connections joined by a pipe, and one connection against a scripted peer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test file uses its part")]
mod support {
    pub(crate) mod driver;
    pub(crate) mod pair;
}

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use p2p_proto::{
    AuthChallenge, Capacity, ChainPolicy, CloseReason, Command, Config, DecodeError,
    EncodedMessage, Event, FrameError, FrameHeader, HANDSHAKE_PAYLOAD, Initiator, Message, Network,
    NetworkFailure, Offence, PayloadEvent, PeerPolicy, Refusal, Reject, RejectCode, SendError,
    Services, Side, StandardPolicy, Timer, UserAgent, Version, VersionFields, Violation, checksum,
};
use proptest::prelude::*;
use support::driver::{
    Driver, NETWORK, config, frame, messages, millis, ping, pong, protoconf, rejects, secs,
    unknown, version, version_message,
};
use support::pair::{Pair, Path};

const BOTH: [Side; 2] = [Side::Inbound, Side::Outbound];

fn said_by(version: Version) -> Message {
    Message::Version(Box::new(version))
}

fn reject(command: Command, code: RejectCode, reason: &'static str) -> Message {
    Message::Reject(Reject::new(command, code, reason))
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

// the handshake

#[test]
fn two_connections_shake_hands() {
    let mut pair = Pair::new(config());
    pair.drive();
    for side in [&pair.dialler, &pair.listener] {
        let Event::Ready(ready) = &side.events[0] else {
            panic!("{:?}", side.events)
        };
        assert_eq!(ready.negotiated_version, 70016);
        assert_eq!(ready.version.user_agent, config().user_agent);
        assert!(side.connection.send_headers_mode());
        assert_eq!(
            side.connection.peer_protoconf().unwrap().max_payload(),
            2_097_152
        );
        assert!(side.connection.latency().is_some());
    }
    let Event::Ready(ready) = &pair.dialler.events[0] else {
        panic!("not ready")
    };
    assert_eq!((ready.our_nonce, ready.version.nonce), (0x0b0b, 0x1b1b));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is cut where, and whoever's bytes come first: the same two handshakes.
    #[test]
    fn a_handshake_completes_in_every_order_and_cutting(
        steps in prop::collection::vec((any::<bool>(), 1..200_usize), 0..200),
        cuts in prop::collection::vec(1..100_usize, 1..8),
    ) {
        let mut pair = Pair::with(config(), config(), Capacity::Free, &cuts);
        for (inbound, most) in steps {
            pair.step(if inbound { Side::Inbound } else { Side::Outbound }, most);
        }
        pair.drive();
        for side in [&mut pair.dialler, &mut pair.listener] {
            prop_assert!(side.connection.is_connected());
            let ready = side.events.iter().filter(|event| matches!(event, Event::Ready(_)));
            prop_assert_eq!(ready.count(), 1);
            prop_assert!(matches!(side.events[0], Event::Ready(_)));
            // Protoconf, sendheaders, ping; the pong crosses.
            let said = side.said_commands();
            prop_assert_eq!(said.len(), 6, "{:?}", said);
            prop_assert_eq!(side.connection.stats().discarded, 0);
        }
    }
}

#[test]
fn a_dialler_speaks_first_and_a_listener_second() {
    let mut dialler = Driver::new(Side::Outbound);
    assert_eq!(dialler.said_commands(), ["version"]);
    dialler.hear(&version_message());
    assert_eq!(dialler.said_commands(), ["verack", "protoconf"]);
    dialler.hear(&Message::Verack);
    assert_eq!(dialler.said_commands(), ["sendheaders", "ping"]);

    let mut listener = Driver::new(Side::Inbound);
    assert_eq!(listener.said_commands(), [""; 0]);
    listener.hear(&version_message());
    assert_eq!(listener.said_commands(), ["version", "verack", "protoconf"]);
    listener.hear(&Message::Verack);
    assert_eq!(listener.said_commands(), ["sendheaders", "ping"]);
}

#[test]
fn our_version_says_what_it_should() {
    for (side, listen_port, receiver) in [
        (Side::Outbound, 0, Services::NETWORK),
        (Side::Inbound, 18444, Services::NONE),
    ] {
        let config = Config {
            listen_port,
            services: Services(0x21),
            start_height: 7,
            relay: false,
            ..config()
        };
        let mut driver = Driver::with(config, side, Capacity::Free);
        if side == Side::Inbound {
            driver.hear(&version_message());
        }
        let said = driver.said();
        let Message::Version(version) = &said[0] else {
            panic!("{said:?}")
        };
        assert_eq!((version.version, version.services), (70016, Services(0x21)));
        assert_eq!(
            (version.timestamp, version.start_height),
            (1_700_000_000, 7)
        );
        assert!(!version.relay);
        assert_eq!(version.addr_recv.services, receiver);
        assert_eq!(version.addr_recv.socket_addr(), driver.connection.remote());
        assert!(version.addr_from.ip.is_unspecified());
        assert_eq!(version.addr_from.port, listen_port);
        assert_ne!(version.nonce, 0);
        assert_eq!(version.fields, VersionFields::AssociationId);
        assert_eq!(said[0].payload().last(), Some(&0), "a null association id");
    }
}

#[test]
fn what_a_peer_says_before_verack_may_come_in_any_order() {
    let authch = Message::AuthChallenge(AuthChallenge {
        version: 1,
        challenge: [7; 32],
    });
    let all = [
        version_message(),
        Message::Verack,
        protoconf(2 << 20),
        authch,
    ];
    for side in BOTH {
        for order in permutations(4) {
            let mut driver = Driver::new(side);
            for &at in &order {
                driver.hear(&all[at]);
            }
            assert!(driver.connection.is_connected(), "{side:?} {order:?}");
            assert_eq!(driver.connection.stats().discarded, 0, "{side:?} {order:?}");
            let limit = driver.connection.peer_protoconf().unwrap().max_payload();
            assert_eq!(limit, 2 << 20, "{side:?} {order:?}");
        }
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    let insert = |order: &Vec<usize>| {
        let order = order.clone();
        (0..n).map(move |at| {
            let mut order = order.clone();
            order.insert(at, n - 1);
            order
        })
    };
    shorter.iter().flat_map(insert).collect()
}

#[test]
fn a_verack_before_the_version_counts() {
    for side in BOTH {
        let mut driver = Driver::new(side);
        driver.hear(&Message::Verack);
        assert!(!driver.is_ready());
        driver.hear(&version_message());
        assert!(driver.is_ready());
        assert!(!driver.said_commands().contains(&"reject".into()));
    }
}

#[test]
fn an_authch_before_the_verack_is_tolerated() {
    let mut driver = Driver::new(Side::Outbound);
    driver.hear(&version_message());
    driver.said();
    driver.hear(&Message::AuthChallenge(AuthChallenge {
        version: 1,
        challenge: [7; 32],
    }));
    assert_eq!(driver.said(), []);
    assert_eq!(driver.connection.stats().discarded, 0);
    driver.hear(&Message::Verack);
    assert!(driver.is_ready());
}

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
        closes_with(
            &driver,
            &CloseReason::Violation(Violation::MalformedVersion(error)),
        );
        assert!(!driver.is_ready());
    }
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
        closes_with(
            &driver,
            &CloseReason::Violation(Violation::MalformedVersion(error)),
        );
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
fn protoconf_goes_once_right_behind_verack_to_peers_of_70015_and_above() {
    for (number, expected) in [(70014, false), (70015, true), (70016, true), (70017, true)] {
        for side in BOTH {
            let mut driver = Driver::new(side);
            driver.hear(&said_by(Version {
                version: number,
                ..version()
            }));
            driver.hear(&Message::Verack);
            driver.hear(&said_by(Version {
                version: number,
                ..version()
            }));
            driver.hear(&protoconf(1 << 20));
            let said = driver.said_commands();
            let sent: Vec<_> = (0..said.len())
                .filter(|&at| said[at] == "protoconf")
                .collect();
            match expected {
                true => {
                    let [at] = sent[..] else {
                        panic!("{number} {said:?}")
                    };
                    assert_eq!(said[at - 1], "verack", "{number} {said:?}");
                }
                false => assert!(sent.is_empty(), "{number} {said:?}"),
            }
        }
    }
}

#[test]
fn our_protoconf_announces_what_we_take() {
    for (limit, announced) in [(3 << 20, 3 << 20), (1 << 19, 1 << 20), (u64::MAX, u32::MAX)] {
        let mut config = config();
        config.limits.message = limit;
        let mut driver = Driver::with(config, Side::Inbound, Capacity::Free);
        driver.hear(&version_message());
        let said = driver.said();
        let Some(Message::Protoconf(protoconf)) = said.last() else {
            panic!("{said:?}")
        };
        assert_eq!(protoconf.max_payload(), announced);
        driver.hear(&Message::Verack);
        driver.receive(&header(Command::PING, announced.into()));
        assert_eq!(driver.closed(), None);
    }
}

#[test]
fn sendheaders_goes_when_all_four_flags_are_true() {
    for side in BOTH {
        for verack_first in [false, true] {
            let mut driver = Driver::new(side);
            let mut order = [version_message(), Message::Verack];
            if verack_first {
                order.reverse();
            }
            driver.hear(&order[0]);
            assert!(!driver.said_commands().contains(&"sendheaders".into()));
            driver.hear(&order[1]);
            let said = driver.said_commands();
            assert_eq!(said[said.len() - 2..], ["sendheaders", "ping"], "{said:?}");
        }
    }
}

#[test]
fn a_received_sendheaders_sets_the_mode() {
    let mut driver = Driver::connected(Side::Inbound);
    assert!(!driver.connection.send_headers_mode());
    driver.hear(&Message::SendHeaders);
    assert!(driver.connection.send_headers_mode());
    assert_eq!(driver.heard(), [&Message::SendHeaders]);
}

// time-outs of the handshake, and how it ends

#[test]
fn test_handshake_timeout_starts_at_awaiting_handshake() {
    let timeout = config().handshake_timeout;
    for side in BOTH {
        // From construction on, whatever is said meanwhile.
        let mut driver = Driver::new(side);
        let deadline = driver.now + timeout;
        assert_eq!(
            driver.connection.poll_timeout(),
            Some((deadline, Timer::Handshake))
        );
        driver.wait(timeout / 2);
        driver.hear(&version_message());
        assert_eq!(
            driver.connection.poll_timeout(),
            Some((deadline, Timer::Handshake))
        );
        driver.wait(timeout / 2 - millis(1));
        assert_eq!(driver.closed(), None);
        driver.wait(millis(1));
        closes_with(&driver, &CloseReason::HandshakeTimeout);

        // With the handshake the deadline is gone.
        let mut driver = Driver::new(side);
        driver.admits = false;
        driver.hear(&version_message());
        driver.hear(&Message::Verack);
        assert_eq!(driver.connection.poll_timeout(), None);
        driver.wait(timeout * 2);
        assert_eq!(driver.closed(), None);
    }
}

#[test]
fn a_held_pipe_times_the_handshake_out_on_both_sides() {
    for path in [Path::Held, Path::Dropped] {
        let mut pair = Pair::new(config());
        pair.to_dialler.path = path;
        pair.wait(config().handshake_timeout + secs(2));
        for side in [&pair.dialler, &pair.listener] {
            closes_with(side, &CloseReason::HandshakeTimeout);
        }
    }
}

#[test]
fn a_reject_before_hanging_up_in_the_handshake_is_the_reason() {
    let refusal = Reject::new(Command::VERSION, RejectCode::OBSOLETE, "too old for us");
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

// admission

#[test]
fn messages_are_held_and_sending_refused_until_admission() {
    let mut driver = Driver::new(Side::Outbound);
    driver.admits = false;
    let refused = driver.connection.send(driver.now, &Message::GetAddr);
    assert_eq!(refused, Err(SendError::NotReady));
    driver.hear(&version_message());
    driver.hear(&Message::Verack);
    driver.hear(&ping(1));
    driver.hear(&Message::GetAddr);
    assert!(driver.is_ready());
    assert_eq!(driver.events.len(), 1, "nothing but Ready");
    let now = driver.now;
    let refused = driver.connection.send(now, &Message::GetAddr);
    assert_eq!(refused, Err(SendError::NotReady));
    let encoded = EncodedMessage::new(NETWORK, &Message::GetAddr);
    let refused = driver.connection.send_encoded(now, &encoded);
    assert_eq!(refused, Err(SendError::NotReady));
    let refused = driver
        .connection
        .send_begin(now, Command::BLOCK, 9, Some([0; 4]));
    assert_eq!(refused, Err(SendError::NotReady));
    assert!(
        driver.said().contains(&pong(1)),
        "a ping is answered at once all the same"
    );

    driver.connection.admit(now);
    driver.settle();
    assert_eq!(driver.heard(), [&ping(1), &Message::GetAddr]);
    assert_eq!(driver.connection.send(now, &Message::GetAddr), Ok(()));
}

#[test]
fn an_answer_before_the_question_is_none() {
    let mut driver = Driver::new(Side::Outbound);
    driver.drains = false;
    driver.hear(&version_message());
    driver.hear(&Message::Verack);
    driver.hear(&ping(1));
    driver.connection.admit(driver.now);
    assert!(!driver.connection.is_connected());
    driver.drains = true;
    driver.settle();
    assert!(matches!(driver.events[0], Event::Ready(_)));
    assert_eq!(driver.heard(), [&ping(1)]);
}

// the end

#[test]
fn closed_comes_last_and_after_the_flush() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.drains = false;
    driver.room = 0;
    driver.hear(&Message::GetAddr);
    driver
        .connection
        .send(driver.now, &Message::SendHeaders)
        .unwrap();
    driver.close(CloseReason::Requested);
    driver.drains = true;
    driver.settle();
    assert_eq!(driver.heard(), [&Message::GetAddr]);
    assert_eq!(driver.closed(), None, "there is something to flush");
    driver.room = 10;
    driver.settle();
    assert_eq!(driver.closed(), None);
    driver.room = usize::MAX;
    driver.settle();
    assert_eq!(driver.said(), [Message::SendHeaders]);
    closes_with(&driver, &CloseReason::Requested);
    assert_eq!(driver.connection.poll_event(), None);
    assert_eq!(driver.connection.poll_timeout(), None);
    assert_eq!(driver.connection.poll_transmit(), None);
}

#[test]
fn the_first_reason_wins() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.drains = false;
    driver.close(CloseReason::Evicted);
    driver.close(CloseReason::Banned);
    driver.receive(b"oops");
    driver.close(CloseReason::Network(NetworkFailure::Reset));
    driver.wait(secs(1000));
    driver.drains = true;
    driver.settle();
    closes_with(&driver, &CloseReason::Evicted);
    driver.close(CloseReason::Shutdown);
    driver.wait(secs(1000));
    closes_with(&driver, &CloseReason::Evicted);
}

#[test]
fn a_flush_takes_a_second_at_most() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.room = 0;
    driver
        .connection
        .send(driver.now, &Message::GetAddr)
        .unwrap();
    driver.settle();
    let closed_at = driver.now;
    driver.close(CloseReason::Shutdown);
    assert_eq!(
        driver.connection.poll_timeout(),
        Some((closed_at + secs(1), Timer::Flush))
    );
    driver.wait(millis(999));
    assert_eq!(driver.closed(), None);
    driver.wait(millis(1));
    closes_with(&driver, &CloseReason::Shutdown);
}

/// Also where the write deadline is the nearer one.
#[test]
fn a_flush_that_goes_slowly_is_not_held_up_by_other_deadlines() {
    let config = Config {
        ping_timeout: millis(300),
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    driver.room = 0;
    driver
        .connection
        .send(driver.now, &Message::GetAddr)
        .unwrap();
    driver.settle();
    driver.close(CloseReason::Shutdown);
    driver.room = 1;
    driver.settle();
    driver.wait(millis(999));
    assert_eq!(driver.closed(), None);
    driver.wait(millis(1));
    closes_with(&driver, &CloseReason::Shutdown);
}

#[test]
fn bytes_given_up_do_not_count_as_sent() {
    let mut driver = Driver::connected(Side::Inbound);
    let before = driver.connection.stats().bytes_sent;
    driver.room = 0;
    send(&mut driver, "whatever", 100).unwrap();
    driver.close(CloseReason::Shutdown);
    driver.wait(secs(1));
    closes_with(&driver, &CloseReason::Shutdown);
    assert_eq!(driver.connection.stats().bytes_sent, before);
    // What the driver held may still find its way.
    driver.room = 5;
    driver.settle();
    assert_eq!(driver.connection.stats().bytes_sent, before + 5);
}

#[test]
fn what_the_application_queued_is_flushed_only_for_an_end_in_good_order() {
    for (reason, flushed) in [
        (CloseReason::Requested, true),
        (CloseReason::Shutdown, true),
        (CloseReason::Evicted, true),
        (CloseReason::Duplicate, true),
        (CloseReason::Banned, false),
        (CloseReason::Network(NetworkFailure::Reset), false),
    ] {
        let mut driver = Driver::connected(Side::Inbound);
        driver
            .connection
            .send(driver.now, &Message::GetAddr)
            .unwrap();
        driver.close(reason.clone());
        closes_with(&driver, &reason);
        assert_eq!(driver.said().is_empty(), !flushed, "{reason}");
    }
}

#[test]
fn nothing_can_be_sent_once_it_ends() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.close(CloseReason::Requested);
    let now = driver.now;
    assert_eq!(
        driver.connection.send(now, &Message::GetAddr),
        Err(SendError::Closed)
    );
    let begun = driver
        .connection
        .send_begin(now, Command::BLOCK, 9, Some([0; 4]));
    assert_eq!(begun, Err(SendError::Closed));
    assert_eq!(
        driver.connection.send_chunk(now, Bytes::new()),
        Err(SendError::Closed)
    );
    assert_eq!(driver.connection.send_end(now), Err(SendError::Closed));
}

// liveness

#[test]
fn test_respond_to_received_ping() {
    for side in BOTH {
        let mut driver = Driver::connected(side);
        driver.hear(&ping(0xfeed));
        driver.hear(&ping(0));
        assert_eq!(driver.said(), [pong(0xfeed), pong(0)]);
        assert_eq!(driver.heard(), [&ping(0xfeed), &ping(0)]);
    }
}

#[test]
fn test_ping_timeout() {
    let mut pair = Pair::new(config());
    pair.drive();
    pair.wait(secs(600));
    for side in [&pair.dialler, &pair.listener] {
        assert_eq!(side.closed(), None, "pongs keep it alive");
        assert_eq!(side.connection.stats().unknown_pongs, 0);
    }

    // The listener's pongs are lost from now on; its next answer is due two minutes after the
    // next ping.
    pair.to_dialler.path = Path::Dropped;
    pair.wait(config().ping_interval + config().ping_timeout - secs(1));
    assert_eq!(pair.dialler.closed(), None);
    pair.wait(secs(2));
    closes_with(&pair.dialler, &CloseReason::PingTimeout);
}

#[test]
fn a_pong_with_another_nonce_answers_nothing() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.wait(config().ping_interval);
    assert_eq!(driver.said_commands(), ["ping"]);
    driver.hear(&pong(1));
    assert_eq!(driver.connection.stats().unknown_pongs, 1);
    driver.wait(config().ping_timeout);
    closes_with(&driver, &CloseReason::PingTimeout);
}

#[test]
fn the_round_trip_is_measured() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.wait(config().ping_interval);
    let said = driver.said();
    let [Message::Ping(nonce)] = said[..] else {
        panic!("{said:?}")
    };
    driver.wait(millis(150));
    driver.hear(&Message::Pong(nonce));
    assert_eq!(driver.connection.latency(), Some(millis(150)));
}

#[test]
fn the_clock_of_a_ping_starts_when_the_socket_has_it() {
    let Config {
        ping_interval,
        ping_timeout,
        ..
    } = config();
    let mut driver = Driver::connected(Side::Inbound);
    driver.room = 0;
    driver.wait(ping_interval + ping_timeout - secs(1));
    assert_eq!(driver.closed(), None);
    // All but the last byte, then that.
    driver.room = 31;
    driver.settle();
    driver.wait(ping_timeout - secs(1));
    assert_eq!(driver.closed(), None, "not yet with the socket");
    driver.room = usize::MAX;
    driver.settle();
    let deadline = driver.now + ping_timeout;
    driver.wait(ping_timeout - millis(1));
    assert_eq!(driver.closed(), None);
    driver.wait(millis(1));
    assert_eq!(driver.now, deadline);
    closes_with(&driver, &CloseReason::PingTimeout);
}

#[test]
fn a_slow_large_frame_excuses_the_pong_and_a_drip_does_not() {
    for (bytes_a_second, excused) in [(2048, true), (1100, true), (512, false), (1, false)] {
        for command in ["whatever", "block"] {
            let mut driver = Driver::connected(Side::Inbound);
            let bytes = frame(NETWORK, &unknown(command, vec![0; 1 << 20]));
            let mut alive = 0;
            for second in bytes.chunks(bytes_a_second) {
                driver.receive(second);
                driver.wait(secs(1));
                if driver.closed().is_some() {
                    break;
                }
                alive += 1;
            }
            if excused {
                assert!(
                    alive >= 500,
                    "{command} at {bytes_a_second} B/s lived {alive} s"
                );
                continue;
            }
            closes_with(&driver, &CloseReason::PingTimeout);
            assert!(
                alive < 400,
                "{command} at {bytes_a_second} B/s lived {alive} s"
            );
        }
    }
}

#[test]
fn small_messages_excuse_nothing() {
    let mut driver = Driver::connected(Side::Inbound);
    let addr = frame(NETWORK, &unknown("addr", vec![0; 1]));
    for _ in 0..300 {
        driver.receive(&addr);
        driver.wait(secs(1));
    }
    closes_with(&driver, &CloseReason::PingTimeout);
}

#[test]
fn the_peers_clocks_stand_still_while_events_are_not_taken() {
    let Config {
        ping_interval,
        ping_timeout,
        event_queue_len,
        ..
    } = config();
    let mut driver = Driver::connected(Side::Inbound);
    driver.wait(ping_interval);
    let said = driver.said();
    let [Message::Ping(nonce)] = said[..] else {
        panic!("{said:?}")
    };
    driver.wait(secs(30));
    driver.drains = false;
    for _ in 0..event_queue_len {
        driver.hear(&Message::GetAddr);
    }
    assert!(!driver.connection.wants_read());
    // The pong may lie in the socket's buffer: we do not look.
    driver.wait(ping_timeout * 5);
    driver.drains = true;
    driver.settle();
    assert_eq!(driver.closed(), None);
    // What was left of the time is still left.
    driver.wait(ping_timeout - secs(30) - millis(1));
    assert_eq!(driver.closed(), None);
    driver.hear(&Message::Pong(nonce));
    assert_eq!(driver.connection.stats().unknown_pongs, 0);
    driver.wait(secs(1));
    assert_eq!(driver.closed(), None);

    // Without the pong it ends there.
    let mut driver = Driver::connected(Side::Inbound);
    driver.wait(ping_interval + secs(30));
    driver.drains = false;
    for _ in 0..event_queue_len {
        driver.hear(&Message::GetAddr);
    }
    driver.wait(ping_timeout * 5);
    driver.drains = true;
    driver.settle();
    driver.wait(ping_timeout - secs(30) - millis(1));
    assert_eq!(driver.closed(), None);
    driver.wait(millis(1));
    closes_with(&driver, &CloseReason::PingTimeout);
}

#[test]
fn a_peer_that_takes_none_of_our_bytes_is_let_go() {
    let timeout = config().ping_timeout;
    let mut driver = Driver::connected(Side::Inbound);
    driver.room = 0;
    driver
        .connection
        .send(driver.now, &Message::GetAddr)
        .unwrap();
    driver.settle();
    driver.wait(timeout - secs(1));
    driver.room = 1;
    driver.settle();
    driver.wait(timeout - millis(1));
    assert_eq!(driver.closed(), None, "it took a byte");
    driver.wait(millis(1));
    assert_eq!(driver.closed(), None, "there is something to flush");
    driver.wait(secs(1));
    closes_with(&driver, &CloseReason::WriteTimeout);
}

#[test]
fn a_peer_that_takes_all_is_not_held_to_a_write_deadline() {
    let mut driver = Driver::connected(Side::Inbound);
    driver
        .connection
        .send(driver.now, &Message::GetAddr)
        .unwrap();
    driver.settle();
    let timer = driver.connection.poll_timeout().map(|(_, timer)| timer);
    assert_eq!(timer, Some(Timer::Ping));
}

// what waits

#[test]
fn reading_stops_when_events_are_too_many_and_nothing_is_lost() {
    let queue = config().event_queue_len;
    let mut driver = Driver::connected(Side::Inbound);
    driver.drains = false;
    let mut stream = BytesMut::new();
    for nonce in 0..3 * queue as u64 {
        stream.extend_from_slice(&frame(NETWORK, &pong(nonce)));
    }
    driver.receive(&stream);
    assert!(!driver.connection.wants_read());
    assert_eq!(
        driver.unread(),
        stream.len() / 3 * 2,
        "a queue's worth was taken"
    );
    driver
        .connection
        .receive(driver.now, &mut BytesMut::from(&b"more"[..]));

    driver.drains = true;
    driver.settle();
    assert!(driver.connection.wants_read());
    assert_eq!(driver.unread(), 0);
    let nonces: Vec<_> = (0..3 * queue as u64).map(pong).collect();
    assert!(driver.heard().into_iter().eq(&nonces));
}

#[test]
fn reading_stops_when_events_hold_too_many_bytes() {
    let config = Config {
        stream_above: 100_000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    driver.drains = false;
    let one = unknown("whatever", vec![7; 60_000]);
    for _ in 0..5 {
        driver.hear(&one);
    }
    assert!(!driver.connection.wants_read());
    assert_eq!(driver.unread(), 3 * (60_000 + 24));
    driver.drains = true;
    driver.settle();
    assert_eq!(driver.heard(), [&one; 5]);
}

#[test]
fn control_frames_overtake_at_frame_boundaries_only() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.outgoing();
    driver.said();
    let large = |name| unknown(name, vec![7; 100_000]);
    driver.room = 0;
    for name in ["one", "two", "three"] {
        driver.connection.send(driver.now, &large(name)).unwrap();
    }
    driver.room = 50_000;
    driver.settle();
    driver.hear(&ping(1));
    driver.room = usize::MAX;
    driver.settle();
    assert_eq!(driver.said_commands(), ["one", "pong", "two", "three"]);
}

#[test]
fn a_flood_of_pings_without_reading_the_pongs_stops_our_reading() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.room = 0;
    let pings = frame(NETWORK, &ping(1)).repeat(1000);
    let mut most = 0;
    for _ in 0..100 {
        driver.receive(&pings);
        most = most.max(driver.connection.unsent_bytes());
    }
    assert!(!driver.connection.wants_read());
    // As much waits in the queue as may, and the driver holds no more than that.
    assert!(most <= 2 * (64 * 1024 + 32), "{most} bytes wait");
    assert!(driver.unread() > 90 * pings.len());
    driver.wait(config().ping_timeout + secs(2));
    closes_with(&driver, &CloseReason::WriteTimeout);
}

#[test]
fn after_a_flood_of_pings_every_one_is_answered() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.room = 0;
    driver.receive(&frame(NETWORK, &ping(1)).repeat(10_000));
    assert!(!driver.connection.wants_read());
    driver.room = usize::MAX;
    driver.settle();
    assert!(driver.connection.wants_read());
    assert_eq!(driver.said().len(), 10_000);
}

// offences

#[test]
fn a_budget_of_offences_ends_with_misbehavior_and_no_ban() {
    let mut driver = Driver::connected(Side::Inbound);
    for i in 0..99 {
        driver.hear(&Message::Verack);
        assert_eq!(driver.closed(), None, "{i}");
    }
    driver.hear(&Message::Verack);
    let reason = CloseReason::Misbehavior(Offence::Repeated(Command::VERACK));
    closes_with(&driver, &reason);
    assert_eq!(reason.initiator(), Initiator::Local);

    // What cannot be parsed costs more.
    let mut driver = Driver::connected(Side::Inbound);
    for _ in 0..10 {
        assert_eq!(driver.closed(), None);
        driver.hear(&unknown("ping", ""));
    }
    assert!(matches!(
        driver.closed(),
        Some(CloseReason::Misbehavior(Offence::Malformed { .. }))
    ));
    let said = driver.said();
    assert_eq!(rejects(&said).len(), 10, "the last one too is told");
}

#[test]
fn the_budget_is_refilled_slowly() {
    let mut driver = Driver::connected(Side::Inbound);
    for _ in 0..1000 {
        driver.hear(&Message::Verack);
        driver.wait(secs(10));
        answer_pings(&mut driver);
    }
    assert_eq!(driver.closed(), None);
}

fn answer_pings(driver: &mut Driver) {
    for message in driver.said() {
        if let Message::Ping(nonce) = message {
            driver.hear(&Message::Pong(nonce));
        }
    }
}

#[test]
fn offences_during_the_handshake_come_out_of_the_same_budget() {
    let mut driver = Driver::new(Side::Inbound);
    for _ in 0..99 {
        driver.hear(&Message::GetAddr);
    }
    assert_eq!(driver.closed(), None);
    driver.hear(&Message::GetAddr);
    closes_with(
        &driver,
        &CloseReason::Misbehavior(Offence::Early(Command::GETADDR)),
    );
}

// sending

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
fn a_payload_is_sent_in_pieces_under_a_basic_header() {
    let payload = Bytes::from((0..100_000_u32).map(|i| i as u8).collect::<Vec<_>>());
    let mut driver = Driver::connected(Side::Inbound);
    let now = driver.now;
    let sum = Some(checksum(&payload));
    let length = payload.len() as u64;
    let none = driver
        .connection
        .send_begin(now, Command::BLOCK, length, None);
    assert_eq!(none, Err(SendError::Checksum));
    driver
        .connection
        .send_begin(now, Command::BLOCK, length, sum)
        .unwrap();
    let again = driver
        .connection
        .send_begin(now, Command::BLOCK, length, sum);
    assert_eq!(again, Err(SendError::Streaming));
    driver.settle();
    driver.hear(&ping(1));
    driver.connection.send(now, &Message::GetAddr).unwrap();
    driver.settle();
    assert_eq!(driver.said(), [], "nothing cuts into the payload");
    for piece in payload.chunks(30_000) {
        let short = driver.connection.send_end(now);
        assert!(matches!(
            short,
            Err(SendError::WrongLength { over: false, .. })
        ));
        driver
            .connection
            .send_chunk(now, payload.slice_ref(piece))
            .unwrap();
        driver.settle();
    }
    let over = driver.connection.send_chunk(now, Bytes::from_static(b"x"));
    assert_eq!(over, Err(SendError::WrongLength { by: 1, over: true }));
    driver.connection.send_end(now).unwrap();
    assert_eq!(
        driver.connection.send_end(now),
        Err(SendError::NotStreaming)
    );
    driver.settle();
    // The block is no block, so look at the frames themselves.
    let mut sent = driver.outgoing();
    let start = sent.len() - (24 + payload.len() + 32 + 24);
    let _handshake = sent.split_to(start);
    let block = sent.split_to(24 + payload.len());
    assert_eq!(block, frame(NETWORK, &unknown("block", payload)));
    assert_eq!(messages(NETWORK, &mut sent), [pong(1), Message::GetAddr]);
}

#[test]
fn a_payload_of_4_gib_goes_under_an_extended_header() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.outgoing();
    let now = driver.now;
    let length = 1 << 32;
    let summed = driver
        .connection
        .send_begin(now, Command::BLOCK, length, Some([0; 4]));
    assert_eq!(summed, Err(SendError::Checksum));
    driver
        .connection
        .send_begin(now, Command::BLOCK, length, None)
        .unwrap();
    driver.settle();
    assert_eq!(driver.outgoing(), header(Command::BLOCK, length));
    let chunk = Bytes::from(vec![0; 1 << 20]);
    driver.connection.send_chunk(now, chunk.clone()).unwrap();
    let by = length - chunk.len() as u64;
    let short = driver.connection.send_end(now);
    assert_eq!(short, Err(SendError::WrongLength { by, over: false }));
}

#[test]
fn pieces_wait_for_room_as_messages_do() {
    let config = Config {
        send_queue_bytes: 100_000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    begin(&mut driver, Command::BLOCK, 1 << 40).unwrap();
    driver.settle();
    driver.room = 0;
    let chunk = Bytes::from(vec![0; 60_000]);
    let now = driver.now;
    assert_eq!(driver.connection.send_chunk(now, chunk.clone()), Ok(()));
    assert_eq!(
        driver.connection.send_chunk(now, chunk.clone()),
        Err(SendError::Full)
    );
    driver.room = usize::MAX;
    driver.settle();
    assert_eq!(driver.connection.send_chunk(now, chunk), Ok(()));
}

#[test]
fn a_large_payload_travels_in_pieces_from_end_to_end() {
    let config = Config {
        stream_above: 10_000,
        ..config()
    };
    let mut pair = Pair::with(config.clone(), config, Capacity::Free, &[1000, 1, 7, 4096]);
    pair.drive();
    pair.listener.events.clear();
    let payload = Bytes::from(vec![9; 50_000]);
    let good = checksum(&payload);
    for (sum, ok) in [(good, true), ([0; 4], false)] {
        let connection = &mut pair.dialler.connection;
        let length = payload.len() as u64;
        connection
            .send_begin(pair.now, Command::BLOCK, length, Some(sum))
            .unwrap();
        connection.send_chunk(pair.now, payload.clone()).unwrap();
        connection.send_end(pair.now).unwrap();
        pair.dialler.settle();
        pair.drive();
        let events = std::mem::take(&mut pair.listener.events);
        let command = Command::BLOCK;
        let begin = PayloadEvent::Begin { command, length };
        assert_eq!(events.first(), Some(&Event::Payload(begin)));
        let end = PayloadEvent::End {
            checksum_ok: Some(ok),
        };
        assert_eq!(events.last(), Some(&Event::Payload(end)));
        let mut received = Vec::new();
        for event in &events[1..events.len() - 1] {
            let Event::Payload(PayloadEvent::Chunk(chunk)) = event else {
                panic!("{event:?}")
            };
            assert!(!chunk.is_empty());
            received.extend_from_slice(chunk);
        }
        assert_eq!(received, payload);
        assert!(
            pair.listener.connection.is_connected(),
            "the application judges it"
        );
    }
}

#[test]
fn bad_checksums_of_streamed_payloads_are_offences_too() {
    let config = Config {
        stream_above: 5000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    let mut stream = header(Command::BLOCK, 5001);
    stream.extend_from_slice(&[7; 5001]);
    for i in 0..100 {
        assert_eq!(driver.closed(), None, "{i}");
        driver.receive(&stream);
    }
    let offence = Offence::BadChecksum(Command::BLOCK);
    closes_with(&driver, &CloseReason::Misbehavior(offence));
    assert_eq!(driver.connection.stats().discarded, 100);
}

#[test]
fn a_streamed_extended_frame_has_no_checksum() {
    let config = Config {
        stream_above: 5000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    let (command, length) = (Command::BLOCK, 5001);
    let mut bytes = BytesMut::new();
    FrameHeader {
        command,
        length,
        checksum: None,
    }
    .encode(NETWORK.magic_bytes(), &mut bytes);
    driver.receive(&bytes);
    let payload = Bytes::from(vec![7; 5001]);
    driver.receive(&payload);
    assert_eq!(
        driver.events,
        [
            Event::Payload(PayloadEvent::Begin { command, length }),
            Event::Payload(PayloadEvent::Chunk(payload)),
            Event::Payload(PayloadEvent::End { checksum_ok: None }),
        ]
    );
}

#[test]
fn what_the_connection_itself_reads_is_never_streamed() {
    let config = Config {
        stream_above: 0,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    driver.hear(&ping(1));
    assert_eq!(driver.said().last(), Some(&pong(1)));
}

// settings

#[test]
fn settings_reach_a_live_connection() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.said();
    let mut other = Config {
        ping_interval: secs(10),
        ping_timeout: secs(5),
        stream_above: 5000,
        send_queue_bytes: 1000,
        ..config()
    };
    other.limits.message = 3 << 20;
    driver.connection.configure(driver.now, Arc::new(other));

    driver.room = 0;
    assert_eq!(send(&mut driver, "one", 900), Ok(()));
    assert_eq!(send(&mut driver, "two", 900), Err(SendError::Full));
    driver.room = usize::MAX;
    driver.settle();

    driver.hear(&unknown("whatever", vec![0; 5001]));
    assert!(matches!(
        driver.events[0],
        Event::Payload(PayloadEvent::Begin { length: 5001, .. })
    ));
    driver.wait(secs(10));
    assert_eq!(driver.said_commands(), ["one", "ping"]);
    driver.receive(&header(Command::PING, 3 << 20)[..]);
    assert_eq!(driver.closed(), None);
    driver.wait(secs(5));
    closes_with(&driver, &CloseReason::PingTimeout);
}

#[test]
fn the_network_is_not_a_setting_that_changes() {
    let mut driver = Driver::connected(Side::Inbound);
    driver
        .connection
        .configure(driver.now, Arc::new(Config::new(Network::Mainnet)));
    driver.hear(&ping(1));
    assert_eq!(driver.said(), [pong(1)]);
    let ours = EncodedMessage::new(NETWORK, &Message::GetAddr);
    assert_eq!(driver.connection.send_encoded(driver.now, &ours), Ok(()));
    let foreign = EncodedMessage::new(Network::Mainnet, &Message::GetAddr);
    let sent = driver.connection.send_encoded(driver.now, &foreign);
    assert_eq!(sent, Err(SendError::OtherNetwork));
}

#[test]
fn a_policy_changed_on_the_way_judges_handshakes_not_yet_over() {
    let mut driver = Driver::new(Side::Outbound);
    let policy = StandardPolicy::new(ChainPolicy::Any, ["*Bitcoin SV*"]);
    let other = Config {
        policy: Arc::new(policy),
        ..config()
    };
    driver.connection.configure(driver.now, Arc::new(other));
    driver.hear(&version_message());
    assert!(matches!(
        driver.closed(),
        Some(CloseReason::Violation(Violation::BannedUserAgent { .. }))
    ));
}

#[test]
fn time_may_stand_still() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.wait(Duration::ZERO);
    driver.connection.handle_timeout(driver.now);
    driver.settle();
    assert_eq!(driver.closed(), None);
}
