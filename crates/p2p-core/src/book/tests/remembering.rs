//! What is remembered when there is no room for all.

use super::*;

/// A group has room for two. Who goes for whom.
#[test]
fn the_worst_goes_for_a_better_one() {
    use PeerStatus::{Banned, Inaccessible, Unknown, Valid};

    let limits = BookLimits {
        per_netgroup: 2,
        ..BookLimits::default()
    };
    let keys = Keys::new([7; 32]);
    let [early, late] = {
        let mut hosts = [host(0, 1), host(0, 2)];
        hosts.sort_by_key(|address| keys.rank(*address));
        hosts
    };
    let old = host(0, 3);
    let insert = |residents: &[(SocketAddr, PeerStatus)], newcomer, status| {
        let mut book = book(limits);
        for (address, status) in residents {
            let mut peer = peer(*address, PeerSource::Gossip, *status);
            if *address == old {
                peer.status_timestamp = Timestamp::from_millis(1);
            }
            book.insert(peer, None, Availability::Ready).unwrap();
        }
        let peer = peer(newcomer, PeerSource::Gossip, status);
        let inserted = book.insert(peer, None, Availability::Ready);
        book.check();
        inserted.map(|evicted| evicted.iter().map(Peer::address).collect::<Vec<_>>())
    };

    let full = Err(Refused::NetGroupFull);
    let newcomer = host(0, 9);
    for (residents, who, status, expected) in [
        // An inaccessible one goes before an unknown one, and the oldest of them first.
        (
            [(early, Unknown), (late, Inaccessible)],
            newcomer,
            Valid,
            Ok(vec![late]),
        ),
        (
            [(late, Inaccessible), (old, Inaccessible)],
            newcomer,
            Unknown,
            Ok(vec![old]),
        ),
        (
            [(early, Valid), (late, Inaccessible)],
            newcomer,
            Inaccessible,
            full.clone(),
        ),
        // Of unknown ones the secret chooses, and it may choose the newcomer.
        (
            [(host(0, 4), Valid), (late, Unknown)],
            early,
            Unknown,
            Ok(vec![late]),
        ),
        (
            [(host(0, 4), Valid), (early, Unknown)],
            late,
            Unknown,
            full.clone(),
        ),
        // Whoever worked or is banned stays.
        (
            [(early, Valid), (late, Banned)],
            newcomer,
            Valid,
            full.clone(),
        ),
        (
            [(early, Valid), (late, Valid)],
            newcomer,
            Unknown,
            full.clone(),
        ),
        // Another group is not concerned.
        (
            [(early, Valid), (late, Valid)],
            host(1, 0),
            Unknown,
            Ok(vec![]),
        ),
    ] {
        let case = format!("{residents:?}, then {who} {status:?}");
        assert_eq!(insert(&residents, who, status), expected, "{case}");
    }
}

#[test]
fn who_is_tried_busy_or_the_users_own_stays() {
    let limits = BookLimits {
        per_netgroup: 1,
        ..BookLimits::default()
    };
    let refused = |prepare: fn(&mut Book)| {
        let mut book = book(limits);
        let resident = gossiped(host(0, 0));
        book.insert(resident, None, Availability::Ready).unwrap();
        prepare(&mut book);
        let better = peer(host(0, 1), PeerSource::Gossip, PeerStatus::Valid);
        book.insert(better, None, Availability::Ready)
    };
    assert!(refused(|_| ()).is_ok(), "an untried one goes");
    for (name, prepare) in [
        (
            "retried",
            (|book| book.set_retries(host(0, 0), 1)) as fn(&mut Book),
        ),
        ("attempted", |book| {
            book.update(host(0, 0), |peer| peer.last_attempt = Some(NOW));
        }),
        ("busy", |book| {
            book.set_availability(host(0, 0), Availability::Busy);
        }),
        ("ours", |book| {
            book.set_availability(host(0, 0), Availability::Never);
        }),
    ] {
        assert_eq!(refused(prepare), Err(Refused::NetGroupFull), "{name}");
    }

    // The user's own do not count, and always find room while there is some.
    let mut book = book(limits);
    for number in 0..10 {
        let source = [PeerSource::Manual, PeerSource::Fixed][usize::from(number % 2)];
        let peer = peer(host(0, number), source, PeerStatus::Unknown);
        assert_eq!(book.insert(peer, None, Availability::Ready), Ok(vec![]));
    }
    assert!(
        book.insert(gossiped(host(0, 10)), None, Availability::Ready)
            .is_ok()
    );
    book.check();
}

#[test]
fn room_in_the_whole_is_made_in_the_fullest_group() {
    let limits = BookLimits {
        total: 10,
        ..BookLimits::default()
    };
    let mut book = book(limits);
    for number in 0..6 {
        let peer = gossiped(host(0, number));
        book.insert(peer, None, Availability::Ready).unwrap();
    }
    for group in 1..5 {
        let peer = gossiped(host(group, 0));
        book.insert(peer, None, Availability::Ready).unwrap();
    }
    for group in 5..9 {
        let peer = gossiped(host(group, 0));
        let evicted = book.insert(peer, None, Availability::Ready).unwrap();
        assert_eq!(
            NetGroup::of(evicted[0].ip_address),
            NetGroup::of(host(0, 0).ip())
        );
        book.check();
    }
    // Now two are in the fullest and one in each other: a newcomer gains nothing for variety.
    let mut kept = 0;
    for group in 9..109 {
        let inserted = book.insert(gossiped(host(group, 0)), None, Availability::Ready);
        kept += usize::from(inserted.is_ok());
        assert_eq!(book.len(), 10);
    }
    assert!(
        (1..50).contains(&kept),
        "{kept} of a hundred: a sample, not the last"
    );
}

#[test]
fn who_tells_too_much_displaces_its_own() {
    let limits = BookLimits {
        per_source: 3,
        ..BookLimits::default()
    };
    let mut book = book(limits);
    let talker = host(200, 0).ip();
    let neighbour = host(200, 1).ip();
    let honest = host(201, 0).ip();
    book.insert(gossiped(host(0, 0)), Some(honest), Availability::Ready)
        .unwrap();
    for group in 1..100 {
        let from = if group % 2 == 0 { talker } else { neighbour };
        let inserted = book.insert(gossiped(host(group, 0)), Some(from), Availability::Ready);
        assert!(inserted != Err(Refused::Full) && inserted != Err(Refused::NetGroupFull));
        assert!(book.len() <= 4);
        book.check();
    }
    assert_eq!(book.len(), 4);
    assert!(book.get(host(0, 0)).is_some());
}

#[test]
fn one_that_goes_can_make_room_twice() {
    let limits = BookLimits {
        total: 2,
        per_netgroup: 1,
        per_source: 1,
    };
    let mut book = book(limits);
    let source = Some(host(200, 0).ip());
    let down = |address| peer(address, PeerSource::Gossip, PeerStatus::Inaccessible);
    book.insert(down(host(0, 0)), source, Availability::Ready)
        .unwrap();
    book.insert(down(host(1, 0)), None, Availability::Ready)
        .unwrap();

    // Source and group are full: by the same one.
    let inserted = book.insert(gossiped(host(0, 1)), source, Availability::Ready);
    assert_eq!(inserted.unwrap().len(), 1);
    // By two: the one from the source, and the one of the group.
    let newcomer = peer(host(1, 1), PeerSource::Gossip, PeerStatus::Valid);
    let inserted = book.insert(newcomer, source, Availability::Ready);
    assert_eq!(inserted.unwrap().len(), 2);
    assert_eq!(book.len(), 1);
    book.check();
}

#[test]
fn an_attacker_with_a_netgroup_gets_its_share_and_no_more() {
    let limits = BookLimits::default();
    let mut book = book(limits);
    // Peers that worked: in the attacker's netgroup, and elsewhere.
    let honest = (0..100)
        .map(|number| host(0, 60_000 + number))
        .chain((1..300).map(|group| host(group, 0)));
    let honest: Vec<_> = honest.collect();
    for address in &honest {
        let peer = peer(*address, PeerSource::Dns, PeerStatus::Valid);
        book.insert(peer, None, Availability::Ready).unwrap();
    }
    // It tells of 100,000 addresses, through as many netgroups as it likes.
    for number in 0..100_000_u32 {
        let [_, port, c, d] = number.to_be_bytes();
        let mut address = host(0, u16::from_be_bytes([c, d]));
        address.set_port(8333 + u16::from(port));
        let from = host((number % 500) as u16, 1).ip();
        let _ = book.insert(gossiped(address), Some(from), Availability::Ready);
    }
    book.check();
    for address in &honest {
        let entry = book.get(*address).unwrap();
        assert_eq!(entry.peer.status, PeerStatus::Valid);
    }
    let group = NetGroup::of(host(0, 0).ip());
    let of_group = book
        .iter()
        .filter(|entry| NetGroup::of(entry.peer.ip_address) == group);
    assert_eq!(of_group.count(), limits.per_netgroup as usize);

    // Nor is it dialled more often than once a round: other groups are not found any later.
    let mut others = BTreeSet::new();
    for dials in 1..=300 {
        let address = dial(&mut book, PeerStatus::Valid).unwrap();
        others.insert(NetGroup::of(address.ip()));
        assert_eq!(others.len(), dials);
    }
}

#[test]
fn an_attacker_with_an_address_names_no_more_than_a_source_may() {
    let limits = BookLimits::default();
    let mut book = book(limits);
    let from = Some(host(300, 0).ip());
    for number in 0..100_000_u32 {
        let group = (number % 30_000) as u16;
        let address = host(group, (number / 30_000) as u16);
        let _ = book.insert(gossiped(address), from, Availability::Ready);
    }
    assert_eq!(book.len(), limits.per_source as usize);
    // To say it all again changes nothing.
    let before: Vec<_> = book.iter().map(|entry| entry.peer.address()).collect();
    for number in 0..100_000_u32 {
        let group = (number % 30_000) as u16;
        let address = host(group, (number / 30_000) as u16);
        let again = book.insert(gossiped(address), from, Availability::Ready);
        assert!(matches!(again, Err(Refused::Known | Refused::SourceFull)));
    }
    let after: Vec<_> = book.iter().map(|entry| entry.peer.address()).collect();
    assert_eq!(before, after);
}
