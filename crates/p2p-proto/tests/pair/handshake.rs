//! What is said in which order, what it says, and how long it may take.

use p2p_proto::{
    AuthChallenge, Capacity, CloseReason, Command, Config, Event, Message, Services, Side, Timer,
    Version, VersionFields,
};
use proptest::prelude::*;

use crate::support::driver::{Driver, config, millis, protoconf, secs, version, version_message};
use crate::support::pair::{Pair, Path};
use crate::{BOTH, closes_with, header, said_by};

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
