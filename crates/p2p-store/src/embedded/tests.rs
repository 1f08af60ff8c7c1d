//! The store on a disk that fails.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use p2p_core::{Ban, BanReason, Network, Peer, PeerSource, PeerStatus, Timestamp};
use redb::backends::FileBackend;
use redb::{Database, ReadableTable, StorageBackend, TableDefinition};
use tokio::sync::oneshot;

use super::tables::Reader;
use super::worker::{Change, Worker};
use crate::error::StoreError;

/// The file, until the disk fails.
#[derive(Debug)]
struct Faulty {
    file: FileBackend,
    fails: Arc<AtomicBool>,
}

impl Faulty {
    fn check(&self) -> io::Result<()> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.check()?;
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check()?;
        self.file.read(offset, out)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(length)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }
}

/// A worker without its thread, on a disk that fails when the test says so. What it opens after
/// that does not fail.
struct Bench {
    folder: PathBuf,
    worker: Worker,
    fails: Arc<AtomicBool>,
}

impl Bench {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("p2p-store-embedded-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let path = folder.join("peers");
        let mut worker = Worker::open(path.clone()).unwrap();
        worker.database = None;
        let file = OpenOptions::new().read(true).write(true).open(path);
        let fails = Arc::new(AtomicBool::new(false));
        let faulty = Faulty {
            file: FileBackend::new(file.unwrap()).unwrap(),
            fails: fails.clone(),
        };
        let mut builder = Database::builder();
        // What is remembered asks no disk.
        let database = builder.set_cache_size(0).create_with_backend(faulty);
        worker.database = Some(database.unwrap());
        Self {
            folder,
            worker,
            fails,
        }
    }

    fn change(&mut self, change: Change) -> Result<(), StoreError> {
        let (done, mut result) = oneshot::channel();
        self.worker.change(vec![(change, done)]);
        result.try_recv().unwrap()
    }

    fn all(&mut self) -> Result<Vec<Peer>, StoreError> {
        let (done, mut result) = oneshot::channel();
        self.worker.look(Box::new(move |transaction| {
            let found = transaction.and_then(Reader::new);
            let found = found.and_then(|reader| reader.all());
            let failure = found.as_ref().err().cloned();
            done.send(found).unwrap();
            failure.map_or(Ok(()), Err)
        }));
        result.try_recv().unwrap()
    }

    /// What is in the file for whoever opens it now.
    fn durable(&self) -> usize {
        let copy = self.folder.join("copy");
        std::fs::copy(self.folder.join("peers"), &copy).unwrap();
        let database = Database::open(copy).unwrap();
        let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
        let table = TableDefinition::<u128, &[u8]>::new("peers");
        let table = transaction.open_table(table).unwrap();
        table.iter().unwrap().count()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.worker.database = None;
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn peer(n: u32) -> Peer {
    let [_, b, c, d] = n.to_be_bytes();
    let then = Timestamp::from_millis(1_700_000_000_000);
    let address = ([203, b, c, d], 8333).into();
    Peer::new(Network::Mainnet, address, PeerSource::Dns, then)
}

fn banned(n: u32) -> Peer {
    let mut peer = peer(n);
    peer.status = PeerStatus::Banned;
    peer.ban = Some(Ban {
        reason: BanReason::Manual,
        at: peer.status_timestamp,
        until: None,
    });
    peer
}

#[test]
fn what_was_answered_outlives_the_failure_of_the_disk() {
    let mut bench = Bench::new();
    bench
        .change(Change::Apply(vec![peer(1), peer(2), peer(3)]))
        .unwrap();
    bench.change(Change::Delete(peer(2).id)).unwrap();
    let mut valid = peer(3);
    valid.status = PeerStatus::Valid;
    bench
        .change(Change::Update(Box::new(valid.clone())))
        .unwrap();
    bench.change(Change::Create(Box::new(peer(2)))).unwrap();
    bench.change(Change::Create(Box::new(peer(2)))).unwrap_err();
    bench.change(Change::Forget(vec![peer(1).id])).unwrap();
    let before = bench.all().unwrap();
    assert_eq!(before.len(), 2);

    bench.fails.store(true, Ordering::SeqCst);
    let refused = bench.change(Change::Apply(vec![banned(4)])).unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    assert_eq!(bench.all().unwrap(), before);
    bench.change(Change::Flush).unwrap();
    assert_eq!(bench.durable(), 2, "it said so");
}

#[test]
fn after_a_look_that_failed_the_file_is_opened_anew() {
    let mut bench = Bench::new();
    bench.change(Change::Apply(vec![banned(1)])).unwrap();
    bench.fails.store(true, Ordering::SeqCst);
    let refused = bench.all().unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    assert_eq!(bench.all().unwrap(), [banned(1)]);
}

#[test]
fn what_waits_for_a_flush_is_bounded() {
    let mut bench = Bench::new();
    // Opened anew it has a cache, which so many need.
    bench.worker.database = None;
    let many = (0..9_000).map(peer).collect::<Vec<_>>();
    bench.change(Change::Apply(many.clone())).unwrap();
    assert_eq!(bench.durable(), 0, "nobody asked for more");
    bench.change(Change::Apply(many)).unwrap();
    assert_eq!(bench.durable(), 9_000);
}
