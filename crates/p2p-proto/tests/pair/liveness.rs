//! Pings and pongs, and whoever does not read.

use bytes::BytesMut;
use p2p_proto::{CloseReason, Config, Message, Side, Timer};

use crate::support::driver::{Driver, NETWORK, config, frame, millis, ping, pong, secs, unknown};
use crate::support::pair::{Pair, Path};
use crate::{BOTH, closes_with};

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
    // More a second than what excuses one large frame.
    let many = frame(NETWORK, &unknown("whatever", vec![0; 50])).repeat(50);
    for _ in 0..300 {
        driver.receive(&many);
        driver.wait(secs(1));
    }
    closes_with(&driver, &CloseReason::PingTimeout);
}

#[test]
fn the_peers_clocks_stand_still_while_events_are_not_taken() {
    let Config {
        ping_interval,
        ping_timeout,
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
    driver.hear(&Message::GetAddr);
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
    driver.hear(&Message::GetAddr);
    driver.wait(ping_timeout * 5);
    driver.drains = true;
    driver.settle();
    driver.wait(ping_timeout - secs(30) - millis(1));
    assert_eq!(driver.closed(), None);
    driver.wait(millis(1));
    closes_with(&driver, &CloseReason::PingTimeout);
}

#[test]
fn the_peers_clocks_stand_still_while_the_driver_has_no_room() {
    let Config {
        ping_interval,
        ping_timeout,
        ..
    } = config();
    let mut driver = Driver::connected(Side::Inbound);
    driver.wait(ping_interval + secs(30));
    driver.connection.hold(driver.now);
    assert!(!driver.connection.wants_read());
    // Whatever else happens meanwhile.
    driver.now += ping_timeout * 5;
    driver.connection.handle_timeout(driver.now);
    driver.connection.hold(driver.now);
    driver.now += ping_timeout * 5;
    driver.connection.handle_timeout(driver.now);
    assert!(!driver.connection.is_closing());
    // It goes on with the next bytes, or none.
    driver.connection.receive(driver.now, &mut BytesMut::new());
    assert!(driver.connection.wants_read());
    let due = driver.now + ping_timeout - secs(30);
    driver.connection.handle_timeout(due - millis(1));
    assert!(!driver.connection.is_closing());
    driver.connection.handle_timeout(due);
    driver.now = due;
    driver.settle();
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
