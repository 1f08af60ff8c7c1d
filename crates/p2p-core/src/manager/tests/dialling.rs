//! Whom to dial, and when.

use super::*;

#[test]
fn test_normal_mode_reaches_target_connections() {
    let mut story = Story::with_peers(10);
    story.establish_all();
    assert_eq!(story.manager.connection_count(), 3);
    assert_eq!(story.dials, []);
}

#[test]
fn test_normal_mode_respects_max_connections() {
    let mut config = config();
    config.target_connections = 5;
    let known = (0..50).map(|n| peer(n, PeerStatus::Valid)).collect();
    let mut story = Story::new(config, OperatingMode::Normal, known);
    story.establish_all();
    assert_eq!(story.manager.slots.held(), 5);
    assert_eq!(story.dials, []);
}

#[test]
fn test_fixed_peer_list_mode_only_connects_to_list() {
    let known = (0..10).map(|n| peer(n, PeerStatus::Valid)).collect();
    let mode = OperatingMode::FixedPeerList(vec![address(20), address(21)]);
    let mut story = Story::new(config(), mode, known);
    assert_eq!(story.dialled(), [address(20), address(21)]);
    assert!(
        !story
            .others
            .iter()
            .any(|action| matches!(action, Action::Resolve { .. }))
    );
    for _ in 0..30 {
        for (conn, at) in std::mem::take(&mut story.dials) {
            assert!([address(20), address(21)].contains(&at));
            story.fail(conn);
        }
        story.pass(Duration::from_secs(600));
    }
    assert_eq!(story.dials.len(), 2, "for ever");
}

#[test]
fn test_skips_banned_peers() {
    let mut banned = peer(0, PeerStatus::Banned);
    banned.ban = Some(Ban {
        reason: BanReason::Manual,
        at: wall(0),
        until: None,
    });
    let mut story = Story::new(config(), OperatingMode::Normal, vec![banned]);
    story.pass(Duration::from_secs(1_000_000));
    assert_eq!(story.dials, []);
}

#[test]
fn test_skips_inaccessible_peers() {
    let known = vec![
        peer(0, PeerStatus::Inaccessible),
        peer(1, PeerStatus::Valid),
    ];
    let mut story = Story::new(config(), OperatingMode::Normal, known);
    assert_eq!(story.dialled(), [address(1)]);
    story.pass(Duration::from_secs(3599));
    assert_eq!(story.dialled(), [address(1)]);
    story.pass(Duration::from_secs(2));
    assert_eq!(
        story.dialled(),
        [address(1), address(0)],
        "when nothing else is left"
    );
}

#[test]
fn test_prioritizes_valid_over_unknown_peers() {
    let mut known: Vec<_> = (0..20).map(|n| peer(n, PeerStatus::Unknown)).collect();
    known.extend((20..23).map(|n| peer(n, PeerStatus::Valid)));
    let story = Story::new(config(), OperatingMode::Normal, known);
    let mut dialled = story.dialled();
    dialled.sort();
    assert_eq!(dialled, [address(20), address(21), address(22)]);
}

#[test]
fn an_outage_slows_dialling_down_and_writes_nobody_off() {
    let mut story = Story::with_peers(30);
    let mut dials = 0;
    while story.now < story.start + Duration::from_secs(3 * 24 * 3600) {
        for (conn, _) in std::mem::take(&mut story.dials) {
            story.fail(conn);
            dials += 1;
        }
        story.pass(Duration::from_secs(10));
    }
    assert!(dials < 3 * 24 * 60 + 100, "{dials} dials in three days");
    assert!((0..30).all(|n| story.status(n) == PeerStatus::Unknown));
    while story.dials.is_empty() {
        story.pass(Duration::from_secs(1));
    }
    story.establish_all();
    assert_eq!(story.dials.len(), 2, "the first success lifts it for all");
}

#[test]
fn who_fills_all_slots_makes_room_for_a_dial_of_ours() {
    let mut config = config();
    config.target_connections = 3;
    config.min_outbound = Some(2);
    let mut story = Story::new(config, OperatingMode::Normal, Vec::new());
    for n in 0..5 {
        let conn = story.accept(&format!("10.66.0.{n}:4000")).unwrap();
        story.ready(conn, 50 + n, 0);
    }
    story.command(Command::AddPeer(address(1)));
    assert_eq!(story.closes.len(), 1);
    assert_eq!(story.closes[0].1, CloseReason::Evicted);
    assert_eq!(story.dials, []);
    // A newcomer is quick, but the slot is not its.
    story.close_all_told();
    assert_eq!(story.dialled(), [address(1)]);
    let late = story.accept("10.77.0.1:4000").unwrap();
    assert_eq!(story.state(late), Some(ConnectionState::Rejected));
}

#[test]
fn the_seeds_are_asked_at_the_start_and_every_hour() {
    let mut config = config();
    config.dns_seeds = Some(vec!["seed.test".into()]);
    let mut story = Story::new(config, OperatingMode::Normal, Vec::new());
    let asked = |story: &Story| {
        story
            .others
            .iter()
            .filter(|action| matches!(action, Action::Resolve { .. }))
            .count()
    };
    assert_eq!(asked(&story), 1);
    story.input(Input::Resolved {
        addresses: vec![address(1), address(2), address(1)],
    });
    assert!(
        story
            .events
            .iter()
            .any(|event| matches!(event, ControlEvent::PeersDiscovered { count: 2, .. }))
    );
    assert_eq!(story.dials.len(), 2);
    story.pass(Duration::from_secs(3600));
    assert_eq!(asked(&story), 2);
    story.pass(Duration::from_secs(7200));
    assert_eq!(asked(&story), 2, "one question at a time");
}

#[test]
fn a_fixed_peer_that_was_inaccessible_is_dialled_at_the_start() {
    let known = vec![peer(1, PeerStatus::Inaccessible)];
    let mode = OperatingMode::FixedPeerList(vec![address(1)]);
    let story = Story::new(config(), mode, known);
    assert_eq!(story.dialled(), [address(1)]);
}

#[test]
fn seeds_cannot_make_us_dial_our_own_network() {
    let config = ManagerConfig::new(Network::Mainnet);
    let mut story = Story::new(config, OperatingMode::Normal, Vec::new());
    let addresses = [
        "10.0.0.1:8333",
        "127.0.0.1:8333",
        "1.2.3.4:0",
        "1.2.3.4:8333",
    ];
    story.input(Input::Resolved {
        addresses: addresses.map(|text| text.parse().unwrap()).to_vec(),
    });
    assert_eq!(story.dialled(), ["1.2.3.4:8333".parse().unwrap()]);
}

#[test]
fn in_an_outage_past_success_does_not_keep_others_from_being_tried() {
    let mut known: Vec<_> = (0..100).map(|n| peer(n, PeerStatus::Valid)).collect();
    known.push(peer(200, PeerStatus::Unknown));
    let mut story = Story::new(config(), OperatingMode::Normal, known);
    while story.now < story.start + Duration::from_secs(3600) {
        for (conn, to) in std::mem::take(&mut story.dials) {
            match to == address(200) {
                true => return,
                false => story.fail(conn),
            }
        }
        story.pass(Duration::from_secs(10));
    }
    panic!("the one that works was not tried");
}

#[test]
fn a_long_fixed_list_is_tried_to_its_end() {
    let fixed = (0..100).map(address).collect();
    let mode = OperatingMode::FixedPeerList(fixed);
    let mut story = Story::new(config(), mode, Vec::new());
    let mut tried = BTreeSet::new();
    while story.now < story.start + Duration::from_secs(3 * 3600) {
        for (conn, to) in std::mem::take(&mut story.dials) {
            tried.insert(to);
            story.fail(conn);
        }
        story.pass(Duration::from_secs(10));
    }
    assert_eq!(tried.len(), 100);
}

#[test]
fn how_the_last_attempt_ended_is_explained() {
    let mut story = Story::with_peers(1);
    let (conn, to) = story.dials[0];
    assert_eq!(story.manager.explain_peer(to).unwrap().last_failure, None);
    story.fail(conn);
    let explained = story.manager.explain_peer(to).unwrap();
    let refused = ConnectionError::Dial(DialFailure::Refused);
    assert_eq!(explained.last_failure, Some(refused));
    assert!(explained.next_attempt.is_some());
    assert_eq!(story.manager.explain().waiting, 1);
}

#[test]
fn those_due_to_be_revisited_take_turns_with_what_anybody_names() {
    // One works, so that this is no outage.
    let mut known = vec![
        peer(0, PeerStatus::Inaccessible),
        peer(200, PeerStatus::Valid),
    ];
    known.extend((1..100).map(|n| peer(n, PeerStatus::Unknown)));
    let mut story = Story::new(config(), OperatingMode::Normal, known);
    let (conn, _) = story.dials.remove(0);
    story.establish(conn);
    story.pass(Duration::from_secs(3600));
    let mut tried = Vec::new();
    while tried.len() < 10 {
        for (conn, to) in std::mem::take(&mut story.dials) {
            tried.push(to);
            story.fail(conn);
        }
    }
    assert!(tried.contains(&address(0)), "{tried:?}");
}

#[test]
fn with_a_fixed_list_inbound_peers_make_room_for_all_of_it() {
    let mut config = config();
    config.min_outbound = Some(0);
    let mode = OperatingMode::FixedPeerList(vec![address(1)]);
    let mut story = Story::new(config, mode, Vec::new());
    let (conn, _) = story.dials.pop().unwrap();
    story.fail(conn);
    for n in 0..5 {
        let conn = story.accept(&format!("10.66.0.{n}:4000")).unwrap();
        story.ready(conn, 50 + n, 0);
    }
    story.pass(Duration::from_secs(60));
    assert_eq!(story.closes.len(), 1);
    assert_eq!(story.closes[0].1, CloseReason::Evicted);
}

#[test]
fn with_a_fixed_list_nobody_else_is_ready_or_waited_for() {
    let mut known: Vec<_> = (0..5).map(|n| peer(n, PeerStatus::Valid)).collect();
    known.extend((5..9).map(|n| peer(n, PeerStatus::Inaccessible)));
    let mapped = "[::ffff:10.20.0.1]:8333".parse().unwrap();
    let mode = OperatingMode::FixedPeerList(vec![address(20), mapped, address(20)]);
    let mut story = Story::new(config(), mode, known);
    let why = story.manager.explain();
    assert_eq!(
        (why.target, why.pending),
        (1, 1),
        "one, however it is written"
    );
    assert_eq!((why.ready, why.waiting, why.next_in), (0, 0, None));
    let wake = |story: &Story| story.manager.poll_timeout().map(|(_, wake)| wake);
    assert_ne!(wake(&story), Some(Wake::Candidate));
    let (conn, _) = story.dials[0];
    story.fail(conn);
    assert_eq!(story.manager.explain().waiting, 1);
    assert_eq!(wake(&story), Some(Wake::Candidate));
}

#[test]
fn a_known_address_that_the_user_adds_is_the_users() {
    let known = || vec![peer(0, PeerStatus::Unknown), peer(1, PeerStatus::Unknown)];
    let mut story = Story::new(config(), OperatingMode::Normal, known());
    story.command(Command::AddPeer(address(0)));
    let source = |story: &Story, n| story.record(address(n)).unwrap().source;
    assert_eq!(source(&story, 0), PeerSource::Manual);
    assert_eq!(source(&story, 1), PeerSource::Dns);

    let mode = OperatingMode::FixedPeerList(vec![address(0)]);
    let story = Story::new(config(), mode, known());
    assert_eq!(source(&story, 0), PeerSource::Fixed);
}
