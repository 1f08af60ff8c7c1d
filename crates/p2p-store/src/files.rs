//! What all stores in files need.

use std::io;
use std::path::{Path, PathBuf};

use crate::record;

/// A name beside this one that nothing has: why, when, and if need be which one of then.
pub(crate) fn name_aside(
    path: &Path,
    why: &str,
    mut is_taken: impl FnMut(&Path) -> bool,
) -> PathBuf {
    let seconds = record::now().as_millis() / 1000;
    let mut number = 0;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{why}-{seconds}"));
        if number > 0 {
            name.push(format!("-{number}"));
        }
        let name = PathBuf::from(name);
        if !is_taken(&name) {
            return name;
        }
        number += 1;
    }
}

/// Makes durable which names the folder of this path has.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened, and names are durable with their files.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
