//! What the store is told, and when.

use super::*;
use crate::book::{Book, BookLimits};

fn is_save(action: &Action) -> bool {
    matches!(action, Action::Save)
}

fn is_stopped(action: &Action) -> bool {
    matches!(action, Action::Stopped)
}

#[test]
fn who_makes_room_in_the_book_is_forgotten_by_the_store() {
    let mut config = config();
    config.dns_seeds = Some(vec!["seed.test".into()]);
    let mut story = Story::new(config, OperatingMode::Normal, Vec::new());
    let limits = BookLimits {
        total: 10,
        ..BookLimits::default()
    };
    story.manager.book = Book::new([3; 32], limits);
    let addresses = (0..10).map(address).collect();
    story.input(Input::Resolved { addresses });
    assert_eq!(story.records.len(), 10, "all are stored");
    story.command(Command::AddPeer(address(50)));
    assert!(story.record(address(50)).is_some());
    assert_eq!(story.manager.book.len(), 10);
    let mut stored: Vec<_> = story.records.values().map(Peer::address).collect();
    stored.sort();
    let in_book: Vec<_> = story.manager.peers().map(Peer::address).collect();
    assert_eq!(stored, in_book);
}

#[test]
fn a_store_that_failed_gets_the_latest_of_everything_later() {
    let mut story = Story::with_peers(2);
    story.store = Store::Fails;
    story.command(Command::AddPeer(address(7)));
    let conn = story.dials[0].0;
    story.establish(conn);
    assert_eq!(story.record(address(7)), None);
    story.store = Store::Works;
    story.pass(Duration::from_secs(5));
    assert!(story.record(address(7)).is_some());
    let reached = story.dials[0].1;
    assert_eq!(story.record(reached).unwrap().status, PeerStatus::Valid);
}

#[test]
fn the_store_is_saved_some_time_after_a_change_and_not_without_one() {
    let mut story = Story::with_peers(0);
    story.pass(Duration::from_secs(3600));
    assert_eq!(story.count(is_save), 0);
    story.command(Command::AddPeer(address(1)));
    story.establish_all();
    story.pass(Duration::from_secs(299));
    assert_eq!(story.count(is_save), 0);
    story.pass(Duration::from_secs(1));
    assert_eq!(story.count(is_save), 1);
    story.pass(Duration::from_secs(3600));
    assert_eq!(story.count(is_save), 1);
}

#[test]
fn a_save_that_failed_is_tried_again() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    story.store = Store::Fails;
    story.pass(Duration::from_secs(300));
    assert_eq!(story.count(is_save), 1);
    story.store = Store::Works;
    story.pass(Duration::from_secs(5));
    assert_eq!(story.count(is_save), 2);
}

#[test]
fn everything_is_stored_and_saved_before_the_end() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    story.command(Command::Shutdown);
    story.close_all_told();
    assert_eq!(story.count(is_save), 1);
    assert_eq!(story.count(is_stopped), 1);
}

#[test]
fn neither_a_store_that_hangs_nor_one_that_fails_holds_up_the_end_for_long() {
    for (store, bound) in [(Store::Fails, 0), (Store::Hangs, 10)] {
        let mut story = Story::with_peers(1);
        story.establish_all();
        story.store = store;
        story.command(Command::AddPeer(address(9)));
        story.command(Command::Shutdown);
        story.dials.clear();
        story.close_all_told();
        if store == Store::Hangs {
            assert_eq!(story.count(is_stopped), 0);
        }
        story.pass(Duration::from_secs(bound));
        assert_eq!(story.count(is_stopped), 1, "{store:?}");
    }
}

#[test]
fn a_peer_that_hangs_does_not_hold_up_the_end_for_long_and_is_reported_as_lost() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    story.command(Command::Shutdown);
    story.pass(Duration::from_secs(10));
    assert_eq!(story.count(is_stopped), 1);
    let lost = |event: &ControlEvent| matches!(event, ControlEvent::ConnectionLost { .. });
    assert_eq!(story.events(lost), 1);
    assert_eq!(story.manager.connections().count(), 0);
}
