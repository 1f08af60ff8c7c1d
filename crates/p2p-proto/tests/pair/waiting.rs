//! What waits, and how much of it may.

use bytes::BytesMut;
use p2p_proto::{CloseReason, Side};

use crate::closes_with;
use crate::support::driver::{Driver, NETWORK, config, frame, ping, pong, secs, unknown};

#[test]
fn nothing_is_read_while_an_event_waits_and_nothing_is_lost() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.drains = false;
    let mut stream = BytesMut::new();
    for nonce in 0..3 {
        stream.extend_from_slice(&frame(NETWORK, &pong(nonce)));
    }
    driver.receive(&stream);
    assert!(!driver.connection.wants_read());
    assert_eq!(driver.unread(), stream.len() / 3 * 2, "one was taken");
    let mut more = BytesMut::from(&b"more"[..]);
    driver.connection.receive(driver.now, &mut more);
    assert_eq!(more[..], b"more"[..]);

    driver.drains = true;
    driver.settle();
    assert!(driver.connection.wants_read());
    assert_eq!(driver.unread(), 0);
    assert_eq!(driver.heard(), [&pong(0), &pong(1), &pong(2)]);
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
