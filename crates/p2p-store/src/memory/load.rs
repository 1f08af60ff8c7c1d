//! Starting: from whatever is there, whole or not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p2p_core::{Peer, Timestamp};
use tracing::{info, warn};
use uuid::Uuid;

use super::disk::Disk;
use super::file::{self, Loaded, Records, Unreadable, VERSION};
use super::journal::{Journal, Replay, StoredEntry};
use super::state::{Shared, State};
use super::writer::{Paths, Writer};
use crate::error::StoreError;
use crate::files;
use crate::index::Index;
use crate::record;

/// Reads what there is and makes a writer that goes on from there.
///
/// # Errors
/// If what is there cannot be read now, or what is damaged not be set aside: the start would go on
/// without bans, and the next save overwrite them.
pub(super) fn load(mut disk: Box<dyn Disk>, paths: Paths) -> Result<Writer, StoreError> {
    // What a crash has left of a save.
    let _ = disk.remove(&paths.temporary);
    let main = load_file(disk.as_mut(), &paths.file)?;
    let journal = load_journal(disk.as_mut(), &paths.journal)?;
    let Main {
        loaded,
        is_there,
        mut save,
    } = main;
    save |= journal.save;
    let replay = journal.replay;
    let Loaded {
        mut head, records, ..
    } = loaded;

    let mut state = State::default();
    let now = record::now();
    for peer in records.peers {
        put(&mut state.index, peer, now);
    }
    let mut unreadable = records.unreadable;
    // A journal of another file has numbers of its own.
    let own = head.lineage.is_nil() || replay.lineage == Some(head.lineage);
    let covered = if own { head.covered } else { 0 };
    let mut merged = 0;
    let last = replay.last();
    for entry in replay.entries {
        if entry.seq > covered {
            merged += 1;
            merge(&mut state.index, &mut unreadable, entry, now);
        }
    }
    state.seq = head.covered.max(last);
    if head.lineage.is_nil() {
        head.lineage = replay.lineage.unwrap_or_else(Uuid::new_v4);
    }
    unreadable.supersede(|id| state.index.get(id).is_some());
    let unread = unreadable.iter().count();
    if unread > 0 {
        warn!(
            file = %paths.file.display(),
            records = unread,
            "records that this version cannot read: they are kept as they are, and not used"
        );
    }
    info!(
        file = %paths.file.display(),
        peers = state.index.len(),
        from_journal = merged,
        "peer store opened"
    );

    let file = Journal::new(replay.whole, replay.is_ragged);
    let shared = Arc::new(Shared::new(state));
    let mut writer = Writer::new(shared, disk, paths, head, file);
    writer.unreadable = unreadable;
    if is_there && merged == 0 && !save {
        writer.is_saved();
    }
    // The next start is not to meet the same damage, nor to depend on what was set aside.
    if save && let Err(error) = writer.save_now() {
        warn!(%error, "what was recovered is in memory only until a save succeeds");
    }
    Ok(writer)
}

/// What the file says, or what could be had of it.
struct Main {
    loaded: Loaded,
    is_there: bool,
    /// Something was wrong: save at once.
    save: bool,
}

fn load_file(disk: &mut dyn Disk, path: &Path) -> Result<Main, StoreError> {
    let nothing = |save| Main {
        loaded: Loaded::default(),
        is_there: false,
        save,
    };
    let bytes = match disk.read(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(nothing(false)),
        Err(error) if !is_damage(&error) => return Err(StoreError::io("read", path, error)),
        Err(error) => {
            let aside = set_aside(disk, path)?;
            warn!(
                file = %path.display(), %error, aside = %aside.display(),
                "the peer store cannot be read: it is set aside, and the start goes on without it"
            );
            return Ok(nothing(true));
        }
    };
    let mut save = false;
    let loaded = match file::parse(&bytes) {
        Ok(loaded) => {
            if loaded.is_unverified {
                save = true;
                let aside = copy_aside(disk, path, "unverified", &bytes);
                warn!(
                    file = %path.display(), aside = %aside,
                    "the peer store does not match its checksum: it was edited, or the disk is failing; \
                     it is used as it is, and a copy is kept"
                );
            } else if loaded.version > VERSION {
                let aside = copy_aside(disk, path, "newer", &bytes);
                warn!(
                    file = %path.display(), version = loaded.version, aside = %aside,
                    "the peer store was written by a newer version: what this one understands is used, \
                     a copy is kept"
                );
            }
            loaded
        }
        Err(error) => {
            save = true;
            let peers = file::salvage(&bytes);
            let aside = set_aside(disk, path)?;
            warn!(
                file = %path.display(), error, aside = %aside.display(), salvaged = peers.len(),
                "the peer store is damaged: it is set aside, and the start goes on with the records \
                 that could be read in it"
            );
            Loaded {
                records: Records {
                    peers,
                    unreadable: Unreadable::default(),
                },
                ..Loaded::default()
            }
        }
    };
    Ok(Main {
        loaded,
        is_there: true,
        save,
    })
}

/// What the journal says.
#[derive(Default)]
struct Journaled {
    replay: Replay,
    /// Something was wrong: save at once.
    save: bool,
}

fn load_journal(disk: &mut dyn Disk, path: &Path) -> Result<Journaled, StoreError> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) if !is_damage(&error) => return Err(StoreError::io("read", path, error)),
        Err(error) => {
            let aside = set_aside(disk, path)?;
            warn!(
                file = %path.display(), %error, aside = %aside.display(),
                "the peer store's journal cannot be read: it is set aside, and bans since the last \
                 save are lost"
            );
            return Ok(Journaled {
                save: true,
                ..Journaled::default()
            });
        }
    };
    let replay = Replay::of(&bytes);
    let save = replay.damaged > 0;
    if save {
        let aside = copy_aside(disk, path, "damaged", &bytes);
        warn!(
            file = %path.display(), lines = replay.damaged, aside = %aside,
            "lines of the peer store's journal are damaged: the others are used, a copy is kept"
        );
    }
    if replay.torn > 0 {
        warn!(
            file = %path.display(), bytes = replay.torn,
            "the peer store's journal ends in the middle of a line, as after a crash: the rest of \
             it is cut off; nothing that was reported as stored is lost"
        );
    }
    Ok(Journaled { replay, save })
}

fn put(index: &mut Index, mut peer: Peer, now: Timestamp) {
    record::settle(&mut peer, now);
    peer.ip_address = peer.ip_address.to_canonical();
    index.put(Arc::new(peer));
}

/// Repeats a change. It is later than all that is known of its records, readable or not.
fn merge(index: &mut Index, unreadable: &mut Unreadable, entry: StoredEntry, now: Timestamp) {
    for id in entry.gone {
        index.remove(id);
        unreadable.remove(id);
    }
    for record in entry.put {
        match serde_json::from_str::<Peer>(record.get()) {
            Ok(peer) => {
                unreadable.remove(peer.id);
                put(index, peer, now);
            }
            Err(_) => {
                if let Some(id) = unreadable.insert(record) {
                    index.remove(id);
                }
            }
        }
    }
}

/// Whether what is there is no file of ours. All else may pass, as an access that is denied or a
/// process that has too many files open: the file can be read then.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::FileTooLarge
    )
}

/// Gives what is there another name.
fn set_aside(disk: &mut dyn Disk, path: &Path) -> Result<PathBuf, StoreError> {
    let aside = files::name_aside(path, "corrupt", |name| disk.exists(name));
    let moved: io::Result<()> = disk
        .rename(path, &aside)
        .and_then(|()| disk.sync_folder(path));
    moved.map_err(|error| StoreError::io("set aside", path, error))?;
    Ok(aside)
}

/// Keeps a copy; what became of that, in words.
fn copy_aside(disk: &mut dyn Disk, path: &Path, why: &str, bytes: &[u8]) -> String {
    let aside = files::name_aside(path, why, |name| disk.exists(name));
    let copied = disk
        .create(&aside)
        .and_then(|mut file| file.write(bytes).and_then(|()| file.sync()));
    match copied {
        Ok(()) => aside.display().to_string(),
        Err(error) => format!("no copy could be made: {error}"),
    }
}
