//! The end: one reason, the last event, and what still leaves.

use bytes::Bytes;
use p2p_proto::{CloseReason, Command, Config, Message, NetworkFailure, SendError, Side, Timer};

use crate::support::driver::{Driver, config, millis, secs, version};
use crate::{closes_with, send};

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

#[test]
fn a_network_that_is_gone_ends_a_flush_at_once() {
    for failure in [NetworkFailure::Eof, NetworkFailure::Reset] {
        let mut driver = Driver::connected(Side::Inbound);
        driver.said();
        driver.room = 0;
        send(&mut driver, "whatever", 100).unwrap();
        driver.close(CloseReason::Shutdown);
        assert_eq!(driver.closed(), None, "there is something to flush");
        driver.close(CloseReason::Network(failure));
        closes_with(&driver, &CloseReason::Shutdown);
        assert_eq!(driver.connection.poll_timeout(), None);
        assert_eq!(driver.connection.unsent_bytes(), 0);
        assert_eq!(driver.said(), []);
    }
}
