//! Bans, and when they are told of.

use std::net::IpAddr;

use super::*;

#[test]
fn test_manager_updates_peer_status_on_ban() {
    let mut story = Story::with_peers(1);
    let (conn, _) = story.dials[0];
    story.connected(conn);
    story.closed(
        conn,
        CloseReason::Violation(Violation::OtherChain {
            user_agent: UserAgent::from_static("/abc/"),
        }),
    );
    assert_eq!(story.status(0), PeerStatus::Banned);
    let until = Some(wall(24 * 3600));
    assert!(story.events.contains(&ControlEvent::PeerBanned {
        ip: address(0).ip(),
        reason: BanReason::BlockchainMismatch {
            user_agent: "/abc/".into()
        },
        until,
    }));
    assert_eq!(
        story.accept("10.0.0.1:1"),
        Err(InboundRefusal::Banned),
        "whatever the port"
    );
    story.dials.clear();
    story.pass(Duration::from_secs(24 * 3600));
    assert_eq!(story.dialled(), [address(0)], "the ban is over");
}

#[test]
fn a_ban_holds_at_once_and_is_reported_when_it_is_stored() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    story.store = Store::Fails;
    story.command(Command::Ban(address(0).ip()));
    assert_eq!(story.closes.len(), 1);
    assert_eq!(story.accept("10.0.0.1:1"), Err(InboundRefusal::Banned));
    let banned = |story: &Story| story.events(is_ban);
    let failed = |event: &ControlEvent| matches!(event, ControlEvent::StoreFailed { .. });
    assert!(story.events.iter().any(failed));
    assert_eq!(banned(&story), 0);
    story.store = Store::Works;
    story.pass(Duration::from_secs(10));
    assert_eq!(banned(&story), 1);
}

#[test]
fn a_ban_that_replaced_another_is_reported_when_it_is_stored_itself() {
    let mut story = Story::with_peers(0);
    let ip = address(1).ip();
    let violation = BanReason::ProtocolViolation {
        violation: "x".into(),
    };
    story
        .manager
        .ban(ip, violation, Some(Duration::from_secs(60)));
    story.manager.persist();
    let Some(Action::Persist { batch, .. }) = story.manager.poll_action() else {
        panic!("bans are stored at once");
    };
    story
        .manager
        .handle(story.now, Input::Command(Command::Ban(ip)));
    let result = Ok(());
    story
        .manager
        .handle(story.now, Input::Stored { batch, result });
    let next = story.manager.poll_action();
    assert!(matches!(next, Some(Action::Persist { .. })), "{next:?}");
}

#[test]
fn a_ban_that_is_asked_for_again_is_reported_again() {
    let mut story = Story::with_peers(0);
    let ip = address(1).ip();
    story.command(Command::Ban(ip));
    story.command(Command::Ban(ip));
    assert_eq!(story.events(is_ban), 2);
}

#[test]
fn a_ban_that_is_over_leaves_no_record() {
    let mut story = Story::with_peers(0);
    let ip = address(1).ip();
    let violation = BanReason::ProtocolViolation {
        violation: "x".into(),
    };
    story
        .manager
        .ban(ip, violation, Some(Duration::from_secs(60)));
    story.settle();
    story.pass(Duration::from_secs(59));
    let record = story.record((ip, 0).into()).unwrap();
    assert_eq!(record.status, PeerStatus::Banned);
    story.pass(Duration::from_secs(1));
    assert_eq!(story.record((ip, 0).into()), None);
}

#[test]
fn a_ban_that_was_lifted_is_lifted_in_the_store_and_its_record_goes_at_the_next_start() {
    let mut story = Story::with_peers(1);
    let ip = address(0).ip();
    story.command(Command::Ban(ip));
    story.command(Command::Unban(ip));
    for at in [(ip, 0).into(), address(0)] {
        let record = story.record(at).unwrap();
        assert_eq!((record.status, &record.ban), (PeerStatus::Unknown, &None));
    }
    let known = story.records.values().cloned().collect();
    let mut next = Story::new(config(), OperatingMode::Normal, Vec::new());
    next.records = story.records;
    next.manager.learn_known(known);
    next.settle();
    assert_eq!(next.record((ip, 0).into()), None);
    assert_eq!(next.dialled(), [address(0)]);
}

#[test]
fn the_record_of_an_ip_decides_and_one_that_says_only_banned_is_an_operators() {
    let banned_by_port = |n| peer(n, PeerStatus::Banned);
    let mut lifted = peer(1, PeerStatus::Unknown);
    lifted.port = 0;
    lifted.id = Peer::id_of(Network::Regtest, lifted.address());
    let known = vec![banned_by_port(0), banned_by_port(1), lifted];
    let mut story = Story::new(config(), OperatingMode::Normal, known);
    assert_eq!(story.dialled(), [address(1)]);
    assert_eq!(
        (story.status(0), story.status(1)),
        (PeerStatus::Banned, PeerStatus::Unknown)
    );
    assert_eq!(story.accept("10.0.0.1:1"), Err(InboundRefusal::Banned));
    story.pass(Duration::from_secs(48 * 3600));
    story.command(Command::Unban(address(0).ip()));
    assert!(story.dialled().contains(&address(0)));
}

#[test]
fn what_others_have_banned_is_enforced_told_and_not_stored_again() {
    let mut story = Story::with_peers(1);
    story.establish_all();
    story.records.clear();
    let ip = address(0).ip();
    let record = record_of(ip, Some(None));
    let lifted = record_of(ip, None);
    for _ in 0..2 {
        let peers = vec![record.clone()];
        story.input(Input::Changed { peers });
    }
    assert_eq!(story.closes.len(), 1);
    assert_eq!(story.events(is_ban), 1);
    assert_eq!(story.record((ip, 0).into()), None);
    let peers = vec![lifted];
    story.input(Input::Changed { peers });
    assert_eq!(story.status(0), PeerStatus::Unknown);
    assert_eq!(story.record((ip, 0).into()), None);
}

#[test]
fn who_makes_room_in_a_full_table_of_bans_is_as_one_whose_ban_is_over() {
    let mut story = Story::with_peers(1);
    let violation = || BanReason::ProtocolViolation {
        violation: "x".into(),
    };
    story.manager.ban(
        address(0).ip(),
        violation(),
        Some(Duration::from_secs(3600)),
    );
    for n in 1..crate::bans::MAX_BANS as u32 {
        let ip = std::net::Ipv4Addr::from_bits(0x1400_0000 + n).into();
        story.manager.bans.ban(
            ip,
            Ban {
                reason: violation(),
                at: wall(0),
                until: None,
            },
        );
    }
    assert_eq!(story.status(0), PeerStatus::Banned);
    story
        .manager
        .ban("9.9.9.9".parse().unwrap(), violation(), None);
    assert_eq!(story.status(0), PeerStatus::Unknown);
    story.settle();
    assert_eq!(
        story.events(|event| matches!(event, ControlEvent::PeerUnbanned { .. })),
        1
    );
}

#[test]
fn a_ban_that_ended_while_nobody_looked_is_none() {
    let over = || record_of(address(0).ip(), Some(Some(wall(0))));
    let known = vec![peer(0, PeerStatus::Unknown), over()];
    let mut story = Story::new(config(), OperatingMode::Normal, known);
    assert_eq!(story.dialled(), [address(0)]);
    story.establish_all();
    let peers = vec![over()];
    story.input(Input::Changed { peers });
    assert_eq!(story.closes, []);
    let of_a_ban =
        |event: &ControlEvent| is_ban(event) || matches!(event, ControlEvent::PeerUnbanned { .. });
    assert_eq!(story.events(of_a_ban), 0);
}

#[test]
fn who_looks_for_bans_that_were_lifted_elsewhere_leaves_those_alone_that_are_not_stored_yet() {
    let mut story = Story::with_peers(0);
    let (stored, on_its_way) = (address(0).ip(), address(1).ip());
    story.command(Command::Ban(stored));
    for store in [Store::Fails, Store::Hangs] {
        story.store = store;
        story.command(Command::Ban(on_its_way));
        let asked: Vec<_> = story.manager.stored_bans().collect();
        assert_eq!(asked, [stored], "{store:?}");
        story.pass(Duration::from_secs(10));
    }
}

#[test]
fn what_is_not_stored_yet_does_not_undo_what_others_did_since() {
    let mut story = Story::with_peers(0);
    let (kept, lifted) = (address(0).ip(), address(1).ip());
    story.command(Command::Ban(kept));
    story.store = Store::Fails;
    story.command(Command::Unban(kept));
    story.command(Command::Ban(lifted));
    let peers = vec![record_of(kept, Some(None)), record_of(lifted, None)];
    story.input(Input::Changed { peers });
    story.store = Store::Works;
    story.pass(Duration::from_secs(10));
    let stored = story.record((kept, 0).into()).unwrap();
    assert_eq!(stored.status, PeerStatus::Banned);
    assert_eq!(story.record((lifted, 0).into()), None);
}

#[test]
fn one_whose_ban_finds_no_room_may_be_dialled_again() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials.pop().unwrap();
    for n in 0..crate::bans::MAX_BANS as u32 {
        let ip = std::net::Ipv4Addr::from_bits(0x1400_0000 + n).into();
        let (reason, at, until) = (BanReason::Manual, wall(0), None);
        story.manager.bans.ban(ip, Ban { reason, at, until });
    }
    story.connected(conn);
    let user_agent = UserAgent::from_static("/abc/");
    story.closed(
        conn,
        CloseReason::Violation(Violation::OtherChain { user_agent }),
    );
    assert_ne!(story.status(0), PeerStatus::Banned);
    story.pass(Duration::from_secs(5));
    assert_eq!(story.dialled(), [at]);
}

#[test]
fn a_record_that_others_have_banned_is_cleared_with_the_ban() {
    let mut story = Story::with_peers(0);
    let mut record = peer(1, PeerStatus::Banned);
    record.ban = Some(Ban {
        reason: BanReason::Manual,
        at: wall(0),
        until: None,
    });
    story.records.insert(record.id, record.clone());
    let peers = vec![record];
    story.input(Input::Changed { peers });
    assert_eq!(story.status(1), PeerStatus::Banned);
    story.command(Command::Unban(address(1).ip()));
    let stored = story.record(address(1)).unwrap();
    assert_eq!((stored.status, &stored.ban), (PeerStatus::Unknown, &None));
}

#[test]
fn a_ban_that_others_have_set_for_a_time_ends_whoever_set_it() {
    let mut story = Story::with_peers(0);
    let ip = address(1).ip();
    let peers = vec![record_of(ip, Some(Some(wall(60))))];
    story.input(Input::Changed { peers });
    story.pass(Duration::from_secs(59));
    assert!(story.manager.is_banned(ip));
    story.pass(Duration::from_secs(1));
    assert!(!story.manager.is_banned(ip));
}

#[test]
fn one_whose_ban_was_lifted_has_failed_at_nothing() {
    let mut story = Story::with_peers(1);
    let (conn, at) = story.dials.pop().unwrap();
    story.fail(conn);
    story.command(Command::Ban(at.ip()));
    story.command(Command::Unban(at.ip()));
    assert_eq!(story.manager.explain_peer(at).unwrap().retries, 0);
    assert_eq!(story.dialled(), [at], "its backoff is over too");
}

/// The record of an IP, as another manager stores it: banned until then, for good, or not.
fn record_of(ip: IpAddr, ban: Option<Option<Timestamp>>) -> Peer {
    let mut record = Peer::new(
        Network::Regtest,
        (ip, 0).into(),
        PeerSource::Inbound,
        wall(0),
    );
    if let Some(until) = ban {
        record.status = PeerStatus::Banned;
        record.ban = Some(Ban {
            reason: BanReason::Manual,
            at: wall(0),
            until,
        });
    }
    record
}

fn is_ban(event: &ControlEvent) -> bool {
    matches!(event, ControlEvent::PeerBanned { .. })
}
