//! What others are told.

use super::*;

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
