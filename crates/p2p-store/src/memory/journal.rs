//! The journal: bans that are not in the file yet.
//!
//! A file of lines `length checksum json`. The checksum (CRC-32, eight hexadecimal digits) and
//! the length are those of the JSON, which has no line break in it: so a torn or damaged line
//! hides neither the one before it nor the one behind it.

use std::io::{self, Write};
use std::path::Path;

use p2p_core::Peer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use uuid::Uuid;

use super::disk::{Disk, DiskFile, Replaced};

/// What a journal begins with.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// The version of the format.
    journal: u32,
    /// Of which file it is the journal.
    lineage: Uuid,
}

/// A change that must not be lost.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Entry {
    /// Which change it is, of those that must not be lost.
    pub(super) seq: u64,
    pub(super) put: Vec<Arc<Peer>>,
    pub(super) gone: Vec<Uuid>,
}

/// The same, read back: records may be of a version that we cannot read.
#[derive(Debug, Deserialize)]
pub(super) struct StoredEntry {
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) put: Vec<Box<RawValue>>,
    #[serde(default)]
    pub(super) gone: Vec<Uuid>,
}

/// What a journal says.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) lineage: Option<Uuid>,
    pub(super) entries: Vec<StoredEntry>,
    /// Bytes up to the end of the last line that is whole.
    pub(super) whole: u64,
    /// There is something behind it.
    pub(super) is_ragged: bool,
    /// Bytes of a last line without an end: it was being written when the power went.
    pub(super) torn: usize,
    /// Lines with an end that are not what was written: nothing that a crash alone leaves.
    pub(super) damaged: usize,
}

impl Replay {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut replay = Self::default();
        let mut position = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            position += line.len() as u64;
            if replay.take(line).is_some() {
                replay.whole = position;
            } else if line.ends_with(b"\n") {
                replay.damaged += 1;
            } else {
                replay.torn = line.len();
            }
        }
        replay.is_ragged = replay.whole < position;
        replay
    }

    fn take(&mut self, line: &[u8]) -> Option<()> {
        let json = unframed(line)?;
        if let Ok(entry) = serde_json::from_slice(json) {
            self.entries.push(entry);
        } else {
            let header: Header = serde_json::from_slice(json).ok()?;
            self.lineage = Some(header.lineage);
        }
        Some(())
    }

    /// The last change that it knows.
    pub(super) fn last(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| entry.seq)
            .max()
            .unwrap_or(0)
    }
}

/// The journal, open.
pub(super) struct Journal {
    file: Option<Box<dyn DiskFile>>,
    /// Bytes that are whole and durable.
    length: u64,
    /// There may be more in the file than that: a write has failed.
    ragged: bool,
    /// Its name is durable too.
    is_named: bool,
}

impl Journal {
    /// One that has this many bytes already, 0 if there is none.
    pub(super) fn new(length: u64, ragged: bool) -> Self {
        Self {
            file: None,
            length,
            ragged,
            is_named: false,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the file says nothing, not even something that is to be cut off.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0 && !self.ragged
    }

    /// Appends entries, and returns when they are durable. After an error none of them counts.
    pub(super) fn append(
        &mut self,
        disk: &mut dyn Disk,
        path: &Path,
        lineage: Uuid,
        entries: &[u8],
    ) -> io::Result<()> {
        let result = self.try_append(disk, path, lineage, entries);
        if result.is_err() {
            // What is open may be in any state: after a failed fsync the system takes lost pages
            // for written ones. They are written again from the last good byte on.
            self.file = None;
            self.ragged = true;
        }
        result
    }

    /// Starts another file, with these entries only. Hands back the one before, if it can be held.
    pub(super) fn replace(
        &mut self,
        disk: &mut dyn Disk,
        path: &Path,
        temporary: &Path,
        lineage: Uuid,
        entries: &[u8],
    ) -> io::Result<Option<Box<dyn Replaced>>> {
        let mut file = disk.create(temporary)?;
        let header = header(lineage);
        file.write(&header)?;
        file.write(entries)?;
        file.sync()?;
        self.is_named = false;
        let held = disk.hold(path);
        disk.rename(temporary, path)?;
        self.file = None;
        self.ragged = false;
        self.length = (header.len() + entries.len()) as u64;
        disk.sync_folder(path)?;
        self.is_named = true;
        Ok(held)
    }

    fn try_append(
        &mut self,
        disk: &mut dyn Disk,
        path: &Path,
        lineage: Uuid,
        entries: &[u8],
    ) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(disk.append(path)?),
        };
        if self.ragged {
            file.cut(self.length)?;
            self.ragged = false;
        }
        let mut written = entries.len() as u64;
        if self.length == 0 {
            let header = header(lineage);
            file.write(&header)?;
            written += header.len() as u64;
        }
        file.write(entries)?;
        file.sync()?;
        if !self.is_named {
            disk.sync_folder(path)?;
            self.is_named = true;
        }
        self.length += written;
        Ok(())
    }
}

/// An entry as a line of the journal.
pub(super) fn framed(entry: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(entry).expect("records have no map with keys other than text");
    let mut line = Vec::with_capacity(json.len() + 32);
    let checksum = crc32fast::hash(&json);
    write!(line, "{} {checksum:08x} ", json.len()).expect("a vector takes everything");
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

fn header(lineage: Uuid) -> Vec<u8> {
    framed(&Header {
        journal: 1,
        lineage,
    })
}

fn unframed(line: &[u8]) -> Option<&[u8]> {
    let mut parts = line.strip_suffix(b"\n")?.splitn(3, |&byte| byte == b' ');
    let length: usize = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let checksum = std::str::from_utf8(parts.next()?).ok()?;
    let checksum = u32::from_str_radix(checksum, 16).ok()?;
    let json = parts.next()?;
    (json.len() == length && crc32fast::hash(json) == checksum).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64) -> Vec<u8> {
        let gone = vec![Uuid::from_u128(seq.into())];
        framed(&Entry {
            seq,
            gone,
            ..Entry::default()
        })
    }

    fn journal() -> Vec<u8> {
        [header(Uuid::nil()), entry(1), entry(2), entry(3)].concat()
    }

    fn seqs(replay: &Replay) -> Vec<u64> {
        replay.entries.iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let replay = Replay::of(&journal());
        assert_eq!(replay.lineage, Some(Uuid::nil()));
        assert_eq!(seqs(&replay), [1, 2, 3]);
        assert_eq!(replay.last(), 3);
        assert_eq!((replay.torn, replay.damaged), (0, 0));
        assert!(!replay.is_ragged);
        assert_eq!(replay.whole, journal().len() as u64);
    }

    #[test]
    fn a_tail_torn_anywhere_costs_its_own_line_only() {
        let bytes = journal();
        let whole = bytes.len() - entry(3).len();
        for cut in whole + 1..bytes.len() {
            let replay = Replay::of(&bytes[..cut]);
            assert_eq!(seqs(&replay), [1, 2], "cut at {cut}");
            assert_eq!(replay.whole, whole as u64);
            assert_eq!((replay.torn, replay.damaged), (cut - whole, 0));
        }
    }

    #[test]
    fn a_flipped_bit_costs_at_most_the_lines_that_it_touches() {
        let bytes = journal();
        for position in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            let replay = Replay::of(&flipped);
            // A line break that is lost joins two lines, and both are lost.
            let lost = 3 - replay.entries.len();
            assert!(lost <= 2, "bit {position} cost {lost} lines");
            for entry in &replay.entries {
                let written = [Uuid::from_u128(entry.seq.into())];
                assert!((1..=3).contains(&entry.seq), "bit {position}");
                assert_eq!(entry.gone, written, "bit {position}");
            }
        }
    }
}
