//! Processes that are killed while they write, and disks that are full.
//!
//! `P2P_STORE_KILLS`: how many are killed, of each store.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops when it cannot go on; a child speaks on its output"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::child::{Kind, OTHERS, PEERS, Said, Writer, version, work};
use support::{Folder, peer, scale};

/// Not a test: what the processes do that the tests below start.
#[test]
fn child() {
    work();
}

#[tokio::test]
async fn a_json_store_keeps_its_promises_when_its_process_is_killed() {
    kill(Kind::Json, scale("P2P_STORE_KILLS", 50)).await;
}

#[tokio::test]
async fn a_redb_store_keeps_its_promises_when_its_process_is_killed() {
    kill(Kind::Redb, scale("P2P_STORE_KILLS", 50)).await;
}

#[tokio::test]
async fn a_json_store_keeps_its_promises_on_a_full_disk() {
    fill(Kind::Json, 256).await;
}

#[tokio::test]
async fn a_redb_store_keeps_its_promises_on_a_full_disk() {
    fill(Kind::Redb, 1280).await;
}

/// Kills one process after the other, all at the same store.
async fn kill(kind: Kind, times: u32) {
    let folder = Folder::new();
    let path = folder.path("peers");
    let mut rng = ChaCha8Rng::seed_from_u64(0xdead);
    let mut kept = Kept::default();
    let mut promises = 0;
    for n in 0..times {
        let writer = Writer::start(kind, &path, u64::from(n), None);
        // The instants are what this test is about: some while it starts, or whenever, the others
        // while it writes, however long it took to come to that.
        let at_most = match rng.random_range(0..8) {
            // redb makes a file in several steps, and a start that finds only some of them sets it
            // aside. Nothing is lost with it; this is about files that were made.
            _ if n == 0 => {
                writer.wait_for(1, "stored");
                10_000
            }
            0 => 80_000,
            1 => {
                writer.wait_for(1, "flushed");
                10_000
            }
            promises => {
                writer.wait_for(promises, "stored");
                10_000
            }
        };
        thread::sleep(Duration::from_micros(rng.random_range(0..at_most)));
        let said = writer.kill();
        assert_eq!(said.errors, [""; 0], "{kind:?}, kill {n}");
        promises += said.stored.len();
        check(kind, &path, &mut kept, &said).await;
        let names = folder.names();
        let damaged = |name: &&String| name.contains("corrupt") || name.contains("damaged");
        assert_eq!(
            names.iter().find(damaged),
            None,
            "{kind:?}, kill {n}: {names:?}"
        );
    }
    assert!(!kept.flushed.is_empty(), "{kind:?}: nothing was flushed");
    assert!(
        promises as u32 > times,
        "{promises} promises in {times} lives: too few to prove anything"
    );
    let flushed = kept.flushed.len();
    println!("{kind:?}: {times} killed, {promises} promises and {flushed} flushed records checked");
}

/// Lets a process run into a full disk, and go on there.
async fn fill(kind: Kind, limit: u32) {
    let folder = Folder::new();
    let path = folder.path("peers");
    let mut kept = Kept::default();
    let said = Writer::start(kind, &path, 1, Some(limit)).wait();
    assert!(!said.errors.is_empty(), "{kind:?}: the disk was not full");
    assert!(
        !said.stored.is_empty(),
        "{kind:?}: it was full from the start"
    );
    assert!(
        said.is_done,
        "{kind:?}: a full disk ends nobody: {:?}",
        said.errors.last()
    );
    assert_eq!(said.late_errors, [""; 0], "{kind:?}: there was room again");
    check(kind, &path, &mut kept, &said).await;

    // And so does the next one.
    let writer = Writer::start(kind, &path, 2, None);
    let said = writer.wait();
    assert_eq!(said.errors, [""; 0], "{kind:?}");
    check(kind, &path, &mut kept, &said).await;
}

/// What must be there.
#[derive(Default)]
struct Kept {
    /// The version of each peer.
    stored: BTreeMap<u32, u32>,
    /// Peers of some version.
    flushed: BTreeSet<u32>,
}

/// Every promise is kept, every record is whole.
async fn check(kind: Kind, path: &Path, kept: &mut Kept, said: &Said) {
    let Kept { stored, flushed } = kept;
    stored.extend(&said.stored);
    flushed.extend(&said.flushed);
    let store = kind.open(path);
    for n in 0..PEERS {
        let promised = stored.get(&n).copied().unwrap_or(0);
        let begun = said.begun.get(&n).copied().unwrap_or(0);
        let found = match store.read(peer(n).id).await {
            Ok(peer) => peer.restart_count,
            Err(_) => 0,
        };
        // What was under way is there or not.
        assert!(
            found >= promised && found <= promised.max(begun),
            "{kind:?}: of peer {n} version {promised} was promised, {begun} begun, {found} is there"
        );
        if found > 0 {
            stored.insert(n, found);
        }
    }
    for &n in flushed.iter() {
        let found = store.read(peer(n).id).await;
        assert!(found.is_ok(), "{kind:?}: peer {n} was flushed: {found:?}");
    }
    let numbers: BTreeMap<_, _> = (0..PEERS + OTHERS).map(|n| (peer(n).id, n)).collect();
    for found in store.list_all().await.unwrap() {
        let n = numbers[&found.id];
        assert_eq!(found, version(n, found.restart_count), "{kind:?}: torn");
    }
}
