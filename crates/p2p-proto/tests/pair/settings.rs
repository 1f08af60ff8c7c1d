//! Settings that change on a live connection.

use std::sync::Arc;
use std::time::Duration;

use p2p_proto::{
    Capacity, ChainPolicy, CloseReason, Command, Config, EncodedMessage, Event, FrameError,
    Message, Network, PayloadEvent, SendError, Side, StandardPolicy, Violation,
};

use crate::support::driver::{
    Driver, NETWORK, config, ping, pong, protoconf, secs, unknown, version_message,
};
use crate::{closes_with, header, send};

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
fn a_time_that_no_clock_counts_to_never_comes() {
    let never = Duration::MAX;
    let patient = Config {
        handshake_timeout: never,
        ping_interval: never,
        ping_timeout: never,
        ..config()
    };
    let mut driver = Driver::with(patient, Side::Outbound, Capacity::Free);
    waits(&mut driver, "for the handshake");
    driver.hear(&version_message());
    driver.hear(&Message::Verack);
    assert!(matches!(driver.said().pop(), Some(Message::Ping(_))));
    waits(&mut driver, "for a pong");
    driver.room = 0;
    assert_eq!(send(&mut driver, "one", 900), Ok(()));
    waits(&mut driver, "for the socket");
}

/// Nothing is due, and nothing comes of it.
fn waits(driver: &mut Driver, what: &str) {
    assert_eq!(driver.connection.poll_timeout(), None, "{what}");
    driver.wait(secs(1 << 30));
    assert_eq!(driver.closed(), None, "{what}");
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

#[test]
fn what_our_protoconf_announced_is_taken_whatever_the_limit_is_now() {
    let (command, announced) = (Command::PING, 2_097_152);
    let lower = |driver: &mut Driver| {
        let mut lower = config();
        lower.limits.message = 1 << 20;
        driver.connection.configure(driver.now, Arc::new(lower));
    };
    for (length, taken) in [(announced, true), (announced + 1, false)] {
        // Before our protoconf goes out, and after.
        let mut early = Driver::new(Side::Inbound);
        lower(&mut early);
        early.hear(&version_message());
        assert_eq!(early.said().last(), Some(&protoconf(2_097_152)));
        early.hear(&Message::Verack);
        let mut late = Driver::connected(Side::Inbound);
        lower(&mut late);
        for mut driver in [early, late] {
            driver.receive(&header(command, length));
            let error = FrameError::Oversize {
                command,
                length,
                limit: announced,
            };
            let lost = CloseReason::FramingLost(error);
            assert_eq!(driver.closed(), (!taken).then_some(&lost));
        }
    }
}
