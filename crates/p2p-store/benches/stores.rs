//! All stores, at 1,000 to 1,000,000 peers, as the rows of a table.
//!
//!     cargo bench -p p2p-store --all-features
//!
//! `P2P_STORE_BENCH_LARGEST`: where to stop. `P2P_STORE_BENCH_FOLDER`: where files are written;
//! a disk, for the figures are those of its fsync.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench stops when it cannot go on, and prints"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use p2p_core::{Peer, PeerStatus};
use p2p_store::{InMemoryPeerStore, PeerStore};
use support::{Folder, banned, of_status, peer};
use tokio::runtime::Runtime;

/// One in so many is `Valid`: what a manager asks for is a small part.
const VALID: u32 = 100;
const BATCH: u32 = 1_000;
/// A save has work that the ones before it have left: one is not enough to see all of it.
const SAVES: u32 = 3;

fn main() {
    let runtime = Runtime::new().unwrap();
    let largest = support::scale("P2P_STORE_BENCH_LARGEST", 1_000_000);
    println!(
        "| store | peers | fill, a peer | `create` | `create`, banned | `find_by_ip_port` | `find_by_status` | of them, a peer | save | longest wait during it: `find_by_ip_port` / `update` / ban |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for name in ["InMemoryPeerStore", "RedbPeerStore", "PostgresPeerStore"] {
        let sizes = [1_000, 10_000, 100_000, 1_000_000];
        for size in sizes.into_iter().filter(|&size| size <= largest) {
            let folder = folder();
            if let Some(store) = runtime.block_on(open(name, folder.path("peers"))) {
                row(&runtime, name, store, size);
            }
        }
    }
}

async fn open(name: &str, path: PathBuf) -> Option<Arc<dyn PeerStore>> {
    match name {
        "InMemoryPeerStore" => Some(Arc::new(InMemoryPeerStore::open(path).unwrap())),
        #[cfg(feature = "redb")]
        "RedbPeerStore" => Some(Arc::new(p2p_store::RedbPeerStore::open(path).unwrap())),
        #[cfg(all(feature = "postgres", feature = "redb"))]
        "PostgresPeerStore" => {
            use support::stores::{connect, options};
            let server = support::server::Server::shared();
            Some(Arc::new(connect(server, &options()).await))
        }
        _ => None,
    }
}

fn folder() -> Folder {
    match std::env::var_os("P2P_STORE_BENCH_FOLDER") {
        Some(path) => Folder::within(path.into()),
        None => Folder::new(),
    }
}

fn nth(n: u32) -> Peer {
    let mut peer = match n % VALID {
        0 => of_status(n, PeerStatus::Valid),
        _ => peer(n),
    };
    peer.user_agent = Some("/Bitcoin SV:1.2.1(EB32000.0)/".into());
    peer
}

fn row(runtime: &Runtime, name: &str, store: Arc<dyn PeerStore>, size: u32) {
    let started = Instant::now();
    for from in (0..size).step_by(BATCH as usize) {
        let batch: Vec<_> = (from..from + BATCH).map(nth).collect();
        runtime.block_on(store.apply(&batch)).unwrap();
    }
    let fill = started.elapsed() / size;
    runtime.block_on(store.flush()).unwrap();

    let mut next = size;
    let create = median(501, || {
        next += 1;
        runtime.block_on(store.create(&peer(next))).unwrap();
    });
    let ban = median(101, || {
        next += 1;
        runtime.block_on(store.create(&banned(next))).unwrap();
    });
    let mut at = 0;
    let find = median(1_001, || {
        at = (at + 7_919) % size;
        let ip = peer(at).ip_address;
        let found = runtime.block_on(store.find_by_ip_port(ip, 8333)).unwrap();
        assert!(black_box(found).is_some());
    });
    let by_status = median(11, || {
        let found = runtime
            .block_on(store.find_by_status(PeerStatus::Valid))
            .unwrap();
        assert_eq!(black_box(found).len() as u32, size / VALID);
    });
    let saves = (0..SAVES).map(|n| save(runtime, &store, next + n * 1_000_000));
    let (save, waits) = saves
        .reduce(|(took, waits), (later, more)| {
            let longest = |what: usize| waits[what].max(more[what]);
            (took.max(later), [longest(0), longest(1), longest(2)])
        })
        .expect("there is one at least");
    let waits = waits.map(shown).join(" / ");
    println!(
        "| `{name}` | {size} | {} | {} | {} | {} | {} | {} | {} | {waits} |",
        shown(fill),
        shown(create),
        shown(ban),
        shown(find),
        shown(by_status),
        shown(by_status / (size / VALID)),
        shown(save),
    );
}

/// Saves while others look, change and ban; how long it took, and the longest that each waited.
fn save(runtime: &Runtime, store: &Arc<dyn PeerStore>, next: u32) -> (Duration, [Duration; 3]) {
    let is_over = Arc::new(AtomicBool::new(false));
    // Something has changed, so there is something to save.
    runtime.block_on(store.update(&nth(0))).unwrap();
    let mut changed = nth(1);
    changed.restart_count = next;
    runtime.block_on(store.update(&changed)).unwrap();
    let callers: Vec<_> = (0..3)
        .map(|what| {
            let (store, is_over) = (store.clone(), is_over.clone());
            runtime.spawn(async move {
                let mut longest = Duration::ZERO;
                let mut n = 0;
                while !is_over.load(Ordering::Relaxed) {
                    n += 1;
                    let mut changed = nth(n % 1_000);
                    changed.restart_count = n;
                    let ban = banned(next + n);
                    let started = Instant::now();
                    match what {
                        0 => drop(
                            store
                                .find_by_ip_port(changed.ip_address, 8333)
                                .await
                                .unwrap(),
                        ),
                        1 => store.update(&changed).await.unwrap(),
                        _ => store.apply(&[ban]).await.unwrap(),
                    }
                    longest = longest.max(started.elapsed());
                    // As often as ten times a millisecond, so that they leave room for each other.
                    tokio::time::sleep(Duration::from_micros(100)).await;
                }
                longest
            })
        })
        .collect();
    let started = Instant::now();
    runtime.block_on(store.flush()).unwrap();
    let took = started.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let waits: Vec<_> = callers
        .into_iter()
        .map(|caller| runtime.block_on(caller).unwrap())
        .collect();
    (took, [waits[0], waits[1], waits[2]])
}

fn median(times: usize, mut work: impl FnMut()) -> Duration {
    let mut samples: Vec<_> = (0..times)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    samples.sort();
    samples[times / 2]
}

fn shown(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    match nanos {
        _ if nanos < 1e3 => format!("{nanos:.0} ns"),
        _ if nanos < 1e6 => format!("{:.1} µs", nanos / 1e3),
        _ if nanos < 1e9 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}
