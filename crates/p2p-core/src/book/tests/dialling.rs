//! Who is dialled, and in which order.

use super::*;

#[test]
fn only_those_on_a_list_are_candidates_and_waited_for() {
    let mut book = filled((0..4).map(|group| host(group, 0)));
    let due = Instant::now();
    book.only([host(1, 0), host(2, 0), host(9, 0)]);
    book.check();
    assert_eq!(book.ready_count(PeerStatus::Unknown), 2);
    for group in 0..4 {
        book.set_availability(host(group, 0), Availability::At(due));
    }
    assert_eq!(book.waiting_count(), 2);
    for newcomer in [host(8, 0), host(9, 0)] {
        book.insert(gossiped(newcomer), None, Availability::At(due))
            .unwrap();
    }
    assert_eq!(book.waiting_count(), 3);
    book.advance(due);
    assert_eq!(book.ready_count(PeerStatus::Unknown), 3);
    book.check();
}

#[test]
fn of_a_list_those_come_first_that_were_tried_least_recently() {
    let list: Vec<_> = (0..6).map(|n| host(n % 2, n)).collect();
    let mut book = filled(list.iter().copied());
    book.only(list.iter().copied());
    let mut tried = Vec::new();
    for now in 1..=12 {
        // Connections to its netgroup, and failures, hold none up.
        let address = dial(&mut book, PeerStatus::Unknown).unwrap();
        let now = Timestamp::from_millis(now);
        book.update(address, |peer| peer.last_attempt = Some(now));
        book.set_retries(address, 1);
        book.connected(address);
        book.set_availability(address, Availability::Ready);
        tried.push(address);
    }
    assert_eq!(tried[..6], tried[6..], "round and round");
    assert_eq!(tried[..6].iter().collect::<BTreeSet<_>>().len(), 6);
    book.check();
}

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
fn however_often_one_failed_it_does_not_come_first_again() {
    for retries in [1, 255, 256, u32::MAX] {
        let mut book = filled([host(0, 0), host(0, 1)]);
        let first = book.candidate(PeerStatus::Unknown).unwrap();
        book.set_retries(first, retries);
        let next = book.candidate(PeerStatus::Unknown);
        assert_ne!(next, Some(first), "after {retries} retries");
    }
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
