//! The budget of small offences.

use p2p_proto::{CloseReason, Command, Initiator, Message, Offence, Side};

use crate::support::driver::{Driver, rejects, secs, unknown};
use crate::{answer_pings, closes_with};

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
