//! The file: all records, as JSON.
//!
//! ```text
//! {"format":"bsv-p2p-peers","version":1,"lineage":"…","covered":7,"peers":[
//! {"id":"…","ip_address":"203.0.113.7","port":8333,…},
//! {…}
//! ],"checksum":"89abcdef"}
//! ```
//!
//! One record is one line, so that records can be told apart in a file that is no JSON any more.
//! The checksum (CRC-32) covers everything before `,"checksum"`. A file that somebody wrote by
//! hand needs no more than `{"peers":[…]}`.

use std::collections::BTreeMap;

use p2p_core::Peer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// What the format is called.
const FORMAT: &str = "bsv-p2p-peers";
/// The version that we write.
pub(super) const VERSION: u64 = 1;
/// What stands between that which is checked and the checksum.
const CHECKSUM: &str = ",\"checksum\":\"";

/// Everything in a file but the records.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    /// Which file it is, whatever its name: journals say of which they are.
    pub(super) lineage: Uuid,
    /// The last change of the journal that is in here; 0 if no checksum vouches for it.
    pub(super) covered: u64,
    /// What a newer version wrote here.
    pub(super) newer: BTreeMap<String, Box<RawValue>>,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) head: Head,
    pub(super) records: Records,
    pub(super) version: u64,
    /// The checksum is of something else: the file is damaged, or somebody edited it.
    pub(super) is_unverified: bool,
}

/// Records, and what may be records of a version that we cannot read.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) peers: Vec<Peer>,
    pub(super) unreadable: Unreadable,
}

/// What may be records of a version that we cannot read: they are kept as they are.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    /// Those that say whose they are: of two records of one id the later counts, whoever can read
    /// them.
    named: BTreeMap<Uuid, Box<RawValue>>,
    nameless: Vec<Box<RawValue>>,
}

impl Unreadable {
    /// Takes a record in; whose it is.
    pub(super) fn insert(&mut self, record: Box<RawValue>) -> Option<Uuid> {
        #[derive(Deserialize)]
        struct Named {
            id: Uuid,
        }
        match serde_json::from_str(record.get()) {
            Ok(Named { id }) => {
                self.named.insert(id, record);
                Some(id)
            }
            Err(_) => {
                self.nameless.push(record);
                None
            }
        }
    }

    pub(super) fn remove(&mut self, id: Uuid) {
        self.named.remove(&id);
    }

    /// Gives up those of which there are others.
    pub(super) fn supersede(&mut self, is_known: impl Fn(Uuid) -> bool) {
        self.named.retain(|&id, _| !is_known(id));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RawValue> {
        self.named.values().chain(&self.nameless).map(AsRef::as_ref)
    }
}

/// Reads a file.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Loaded, String> {
    if bytes.is_empty() {
        return Err("it is empty".into());
    }
    let mut fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut field = |name: &str| fields.remove(name);
    if let Some(format) = field("format")
        && serde_json::from_str::<String>(format.get()).ok().as_deref() != Some(FORMAT)
    {
        return Err(format!("its format is {format}, not \"{FORMAT}\""));
    }
    let peers = field("peers").ok_or("it has no field `peers`")?;
    let records: Vec<&RawValue> =
        serde_json::from_str(peers.get()).map_err(|error| format!("`peers`: {error}"))?;
    let lineage = field("lineage").and_then(|raw| serde_json::from_str(raw.get()).ok());
    let covered = field("covered").and_then(|raw| number(&raw));
    let is_verified = is_verified(bytes);
    let mut loaded = Loaded {
        version: field("version")
            .map_or(Some(VERSION), |raw| number(&raw))
            .unwrap_or(u64::MAX),
        is_unverified: field("checksum").is_some() && !is_verified,
        ..Loaded::default()
    };
    loaded.head = Head {
        lineage: lineage.unwrap_or_default(),
        // It hides bans of the journal, so nothing but the checksum's word makes it count.
        covered: covered.filter(|_| is_verified).unwrap_or(0),
        newer: fields,
    };
    let Records { peers, unreadable } = &mut loaded.records;
    for record in records {
        match serde_json::from_str(record.get()) {
            Ok(peer) => peers.push(peer),
            Err(_) => drop(unreadable.insert(record.to_owned())),
        }
    }
    Ok(loaded)
}

/// The records that can be read in a file that cannot.
pub(super) fn salvage(bytes: &[u8]) -> Vec<Peer> {
    bytes
        .split(|&byte| byte == b'\n')
        .map(|line| line.trim_ascii())
        .map(|line| line.strip_suffix(b",").unwrap_or(line))
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// Writes a file, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Composer {
    checksum: crc32fast::Hasher,
    has_records: bool,
}

impl Composer {
    /// What comes first.
    pub(super) fn head(&mut self, head: &Head) -> Vec<u8> {
        let Head {
            lineage,
            covered,
            newer,
        } = head;
        let mut text = format!(
            r#"{{"format":"{FORMAT}","version":{VERSION},"lineage":"{lineage}","covered":{covered}"#
        );
        for (name, value) in newer {
            let name = serde_json::Value::from(name.as_str());
            text.push_str(&format!(",{name}:{value}"));
        }
        text.push_str(",\"peers\":[");
        self.piece(text.into_bytes())
    }

    /// Records.
    pub(super) fn records<T: Serialize>(
        &mut self,
        records: impl IntoIterator<Item = T>,
    ) -> Vec<u8> {
        let mut piece = Vec::new();
        for record in records {
            let separator: &[u8] = if self.has_records { b",\n" } else { b"\n" };
            self.has_records = true;
            piece.extend_from_slice(separator);
            serde_json::to_writer(&mut piece, &record)
                .expect("records have no map with keys other than text");
        }
        self.piece(piece)
    }

    /// What comes last.
    pub(super) fn tail(mut self) -> Vec<u8> {
        let mut piece = self.piece(b"\n]".to_vec());
        let checksum = self.checksum.finalize();
        piece.extend_from_slice(format!("{CHECKSUM}{checksum:08x}\"}}\n").as_bytes());
        piece
    }

    fn piece(&mut self, piece: Vec<u8>) -> Vec<u8> {
        self.checksum.update(&piece);
        piece
    }
}

fn number(raw: &RawValue) -> Option<u64> {
    serde_json::from_str(raw.get()).ok()
}

/// Whether the checksum at the end is that of what is before it.
fn is_verified(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_end();
    let Some(end) = bytes.len().checked_sub(CHECKSUM.len() + 8 + 2) else {
        return false;
    };
    let (checked, tail) = bytes.split_at(end);
    tail == format!("{CHECKSUM}{:08x}\"}}", crc32fast::hash(checked)).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_core::{Network, PeerSource, Timestamp};

    fn peers() -> Vec<Peer> {
        (1..=3)
            .map(|n| {
                let address = format!("203.0.113.{n}:8333").parse().unwrap();
                let then = Timestamp::from_millis(1_700_000_000_000);
                Peer::new(Network::Mainnet, address, PeerSource::Dns, then)
            })
            .collect()
    }

    fn composed(head: &Head) -> Vec<u8> {
        let mut composer = Composer::default();
        let mut bytes = composer.head(head);
        bytes.extend(composer.records(peers().iter().take(2)));
        bytes.extend(composer.records(peers().iter().skip(2)));
        bytes.extend(composer.tail());
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let mut head = Head {
            lineage: Uuid::from_u128(7),
            covered: 9,
            ..Head::default()
        };
        let raw = RawValue::from_string(r#"{"a":[1,2]}"#.into()).unwrap();
        head.newer.insert("odd \"name\"".into(), raw);
        let loaded = parse(&composed(&head)).unwrap();
        assert_eq!(loaded.records.peers, peers());
        assert_eq!((loaded.version, loaded.is_unverified), (VERSION, false));
        assert_eq!(loaded.head.lineage, head.lineage);
        assert_eq!(loaded.head.covered, 9);
        assert_eq!(loaded.head.newer["odd \"name\""].get(), r#"{"a":[1,2]}"#);
    }

    #[test]
    fn a_file_written_by_hand_is_read() {
        let pretty = serde_json::to_string_pretty(&serde_json::json!({"peers": peers()})).unwrap();
        let loaded = parse(pretty.as_bytes()).unwrap();
        assert_eq!(loaded.records.peers, peers());
        assert!(!loaded.is_unverified);
        assert!(parse(br#"{"peers":[]}"#).unwrap().records.peers.is_empty());
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        let bytes = composed(&Head::default());
        for position in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            let unnoticed = parse(&flipped)
                .is_ok_and(|loaded| !loaded.is_unverified && loaded.records.peers != peers());
            assert!(!unnoticed, "bit {position}");
        }
    }

    #[test]
    fn records_that_cannot_be_read_are_kept_as_they_are() {
        let odd = r#"{"id":"not for us","status":"Suspended"}"#;
        let text = format!(r#"{{"peers":[{odd}]}}"#);
        let loaded = parse(text.as_bytes()).unwrap();
        let kept: Vec<_> = loaded
            .records
            .unreadable
            .iter()
            .map(RawValue::get)
            .collect();
        assert_eq!(kept, [odd]);
    }

    #[test]
    fn what_is_whole_in_a_broken_file_is_salvaged() {
        let bytes = composed(&Head::default());
        let cut = &bytes[..bytes.len() - 40];
        assert!(parse(cut).is_err());
        assert_eq!(salvage(cut), peers()[..2]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(parse(b"").unwrap_err(), "it is empty");
        assert!(parse(b"{}").unwrap_err().contains("peers"));
        let other = parse(br#"{"format":"x","peers":[]}"#).unwrap_err();
        assert!(other.contains("bsv-p2p-peers"), "{other}");
    }
}
