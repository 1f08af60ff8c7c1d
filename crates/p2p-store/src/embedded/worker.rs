//! The thread that runs all transactions.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use p2p_core::Peer;
use redb::{Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, StorageError};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};
use uuid::Uuid;

use super::tables::{Reader, VERSION, Writer, prepare};
use crate::error::StoreError;
use crate::files;

/// Jobs that wait. Who comes when there are as many waits outside.
pub(super) const QUEUE: usize = 1024;
/// What of the file is kept in memory. The default, 1 GiB, is for machines that do nothing else.
const CACHE: usize = 64 << 20;
const BACKEND: &str = "redb";
/// Records that are kept for a reopening: beyond that a commit is durable though nobody asked, so
/// that a store that is never flushed takes some megabytes for them and no more.
const KEPT: usize = 16_384;

/// How a change ends.
pub(super) type Done = oneshot::Sender<Result<(), StoreError>>;
/// Something to look at; how that ended.
pub(super) type Look =
    Box<dyn FnOnce(Result<ReadTransaction, StoreError>) -> Result<(), StoreError> + Send>;

/// Something to do.
pub(super) enum Job {
    Change(Change, Done),
    Look(Look),
}

/// Something to change.
pub(super) enum Change {
    Create(Box<Peer>),
    Update(Box<Peer>),
    Delete(Uuid),
    Apply(Vec<Peer>),
    Forget(Vec<Uuid>),
    Flush,
}

/// Owns the database.
pub(super) struct Worker {
    path: PathBuf,
    /// `None` after a failure: redb trusts nothing of what it holds then, and the file is opened
    /// anew, which falls back to the last durable commit.
    pub(super) database: Option<Database>,
    /// What was done since that commit. It was answered, so it is done once more then.
    kept: Vec<Change>,
    /// How many records those are about.
    kept_records: usize,
}

impl Worker {
    /// Opens the file; sets it aside if it is damaged.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            files::make_folder(folder)
                .map_err(|error| StoreError::io("make the folder of", &path, error))?;
        }
        if fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() == 0) {
            warn!(file = %path.display(), "the peer store is an empty file: the start goes on with an empty store");
        }
        let database = match guarded(&path, || open(&path)) {
            Err(StoreError::Corrupt { what, .. }) => {
                let aside = set_aside(&path)?;
                warn!(
                    file = %path.display(), error = what, aside = %aside.display(),
                    "the peer store is damaged: it is set aside, and the start goes on with an empty one"
                );
                open(&path)?
            }
            other => other?,
        };
        let peers = read(&database).and_then(Reader::new)?.len()?;
        info!(file = %path.display(), peers, "peer store opened");
        Ok(Self {
            path,
            database: Some(database),
            kept: Vec::new(),
            kept_records: 0,
        })
    }

    /// Works until the store is gone; what was asked before is still done.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut changes = Vec::new();
            let mut next = Some(first);
            // Changes that wait go together; who looks, looks between two transactions.
            while let Some(job) = next.take() {
                match job {
                    Job::Change(change, done) => {
                        changes.push((change, done));
                        if changes.len() < QUEUE {
                            next = jobs.try_recv().ok();
                        }
                    }
                    Job::Look(look) => {
                        self.change(std::mem::take(&mut changes));
                        self.look(look);
                    }
                }
            }
            self.change(changes);
        }
    }

    pub(super) fn look(&mut self, look: Look) {
        let path = self.path.clone();
        let looked = guarded(&path, || Ok(look(self.database().and_then(read))));
        match looked {
            Err(error)
            | Ok(Err(
                error @ StoreError::Backend {
                    retryable: true, ..
                },
            )) => self.distrust(&error),
            Ok(_) => {}
        }
    }

    pub(super) fn change(&mut self, changes: Vec<(Change, Done)>) {
        if changes.is_empty() {
            return;
        }
        let path = self.path.clone();
        let (changes, waiting): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        let records = self.kept_records + changes.iter().map(Change::len).sum::<usize>();
        let durability = match records {
            0..=KEPT => Durability::None,
            _ => Durability::Immediate,
        };
        let commits = guarded(&path, || commit(self.database()?, &changes, durability));
        match commits {
            Ok(Commit {
                results,
                is_durable,
            }) => {
                self.keep(changes, &results, is_durable);
                for (done, result) in waiting.into_iter().zip(results) {
                    // Who dropped the future does not want to know.
                    let _ = done.send(result);
                }
            }
            Err(error) => {
                self.distrust(&error);
                for done in waiting {
                    let _ = done.send(Err(error.clone()));
                }
            }
        }
    }

    fn keep(&mut self, changes: Vec<Change>, results: &[Result<(), StoreError>], is_durable: bool) {
        if is_durable {
            self.kept.clear();
            self.kept_records = 0;
            return;
        }
        for (change, result) in changes.into_iter().zip(results) {
            if result.is_ok() {
                self.kept_records += change.len();
                self.kept.push(change.again());
            }
        }
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        match &mut self.database {
            Some(database) => Ok(database),
            none => {
                let database = open(&self.path)?;
                commit(&database, &self.kept, Durability::None)?;
                Ok(none.insert(database))
            }
        }
    }

    fn distrust(&mut self, error: &StoreError) {
        warn!(file = %self.path.display(), %error, "the peer store failed: nothing of what it was asked counts, the file is opened anew");
        let database = self.database.take();
        // It may be in any state.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

/// A transaction that is done.
struct Commit {
    /// How each of its changes ended.
    results: Vec<Result<(), StoreError>>,
    /// Whether it and all before it survive whatever happens.
    is_durable: bool,
}

/// All changes in one transaction, which is durable if any of them has to be.
fn commit(
    database: &Database,
    changes: &[Change],
    durability: Durability,
) -> Result<Commit, StoreError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    let mut results = Vec::with_capacity(changes.len());
    let is_durable;
    {
        let mut writer = Writer::new(&transaction)?;
        for change in changes {
            let result = change.carry_out(&mut writer);
            match result {
                // Those are found before anything is written.
                Ok(())
                | Err(StoreError::PeerNotFound { .. } | StoreError::DuplicatePeer { .. }) => {
                    results.push(result);
                }
                Err(error) => return Err(error),
            }
        }
        is_durable = writer.is_urgent || matches!(durability, Durability::Immediate);
    }
    if !is_durable {
        transaction.set_durability(durability).map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(Commit {
        results,
        is_durable,
    })
}

impl Change {
    fn carry_out(&self, writer: &mut Writer<'_>) -> Result<(), StoreError> {
        match self {
            Self::Create(peer) => writer.create(peer),
            Self::Update(peer) => writer.update(peer),
            Self::Delete(id) => writer.delete(*id),
            Self::Apply(peers) => peers.iter().try_for_each(|peer| writer.put(peer)),
            Self::Forget(ids) => ids.iter().try_for_each(|&id| writer.remove(id).map(drop)),
            Self::Flush => writer.flush(),
        }
    }

    /// The same, for a file that may have it already.
    fn again(self) -> Self {
        match self {
            Self::Create(peer) | Self::Update(peer) => Self::Apply(vec![*peer]),
            Self::Delete(id) => Self::Forget(vec![id]),
            Self::Apply(_) | Self::Forget(_) | Self::Flush => self,
        }
    }

    /// How many records it is about.
    fn len(&self) -> usize {
        match self {
            Self::Create(_) | Self::Update(_) | Self::Delete(_) => 1,
            Self::Apply(peers) => peers.len(),
            Self::Forget(ids) => ids.len(),
            Self::Flush => 0,
        }
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let database = Database::builder()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true)
        .create(path)
        .map_err(|error| cannot_open(path, error))?;
    let version = begin(&database).map_err(failed)?;
    if version > VERSION {
        return Err(StoreError::Backend {
            backend: BACKEND,
            message: format!(
                "{}: of format {version}, and this version knows {VERSION}: use a newer version, or another file",
                path.display()
            ),
            retryable: false,
        });
    }
    // It may be new.
    files::sync_folder(path).map_err(|error| StoreError::io("sync the folder of", path, error))?;
    Ok(database)
}

fn begin(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let version = prepare(&transaction)?;
    transaction.commit()?;
    Ok(version)
}

fn read(database: &Database) -> Result<ReadTransaction, StoreError> {
    database.begin_read().map_err(failed)
}

/// redb may panic on a file that was altered behind its back.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(StoreError::Corrupt {
            place: path.display().to_string(),
            what: text.unwrap_or("the database is damaged").into(),
        })
    })
}

fn cannot_open(path: &Path, error: DatabaseError) -> StoreError {
    let place = || path.display().to_string();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.into() },
        DatabaseError::Storage(StorageError::Corrupted(what)) => StoreError::Corrupt {
            place: place(),
            what,
        },
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            // What is there is no database.
            io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::IsADirectory => StoreError::Corrupt {
                place: place(),
                what: error.to_string(),
            },
            _ => StoreError::io("open", path, error),
        },
        other => StoreError::Backend {
            backend: BACKEND,
            message: format!("{}: {other}", place()),
            retryable: false,
        },
    }
}

/// What redb's errors are to our callers.
pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(what) => StoreError::Corrupt {
            place: BACKEND.into(),
            what,
        },
        // After an I/O error the file is opened anew.
        error @ (redb::Error::Io(_) | redb::Error::PreviousIo) => StoreError::Backend {
            backend: BACKEND,
            message: error.to_string(),
            retryable: true,
        },
        error => StoreError::Backend {
            backend: BACKEND,
            message: error.to_string(),
            retryable: false,
        },
    }
}

fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let name = files::name_aside(path, "corrupt", |name| name.symlink_metadata().is_ok());
    fs::rename(path, &name).map_err(|error| StoreError::io("set aside", path, error))?;
    Ok(name)
}
