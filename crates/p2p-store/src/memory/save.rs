//! Saving: all records into a new file, which takes the place of the old one.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::disk::{Disk, DiskFile, Replaced};
use super::file::{Composer, Head, Unreadable};
use super::state::Shared;
use super::writer::Paths;

/// Records of one step: some tens of microseconds under the lock, some hundreds to write them, and
/// then whoever has a ban to write goes first.
const STEP: usize = 512;
/// Bytes after which a file under way is synced: no ban can be written meanwhile, nor while the sync
/// at the end finds more to do.
const SYNC: usize = 256 << 10;
/// Bytes of a replaced file that are given back in one step: more than a step writes, so that the room
/// taken does not grow; few, for the next sync waits until they are free.
const PIECE: u64 = 256 << 10;

/// A save under way. A few records at a time: those that change meanwhile are in it as they were
/// or as they became, and what must not be lost of that is in the journal, which goes on.
pub(super) struct Save {
    file: Box<dyn DiskFile>,
    composer: Composer,
    last: Option<Uuid>,
    unsynced: usize,
    stage: Stage,
    /// What earlier saves have replaced.
    replaced: Vec<Box<dyn Replaced>>,
    /// What this one has replaced, for the next one to give back: who reads it has until then.
    pub(super) held: Option<Box<dyn Replaced>>,
    /// What it contains at least.
    pub(super) version: u64,
    pub(super) covered: u64,
    /// What was appended to the journal since the beginning.
    pub(super) journaled: Vec<u8>,
}

enum Stage {
    Writing,
    /// All of it, durable; under its temporary name.
    Written,
}

impl Save {
    /// Begins. What earlier saves have replaced is given back on the way.
    pub(super) fn begin(
        disk: &mut dyn Disk,
        paths: &Paths,
        shared: &Shared,
        head: &Head,
        replaced: Vec<Box<dyn Replaced>>,
    ) -> io::Result<Self> {
        let file = disk.create(&paths.temporary)?;
        let (version, covered) = {
            let state = shared.read();
            (state.version, state.seq)
        };
        let mut save = Self {
            file,
            composer: Composer::default(),
            last: None,
            unsynced: 0,
            stage: Stage::Writing,
            replaced,
            held: None,
            version,
            covered,
            journaled: Vec::new(),
        };
        let head = Head {
            covered: save.covered,
            ..head.clone()
        };
        let piece = save.composer.head(&head);
        save.write(&piece)?;
        Ok(save)
    }

    /// Goes on by one step, with one sync at most: a ban may have to wait for it. Whether the file
    /// is in its place, durable.
    pub(super) fn step(
        &mut self,
        disk: &mut dyn Disk,
        paths: &Paths,
        shared: &Shared,
        unreadable: &Unreadable,
    ) -> io::Result<bool> {
        match self.stage {
            Stage::Writing => {
                let records = shared.read().index.after(self.last, STEP);
                match records.last() {
                    Some(last) => {
                        self.last = Some(last.id);
                        let piece = self.composer.records(records.iter().map(Arc::as_ref));
                        self.write(&piece)?;
                    }
                    None => self.end(unreadable)?,
                }
                self.give_back();
                Ok(false)
            }
            Stage::Written => {
                if self.give_back() {
                    return Ok(false);
                }
                let held = disk.hold(&paths.file);
                disk.rename(&paths.temporary, &paths.file)?;
                disk.sync_folder(&paths.file)?;
                // Not before: what is cut must not come back under its name in a crash.
                self.held = held;
                Ok(true)
            }
        }
    }

    /// Gives back a piece of what was replaced; whether there was any.
    fn give_back(&mut self) -> bool {
        let Some(replaced) = self.replaced.last_mut() else {
            return false;
        };
        // One that cannot be cut gives back its room when it is closed: no harm but a wait.
        if !replaced.shrink(PIECE).unwrap_or(false) {
            self.replaced.pop();
        }
        true
    }

    fn end(&mut self, unreadable: &Unreadable) -> io::Result<()> {
        let piece = self.composer.records(unreadable.iter());
        self.write(&piece)?;
        let piece = std::mem::take(&mut self.composer).tail();
        self.file.write(&piece)?;
        self.file.sync()?;
        self.stage = Stage::Written;
        Ok(())
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write(piece)?;
        self.unsynced += piece.len();
        if self.unsynced >= SYNC {
            self.file.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}
