//! Records in memory, and in a JSON file.

mod disk;
mod file;
mod journal;
mod load;
mod save;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::fs::{File, TryLockError};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use p2p_core::{ManagerConfig, Peer, PeerStatus};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::error::StoreError;
use crate::files;
use crate::record;
use crate::store::PeerStore;
use disk::{Disk, RealDisk};
use journal::Entry;
use state::{Shared, State};
use writer::{Job, Paths, QUEUE, Writer};

/// Records in memory; with a file, they survive.
///
/// Questions are answered from memory, behind one lock that nobody holds for long. Bans go to a
/// journal beside the file at once, those that wait together by one fsync;
/// [`flush`](PeerStore::flush) saves everything to the file, if anything has changed. Work on
/// files is done by one thread that ends with the store. It needs no runtime.
///
/// # Files
///
/// | name | what |
/// |---|---|
/// | `peers.json` | all records at the last save, JSON, one line each |
/// | `peers.json.journal` | bans since |
/// | `peers.json.tmp` | a save under way |
/// | `peers.json.lock` | locked while a store is open, empty |
/// | `peers.json.corrupt-…` | what could not be read, under the time of the start that found it |
/// | `peers.json.journal.damaged-…`, `peers.json.unverified-…`, `peers.json.newer-…` | copies of what was read in part, edited or damaged, or written by a newer version |
///
/// The file may be written or edited by hand while no store has it open: `{"peers":[…]}` is
/// enough. Fields and records that this version does not know are kept and written back.
///
/// Saves need room for the file twice. What a save replaces loses its name, and on Unix its room
/// during the next save, a piece at a time: to free a large file at once would hold up bans. Who has it
/// open, as a backup that copies it, can read it whole until that save begins. One that has another
/// name by then, as a hard link, stays as it is.
///
/// # What it survives
///
/// A crash or loss of power at any instant: no ban is lost that was reported as stored, and of the
/// rest what is newer than the last save. A file that is missing is an empty store. One that is
/// damaged, or no file at all, is set aside; what records can be told apart in it are used; the
/// start goes on, and the log says what happened. One that the system does not let us read is
/// an error: the bans in it are not given up for that. A full disk: calls fail, the file stays as
/// it was, and the next call that finds room makes up for it.
///
/// # Dropping
///
/// Waits for the write under way, if any, and gives the lock back. It saves nothing: call
/// [`flush`](PeerStore::flush) first.
///
/// ```
/// # use p2p_store::{InMemoryPeerStore, PeerStore};
/// # let folder = std::env::temp_dir().join(format!("p2p-store-doc-{}", std::process::id()));
/// let store = InMemoryPeerStore::open(folder.join("peers.json"))?;
/// # drop(store);
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), p2p_store::StoreError>(())
/// ```
pub struct InMemoryPeerStore {
    shared: Arc<Shared>,
    file: Option<Backing>,
}

/// The thread behind a store with a file.
struct Backing {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl InMemoryPeerStore {
    /// A store that lasts as long as its process. Nothing in it is durable: bans too are promised
    /// for as long as it is there only.
    pub fn new() -> Self {
        Self {
            shared: Arc::default(),
            file: None,
        }
    }

    /// A store with a file, whose folder is made if need be. Reads it before it returns, on
    /// the thread that it is called on.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another store has the file open; [`StoreError::Io`] if the folder
    /// cannot be written to, the system does not let us read what is there, or what is damaged
    /// cannot be set aside. A file that is missing or damaged is no error.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = resolved(path.as_ref())?;
        let paths = Paths::of(&path);
        let lock = lock(&paths)?;
        Self::start(Box::new(RealDisk::new(&path)), paths, Some(lock))
    }

    /// A store at `peer_store_file_path`; one without a file if there is no such path.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn from_config(config: &ManagerConfig) -> Result<Self, StoreError> {
        match &config.peer_store_file_path {
            Some(path) => Self::open(path),
            None => Ok(Self::new()),
        }
    }

    /// Where it is kept; `None` if nowhere.
    pub fn path(&self) -> Option<&Path> {
        Some(&self.file.as_ref()?.path)
    }

    fn start(disk: Box<dyn Disk>, paths: Paths, lock: Option<File>) -> Result<Self, StoreError> {
        let path = paths.file.clone();
        let writer = load::load(disk, paths)?;
        let shared = writer.shared.clone();
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let work = move || {
            Writer::run(writer, receiver);
            // Not before the last write; and not by closing alone: a process that is being started
            // elsewhere in this one may hold a copy for a moment.
            if let Some(lock) = lock {
                let _ = lock.unlock();
            }
        };
        let thread = thread::Builder::new()
            .name("p2p-store".into())
            .spawn(work)
            .map_err(|error| StoreError::io("start a thread for", &path, error))?;
        let file = Some(Backing {
            path,
            jobs: Some(jobs),
            thread: Some(thread),
        });
        Ok(Self { shared, file })
    }

    /// Changes memory, and returns when what must not be lost of it is durable.
    async fn change(
        &self,
        change: impl FnOnce(&mut State) -> Result<Option<Entry>, StoreError> + Send,
    ) -> Result<(), StoreError> {
        let Some(jobs) = self.jobs()? else {
            let mut state = self.shared.write();
            change(&mut state)?;
            // There is nothing more durable to wait for.
            let seq = state.seq;
            state.settle_to(seq);
            return Ok(());
        };
        // Room first: the order in the queue must be that of the changes, so it is joined under
        // the lock, where nobody may wait.
        let room = jobs.reserve().await.map_err(|_| StoreError::Closed)?;
        let done = {
            let mut state = self.shared.write();
            let Some(entry) = change(&mut state)? else {
                return Ok(());
            };
            let (sender, done) = oneshot::channel();
            room.send(Job::Record(entry, sender));
            done
        };
        done.await.map_err(|_| StoreError::Closed)?
    }

    fn jobs(&self) -> Result<Option<&mpsc::Sender<Job>>, StoreError> {
        match &self.file {
            Some(file) => file.jobs.as_ref().ok_or(StoreError::Closed).map(Some),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl PeerStore for InMemoryPeerStore {
    async fn create(&self, peer: &Peer) -> Result<(), StoreError> {
        let peer = shared(peer);
        self.change(|state| state.create(peer)).await
    }

    async fn read(&self, id: Uuid) -> Result<Peer, StoreError> {
        let found = self.shared.read().index.get(id).cloned();
        found
            .map(Arc::unwrap_or_clone)
            .ok_or(StoreError::PeerNotFound { id })
    }

    async fn update(&self, peer: &Peer) -> Result<(), StoreError> {
        let peer = shared(peer);
        self.change(|state| state.update(peer)).await
    }

    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        self.change(|state| state.delete(id)).await
    }

    async fn list_all(&self) -> Result<Vec<Peer>, StoreError> {
        let found = self.shared.read().index.all();
        Ok(copied(found))
    }

    async fn find_by_status(&self, status: PeerStatus) -> Result<Vec<Peer>, StoreError> {
        let found = self.shared.read().index.of_status(status);
        Ok(copied(found))
    }

    async fn find_by_ip_port(&self, ip: IpAddr, port: u16) -> Result<Option<Peer>, StoreError> {
        let found = {
            let state = self.shared.read();
            let id = state.index.at(ip.to_canonical(), port);
            id.and_then(|id| state.index.get(id).cloned())
        };
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn find_by_ip(&self, ip: IpAddr) -> Result<Vec<Peer>, StoreError> {
        let found = self.shared.read().index.of_ip(ip.to_canonical());
        Ok(copied(found))
    }

    async fn count_by_status(&self, status: PeerStatus) -> Result<usize, StoreError> {
        Ok(self.shared.read().index.count(status))
    }

    /// Memory changes as a whole. If power goes before the next [`flush`](PeerStore::flush), the
    /// bans of a batch survive together, the rest of it does not.
    async fn apply(&self, peers: &[Peer]) -> Result<(), StoreError> {
        let peers = peers.iter().map(shared).collect();
        self.change(|state| Ok(state.put(peers))).await
    }

    async fn forget(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        self.change(|state| Ok(state.forget(ids))).await
    }

    /// Saves the file, if anything has changed since the last save. Others go on meanwhile.
    async fn flush(&self) -> Result<(), StoreError> {
        let Some(jobs) = self.jobs()? else {
            return Ok(());
        };
        let (sender, done) = oneshot::channel();
        let asked = jobs.send(Job::Save(sender)).await;
        asked.map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }
}

impl Default for InMemoryPeerStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryPeerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryPeerStore")
            .field("path", &self.path())
            .field("peers", &self.shared.read().index.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // Without senders the thread ends.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // One that has panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

fn shared(peer: &Peer) -> Arc<Peer> {
    Arc::new(record::canonical(peer).into_owned())
}

fn copied(peers: Vec<Arc<Peer>>) -> Vec<Peer> {
    peers.into_iter().map(Arc::unwrap_or_clone).collect()
}

/// The path itself, not a link to it: a save replaces what it names.
fn resolved(path: &Path) -> Result<PathBuf, StoreError> {
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let refused = |error| StoreError::io("use", path, error);
    let name = path.file_name().ok_or_else(|| {
        refused(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "it names no file",
        ))
    })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    files::make_folder(folder)
        .and_then(|()| folder.canonicalize())
        .map(|folder| folder.join(name))
        .map_err(|error| StoreError::io("make the folder of", path, error))
}

/// Keeps others out for as long as it is open.
fn lock(paths: &Paths) -> Result<File, StoreError> {
    let refused = |error| StoreError::io("lock", &paths.lock, error);
    let file = File::create(&paths.lock).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: paths.file.clone(),
        }),
        Err(TryLockError::Error(error)) => Err(refused(error)),
    }
}
