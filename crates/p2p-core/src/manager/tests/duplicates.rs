//! One connection to a node.

use super::*;

#[test]
fn test_prevents_duplicate_outbound_connections() {
    let mut story = Story::with_peers(1);
    story.command(Command::AddPeer(address(0)));
    story.pass(Duration::from_secs(10));
    assert_eq!(story.dialled(), [address(0)]);
}

#[test]
fn test_prevents_duplicate_inbound_connections() {
    let mut story = Story::with_peers(0);
    story.accept("10.0.0.1:4000").unwrap();
    assert_eq!(
        story.accept("10.0.0.1:4000"),
        Err(InboundRefusal::Duplicate)
    );
    assert_eq!(
        story.accept("[::ffff:10.0.0.1]:4000"),
        Err(InboundRefusal::Duplicate)
    );
    assert!(story.accept("10.0.0.1:4001").is_ok());
}

#[test]
fn test_rejects_duplicate_active_connection() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    assert_eq!(
        story.accept(&address(0).to_string()),
        Err(InboundRefusal::Duplicate)
    );
}

#[test]
fn test_handles_simultaneous_bidirectional_connections() {
    for inbound_wins in [false, true] {
        let mut story = Story::with_peers(1);
        let (outbound, _) = story.dials[0];
        story.connected(outbound);
        let ours = story.manager.connections[&outbound].connection.our_nonce;
        let theirs = if inbound_wins { ours - 1 } else { ours + 1 };
        let inbound = story.accept("10.0.0.1:55555").unwrap();
        story.ready(inbound, theirs, 8333);
        if inbound_wins {
            assert_eq!(story.closes, [(outbound, CloseReason::Duplicate)]);
            assert_eq!(story.admits, [inbound]);
        } else {
            assert_eq!(story.closes, [(inbound, CloseReason::Duplicate)]);
            story.ready(outbound, 77, 8333);
            assert_eq!(story.admits, [outbound]);
        }
        story.close_all_told();
        story.pass(Duration::from_secs(3600));
        assert_eq!(story.manager.connection_count(), 1);
        assert_eq!(story.dials.len(), 1, "it is not dialled again");
    }
}

#[test]
fn a_connection_to_ourselves_is_closed_and_not_made_again() {
    let mut story = Story::with_peers(1);
    let (outbound, _) = story.dials[0];
    story.connected(outbound);
    let inbound = story.accept("10.0.0.1:55555").unwrap();
    let nonce = story.manager.connections[&inbound].connection.our_nonce;
    story.ready(outbound, nonce, 0);
    assert_eq!(story.closes.len(), 2);
    story.close_all_told();
    story.pass(Duration::from_secs(1_000_000));
    assert_eq!(story.dials.len(), 1);
}

#[test]
fn who_dialled_us_from_where_it_listens_is_not_dialled_meanwhile() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials.pop().unwrap();
    story.fail(conn);
    let inbound = story.accept(&at.to_string()).unwrap();
    story.ready(inbound, 5, 0);
    story.pass(Duration::from_secs(3600));
    assert_eq!(story.dialled(), []);
    story.closed(inbound, EOF);
    assert_eq!(story.dialled(), [at], "but afterwards");
}

#[test]
fn a_node_that_dialled_us_twice_is_known_while_one_connection_is_left() {
    let mut story = Story::with_peers(0);
    let first = story.accept("10.1.0.1:50000").unwrap();
    story.ready(first, 5, 8333);
    let second = story.accept("10.1.0.1:50001").unwrap();
    story.ready(second, 6, 8333);
    story.command(Command::AddPeer(address(1)));
    story.closed(second, EOF);
    assert_eq!(story.dialled(), []);
    story.closed(first, EOF);
    assert_eq!(story.dialled(), [address(1)]);
}

#[test]
fn a_lost_connection_is_not_made_again_while_the_same_ip_shakes_hands_with_us() {
    let mut story = Story::with_peers(1);
    let (conn, _) = story.dials[0];
    story.establish_all();
    let inbound = story.accept("10.0.0.1:50000").unwrap();
    story.closed(conn, EOF);
    assert_eq!(story.dialled(), []);
    story.closed(inbound, EOF);
    story.pass(Duration::from_secs(5));
    assert_eq!(story.dialled(), [address(0)], "but a little later");
}

#[test]
fn a_lost_connection_is_made_again_at_once_when_the_same_ip_has_shaken_hands_with_us() {
    let mut story = Story::with_peers(1);
    let (conn, _) = story.dials[0];
    story.establish_all();
    let inbound = story.accept("10.0.0.1:50000").unwrap();
    story.ready(inbound, 7, 0);
    story.closed(conn, EOF);
    assert_eq!(story.dialled(), [address(0)]);
}

#[test]
fn a_pause_outlasts_what_the_node_connects_meanwhile() {
    // From where it listens, and from anywhere else.
    for sources in [
        ["10.0.0.1:8333", "10.0.0.1:50001"],
        ["10.0.0.1:50000", "10.0.0.1:50001"],
    ] {
        for first in [0, 1] {
            let known = vec![peer(0, PeerStatus::Inaccessible)];
            let mut story = Story::new(config(), OperatingMode::Normal, known);
            let conns = sources.map(|from| {
                let conn = story.accept(from).unwrap();
                story.ready(conn, 5 + conn.0, 8333);
                conn
            });
            story.closed(conns[first], EOF);
            story.closed(conns[1 - first], EOF);
            assert_eq!(story.dialled(), [], "{sources:?}, {first} first");
            story.pass(Duration::from_secs(3600));
            assert_eq!(story.dialled(), [address(0)], "{sources:?}, {first} first");
        }
    }
}

#[test]
fn a_dial_that_fails_while_the_node_is_connected_leaves_its_pause() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials.pop().unwrap();
    story.connected(conn);
    let inbound = story.accept("10.0.0.1:50000").unwrap();
    story.ready(inbound, 0, 8333);
    assert_eq!(story.closes, [(conn, CloseReason::Duplicate)]);
    story.close_all_told();
    story.closed(inbound, EOF);
    assert_eq!(story.dialled(), []);
    story.pass(Duration::from_secs(5));
    assert_eq!(story.dialled(), [at]);
}
