//! Slots: how many connections.

use super::*;

#[test]
fn test_connection_count_reservation() {
    let mut story = Story::with_peers(10);
    assert_eq!(
        story.dials.len(),
        3,
        "a slot each, before anything is connected"
    );
    assert_eq!(story.manager.slots.held(), 3);
    assert_eq!(story.manager.connection_count(), 0);
    story.establish_all();
    assert_eq!(story.manager.slots.held(), 3);
    assert_eq!(story.manager.connection_count(), 3);
}

#[test]
fn test_concurrent_inbound_connections_respect_max() {
    let mut story = Story::with_peers(0);
    let mut conns = Vec::new();
    for n in 0..20 {
        if let Ok(conn) = story.accept(&format!("10.7.{n}.1:4000")) {
            conns.push(conn);
        }
    }
    for (n, conn) in conns.into_iter().enumerate() {
        story.ready(conn, n as u64 + 1, 0);
    }
    assert_eq!(story.manager.connection_count(), 5);
    assert_eq!(story.manager.slots.held(), 5);
}

#[test]
fn test_connection_released_on_handshake_failure() {
    let mut story = Story::with_peers(0);
    let conn = story.accept("10.0.0.1:4000").unwrap();
    assert_eq!(story.manager.slots.held(), 1);
    story.closed(conn, CloseReason::HandshakeTimeout);
    assert_eq!(story.manager.slots.held(), 0);
    story.closed(conn, CloseReason::HandshakeTimeout);
    assert_eq!(story.manager.slots.held(), 0, "released once");
}

#[test]
fn a_slot_is_free_when_the_socket_is_gone_not_when_it_was_told_to_go() {
    let mut story = Story::with_peers(0);
    let mut conns = Vec::new();
    for n in 0..5 {
        let conn = story.accept(&format!("10.9.{n}.1:4000")).unwrap();
        story.ready(conn, 50 + n, 0);
        conns.push(conn);
    }
    let peer_id = story.manager.connections[&conns[0]].connection.peer_id;
    story.command(Command::Disconnect(peer_id));
    assert_eq!(story.manager.slots.held(), 5);
    story.close_all_told();
    assert_eq!(story.manager.slots.held(), 4);
}

#[test]
fn test_connection_count_accurate_under_concurrent_load() {
    let mut config = config();
    (config.target_connections, config.max_connections) = (40, 60);
    config.max_connections_per_ip = Some(60);
    let known = (0..200).map(|n| peer(n, PeerStatus::Unknown)).collect();
    let mut story = Story::new(config, OperatingMode::Normal, known);
    let mut admitted = BTreeSet::new();
    // Everything at once, in an order that has nothing to do with that of the connections.
    for round in 0..500_u64 {
        let draw = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let conns: Vec<_> = story.manager.connections.keys().copied().collect();
        let conn = conns[draw as usize % conns.len()];
        match (draw % 4, story.state(conn)) {
            (0, _) => drop(story.accept(&format!("10.250.0.1:{}", 1000 + round))),
            (1, Some(ConnectionState::Connecting)) => story.fail(conn),
            (_, Some(ConnectionState::Connecting)) => story.connected(conn),
            (2.., Some(ConnectionState::AwaitingHandshake)) => {
                story.ready(conn, 1_000_000 + round, 0);
                admitted.insert(conn);
            }
            _ => {
                story.closed(conn, EOF);
                admitted.remove(&conn);
            }
        }
        // The slots are compared with the connections after every input.
        assert_eq!(story.manager.connection_count(), admitted.len());
        assert!(story.manager.slots.held() <= 60);
    }
    assert!(admitted.len() > 10, "{}", admitted.len());
}
