//! The address book with a thousand, a hundred thousand and a million peers.
//!
//! `cargo bench -p p2p-core --bench book`. First comes what a peer costs in memory, then what the
//! operations cost: they must not grow with the number of peers.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use p2p_core::book::{Availability, Book, BookLimits};
use p2p_core::netgroup::is_routable;
use p2p_core::{Network, Peer, PeerSource, PeerStatus, Timestamp};

const SIZES: [u32; 3] = [1_000, 100_000, 1_000_000];
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn candidate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("candidate");
    for size in SIZES {
        let mut book = filled(size, u32::MAX);
        for (peer, _) in peers().take(20) {
            book.connected(peer.address());
        }
        group.bench_function(BenchmarkId::new("choice", size), |bencher| {
            bencher.iter(|| book.candidate(black_box(PeerStatus::Unknown)));
        });
        let mut now = clock();
        group.bench_function(BenchmarkId::new("dial and back off", size), |bencher| {
            bencher.iter(|| {
                now += Duration::from_millis(1);
                dial(&mut book, now);
            });
        });
        // What the choice costs when all else has had the cache since the last one.
        group.bench_function(BenchmarkId::new("choice between dials", size), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    now += Duration::from_millis(1);
                    dial(&mut book, now);
                    let start = clock();
                    black_box(book.candidate(black_box(PeerStatus::Unknown)));
                    spent += clock() - start;
                }
                spent
            });
        });
        now += BACKOFF;
        book.advance(now);
        assert_eq!(book.ready_count(PeerStatus::Unknown), size as usize);
    }
    group.finish();
}

/// Takes the best candidate, dials it in vain, and lets those come back whose time it is: what
/// the manager does.
fn dial(book: &mut Book, now: Instant) {
    book.advance(now);
    let address = book.candidate(PeerStatus::Unknown);
    let address = address.expect("most are ready");
    book.update(address, |peer| peer.last_attempt = Some(NOW));
    book.set_availability(address, Availability::Busy);

    let retries = book.retries(address).expect("it is there");
    book.set_retries(address, retries + 1);
    book.set_availability(address, Availability::At(now + BACKOFF));
}

/// At a dial each millisecond half of the smallest book is ready.
const BACKOFF: Duration = Duration::from_millis(500);

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert");
    for size in SIZES {
        let mut book = filled(size, u32::MAX);
        let mut newcomers = peers().skip(size as usize);
        group.bench_function(BenchmarkId::new("and remove", size), |bencher| {
            bencher.iter(|| {
                let (peer, from) = newcomers.next().expect("there are enough");
                let address = peer.address();
                let inserted = book.insert(peer, Some(from), Availability::Ready);
                assert!(inserted.is_ok());
                book.remove(address)
            });
        });
        drop(book);
        let mut book = filled(size, size);
        group.bench_function(BenchmarkId::new("into a full book", size), |bencher| {
            bencher.iter(|| {
                let (peer, from) = newcomers.next().expect("there are enough");
                book.insert(peer, Some(from), Availability::Ready)
            });
        });
        assert_eq!(book.len(), size as usize);
    }
    group.finish();
}

fn sample(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sample of 1000");
    for size in SIZES {
        let book = filled(size, u32::MAX);
        let mut seed = 0;
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                seed += 1;
                book.sample(1000, seed).len()
            });
        });
    }
    group.finish();
}

fn memory(_: &mut Criterion) {
    let record = size_of::<Peer>();
    for size in SIZES {
        let before = resident();
        let book = filled(size, u32::MAX);
        let used = before.zip(resident()).map(|(before, after)| {
            let bytes = after.saturating_sub(before);
            (bytes, bytes / u64::from(size))
        });
        drop(book);
        match used {
            Some((bytes, each)) => report(&format!(
                "{size} peers: {bytes} bytes, {each} each, of which {record} are the record"
            )),
            None => report("resident memory is known on Linux only"),
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "a report on the console is the purpose"
)]
fn report(line: &str) {
    println!("memory: {line}");
}

/// Resident bytes of this process.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// A book of this many peers, with room for so many.
fn filled(size: u32, total: u32) -> Book {
    let limits = BookLimits {
        total,
        ..BookLimits::default()
    };
    let mut book = Book::new([7; 32], limits);
    for (peer, from) in peers().take(size as usize) {
        let inserted = book.insert(peer, Some(from), Availability::Ready);
        assert!(inserted.is_ok());
    }
    book
}

/// Different peers all over the world, and who told of them.
fn peers() -> impl Iterator<Item = (Peer, IpAddr)> {
    // Odd factors: no address comes twice.
    let ips = (1..=u32::MAX).map(|number: u32| {
        let [ip, from] = [0x9E37_79B1, 0x85EB_CA6B]
            .map(|factor| IpAddr::from(Ipv4Addr::from_bits(number.wrapping_mul(factor))));
        (ip, from)
    });
    let routable = ips.filter(|(ip, from)| is_routable(*ip) && is_routable(*from));
    routable.map(move |(ip, from)| {
        let address = SocketAddr::new(ip, 8333);
        let peer = Peer::new(Network::Mainnet, address, PeerSource::Gossip, NOW);
        (peer, from)
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "an epoch for the book, and what a benchmark measures with"
)]
fn clock() -> Instant {
    Instant::now()
}

criterion_group!(book, memory, candidate, insert, sample);
criterion_main!(book);
