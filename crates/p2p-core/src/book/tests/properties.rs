//! Whatever is done to the book, it does what the naive one does.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::model::{Known, Model};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Insert(Box<Known>),
    Remove(SocketAddr),
    Status(SocketAddr, PeerStatus, u64),
    Attempt(SocketAddr),
    Retries(SocketAddr, u32),
    Availability(SocketAddr, Availability),
    Release(SocketAddr),
    Dial(PeerStatus),
    Advance(Duration),
    Connected(SocketAddr),
    Disconnected(SocketAddr),
}

/// Few addresses, so that steps meet: five netgroups, one of them unroutable, one of IPv6.
fn some_address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        8 => (0_u8..3, 0_u8..4).prop_map(|(b, d)| IpAddr::from([11, b, 0, d])),
        1 => (0_u8..3).prop_map(|d| IpAddr::from([10, 0, 0, d])),
        1 => (0_u16..3).prop_map(|d| IpAddr::from([0x2600, 0, 0, 0, 0, 0, 0, d])),
    ];
    (ip, select(&[1_u16, 8333, 65535][..])).prop_map(SocketAddr::from)
}

fn some_source() -> impl Strategy<Value = PeerSource> {
    prop_oneof![
        6 => Just(PeerSource::Gossip),
        1 => Just(PeerSource::Dns),
        1 => Just(PeerSource::Manual),
        1 => Just(PeerSource::Fixed),
        1 => Just(PeerSource::Inbound),
    ]
}

fn some_status() -> impl Strategy<Value = PeerStatus> {
    select(&PeerStatus::ALL[..])
}

fn some_availability(epoch: Instant) -> impl Strategy<Value = Availability> {
    prop_oneof![
        4 => Just(Availability::Ready),
        2 => (0_u64..100).prop_map(move |at| Availability::At(epoch + Duration::from_secs(at))),
        1 => Just(Availability::Busy),
        1 => Just(Availability::Never),
    ]
}

fn newcomer(epoch: Instant) -> impl Strategy<Value = Known> {
    let learned_from = proptest::option::of((0_u8..3).prop_map(|b| IpAddr::from([12, b, 0, 1])));
    let parts = (
        some_address(),
        some_source(),
        prop_oneof![3 => Just(PeerStatus::Unknown), 1 => some_status()],
        0_u64..10,
        learned_from,
        some_availability(epoch),
    );
    parts.prop_map(
        |(address, source, status, since, learned_from, availability)| {
            let mut peer = peer(address, source, status);
            // A time for each address: of two as old, which goes first is not promised.
            peer.status_timestamp = distinct(since, address);
            Known {
                peer,
                learned_from,
                availability,
                pause: None,
                retries: 0,
            }
        },
    )
}

fn distinct(since: u64, address: SocketAddr) -> Timestamp {
    let rank = Keys::new([0; 32]).rank(address);
    Timestamp::from_millis((since << 32) + (rank >> 32))
}

fn steps(epoch: Instant) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => newcomer(epoch).prop_map(|known| Step::Insert(Box::new(known))),
        1 => some_address().prop_map(Step::Remove),
        2 => (some_address(), some_status(), 0_u64..10).prop_map(|(address, status, since)| {
            Step::Status(address, status, since)
        }),
        1 => some_address().prop_map(Step::Attempt),
        1 => (some_address(), prop_oneof![0_u32..4, 254_u32..1000])
            .prop_map(|(address, retries)| Step::Retries(address, retries)),
        2 => (some_address(), some_availability(epoch))
            .prop_map(|(address, availability)| Step::Availability(address, availability)),
        2 => some_address().prop_map(Step::Release),
        4 => some_status().prop_map(Step::Dial),
        1 => (0_u64..20).prop_map(|by| Step::Advance(Duration::from_secs(by))),
        2 => some_address().prop_map(Step::Connected),
        2 => some_address().prop_map(Step::Disconnected),
    ];
    vec(step, 1..120)
}

fn some_limits() -> impl Strategy<Value = BookLimits> {
    (0_u32..30, 1_u32..8, 1_u32..8).prop_map(|(total, per_netgroup, per_source)| BookLimits {
        total,
        per_netgroup,
        per_source,
    })
}

/// The book and the naive one, side by side.
struct Pair {
    book: Book,
    model: Model,
    limits: BookLimits,
    now: Instant,
}

impl Pair {
    fn new(epoch: Instant, secret: [u8; 32], limits: BookLimits) -> Self {
        Self {
            book: Book::new(secret, limits),
            model: Model::new(secret, limits),
            limits,
            now: epoch,
        }
    }

    fn take(&mut self, step: Step) {
        let (book, model) = (&mut self.book, &mut self.model);
        match step {
            Step::Insert(known) => {
                let Known {
                    peer, learned_from, ..
                } = (*known).clone();
                let inserted = book.insert(peer, learned_from, known.availability);
                let addresses = |peers: Vec<Peer>| peers.iter().map(Peer::address).collect();
                assert_eq!(inserted.map(addresses), model.insert(*known));
                self.check_limits();
            }
            Step::Remove(address) => {
                assert_eq!(book.remove(address).is_some(), model.remove(address));
            }
            Step::Status(address, status, since) => {
                let set = |peer: &mut Peer| peer.set_status(status, distinct(since, address));
                book.update(address, set);
                model.change(address, |known| set(&mut known.peer));
            }
            Step::Attempt(address) => {
                book.update(address, |peer| peer.last_attempt = Some(NOW));
                model.change(address, |known| known.peer.last_attempt = Some(NOW));
            }
            Step::Retries(address, retries) => {
                book.set_retries(address, retries);
                model.change(address, |known| known.retries = retries);
            }
            Step::Availability(address, availability) => {
                book.set_availability(address, availability);
                model.change(address, |known| known.set_availability(availability));
            }
            Step::Release(address) => {
                book.release(address);
                model.change(address, Known::release);
            }
            Step::Dial(status) => {
                if let Some(address) = dial(book, status) {
                    model.change(address, |known| known.set_availability(Availability::Busy));
                }
            }
            Step::Advance(by) => {
                self.now += by;
                book.advance(self.now);
                model.advance(self.now);
            }
            Step::Connected(address) => {
                book.connected(address);
                model.connected(address);
            }
            Step::Disconnected(address) => {
                if model.disconnected(address) {
                    book.disconnected(address);
                }
            }
        }
    }

    fn compare(&self) {
        let (book, model) = (&self.book, &self.model);
        book.check();
        for status in PeerStatus::ALL {
            assert_eq!(
                book.candidate(status),
                model.candidate(status),
                "{status:?}"
            );
            let of_status = || {
                let known = model.known.iter();
                known.filter(|known| known.peer.status == status)
            };
            assert_eq!(book.count(status), of_status().count());
            let ready = of_status().filter(|known| known.is_ready()).count();
            assert_eq!(book.ready_count(status), ready);
        }
        assert_eq!(book.next_due(), model.next_due());
        assert_eq!(book.len(), model.known.len());
        for entry in book.iter() {
            let known = model.find(entry.peer.address()).unwrap();
            assert_eq!(*entry.peer, known.peer);
            assert_eq!(entry.retries, known.retries);
            assert_eq!(entry.availability, known.availability);
            assert_eq!(entry.learned_from, known.learned_from);
        }
    }

    fn check_limits(&self) {
        assert!(self.book.len() <= self.limits.total as usize);
        let mut groups = BTreeMap::new();
        let mut sources = BTreeMap::new();
        for entry in self.book.iter() {
            let own = [PeerSource::Manual, PeerSource::Fixed].contains(&entry.peer.source);
            let group = NetGroup::of(entry.peer.ip_address);
            *groups.entry(group).or_insert(0) += u32::from(!own);
            if let Some(from) = entry.learned_from {
                *sources.entry(NetGroup::of(from)).or_insert(0) += 1;
            }
        }
        assert!(
            groups
                .values()
                .all(|count| *count <= self.limits.per_netgroup)
        );
        assert!(
            sources
                .values()
                .all(|count| *count <= self.limits.per_source)
        );
    }
}

proptest! {
    #[test]
    fn the_book_does_what_the_naive_one_does(
        secret: [u8; 32],
        limits in some_limits(),
        (epoch, steps) in Just(Instant::now())
            .prop_flat_map(|epoch| (Just(epoch), steps(epoch))),
    ) {
        let mut pair = Pair::new(epoch, secret, limits);
        for step in steps {
            pair.take(step);
            pair.compare();
        }
    }
}
