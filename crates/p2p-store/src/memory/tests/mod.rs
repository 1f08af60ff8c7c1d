//! The store with a file, step by step, on a disk that loses power or is full.

mod damage;
mod replaced;
mod sim;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use p2p_core::{Ban, BanReason, Network, Peer, PeerSource, PeerStatus, Timestamp};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;

use super::journal::Entry;
use super::load::load;
use super::state::State;
use super::writer::{Job, Paths, Writer};
use crate::error::StoreError;
use crate::record::is_banned;
use sim::SimDisk;

/// A store without its thread: the test says when it works.
struct Bench {
    disk: SimDisk,
    writer: Writer,
}

impl Bench {
    fn open(disk: &SimDisk) -> Result<Self, StoreError> {
        let paths = Paths::of(Path::new("/d/peers.json"));
        let writer = load(Box::new(disk.clone()), paths)?;
        let disk = disk.clone();
        Ok(Self { disk, writer })
    }

    /// Makes several changes at a time, and answers whether they are promised.
    fn change(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut jobs = Vec::new();
        let mut results = Vec::new();
        for change in changes {
            if let Some(entry) = change.make(&mut self.writer.shared.write()) {
                let (done, result) = oneshot::channel();
                jobs.push(Job::Record(entry, done));
                results.push(result);
            }
        }
        self.writer.work(jobs.into_iter());
        let mut answers = results.into_iter().map(|mut result| result.try_recv());
        answers.try_for_each(|answer| answer.unwrap())
    }

    /// A step of a save, if there is one.
    fn step(&mut self) {
        self.writer.step();
    }

    /// Asks for a save, without doing it.
    fn begin(&mut self) -> oneshot::Receiver<Result<(), StoreError>> {
        let (done, result) = oneshot::channel();
        self.writer.work(std::iter::once(Job::Save(done)));
        result
    }

    fn banned(&self, n: u8) -> bool {
        let state = self.writer.shared.read();
        state
            .index
            .get(peer(n).id)
            .is_some_and(|peer| is_banned(peer))
    }

    fn has(&self, n: u8) -> bool {
        self.writer.shared.read().index.get(peer(n).id).is_some()
    }
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Ban(u8),
    /// A record without a ban: lifts one that is there.
    Put(u8),
    Forget(u8),
}

impl Change {
    fn make(self, state: &mut State) -> Option<Entry> {
        match self {
            Self::Ban(n) => state.put(vec![Arc::new(banned(n))]),
            Self::Put(n) => state.put(vec![Arc::new(peer(n))]),
            Self::Forget(n) => state.forget(&[peer(n).id]),
        }
    }

    fn peer(self) -> u8 {
        match self {
            Self::Ban(n) | Self::Put(n) | Self::Forget(n) => n,
        }
    }
}

fn peer(n: u8) -> Peer {
    let then = Timestamp::from_millis(1_700_000_000_000);
    let ip = IpAddr::from([203, 0, 113, n]);
    Peer::new(Network::Mainnet, (ip, 8333).into(), PeerSource::Dns, then)
}

fn banned(n: u8) -> Peer {
    let mut peer = peer(n);
    peer.status = PeerStatus::Banned;
    peer.ban = Some(Ban {
        reason: BanReason::Manual,
        at: peer.status_timestamp,
        until: None,
    });
    peer
}

/// Changes and saves, drawn from a seed, until the power goes or they are done. What was promised
/// by then, and the peers of whose last change nobody knows.
fn run(bench: &mut Bench, seed: u64) -> (BTreeMap<u8, bool>, Vec<u8>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut promised = BTreeMap::new();
    for _ in 0..30 {
        let changes: Vec<_> = (0..rng.random_range(0..3))
            .map(|_| {
                let n = rng.random_range(0..6);
                match rng.random_range(0..4) {
                    0 | 1 => Change::Ban(n),
                    2 => Change::Put(n),
                    _ => Change::Forget(n),
                }
            })
            .collect();
        let touched: Vec<_> = changes.iter().map(|change| change.peer()).collect();
        if bench.change(changes.clone()).is_err() {
            return (promised, touched);
        }
        for change in changes {
            promised.insert(change.peer(), matches!(change, Change::Ban(_)));
        }
        if rng.random_range(0..4) == 0 {
            drop(bench.begin());
        }
        bench.step();
    }
    (promised, Vec::new())
}

/// The power goes at every operation there is, and the disk keeps whatever it likes of what was
/// not synced: what was promised is there.
#[test]
fn no_loss_of_power_breaks_a_promise() {
    for seed in 0..12 {
        let whole = SimDisk::default();
        run(&mut Bench::open(&whole).unwrap(), seed);
        assert!(whole.operations() > 40, "enough to be cut off in");
        for operations in 0..whole.operations() {
            let disk = SimDisk::default();
            disk.cut_power_after(operations);
            let Ok(mut bench) = Bench::open(&disk) else {
                continue;
            };
            let (promised, unknown) = run(&mut bench, seed);
            for luck in 0..8 {
                let after = disk.after_power_loss(luck);
                let bench = Bench::open(&after).unwrap();
                for (&n, &is_banned) in &promised {
                    let known = !unknown.contains(&n);
                    assert!(
                        !known || bench.banned(n) == is_banned,
                        "seed {seed}, power cut at {operations}, luck {luck}: peer {n}, {after:?}"
                    );
                }
                let aside = |name: &String| name.contains("corrupt") || name.contains("unverified");
                assert!(
                    !after.names().iter().any(aside),
                    "no crash damages the file"
                );
            }
        }
    }
}

/// The power goes once more while the store recovers.
#[test]
fn no_loss_of_power_during_a_start_breaks_a_promise() {
    for seed in 0..6 {
        let disk = SimDisk::default();
        let (promised, _) = run(&mut Bench::open(&disk).unwrap(), seed);
        for operations in 0..12 {
            let again = disk.after_power_loss(seed);
            again.cut_power_after(operations);
            let _ = Bench::open(&again);
            let bench = Bench::open(&again.after_power_loss(seed)).unwrap();
            for (&n, &is_banned) in &promised {
                assert_eq!(
                    bench.banned(n),
                    is_banned,
                    "seed {seed}, {operations}: peer {n}"
                );
            }
        }
    }
}

#[test]
fn what_was_flushed_is_there_and_the_rest_may_be_gone() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    bench.change(vec![Change::Put(1)]).unwrap();
    bench.writer.save_now().unwrap();
    bench.change(vec![Change::Put(2)]).unwrap();
    let after = Bench::open(&disk.after_power_loss(0)).unwrap();
    assert!(after.has(1));
    assert!(!after.has(2), "nobody asked for it to be saved");
}

#[test]
fn a_full_disk_breaks_no_promise_and_is_made_up_for() {
    for seed in 0..20 {
        let disk = SimDisk::default();
        let mut bench = Bench::open(&disk).unwrap();
        let (promised, _) = run(&mut bench, seed);
        disk.set_full(true);
        let full = bench.change(vec![Change::Ban(9)]).unwrap_err();
        assert!(full.is_retryable());
        bench.writer.save_now().unwrap_err();
        let after = Bench::open(&disk.after_power_loss(seed)).unwrap();
        for (&n, &is_banned) in &promised {
            assert_eq!(after.banned(n), is_banned, "seed {seed}: peer {n}");
        }

        disk.set_full(false);
        bench.change(vec![Change::Ban(9)]).unwrap();
        bench.change(vec![Change::Ban(10)]).unwrap();
        let after = Bench::open(&disk.after_power_loss(seed)).unwrap();
        assert!(after.banned(9) && after.banned(10), "seed {seed}");
        bench.writer.save_now().unwrap();
    }
}

/// The lifting of a ban fails; to lift it again must not count as done because memory says so.
#[test]
fn a_change_that_failed_is_a_promise_when_it_is_repeated() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    bench.change(vec![Change::Ban(1), Change::Ban(2)]).unwrap();
    disk.set_full(true);
    bench.change(vec![Change::Put(1)]).unwrap_err();
    bench.change(vec![Change::Forget(2)]).unwrap_err();
    bench.change(vec![Change::Put(1)]).unwrap_err();
    bench.change(vec![Change::Forget(2)]).unwrap_err();
    disk.set_full(false);
    bench
        .change(vec![Change::Put(1), Change::Forget(2)])
        .unwrap();
    let after = Bench::open(&disk.after_power_loss(0)).unwrap();
    assert!(!after.banned(1) && !after.banned(2));
}

#[test]
fn what_is_promised_after_a_restart_is_not_taken_for_older() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    for n in 0..5 {
        bench.change(vec![Change::Ban(n)]).unwrap();
    }
    bench.writer.save_now().unwrap();
    let mut bench = Bench::open(&disk.after_power_loss(0)).unwrap();
    bench.change(vec![Change::Put(0)]).unwrap();
    let disk = bench.disk.after_power_loss(0);
    let mut bench = Bench::open(&disk).unwrap();
    assert!(!bench.banned(0));
    bench.change(vec![Change::Ban(9)]).unwrap();
    let bench = Bench::open(&disk.after_power_loss(0)).unwrap();
    assert!(!bench.banned(0) && bench.banned(1) && bench.banned(9));
}

#[test]
fn bans_are_written_while_a_save_goes_on() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    let many = (0..5_000u32).map(|n| {
        let ip = IpAddr::from(n.to_be_bytes());
        let address = (ip, 8333).into();
        let then = Timestamp::from_millis(1_700_000_000_000);
        Arc::new(Peer::new(Network::Mainnet, address, PeerSource::Dns, then))
    });
    bench.writer.shared.write().put(many.collect());
    let mut saved = bench.begin();
    bench.step();
    bench.change(vec![Change::Ban(1)]).unwrap();
    assert!(saved.try_recv().is_err(), "the save goes on");
    let after = Bench::open(&disk.after_power_loss(0)).unwrap();
    assert!(after.banned(1), "and did not hold up the ban");
    while saved.try_recv().is_err() {
        bench.step();
    }
    let after = Bench::open(&disk.after_power_loss(0)).unwrap();
    assert!(after.banned(1) && after.writer.shared.read().index.len() == 5_001);
}

#[test]
fn bans_that_wait_together_share_one_sync() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    bench.change(vec![Change::Ban(0)]).unwrap();
    let before = disk.operations();
    bench.change((1..100).map(Change::Ban).collect()).unwrap();
    assert_eq!(disk.operations() - before, 2, "one write, one sync");
}

#[test]
fn nothing_is_written_when_nothing_has_changed() {
    let disk = SimDisk::default();
    let mut bench = Bench::open(&disk).unwrap();
    bench.change(vec![Change::Ban(1)]).unwrap();
    let before = disk.operations();
    bench.change(vec![Change::Ban(1)]).unwrap();
    assert_eq!(disk.operations(), before, "it is there");
    bench.writer.save_now().unwrap();
    let before = disk.operations();
    bench.writer.save_now().unwrap();
    bench.change(vec![Change::Ban(1)]).unwrap();
    assert_eq!(disk.operations(), before);
    drop(bench);
    let mut bench = Bench::open(&disk).unwrap();
    let before = disk.operations();
    bench.writer.save_now().unwrap();
    assert_eq!(disk.operations(), before, "as it was found");
}

#[test]
fn a_journal_of_another_file_is_used_whatever_its_numbers() {
    let (one, other) = (SimDisk::default(), SimDisk::default());
    let file = Path::new("/d/peers.json");
    let journal = Path::new("/d/peers.json.journal");
    let mut bench = Bench::open(&one).unwrap();
    for n in 0..50 {
        bench.change(vec![Change::Ban(n), Change::Put(n)]).unwrap();
    }
    bench.writer.save_now().unwrap();
    let mut bench = Bench::open(&other).unwrap();
    bench.change(vec![Change::Ban(1)]).unwrap();
    let read = |disk: &SimDisk, path| {
        let mut disk: Box<dyn super::disk::Disk> = Box::new(disk.clone());
        disk.read(path).unwrap().unwrap()
    };
    let both = SimDisk::default();
    both.put(file, &read(&one, file));
    both.put(journal, &read(&other, journal));
    assert!(Bench::open(&both).unwrap().banned(1));
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("disk", &self.disk).finish()
    }
}
