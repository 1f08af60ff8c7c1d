//! The life of a connection.

use p2p_proto::{Command as Name, Offence, Reject, RejectCode};

use super::*;

#[test]
fn test_over_capacity_rejection_flow() {
    let mut story = Story::with_peers(0);
    for n in 0..5 {
        let conn = story.accept(&format!("10.9.{n}.1:4000")).unwrap();
        story.ready(conn, 50 + n, 0);
    }
    assert_eq!(story.manager.connection_count(), 5);
    let conn = story.accept("10.8.0.1:4000").unwrap();
    assert_eq!(story.state(conn), Some(ConnectionState::Rejected));
    assert_eq!(story.manager.connection_count(), 5);
    assert_eq!(story.manager.slots.held(), 5);
    story.closed(conn, CloseReason::OverCapacity);
    assert!(matches!(
        story.events.last(),
        Some(ControlEvent::ConnectionRejectedCapacity { .. })
    ));
    assert_eq!(story.manager.slots.over_capacity(), 0);
}

#[test]
fn over_capacity_handshakes_are_bounded_in_all_and_by_ip() {
    let mut config = config();
    config.target_connections = 0;
    config.max_connections = 1;
    config.max_over_capacity = 3;
    let mut story = Story::new(config, OperatingMode::Normal, Vec::new());
    story.accept("10.0.0.9:1").unwrap();
    story.accept("10.0.0.1:1").unwrap();
    story.accept("10.0.0.1:2").unwrap();
    assert_eq!(
        story.accept("10.0.0.1:3"),
        Err(InboundRefusal::OverCapacity)
    );
    story.accept("10.0.0.2:1").unwrap();
    assert_eq!(
        story.accept("10.0.0.3:1"),
        Err(InboundRefusal::OverCapacity)
    );
}

#[test]
fn test_connection_restart_after_network_failure() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials[0];
    story.establish_all();
    story.closed(conn, EOF);
    assert_eq!(story.dialled(), [at], "at once, without backoff");
    assert_eq!(story.now, story.start);
    assert!(
        story
            .events
            .iter()
            .any(|event| matches!(event, ControlEvent::ConnectionRestarting { attempt: 1, .. }))
    );
}

#[test]
fn test_restart_limit_enforcement() {
    let mut story = Story::with_peers(1);
    for _ in 0..=3 {
        let (conn, _) = story.dials[0];
        story.establish_all();
        story.closed(conn, EOF);
    }
    assert_eq!(story.dialled(), []);
    assert_eq!(story.status(0), PeerStatus::Inaccessible);
}

#[test]
fn a_lost_connection_that_is_not_wanted_any_more_rests_and_nothing_is_told_of_a_restart() {
    let mut config = config();
    config.min_outbound = Some(0);
    let known = vec![peer(0, PeerStatus::Valid)];
    let mut story = Story::new(config, OperatingMode::Normal, known);
    let (conn, at) = story.dials[0];
    story.establish_all();
    let inbound = [1, 2, 3].map(|n| story.accept_established(&format!("10.9.{n}.1:4000")));
    story.closed(conn, EOF);
    assert_eq!(story.dialled(), []);
    let restarting =
        |event: &ControlEvent| matches!(event, ControlEvent::ConnectionRestarting { .. });
    assert_eq!(story.events(restarting), 0);
    story.closed(inbound[0], EOF);
    story.pass(Duration::from_secs(5));
    assert_eq!(story.dialled(), [at], "when it is wanted again");
}

#[test]
fn test_inbound_does_not_reconnect() {
    let mut story = Story::with_peers(0);
    let conn = story.accept("10.0.0.1:4000").unwrap();
    story.ready(conn, 5, 8333);
    story.closed(conn, EOF);
    story.pass(Duration::from_secs(100_000));
    assert_eq!(story.dialled(), []);
    assert_eq!(story.manager.book.len(), 0, "nor is it remembered");
}

#[test]
fn test_max_retries_enforcement() {
    let mut config = config();
    config.connection.max_retries = 4;
    let mut story = Story::new(
        config,
        OperatingMode::Normal,
        vec![peer(0, PeerStatus::Unknown)],
    );
    let mut dials = 0;
    while story.status(0) != PeerStatus::Inaccessible {
        let (conn, _) = story.dials.pop().expect("it is tried again");
        story.fail(conn);
        dials += 1;
        if story.status(0) != PeerStatus::Inaccessible {
            story.pass(Duration::from_secs(600));
        }
    }
    assert_eq!(dials, 1 + 4);
}

#[test]
fn one_that_was_written_off_is_written_off_again_when_it_fails() {
    let known = vec![peer(0, PeerStatus::Inaccessible)];
    let mut story = Story::new(config(), OperatingMode::Normal, known);
    for _ in 0..3 {
        story.pass(Duration::from_secs(3599));
        assert_eq!(story.dialled(), []);
        story.pass(Duration::from_secs(1));
        let (conn, _) = story.dials.pop().expect("it is revisited");
        story.fail(conn);
    }
}

#[test]
fn test_successful_connection_resets_retry_count() {
    let mut story = Story::with_peers(1);
    for _ in 0..3 {
        let (conn, _) = story.dials.pop().unwrap();
        story.fail(conn);
        story.pass(Duration::from_secs(600));
    }
    assert_eq!(story.manager.book.retries(address(0)), Some(3));
    story.establish_all();
    assert_eq!(story.manager.book.retries(address(0)), Some(0));
    assert_eq!(story.status(0), PeerStatus::Valid);
}

#[test]
fn a_handshake_only_to_hear_that_there_is_no_room_does_not_reset_the_retry_count() {
    let mode = OperatingMode::FixedPeerList(vec![address(0)]);
    let mut story = Story::new(config(), mode, Vec::new());
    for _ in 0..3 {
        let (conn, _) = story.dials.pop().unwrap();
        story.fail(conn);
        story.pass(Duration::from_secs(600));
    }
    let (conn, _) = story.dials.pop().unwrap();
    story.establish(conn);
    let full = Box::new(Reject::new(Name::VERSION, RejectCode(0x44), "no room"));
    story.closed(conn, CloseReason::RejectedByPeer(full));
    assert_eq!(story.manager.book.retries(address(0)), Some(4));
}

#[test]
fn no_dial_comes_before_its_backoff() {
    let mut story = Story::with_peers(1);
    for retry in 0..8 {
        let (conn, _) = story.dials.pop().unwrap();
        story.fail(conn);
        let backoff = story.manager.config.connection.backoff(retry);
        story.pass(backoff / 2 - Duration::from_millis(1));
        assert_eq!(story.dialled(), [], "retry {retry}");
        story.pass(backoff / 2 + Duration::from_millis(2));
        assert_eq!(story.dialled(), [address(0)], "retry {retry}");
    }
}

#[test]
fn test_manager_initiates_new_connection_when_below_target() {
    let mut story = Story::with_peers(10);
    let (conn, _) = story.dials[0];
    story.establish_all();
    story.closed(conn, CloseReason::PingTimeout);
    assert_eq!(story.dials.len(), 1);
    assert_eq!(story.manager.slots.held(), 3);
}

#[test]
fn test_manager_handles_connection_failed_event() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials[0];
    story.fail(conn);
    assert!(story.events.iter().any(|event| matches!(
        event,
        ControlEvent::ConnectionFailed { address, reason: ConnectionError::Dial(DialFailure::Refused), .. }
            if *address == at
    )));
    assert_eq!(story.manager.slots.held(), 0);
}

#[test]
fn events_of_a_connection_that_is_gone_change_nothing() {
    let mut story = Story::with_peers(1);
    let (conn, _) = story.dials[0];
    story.fail(conn);
    let (events, held) = (story.events.len(), story.manager.slots.held());
    story.connected(conn);
    story.ready(conn, 9, 0);
    story.closed(conn, EOF);
    story.fail(conn);
    assert_eq!(
        (story.events.len(), story.manager.slots.held()),
        (events, held)
    );
}

#[test]
fn a_peer_that_misbehaves_is_told_of_lost_and_not_banned() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials[0];
    story.establish_all();
    story.events.clear();
    story.closed(conn, CloseReason::Misbehavior(Offence::Early(Name::TX)));
    let names: Vec<_> = story
        .events
        .iter()
        .map(|event| match event {
            ControlEvent::ConnectionLost { address, .. } if *address == at => "lost",
            ControlEvent::PeerMisbehavior { address, .. } if *address == at => "misbehavior",
            ControlEvent::ConnectionRestarting { address, .. } if *address == at => "restarting",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["lost", "misbehavior", "restarting"]);
    assert!(!story.manager.is_banned(at.ip()));
}

#[test]
fn who_hangs_up_while_we_do_is_not_made_again_nor_written_off() {
    for end in [
        Command::Disconnect(peer(0, PeerStatus::Valid).id),
        Command::Shutdown,
    ] {
        let mut story = Story::with_peers(1);
        let (conn, _) = story.dials[0];
        story.establish_all();
        story.command(end);
        story.closed(conn, EOF);
        assert_eq!(story.dialled(), []);
        assert_eq!(story.status(0), PeerStatus::Valid);
    }
}

#[test]
fn a_peer_was_last_seen_when_its_connection_ended() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials[0];
    story.establish_all();
    story.pass(Duration::from_secs(3000));
    story.closed(conn, CloseReason::PingTimeout);
    assert_eq!(story.record(at).unwrap().last_seen, Some(wall(3000)));
}

#[test]
fn test_manager_broadcasts_control_events() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials[0];
    story.establish(conn);
    story.closed(conn, EOF);
    let inbound = story.accept("10.9.0.1:5000").unwrap();
    story.ready(inbound, 9, 0);
    story.closed(inbound, EOF);
    let about = |address: SocketAddr| {
        let names = story.events.iter().filter_map(|event| match event {
            ControlEvent::InboundConnectionAccepted { address, .. } => Some((*address, "accepted")),
            ControlEvent::HandshakeComplete { address, .. } => Some((*address, "complete")),
            ControlEvent::ConnectionEstablished { address, .. } => Some((*address, "established")),
            ControlEvent::ConnectionLost { address, .. } => Some((*address, "lost")),
            ControlEvent::ConnectionRestarting { address, .. } => Some((*address, "restarting")),
            _ => None,
        });
        let of_address = names.filter(|&(at, _)| at == address);
        of_address.map(|(_, name)| name).collect::<Vec<_>>()
    };
    assert_eq!(about(at), ["complete", "established", "lost", "restarting"]);
    assert_eq!(
        about("10.9.0.1:5000".parse().unwrap()),
        ["accepted", "complete", "established", "lost"]
    );
}
