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

/// Makes this folder and what is missing above it, durable with all its names.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    for made in make_missing(&std::path::absolute(folder)?)? {
        sync_folder(&made)?;
    }
    Ok(())
}

/// What it made, the outermost first.
fn make_missing(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = folder.ancestors().take_while(|folder| !folder.exists());
    let mut missing: Vec<_> = missing.map(Path::to_owned).collect();
    missing.reverse();
    std::fs::create_dir_all(folder)?;
    Ok(missing)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_that_was_made_is_known() {
        let name = format!("p2p-store-files-{}", std::process::id());
        let outer = std::env::temp_dir().join(name);
        let inner = outer.join("a/b");
        let made = make_missing(&inner).unwrap();
        assert_eq!(made, [outer.clone(), outer.join("a"), inner.clone()]);
        assert!(make_missing(&inner).unwrap().is_empty());
        make_folder(&outer.join("c/d")).unwrap();
        assert!(outer.join("c/d").is_dir());
        std::fs::write(outer.join("file"), "").unwrap();
        make_folder(&outer.join("file/x")).unwrap_err();
        std::fs::remove_dir_all(outer).unwrap();
    }
}
