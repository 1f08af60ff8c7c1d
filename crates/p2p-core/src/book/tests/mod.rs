//! What the book promises, one test a promise; `properties` compares it with a naive one, `model`.

mod dialling;
mod model;
mod properties;
mod remembering;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use p2p_proto::Network;

use super::*;
use crate::netgroup::NetGroup;
use crate::peer::PeerSource;
use crate::timestamp::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

impl Book {
    /// Every index says what the records say.
    pub(super) fn check(&self) {
        let mut fresh = Indexes::new();
        for (address, id) in &self.by_address {
            let record = self.records.get(*id);
            assert_eq!(*address, record.peer.address());
            assert_eq!(record.place, self.keys.place(address.ip()));
            assert_eq!(record.rank, self.keys.rank(*address));
            fresh.replace(*id, None, Some(&record.facts(*id)));
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

#[test]
fn the_secret_is_not_shown() {
    let book = filled([host(0, 0)]);
    let shown = format!("{book:?}");
    assert!(shown.starts_with("Book { limits:") && shown.ends_with("len: 1, .. }"));
    assert!(!shown.contains("keys"));
}
