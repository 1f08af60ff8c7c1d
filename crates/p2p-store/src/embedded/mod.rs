//! Records in one file of an embedded database.

mod tables;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use p2p_core::{Peer, PeerStatus};
use redb::ReadTransaction;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::error::StoreError;
use crate::record;
use crate::store::PeerStore;
use tables::Reader;
use worker::{Change, Job, QUEUE, Worker};

/// Records in one file of [redb](redb), a transactional database within the process: for address
/// books that outgrow a JSON file, which is in memory as a whole and written as a whole.
///
/// All transactions run on one thread of the store's own, which ends with it, so that no executor
/// ever waits for a disk. Changes that wait together share a transaction and its fsync. A batch is
/// atomic, across crashes too: all of it is there afterwards, or nothing.
///
/// What it survives: see [`InMemoryPeerStore`](crate::InMemoryPeerStore#what-it-survives); but a
/// damaged file is set aside as a whole. Every page is checked when the file is opened, which reads
/// it once.
///
/// After an error of the disk the file is opened anew, and what was answered and not yet flushed is
/// done once more.
///
/// Records that this version cannot read are kept as they are until somebody puts or removes one of
/// the same id. To [`read`](PeerStore::read) one is an error; other questions leave it out, and the
/// log names it.
///
/// Dropping waits for what was asked before, and gives the file back.
///
/// ```
/// # use p2p_store::{RedbPeerStore, PeerStore};
/// # let folder = std::env::temp_dir().join(format!("p2p-store-redb-{}", std::process::id()));
/// let store = RedbPeerStore::open(folder.join("peers.redb"))?;
/// # drop(store);
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), p2p_store::StoreError>(())
/// ```
pub struct RedbPeerStore {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl RedbPeerStore {
    /// A store in this file, which is made if need be, and its folder too.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another store has the file open; [`StoreError::Io`] if it cannot
    /// be read and written; [`StoreError::Backend`] if it is of a format that this version does
    /// not know. A file that is missing or damaged is no error.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = std::path::absolute(path.as_ref())
            .map_err(|error| StoreError::io("use", path.as_ref(), error))?;
        let worker = Worker::open(path.clone())?;
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("p2p-store-redb".into())
            .spawn(move || worker.run(receiver))
            .map_err(|error| StoreError::io("start a thread for", &path, error))?;
        Ok(Self {
            path,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn change(&self, change: Change) -> Result<(), StoreError> {
        let (done, result) = oneshot::channel();
        self.ask(Job::Change(change, done)).await?;
        result.await.map_err(|_| StoreError::Closed)?
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, result) = oneshot::channel();
        let look = move |transaction: Result<ReadTransaction, StoreError>| {
            let found = transaction
                .and_then(Reader::new)
                .and_then(|reader| look(&reader));
            let failure = found.as_ref().err().cloned();
            // Who dropped the future does not want to know.
            let _ = done.send(found);
            failure.map_or(Ok(()), Err)
        };
        self.ask(Job::Look(Box::new(look))).await?;
        // A job that is dropped undone has met damage.
        result.await.map_err(|_| StoreError::Corrupt {
            place: self.path.display().to_string(),
            what: "the database is damaged".into(),
        })?
    }

    async fn ask(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).await.map_err(|_| StoreError::Closed)
    }
}

#[async_trait]
impl PeerStore for RedbPeerStore {
    async fn create(&self, peer: &Peer) -> Result<(), StoreError> {
        self.change(Change::Create(Box::new(owned(peer)))).await
    }

    async fn read(&self, id: Uuid) -> Result<Peer, StoreError> {
        let found = self.look(move |reader| reader.get(id)).await?;
        found.ok_or(StoreError::PeerNotFound { id })
    }

    async fn update(&self, peer: &Peer) -> Result<(), StoreError> {
        self.change(Change::Update(Box::new(owned(peer)))).await
    }

    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        self.change(Change::Delete(id)).await
    }

    async fn list_all(&self) -> Result<Vec<Peer>, StoreError> {
        self.look(|reader| reader.all()).await
    }

    async fn find_by_status(&self, status: PeerStatus) -> Result<Vec<Peer>, StoreError> {
        self.look(move |reader| reader.of_status(status)).await
    }

    async fn find_by_ip_port(&self, ip: IpAddr, port: u16) -> Result<Option<Peer>, StoreError> {
        self.look(move |reader| reader.at(ip, port)).await
    }

    async fn find_by_ip(&self, ip: IpAddr) -> Result<Vec<Peer>, StoreError> {
        self.look(move |reader| reader.of_ip(ip)).await
    }

    async fn count_by_status(&self, status: PeerStatus) -> Result<usize, StoreError> {
        self.look(move |reader| reader.count(status)).await
    }

    /// Atomic: all of the batch is there after a crash, or nothing.
    async fn apply(&self, peers: &[Peer]) -> Result<(), StoreError> {
        self.change(Change::Apply(peers.iter().map(owned).collect()))
            .await
    }

    /// Atomic: all of the batch is gone after a crash, or nothing.
    async fn forget(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        self.change(Change::Forget(ids.to_vec())).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.change(Change::Flush).await
    }
}

impl fmt::Debug for RedbPeerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbPeerStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drop for RedbPeerStore {
    fn drop(&mut self) {
        // Without senders the thread ends.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // One that has panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

fn owned(peer: &Peer) -> Peer {
    record::canonical(peer).into_owned()
}
