//! Files that are damaged, in every way that disks and people have: always a start, and never a
//! loss that nobody is told of.
//!
//! `P2P_STORE_DAMAGED_FILES`: how many, of all kinds together.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops when it cannot go on, and says what it measured"
)]

mod support;

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Once};

use p2p_core::{Peer, PeerStatus, Timestamp};
use p2p_store::{InMemoryPeerStore, PeerStore, RedbPeerStore, StoreError};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::child::Kind;
use support::{Folder, THEN, banned, of_status, peer, scale, sorted};

/// What there was before.
fn peers() -> Vec<Peer> {
    let mut valid = of_status(1, PeerStatus::Valid);
    valid.user_agent = Some("/Bitcoin SV:1.2.0/".into());
    vec![valid, peer(2), banned(3), peer(4), banned(5), banned(6)]
}

/// A store with records in the file, and bans in the journal.
async fn write(kind: Kind, path: &Path) {
    let store = kind.open(path);
    store.apply(&peers()[..4]).await.unwrap();
    store.flush().await.unwrap();
    store.apply(&peers()[4..5]).await.unwrap();
    store.apply(&peers()[5..]).await.unwrap();
}

#[tokio::test]
async fn damaged_files_are_survived() {
    let count = scale("P2P_STORE_DAMAGED_FILES", 1_000);
    // To open a database takes longest.
    damage(Kind::Json, "", count / 2).await;
    damage(Kind::Json, ".journal", count * 2 / 5).await;
    damage(Kind::Redb, "", count / 10).await;
}

async fn damage(kind: Kind, ending: &str, count: u32) {
    let folder = Folder::new();
    let path = folder.path("peers");
    let victim = folder.path(&format!("peers{ending}"));
    write(kind, &path).await;
    let whole = fs::read(&victim).unwrap();
    let others: Vec<_> = entries(&folder)
        .into_iter()
        .filter(|path| *path != victim)
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut losses, mut told) = (0, 0);
    for n in 0..count {
        entries(&folder).into_iter().for_each(|path| remove(&path));
        for (path, bytes) in &others {
            fs::write(path, bytes).unwrap();
        }
        let damaged = Damage::draw(&mut rng, &whole).apply(&whole);
        fs::write(&victim, &damaged).unwrap();

        let (log, store) = logged(|| try_open(kind, &path));
        let store = store.unwrap_or_else(|error| panic!("{kind:?}{ending} {n}: {error}\n{log}"));
        let found = sorted(store.list_all().await.unwrap());
        let is_lost = found != sorted(peers());
        let is_told = log.contains("WARN") && log.contains(victim.to_str().unwrap());
        // A journal that ends between two lines looks like one that was never longer.
        let is_cut = ending == ".journal"
            && whole.starts_with(&damaged)
            && damaged.last().is_none_or(|&last| last == b'\n');
        assert!(
            !is_lost || is_told || is_cut,
            "{kind:?}{ending} {n}: lost in silence\n{found:#?}\n{log}"
        );
        losses += u32::from(is_lost);
        told += u32::from(is_told);

        // It works, and what it recovered stays.
        store.apply(&[banned(9)]).await.unwrap();
        let before = sorted(store.list_all().await.unwrap());
        drop(store);
        let (log, store) = logged(|| try_open(kind, &path));
        let after = sorted(store.unwrap().list_all().await.unwrap());
        assert_eq!(after, before, "{kind:?}{ending} {n}: at the second start");
        // Records that are kept unread are told of each time.
        let again = |line: &&str| line.contains("WARN") && !line.contains("cannot read");
        assert_eq!(log.lines().find(again), None, "{kind:?}{ending} {n}");
    }
    println!("{kind:?}{ending}: {count} damaged files, {told} told of, {losses} with losses");
    assert!(losses > 0 && told > 0, "{kind:?}{ending}: too gentle");
}

/// What may happen to a file.
enum Damage {
    Cut(usize),
    Flip(Vec<(usize, u8)>),
    Overwrite(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Replace(Vec<u8>),
}

impl Damage {
    fn draw(rng: &mut ChaCha8Rng, whole: &[u8]) -> Self {
        let length = whole.len();
        let at = rng.random_range(0..length);
        let some = rng.random_range(1..64);
        let mut noise = vec![0; some];
        rng.fill(&mut noise[..]);
        match rng.random_range(0..8) {
            0 => Self::Cut(at),
            1 | 2 => Self::Flip(vec![(at, 1 << rng.random_range(0..8))]),
            3 => {
                let flips =
                    (0..some).map(|_| (rng.random_range(0..length), 1 << rng.random_range(0..8)));
                Self::Flip(flips.collect())
            }
            4 => Self::Overwrite(at, vec![0; some * 8]),
            5 => Self::Insert(at, noise),
            6 => Self::Remove(at, some),
            _ => Self::Replace(match rng.random_range(0..4) {
                0 => Vec::new(),
                1 => b"{}".to_vec(),
                2 => vec![0; length],
                _ => noise,
            }),
        }
    }

    fn apply(&self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        match self {
            Self::Cut(at) => bytes.truncate(*at),
            Self::Flip(flips) => flips.iter().for_each(|&(at, bit)| bytes[at] ^= bit),
            Self::Overwrite(at, with) => {
                let end = bytes.len().min(at + with.len());
                bytes[*at..end].copy_from_slice(&with[..end - at]);
            }
            Self::Insert(at, what) => drop(bytes.splice(at..at, what.iter().copied())),
            Self::Remove(at, count) => {
                let end = bytes.len().min(at + count);
                bytes.drain(at..&end);
            }
            Self::Replace(with) => bytes.clone_from(with),
        }
        bytes
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_set_aside() {
    for (kind, ending) in [(Kind::Json, ""), (Kind::Json, ".journal"), (Kind::Redb, "")] {
        let folder = Folder::new();
        let victim = folder.path(&format!("peers{ending}"));
        // Nobody can read that, root neither.
        fs::create_dir_all(victim.join("x")).unwrap();
        let (log, store) = logged(|| try_open(kind, &folder.path("peers")));
        let store = store.unwrap();
        assert!(
            log.contains("WARN") && log.contains(victim.to_str().unwrap()),
            "{log}"
        );
        let aside = format!("peers{ending}.corrupt-");
        assert!(folder.names().iter().any(|name| name.starts_with(&aside)));
        store.apply(&[banned(1)]).await.unwrap();
        store.flush().await.unwrap();
        drop(store);
        let found = kind.open(&folder.path("peers")).list_all().await.unwrap();
        assert_eq!(found, [banned(1)], "{kind:?}{ending}");
    }
}

#[tokio::test]
async fn records_that_are_whole_in_a_broken_file_are_used() {
    let folder = Folder::new();
    let path = folder.path("peers");
    write(Kind::Json, &path).await;
    fs::remove_file(folder.path("peers.journal")).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let broken = whole.replacen("\"status\"", "\"sta", 1);
    fs::write(&path, &broken).unwrap();
    let store = InMemoryPeerStore::open(&path).unwrap();
    assert_eq!(store.list_all().await.unwrap().len(), 3, "of four");
    let aside = folder
        .names()
        .into_iter()
        .find(|name| name.contains("corrupt"));
    let aside = fs::read_to_string(folder.path(&aside.unwrap())).unwrap();
    assert_eq!(aside, broken, "nothing is thrown away");
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_kept() {
    let folder = Folder::new();
    let path = folder.path("peers");
    let mut known = serde_json::to_value(peer(1)).unwrap();
    known["reputation"] = 7.into();
    let unknown = serde_json::json!({"id": "x", "status": "Suspended"});
    let text = serde_json::json!({
        "format": "bsv-p2p-peers", "version": 9, "mood": "good", "peers": [known, unknown],
    });
    fs::write(&path, serde_json::to_vec_pretty(&text).unwrap()).unwrap();
    let (log, store) = logged(|| InMemoryPeerStore::open(&path));
    let store = store.unwrap();
    assert!(log.contains("newer version"), "{log}");
    assert_eq!(store.list_all().await.unwrap().len(), 1);
    store.apply(&[peer(2)]).await.unwrap();
    store.flush().await.unwrap();
    drop(store);
    let saved: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (&saved["mood"], &saved["version"]),
        (&"good".into(), &1.into())
    );
    let peers = saved["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 3);
    assert!(peers.contains(&known) && peers.contains(&unknown));
    assert!(folder.names().iter().any(|name| name.contains("newer")));
}

/// Makes the record of this id one of a newer version, as it lies in the database.
fn renew(path: &Path, peer: &Peer) {
    let mut record = serde_json::to_value(peer).unwrap();
    record["status"] = "Suspended".into();
    if peer.status == PeerStatus::Valid {
        // Nor does it say where it stands in our words.
        record["port"] = "default".into();
    }
    let record = serde_json::to_vec(&record).unwrap();
    let table = redb::TableDefinition::<u128, &[u8]>::new("peers");
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut peers = transaction.open_table(table).unwrap();
        let id = peer.id.as_u128();
        assert!(peers.insert(id, record.as_slice()).unwrap().is_some());
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_kept_in_redb() {
    let folder = Folder::new();
    let path = folder.path("peers");
    let store = RedbPeerStore::open(&path).unwrap();
    store.apply(&[banned(1), banned(2)]).await.unwrap();
    drop(store);
    renew(&path, &banned(1));
    let store = RedbPeerStore::open(&path).unwrap();

    // Who asks for others finds them.
    let ip = peer(1).ip_address;
    assert_eq!(store.find_by_ip(ip).await.unwrap(), []);
    assert_eq!(store.find_by_ip_port(ip, 8333).await.unwrap(), None);
    let found = store.find_by_status(PeerStatus::Banned).await.unwrap();
    assert_eq!(found, [banned(2)]);
    assert_eq!(store.list_all().await.unwrap(), [banned(2)]);

    // It is there for who can read it, whatever else changes.
    store.apply(&[banned(3)]).await.unwrap();
    let unread = store.read(peer(1).id).await.unwrap_err();
    assert!(matches!(unread, StoreError::Corrupt { .. }), "{unread}");
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_replaced_and_removed_in_redb() {
    let folder = Folder::new();
    let path = folder.path("peers");
    let store = RedbPeerStore::open(&path).unwrap();
    let peers = [banned(1), of_status(2, PeerStatus::Valid), banned(3)];
    store.apply(&peers).await.unwrap();
    drop(store);
    peers.iter().for_each(|peer| renew(&path, peer));
    let store = RedbPeerStore::open(&path).unwrap();

    // One is replaced at its place, one moves, one goes.
    let mut moved = peer(2);
    moved.port += 1;
    store.apply(&[banned(1), moved.clone()]).await.unwrap();
    store.forget(&[peer(3).id]).await.unwrap();
    let all = sorted(store.list_all().await.unwrap());
    assert_eq!(all, sorted(vec![banned(1), moved.clone()]));
    for (status, count) in [
        (PeerStatus::Banned, 1),
        (PeerStatus::Valid, 0),
        (PeerStatus::Unknown, 1),
    ] {
        let found = store.find_by_status(status).await.unwrap();
        let counted = store.count_by_status(status).await.unwrap();
        assert_eq!((found.len(), counted), (count, count), "{status:?}");
    }
    let found = store.find_by_ip(moved.ip_address).await.unwrap();
    assert_eq!(found, [moved], "its old place is nobody's");
    let mut newcomer = peer(2);
    newcomer.id = peer(4).id;
    store.create(&newcomer).await.unwrap();
    store.create(&banned(3)).await.unwrap();
}

#[tokio::test]
async fn an_edited_file_is_used_and_a_copy_kept() {
    let folder = Folder::new();
    let path = folder.path("peers");
    write(Kind::Json, &path).await;
    let edited = fs::read_to_string(&path).unwrap().replace("8333", "8444");
    fs::write(&path, edited).unwrap();
    let (log, store) = logged(|| InMemoryPeerStore::open(&path));
    let found = store.unwrap().list_all().await.unwrap();
    assert_eq!(found.iter().filter(|peer| peer.port == 8444).count(), 4);
    assert!(log.contains("edited"), "{log}");
    assert!(
        folder
            .names()
            .iter()
            .any(|name| name.contains("unverified"))
    );
}

#[tokio::test]
async fn what_lies_in_the_future_counts_as_now() {
    let folder = Folder::new();
    for kind in [Kind::Json, Kind::Redb] {
        let path = folder.fresh();
        let ahead = Timestamp::from_millis(1 << 52);
        let mut peer = banned(1);
        peer.status_timestamp = ahead;
        peer.last_attempt = Some(ahead);
        peer.last_seen = Some(THEN);
        peer.ban.as_mut().unwrap().at = ahead;
        peer.ban.as_mut().unwrap().until = Some(ahead);
        kind.open(&path).create(&peer).await.unwrap();
        let found = kind.open(&path).read(peer.id).await.unwrap();
        assert!(found.status_timestamp < ahead && found.status_timestamp > THEN);
        assert_eq!(found.last_attempt, Some(found.status_timestamp));
        assert_eq!(found.last_seen, Some(THEN));
        let ban = found.ban.unwrap();
        assert_eq!((ban.at, ban.until), (found.status_timestamp, Some(ahead)));
    }
}

#[test]
fn a_file_is_open_once() {
    let folder = Folder::new();
    for kind in [Kind::Json, Kind::Redb] {
        let path = folder.fresh();
        let first = kind.open(&path);
        let second = try_open(kind, &path).map(drop);
        assert!(matches!(second, Err(StoreError::InUse { path: busy }) if busy == path));
        drop(first);
        kind.open(&path);
    }
}

fn try_open(kind: Kind, path: &Path) -> Result<Arc<dyn PeerStore>, StoreError> {
    Ok(match kind {
        Kind::Json => Arc::new(InMemoryPeerStore::open(path)?),
        Kind::Redb => Arc::new(RedbPeerStore::open(path)?),
    })
}

fn entries(folder: &Folder) -> Vec<std::path::PathBuf> {
    let names = folder.names();
    names.iter().map(|name| folder.path(name)).collect()
}

fn remove(path: &Path) {
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path);
}

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is logged while something is done, on this thread.
fn logged<T>(work: impl FnOnce() -> T) -> (String, T) {
    static START: Once = Once::new();
    // One for all threads and for good: whether an event is wanted at all is remembered globally.
    START.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| Log)
            .init();
    });
    LOG.take();
    let done = work();
    (String::from_utf8(LOG.take()).unwrap(), done)
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
