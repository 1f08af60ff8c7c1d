//! Who makes room for a dial of ours.

use super::*;

/// One connection of our own is wanted, of as many as there may be.
fn one_of(max_connections: usize, known: Vec<Peer>) -> Story {
    let mut config = config();
    (config.target_connections, config.max_connections) = (1, max_connections);
    Story::new(config, OperatingMode::Normal, known)
}

#[test]
fn an_inbound_peer_makes_room_as_soon_as_the_only_candidate_may_be_dialled_again() {
    let mut story = one_of(5, vec![peer(1, PeerStatus::Unknown)]);
    let (conn, _) = story.dials.pop().unwrap();
    story.fail(conn);
    for n in 0..5 {
        story.accept_established(&format!("10.66.0.{n}:4000"));
    }
    assert_eq!(story.closes, []);
    story.pass(Duration::from_secs(5));
    assert_eq!(story.closes.len(), 1);
    assert_eq!(story.closes[0].1, CloseReason::Evicted);
    story.close_all_told();
    assert_eq!(story.dialled(), [address(1)]);
}

#[test]
fn nobody_makes_room_while_a_slot_is_about_to_be_free() {
    let known = vec![peer(0, PeerStatus::Valid), peer(1, PeerStatus::Valid)];
    let mut story = one_of(5, known);
    let (conn, at) = story.dials[0];
    story.establish_all();
    for n in 0..4 {
        story.accept_established(&format!("10.66.0.{n}:4000"));
    }
    story.command(Command::Disconnect(Peer::id_of(Network::Regtest, at)));
    assert_eq!(story.closes, [(conn, CloseReason::Requested)]);
    story.close_all_told();
    assert_eq!(story.dials.len(), 1, "in its slot");
    assert_eq!(story.closes, []);
}

#[test]
fn the_old_and_the_quick_stay_and_the_youngest_of_the_largest_netgroup_goes() {
    // Peers in order of their coming: the network of each, and how quickly it answers.
    let crowd = 66;
    let inbound = [
        // The oldest half of those that are not among the quickest.
        (crowd, 50),
        (crowd, 50),
        (crowd, 50),
        (1, 50),
        // The others: two of the crowd, and three of networks of their own.
        (2, 50),
        (crowd, 50),
        (crowd, 50),
        (3, 50),
        (4, 50),
        // The quickest quarter.
        (crowd, 5),
        (crowd, 5),
        (crowd, 5),
    ];
    let mut story = one_of(inbound.len(), Vec::new());
    let mut conns = Vec::new();
    for (n, (network, millis)) in inbound.into_iter().enumerate() {
        let conn = story.accept_established(&format!("20.{network}.0.{n}:4000"));
        let latency = Duration::from_millis(millis);
        story.input(Input::Latency { conn, latency });
        story.pass(Duration::from_secs(1));
        conns.push(conn);
    }
    story.command(Command::AddPeer(address(1)));
    assert_eq!(story.closes, [(conns[6], CloseReason::Evicted)]);
}

#[test]
fn who_has_not_answered_a_ping_is_not_among_the_quick() {
    let mut story = one_of(4, Vec::new());
    let conns = [1, 2, 3, 4].map(|n| {
        let conn = story.accept_established(&format!("20.{n}.0.1:4000"));
        story.pass(Duration::from_secs(1));
        conn
    });
    let (conn, latency) = (conns[3], Duration::from_secs(9));
    story.input(Input::Latency { conn, latency });
    story.command(Command::AddPeer(address(1)));
    assert_eq!(story.closes, [(conns[2], CloseReason::Evicted)]);
}
