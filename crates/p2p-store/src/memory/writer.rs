//! The thread that does all work on files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::disk::{Disk, Replaced};
use super::file::{Head, Unreadable};
use super::journal::{Entry, Journal, framed};
use super::save::Save;
use super::state::Shared;
use crate::error::StoreError;

/// Jobs that wait. Who comes when there are as many waits outside.
pub(super) const QUEUE: usize = 1024;
/// A journal of this length is merged at once, and not when somebody asks: it is read at every
/// start.
const JOURNAL_LIMIT: u64 = 16 << 20;

/// How a job ends.
pub(super) type Done = oneshot::Sender<Result<(), StoreError>>;

/// Something to write.
pub(super) enum Job {
    /// Into the journal.
    Record(Entry, Done),
    /// Everything into the file.
    Save(Done),
}

/// The files of a store.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) file: PathBuf,
    pub(super) temporary: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) lock: PathBuf,
}

impl Paths {
    pub(super) fn of(file: &Path) -> Self {
        let beside = |ending: &str| {
            let mut name = file.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        Self {
            file: file.into(),
            temporary: beside(".tmp"),
            journal: beside(".journal"),
            lock: beside(".lock"),
        }
    }
}

/// Writes for as long as the store is there.
///
/// Bans that wait together share one fsync. A save goes on a step at a time, and whatever waits is
/// written between two steps.
///
/// # Why no crash loses a ban
///
/// An entry of the journal is durable before its caller hears of it. A save contains all changes up
/// to `covered`, and says so; it is durable, under its name, before the journal is replaced by one
/// of the entries behind it. Until then a start finds both, and skips what is in both. Files are
/// replaced by renaming, so there is always one that is whole.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Box<dyn Disk>,
    pub(super) paths: Paths,
    pub(super) head: Head,
    pub(super) unreadable: Unreadable,
    pub(super) journal: Journal,
    save: Option<Save>,
    /// Its file is in its place, and the journal is to be shortened.
    is_placed: bool,
    /// Who waits for the save under way.
    saving: Vec<Done>,
    /// Who came when it had begun, and waits for the next one.
    next: Vec<Done>,
    /// The count of changes that the file contains; none if it is not ours yet.
    saved: Option<u64>,
    /// Files that the last save has replaced. The next one gives back their room.
    replaced: Vec<Box<dyn Replaced>>,
    journal_limit: u64,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Box<dyn Disk>,
        paths: Paths,
        head: Head,
        journal: Journal,
    ) -> Self {
        Self {
            shared,
            disk,
            paths,
            head,
            unreadable: Unreadable::default(),
            journal,
            save: None,
            is_placed: false,
            saving: Vec::new(),
            next: Vec::new(),
            saved: None,
            replaced: Vec::new(),
            journal_limit: JOURNAL_LIMIT,
        }
    }

    /// What is in memory now is what the file says, so there is nothing to save.
    pub(super) fn is_saved(&mut self) {
        self.saved = Some(self.shared.read().version);
    }

    /// Saves everything before it returns.
    pub(super) fn save_now(&mut self) -> Result<(), StoreError> {
        let (done, mut result) = oneshot::channel();
        self.next.push(done);
        while self.is_busy() {
            self.step();
        }
        result.try_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Works until the store is gone. What was asked before is still done, but for a save.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            let first = if self.is_busy() {
                match jobs.try_recv() {
                    Ok(job) => Some(job),
                    Err(mpsc::error::TryRecvError::Empty) => None,
                    Err(mpsc::error::TryRecvError::Disconnected) => break,
                }
            } else {
                match jobs.blocking_recv() {
                    Some(job) => Some(job),
                    None => break,
                }
            };
            self.work(first.into_iter().chain(std::iter::from_fn(|| {
                // At most as many as wait: a flood must not keep a save from going on.
                jobs.try_recv().ok()
            })));
            self.step();
        }
        if self.save.take().is_some() {
            debug!(file = %self.paths.file.display(), "the store ends during a save: the file stays as it was");
            // A leftover is removed at the next start too.
            let _ = self.disk.remove(&self.paths.temporary);
        }
    }

    fn is_busy(&self) -> bool {
        self.save.is_some() || !self.next.is_empty()
    }

    /// Does what waits; what goes into the journal by one fsync.
    pub(super) fn work(&mut self, jobs: impl Iterator<Item = Job>) {
        let mut lines = Vec::new();
        let mut changes = Vec::new();
        let mut waiting = Vec::new();
        for job in jobs.take(QUEUE) {
            match job {
                Job::Record(entry, done) => {
                    lines.extend(framed(&entry));
                    changes.extend(entry.ids().map(|id| (id, entry.seq)));
                    waiting.push(done);
                }
                Job::Save(done) => self.next.push(done),
            }
        }
        if waiting.is_empty() {
            return;
        }
        let result = self.record(&lines);
        if result.is_ok() {
            // As the next start would find it.
            for (id, _) in &changes {
                self.unreadable.remove(*id);
            }
            self.shared.write().settle(changes);
        }
        answer(waiting, &result);
        if self.journal.length() > self.journal_limit && !self.is_busy() {
            self.begin();
        }
    }

    /// Goes on with the save, or begins the next one.
    pub(super) fn step(&mut self) {
        if self.save.is_none() && !self.next.is_empty() {
            self.saving.append(&mut self.next);
            if self.saved == Some(self.shared.read().version) {
                answer(self.saving.drain(..), &Ok(()));
                return;
            }
            self.begin();
        }
        if self.is_placed {
            self.merge();
            return;
        }
        let Some(save) = &mut self.save else {
            return;
        };
        let disk = self.disk.as_mut();
        match save.step(disk, &self.paths, &self.shared, &self.unreadable) {
            Ok(is_placed) => self.is_placed = is_placed,
            Err(error) => self.failed(error),
        }
    }

    fn record(&mut self, lines: &[u8]) -> Result<(), StoreError> {
        let path = &self.paths.journal;
        let disk = self.disk.as_mut();
        let result = self.journal.append(disk, path, self.head.lineage, lines);
        match &result {
            Ok(()) => {
                if let Some(save) = &mut self.save {
                    save.journaled.extend_from_slice(lines);
                }
            }
            // If it is for room, there is some: who tries again finds it.
            Err(_) => self.replaced.clear(),
        }
        result.map_err(|error| StoreError::io("write", path, error))
    }

    fn begin(&mut self) {
        self.supersede();
        let replaced = std::mem::take(&mut self.replaced);
        let disk = self.disk.as_mut();
        match Save::begin(disk, &self.paths, &self.shared, &self.head, replaced) {
            Ok(save) => self.save = Some(save),
            Err(error) => self.failed(error),
        }
    }

    /// Gives up records that cannot be read where there are others now: a version that can read them
    /// would take them for later.
    fn supersede(&mut self) {
        let state = self.shared.read();
        self.unreadable
            .supersede(|id| state.index.get(id).is_some());
    }

    /// The file is durable: what it contains may leave the journal.
    fn merge(&mut self) {
        self.is_placed = false;
        let Some(saved) = self.save.take() else {
            return;
        };
        self.saved = Some(saved.version);
        self.head.covered = saved.covered;
        self.shared.write().settle_to(saved.covered);
        self.replaced.extend(saved.held);
        let mut result = Ok(());
        if !self.journal.is_empty() {
            let Paths {
                journal, temporary, ..
            } = &self.paths;
            let disk = self.disk.as_mut();
            let lineage = self.head.lineage;
            result = self
                .journal
                .replace(disk, journal, temporary, lineage, &saved.journaled)
                .map(|held| self.replaced.extend(held))
                .map_err(|error| StoreError::io("replace", journal, error));
        }
        match &result {
            Ok(()) => self.journal_limit = JOURNAL_LIMIT,
            Err(error) => {
                self.postpone_merge();
                warn!(%error, "the peer store's journal was merged but not shortened: it is tried again at the next save");
            }
        }
        // The journal says nothing that the file does not: what was asked for is done.
        answer(self.saving.drain(..), &Ok(()));
    }

    fn failed(&mut self, error: io::Error) {
        self.save = None;
        self.postpone_merge();
        let _ = self.disk.remove(&self.paths.temporary);
        let error = StoreError::io("save", &self.paths.file, error);
        warn!(%error, "the peer store was not saved: bans are in the journal, and the next save makes up for the rest");
        answer(self.saving.drain(..), &Err(error));
    }

    /// A disk that refuses is not asked again at every ban.
    fn postpone_merge(&mut self) {
        self.journal_limit = self.journal.length().max(JOURNAL_LIMIT).saturating_mul(2);
    }
}

fn answer(waiting: impl IntoIterator<Item = Done>, result: &Result<(), StoreError>) {
    for done in waiting {
        // Who dropped the future does not want to know.
        let _ = done.send(result.clone());
    }
}
