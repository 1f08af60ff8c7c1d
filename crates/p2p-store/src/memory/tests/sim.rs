//! A disk that loses power, and what it then has.
//!
//! Contents are durable when the file was synced, names when the folder was. What was not may be
//! there or not: any prefix of the bytes, or zeros in their place; any prefix of the changes of
//! names.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::disk::{Disk, DiskFile, Replaced};

/// A disk, shared by whoever has a clone.
#[derive(Debug, Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<Sim>>);

#[derive(Debug, Clone, Default)]
struct Sim {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names that are not durable.
    renamings: Vec<Renaming>,
    /// Operations until the power goes; `None` if it stays.
    power: Option<usize>,
    /// Whether there is room for more.
    is_full: bool,
    /// Whether files that were replaced cannot be cut.
    refuses_to_shrink: bool,
    /// Files that cannot be read, and why not.
    unreadable: BTreeMap<PathBuf, io::ErrorKind>,
    operations: usize,
}

#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Renaming {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl SimDisk {
    /// The power goes in the middle of this operation.
    pub(super) fn cut_power_after(&self, operations: usize) {
        self.lock().power = Some(operations);
    }

    pub(super) fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    pub(super) fn refuse_to_shrink(&self) {
        self.lock().refuses_to_shrink = true;
    }

    /// Whether this file cannot be read, and why not.
    pub(super) fn refuse_to_read(&self, path: &str, why: Option<io::ErrorKind>) {
        let unreadable = &mut self.lock().unreadable;
        match why {
            Some(why) => unreadable.insert(path.into(), why),
            None => unreadable.remove(Path::new(path)),
        };
    }

    /// Bytes of files that have no name.
    pub(super) fn nameless(&self) -> usize {
        let sim = self.lock();
        let named = |file: &usize| sim.names.values().any(|named| named == file);
        let files = (0..sim.files.len()).filter(|file| !named(file));
        files.map(|file| sim.files[file].now.len()).sum()
    }

    /// Operations since the beginning.
    pub(super) fn operations(&self) -> usize {
        self.lock().operations
    }

    pub(super) fn put(&self, path: &Path, bytes: &[u8]) {
        let mut disk = self.clone();
        let mut file = disk.create(path).unwrap();
        file.write(bytes).unwrap();
        file.sync().unwrap();
        disk.sync_folder(path).unwrap();
    }

    pub(super) fn names(&self) -> Vec<String> {
        let sim = self.lock();
        let names = sim.names.keys().map(|path| path.display().to_string());
        names.collect()
    }

    /// What is there when the power is back. `luck` decides what of the rest.
    pub(super) fn after_power_loss(&self, luck: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(luck);
        let mut draw = |limit: usize| rng.random_range(0..limit);
        let sim = self.lock();
        let mut after = Sim {
            names: sim.durable_names.clone(),
            ..Sim::default()
        };
        for renaming in &sim.renamings[..draw(sim.renamings.len() + 1)] {
            renaming.apply(&mut after.names);
        }
        for file in &sim.files {
            let mut bytes = file.durable.clone();
            if let Some(rest) = file.now.strip_prefix(&file.durable[..]) {
                let kept = &rest[..draw(rest.len() + 1)];
                match draw(4) {
                    // The length is there, the bytes are not.
                    0 => bytes.resize(bytes.len() + kept.len(), 0),
                    _ => bytes.extend_from_slice(kept),
                }
            } else if draw(2) == 0 {
                // Cut or written anew, and not synced: either is there.
                bytes = file.now.clone();
            }
            after.files.push(Content {
                now: bytes.clone(),
                durable: bytes,
            });
        }
        after.durable_names = after.names.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    fn lock(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap()
    }

    /// Counts an operation; how it ends if the power goes in it or is gone.
    fn operate(&self) -> Result<MutexGuard<'_, Sim>, (MutexGuard<'_, Sim>, io::Error)> {
        let mut sim = self.lock();
        sim.operations += 1;
        match &mut sim.power {
            Some(0) => Err((sim, io::Error::other("no power"))),
            Some(left) => {
                *left -= 1;
                Ok(sim)
            }
            None => Ok(sim),
        }
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(path) => drop(names.remove(path)),
        }
    }
}

impl Sim {
    fn rename(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }
}

impl Disk for SimDisk {
    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let sim = self.operate().map_err(|(_, error)| error)?;
        if let Some(&why) = sim.unreadable.get(path) {
            return Err(why.into());
        }
        let file = sim.names.get(path);
        Ok(file.map(|&file| sim.files[file].now.clone()))
    }

    fn create(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut sim = self.operate().map_err(|(_, error)| error)?;
        // What was there is overwritten in place, as truncating does.
        let file = match sim.names.get(path) {
            Some(&file) => {
                sim.files[file].now.clear();
                file
            }
            None => {
                sim.files.push(Content::default());
                let file = sim.files.len() - 1;
                sim.rename(Renaming::Create(path.into(), file));
                file
            }
        };
        let disk = self.clone();
        Ok(Box::new(SimFile { disk, file }))
    }

    fn append(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let known = self.lock().names.get(path).copied();
        match known {
            Some(file) => {
                let disk = self.clone();
                drop(self.operate().map_err(|(_, error)| error)?);
                Ok(Box::new(SimFile { disk, file }))
            }
            None => self.create(path),
        }
    }

    fn hold(&mut self, path: &Path) -> Option<Box<dyn Replaced>> {
        let file = *self.operate().ok()?.names.get(path)?;
        let disk = self.clone();
        Some(Box::new(SimFile { disk, file }))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let mut sim = self.operate().map_err(|(_, error)| error)?;
        sim.rename(Renaming::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let mut sim = self.operate().map_err(|(_, error)| error)?;
        if sim.names.contains_key(path) {
            sim.rename(Renaming::Remove(path.into()));
        }
        Ok(())
    }

    fn exists(&mut self, path: &Path) -> bool {
        self.lock().names.contains_key(path)
    }

    fn sync_folder(&mut self, _: &Path) -> io::Result<()> {
        let mut sim = self.operate().map_err(|(_, error)| error)?;
        sim.durable_names = sim.names.clone();
        sim.renamings.clear();
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        match self.disk.operate() {
            Ok(mut sim) if sim.is_full => {
                sim.files[self.file].now.extend_from_slice(half);
                Err(io::ErrorKind::StorageFull.into())
            }
            Ok(mut sim) => {
                sim.files[self.file].now.extend_from_slice(bytes);
                Ok(())
            }
            Err((mut sim, error)) => {
                sim.files[self.file].now.extend_from_slice(half);
                Err(error)
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut sim = self.disk.operate().map_err(|(_, error)| error)?;
        let content = &mut sim.files[self.file];
        content.durable = content.now.clone();
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut sim = self.disk.operate().map_err(|(_, error)| error)?;
        let content = &mut sim.files[self.file];
        content.now.truncate(length as usize);
        content.durable = content.now.clone();
        Ok(())
    }
}

impl Replaced for SimFile {
    fn shrink(&mut self, piece: u64) -> io::Result<bool> {
        let mut sim = self.disk.operate().map_err(|(_, error)| error)?;
        if sim.refuses_to_shrink {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        assert!(
            sim.names.values().all(|&named| named != self.file),
            "it was replaced"
        );
        let content = &mut sim.files[self.file].now;
        content.truncate(content.len().saturating_sub(piece as usize));
        Ok(!content.is_empty())
    }
}
