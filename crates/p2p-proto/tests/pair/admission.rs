//! Between the handshake and the first message: the manager is asked.

use p2p_proto::{Command, EncodedMessage, Event, Message, SendError, Side};

use crate::BOTH;
use crate::support::driver::{Driver, NETWORK, ping, pong, protoconf, version_message};

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

#[test]
fn a_protoconf_before_the_verack_is_heard_of_after_admission() {
    for side in BOTH {
        for order in [[0, 1, 2], [1, 0, 2]] {
            let mut driver = Driver::new(side);
            driver.admits = false;
            let said = [version_message(), protoconf(3 << 20), Message::Verack];
            for at in order {
                driver.hear(&said[at]);
            }
            assert_eq!(driver.events.len(), 1, "nothing but Ready");
            assert!(driver.is_ready());
            let limit = driver.connection.peer_protoconf().unwrap().max_payload();
            assert_eq!(limit, 3 << 20, "known before it is heard of");
            driver.connection.admit(driver.now);
            driver.settle();
            assert_eq!(driver.heard(), [&said[1]]);
        }
    }
}
