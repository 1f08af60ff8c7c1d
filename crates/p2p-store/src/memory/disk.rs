//! The few things that a store does to files, so that a test can take their place and lose power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::files;

/// A larger file is none of ours: it would not fit into memory beside what it says.
const MAX_FILE: u64 = 4 << 30;

/// A file system.
pub(super) trait Disk: Send {
    /// The whole file; `None` if there is none.
    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// An empty file, which replaces what was there.
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// A file to append to.
    fn append(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// What has this name, open, so that its room stays taken when the name is another's; `None`
    /// where that cannot be had.
    fn hold(&mut self, path: &Path) -> Option<Box<dyn Replaced>>;
    /// Replaces `to`.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    fn exists(&mut self, path: &Path) -> bool;
    /// Makes durable which names the folder of `path` has.
    fn sync_folder(&mut self, path: &Path) -> io::Result<()>;
}

/// A file that is written at its end.
pub(super) trait DiskFile: Send {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was written.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts it to this length.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// A file whose name is another's by now. A file system that frees a large one at once lets every
/// sync wait for that, so its room is given back in pieces; what is left when it is dropped, at once.
pub(super) trait Replaced: Send {
    /// Cuts a piece of this length off its end; whether there is more. One that still has a name
    /// is somebody's, and stays whole.
    fn shrink(&mut self, piece: u64) -> io::Result<bool>;
}

/// The file system of the machine.
#[derive(Debug)]
pub(super) struct RealDisk {
    /// The store's file. Who may read it is for its owner to say: what is made beside it keeps that
    /// from its first byte.
    file: PathBuf,
}

impl RealDisk {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
        }
    }

    fn protect(&self, made: &File) -> io::Result<()> {
        match fs::metadata(&self.file) {
            Ok(metadata) if metadata.is_file() => made.set_permissions(metadata.permissions()),
            _ => Ok(()),
        }
    }
}

impl Disk for RealDisk {
    fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            let what = format!("it is larger than {} GiB", MAX_FILE >> 30);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        Ok(Some(bytes))
    }

    fn create(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::create(path)?;
        self.protect(&file)?;
        Ok(Box::new(file))
    }

    fn append(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let is_made = !self.exists(path);
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        if is_made {
            self.protect(&file)?;
        }
        Ok(Box::new(file))
    }

    #[cfg(unix)]
    fn hold(&mut self, path: &Path) -> Option<Box<dyn Replaced>> {
        // What stands behind a link is not replaced, and a pipe would wait for its reader.
        if !path.symlink_metadata().ok()?.is_file() {
            return None;
        }
        // There may be none, or none that we may write: its room then goes back at once.
        let file = OpenOptions::new().write(true).open(path).ok()?;
        // Of a file with another name only this one goes. Systems that count no names say 0.
        let is_ours = file.metadata().is_ok_and(|metadata| metadata.nlink() == 1);
        is_ours.then(|| Box::new(file) as Box<dyn Replaced>)
    }

    #[cfg(not(unix))]
    fn hold(&mut self, _: &Path) -> Option<Box<dyn Replaced>> {
        // Nothing tells whether it has another name, and one that is open cannot always be replaced.
        None
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        // It may have been changed since.
        if let Ok(metadata) = fs::metadata(to)
            && metadata.is_file()
        {
            fs::set_permissions(from, metadata.permissions())?;
        }
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn exists(&mut self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        files::sync_folder(path)
    }
}

impl DiskFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.sync_data()
    }
}

#[cfg(unix)]
impl Replaced for File {
    fn shrink(&mut self, piece: u64) -> io::Result<bool> {
        let metadata = self.metadata()?;
        // Linked or moved away since. A file without a name never gets one again.
        if metadata.nlink() > 0 {
            return Ok(false);
        }
        let left = metadata.len().saturating_sub(piece);
        self.set_len(left)?;
        Ok(left > 0)
    }
}
