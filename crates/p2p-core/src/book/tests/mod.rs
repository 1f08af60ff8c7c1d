//! What the book promises, one test a promise; `properties` compares it with a naive one.

mod model;
mod properties;

use std::collections::BTreeMap;
use std::time::Duration;

use p2p_proto::Network;

use super::*;
use crate::peer::PeerSource;
use crate::timestamp::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

impl Book {
    /// Every index says what the records say.
    pub(super) fn check(&self) {
        let mut fresh = Indexes::new(self.keys);
        for (address, id) in &self.by_address {
            let record = self.records.get(*id);
            assert_eq!(*address, record.peer.address());
            assert_eq!(record.group, NetGroup::of(address.ip()));
            assert_eq!(record.rank, self.keys.rank(*address));
            fresh.replace(*id, None, Some(&record.facts()));
        }
        assert_eq!(self.indexes.counts, fresh.counts);
        assert_eq!(self.indexes.due, fresh.due);
        assert_eq!(self.indexes.room, fresh.room);
        self.indexes.candidates.check(fresh.candidates);
        self.indexes.shared.check(&fresh.shared);
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn peer(address: SocketAddr, source: PeerSource, status: PeerStatus) -> Peer {
    let mut peer = Peer::new(Network::Mainnet, address, source, NOW);
    peer.set_status(status, NOW);
    peer
}

fn gossiped(address: SocketAddr) -> Peer {
    peer(address, PeerSource::Gossip, PeerStatus::Unknown)
}

fn book(limits: BookLimits) -> Book {
    Book::new([7; 32], limits)
}

/// A book of these, all ready and untried.
fn filled(addresses: impl IntoIterator<Item = SocketAddr>) -> Book {
    let mut book = book(BookLimits::default());
    for address in addresses {
        let inserted = book.insert(gossiped(address), None, Availability::Ready);
        assert_eq!(inserted, Ok(vec![]));
    }
    book
}

/// The host of that number in the /16 of that number.
fn host(group: u16, number: u16) -> SocketAddr {
    let [a, b] = (group + 0x0b00).to_be_bytes();
    let [c, d] = number.to_be_bytes();
    SocketAddr::from(([a, b, c, d], 8333))
}

/// Dials the candidate: it is busy from then on.
fn dial(book: &mut Book, status: PeerStatus) -> Option<SocketAddr> {
    let address = book.candidate(status)?;
    book.set_availability(address, Availability::Busy);
    Some(address)
}

// who is dialled

#[test]
fn every_group_has_one_turn_a_round() {
    let hosts = (0..100).flat_map(|group| (0..10).map(move |number| host(group, number)));
    let mut book = filled(hosts);
    for round in 1..=10 {
        let mut turns = BTreeMap::new();
        for _ in 0..100 {
            let address = dial(&mut book, PeerStatus::Unknown).unwrap();
            *turns.entry(NetGroup::of(address.ip())).or_insert(0) += 1;
        }
        assert_eq!(turns.len(), 100, "round {round}");
        book.check();
    }
    assert_eq!(book.candidate(PeerStatus::Unknown), None);
}

#[test]
fn a_group_with_many_addresses_has_no_more_turns_than_one_with_few() {
    let crowd = (0..1000).map(|number| host(0, number));
    let few = (1..10).flat_map(|group| (0..2).map(move |number| host(group, number)));
    let mut book = filled(crowd.chain(few));
    let crowd = NetGroup::of(host(0, 0).ip());
    let dialled: Vec<_> = (0..20)
        .filter_map(|_| dial(&mut book, PeerStatus::Unknown))
        .filter(|address| NetGroup::of(address.ip()) == crowd)
        .collect();
    assert_eq!(dialled.len(), 2);
}

#[test]
fn who_waits_is_not_put_off_by_groups_that_appear() {
    let mut book = filled((0..20).map(|group| host(group, 0)));
    let mut waiting: BTreeSet<_> = (0..20).map(|group| host(group, 0)).collect();
    let mut dials = 0;
    // Between two dials five more groups are named, up to a thousand.
    let mut newcomers = (20..1000).map(|group| host(group, 0));
    while !waiting.is_empty() {
        let dialled = dial(&mut book, PeerStatus::Unknown).unwrap();
        waiting.remove(&dialled);
        dials += 1;
        for newcomer in newcomers.by_ref().take(5) {
            book.insert(gossiped(newcomer), None, Availability::Ready)
                .unwrap();
        }
    }
    assert!(dials <= 1000, "one round of all: {dials}");
}

#[test]
fn groups_with_fewer_connections_come_first() {
    let mut book = filled((0..10).flat_map(|group| [host(group, 0), host(group, 1)]));
    for group in (0..10).filter(|group| *group != 4) {
        book.connected(host(group, 77));
    }
    book.connected(host(5, 78));
    for number in 0..2 {
        let address = dial(&mut book, PeerStatus::Unknown).unwrap();
        assert_eq!(address.ip().to_string()[..5], *"11.4.", "{number}");
    }
    let twice = NetGroup::of(host(5, 0).ip());
    for _ in 0..16 {
        let address = dial(&mut book, PeerStatus::Unknown).unwrap();
        assert_ne!(NetGroup::of(address.ip()), twice);
    }
    book.disconnected(host(5, 78));
    book.disconnected(host(5, 77));
    let address = dial(&mut book, PeerStatus::Unknown).unwrap();
    assert_eq!(NetGroup::of(address.ip()), twice);
    book.check();
}

#[test]
fn who_failed_comes_after_the_others_of_its_group() {
    let mut book = filled((0..5).map(|number| host(0, number)));
    let mut order = Vec::new();
    let now = Instant::now();
    for _ in 0..10 {
        let address = dial(&mut book, PeerStatus::Unknown).unwrap();
        let retries = book.retries(address).unwrap();
        book.set_retries(address, retries + 1);
        book.set_availability(address, Availability::At(now));
        book.advance(now);
        order.push(address);
    }
    assert_eq!(order[..5], order[5..], "each once, then each again");
    order.truncate(5);
    order.sort();
    order.dedup();
    assert_eq!(order.len(), 5);
}

#[test]
fn the_order_is_the_secrets() {
    let order = |secret| {
        let mut book = Book::new(secret, BookLimits::default());
        for group in 0..20 {
            for number in 0..20 {
                let peer = gossiped(host(group, number));
                book.insert(peer, None, Availability::Ready).unwrap();
            }
        }
        std::iter::from_fn(|| dial(&mut book, PeerStatus::Unknown)).collect::<Vec<_>>()
    };
    let groups = |order: &[SocketAddr]| -> Vec<_> {
        let ips = order.iter().map(|address| address.ip());
        ips.map(NetGroup::of).collect()
    };
    let one = order([1; 32]);
    assert_eq!(one.len(), 400);
    assert_eq!(one, order([1; 32]), "it alone decides");
    assert_ne!(groups(&one), groups(&order([2; 32])));

    let mut numbers = [1; 32];
    numbers[0] = 2;
    let other = order(numbers);
    assert_eq!(
        groups(&one),
        groups(&other),
        "the first half is the addresses'"
    );
    assert_ne!(one, other);
}

#[test]
fn a_status_has_candidates_of_its_own() {
    let mut book = filled([host(0, 0), host(1, 0)]);
    book.update(host(1, 0), |peer| peer.set_status(PeerStatus::Valid, NOW));
    assert_eq!(book.candidate(PeerStatus::Unknown), Some(host(0, 0)));
    assert_eq!(book.candidate(PeerStatus::Valid), Some(host(1, 0)));
    assert_eq!(book.candidate(PeerStatus::Inaccessible), None);
    assert_eq!(book.count(PeerStatus::Valid), 1);
    assert_eq!(book.ready_count(PeerStatus::Unknown), 1);
}

#[test]
fn the_banned_and_the_inbound_are_never_candidates() {
    let mut book = filled([]);
    for (group, source, status) in [
        (0, PeerSource::Gossip, PeerStatus::Banned),
        (1, PeerSource::Inbound, PeerStatus::Unknown),
    ] {
        let peer = peer(host(group, 0), source, status);
        book.insert(peer, None, Availability::Ready).unwrap();
        assert_eq!(book.candidate(status), None);
        assert_eq!(book.ready_count(status), 0);
        assert!(book.sample(10, 0).is_empty());
    }
}

#[test]
fn time_makes_ready_what_waited() {
    let mut book = filled((0..4).map(|number| host(0, number)));
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    for number in 0..3 {
        let due = at(u64::from(number) + 1);
        book.set_availability(host(0, number), Availability::At(due));
    }
    book.set_availability(host(0, 3), Availability::Never);
    assert_eq!(book.ready_count(PeerStatus::Unknown), 0);

    for (seconds, ready, next) in [
        (0, 0, Some(at(1))),
        (1, 1, Some(at(2))),
        (10, 3, None),
        (20, 3, None),
    ] {
        book.advance(at(seconds));
        assert_eq!(book.ready_count(PeerStatus::Unknown), ready, "{seconds} s");
        assert_eq!(book.next_due(), next, "{seconds} s");
        book.check();
    }
}

// what is remembered

#[test]
fn a_known_address_is_refused_in_any_spelling() {
    let mut book = filled([address("1.2.3.4:8333")]);
    let mapped = address("[::ffff:1.2.3.4]:8333");
    let mut again = gossiped(mapped);
    again.ip_address = mapped.ip();
    let inserted = book.insert(again, None, Availability::Ready);
    assert_eq!(inserted, Err(Refused::Known));
    assert!(book.get(mapped).is_some());
    assert_eq!(book.of_ip(mapped.ip()).count(), 1);
    assert!(book.remove(mapped).is_some());
    assert!(book.is_empty());
    book.check();
}

#[test]
fn what_comes_in_with_a_mapped_address_is_canonical() {
    let mapped = address("[::ffff:1.2.3.4]:8333");
    let mut peer = gossiped(mapped);
    peer.ip_address = mapped.ip();
    let mut book = filled([]);
    book.insert(peer, None, Availability::Ready).unwrap();
    assert_eq!(
        book.candidate(PeerStatus::Unknown),
        Some(address("1.2.3.4:8333"))
    );
    book.check();
}

#[test]
fn an_address_does_not_change() {
    let mut book = filled([host(0, 0)]);
    let seen = book.update(host(0, 0), |peer| {
        peer.ip_address = host(9, 9).ip();
        peer.port = 1;
        peer.status
    });
    assert_eq!(seen, Some(PeerStatus::Unknown));
    assert_eq!(book.get(host(0, 0)).unwrap().peer.address(), host(0, 0));
    book.check();
}

#[test]
fn the_addresses_of_an_ip_are_found() {
    let mine = ["1.2.3.4:1", "1.2.3.4:8333", "1.2.3.4:65535"].map(address);
    let others = ["1.2.3.3:65535", "1.2.3.5:1", "[::1]:8333"].map(address);
    let book = filled(mine.into_iter().chain(others));
    let found: Vec<_> = book.of_ip("1.2.3.4".parse().unwrap()).collect();
    assert_eq!(found, mine);
    let all: Vec<_> = book.iter().map(|entry| entry.peer.address()).collect();
    assert!(all.is_sorted());
    assert_eq!(all.len(), 6);
}

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
    let resident = host(0, 0);
    let refused = |prepare: fn(&mut Book)| {
        let mut book = book(limits);
        let peer = gossiped(resident);
        book.insert(peer, None, Availability::Ready).unwrap();
        prepare(&mut book);
        let newcomer = peer_of_worth(&book);
        book.insert(newcomer, None, Availability::Ready)
    };
    /// One that any dispensable one goes for.
    fn peer_of_worth(_: &Book) -> Peer {
        peer(host(0, 1), PeerSource::Gossip, PeerStatus::Valid)
    }
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

// what is told

#[test]
fn a_sample_is_a_part_and_even() {
    let book = filled((0..10).flat_map(|group| (0..10).map(move |number| host(group, number))));
    for (most, found) in [(0, 0), (5, 5), (23, 23), (1000, 23)] {
        assert_eq!(book.sample(most, 1).len(), found, "at most {most}");
    }
    let mut told = BTreeMap::new();
    for seed in 0..1000 {
        let sample = book.sample(1000, seed);
        assert_eq!(sample, book.sample(1000, seed));
        let different: BTreeSet<_> = sample.iter().map(|peer| peer.address()).collect();
        assert_eq!(different.len(), 23);
        for address in different {
            *told.entry(address).or_insert(0) += 1;
        }
    }
    // 230 times each; five standard deviations are 67.
    assert_eq!(told.len(), 100);
    for (address, times) in told {
        assert!((163..298).contains(&times), "{address}: {times} times");
    }
}

#[test]
fn what_is_not_worth_telling_is_not_told() {
    let told = |prepare: fn(&mut Book, SocketAddr)| {
        let mut book = filled([host(0, 0)]);
        prepare(&mut book, host(0, 0));
        book.check();
        book.sample(10, 0).len() == 1
    };
    assert!(told(|_, _| ()), "an unknown peer, rounded up");
    for (name, expected, prepare) in [
        (
            "valid",
            true,
            (|book, address| {
                book.set_retries(address, 9);
                book.update(address, |peer| peer.status = PeerStatus::Valid);
            }) as fn(&mut Book, SocketAddr),
        ),
        ("tried twice", true, |book, address| {
            book.set_retries(address, 2)
        }),
        ("tried three times", false, |book, address| {
            book.set_retries(address, 3)
        }),
        ("inaccessible", false, |book, address| {
            book.update(address, |peer| peer.status = PeerStatus::Inaccessible);
        }),
        ("banned", false, |book, address| {
            book.update(address, |peer| peer.status = PeerStatus::Banned);
        }),
        ("ours", false, |book, address| {
            book.set_availability(address, Availability::Never);
        }),
        ("busy", true, |book, address| {
            book.set_availability(address, Availability::Busy);
        }),
        ("the user's", false, |book, address| {
            book.update(address, |peer| peer.source = PeerSource::Manual);
        }),
        ("of the fixed list", false, |book, address| {
            book.update(address, |peer| peer.source = PeerSource::Fixed);
        }),
    ] {
        assert_eq!(told(prepare), expected, "{name}");
    }
}

#[test]
fn the_secret_is_not_shown() {
    let book = filled([host(0, 0)]);
    let shown = format!("{book:?}");
    assert!(shown.starts_with("Book { limits:") && shown.ends_with("len: 1, .. }"));
    assert!(!shown.contains("keys"));
}
