//! The tables: records, and indexes of them.

use std::net::IpAddr;

use p2p_core::{Peer, PeerStatus, Timestamp};
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
    WriteTransaction,
};
use serde::Deserialize;
use tracing::warn;
use uuid::Uuid;

use super::worker::failed;
use crate::error::StoreError;
use crate::index::slot;
use crate::record::{self, is_banned};

/// JSON of records by id.
const PEERS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("peers");
/// Ids by IP, as IPv6, and port.
const ADDRESSES: TableDefinition<'_, (u128, u16), u128> = TableDefinition::new("addresses");
/// Ids by the number of their status.
const STATUSES: TableDefinition<'_, (u8, u128), ()> = TableDefinition::new("statuses");
/// How many there are of each status.
const COUNTS: TableDefinition<'_, u8, u64> = TableDefinition::new("counts");
/// The version of all this.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The version that we write.
pub(super) const VERSION: u64 = 1;

/// Makes what is missing; the version that is there.
pub(super) fn prepare(transaction: &WriteTransaction) -> Result<u64, redb::Error> {
    transaction.open_table(PEERS)?;
    transaction.open_table(ADDRESSES)?;
    transaction.open_table(STATUSES)?;
    transaction.open_table(COUNTS)?;
    let mut meta = transaction.open_table(META)?;
    if let Some(version) = meta.get("version")?.map(|version| version.value()) {
        return Ok(version);
    }
    meta.insert("version", VERSION)?;
    Ok(VERSION)
}

/// Asks.
pub(super) struct Reader {
    peers: ReadOnlyTable<u128, &'static [u8]>,
    addresses: ReadOnlyTable<(u128, u16), u128>,
    statuses: ReadOnlyTable<(u8, u128), ()>,
    counts: ReadOnlyTable<u8, u64>,
    now: Timestamp,
}

impl Reader {
    pub(super) fn new(transaction: ReadTransaction) -> Result<Self, StoreError> {
        let open = || -> Result<Self, redb::Error> {
            Ok(Self {
                peers: transaction.open_table(PEERS)?,
                addresses: transaction.open_table(ADDRESSES)?,
                statuses: transaction.open_table(STATUSES)?,
                counts: transaction.open_table(COUNTS)?,
                now: record::now(),
            })
        };
        open().map_err(failed)
    }

    pub(super) fn get(&self, id: Uuid) -> Result<Option<Peer>, StoreError> {
        let found = self.peers.get(id.as_u128()).map_err(failed)?;
        found.map(|json| self.decode(id, json.value())).transpose()
    }

    pub(super) fn at(&self, ip: IpAddr, port: u16) -> Result<Option<Peer>, StoreError> {
        let found = self.addresses.get((number(ip), port)).map_err(failed)?;
        let ids = found.map(|id| Ok(id.value())).into_iter();
        Ok(self.those(ids)?.pop())
    }

    pub(super) fn of_ip(&self, ip: IpAddr) -> Result<Vec<Peer>, StoreError> {
        let ip = number(ip);
        let range = self.addresses.range((ip, 0)..=(ip, u16::MAX));
        let ids = range.map_err(failed)?.map(|row| Ok(row?.1.value()));
        self.those(ids)
    }

    pub(super) fn of_status(&self, status: PeerStatus) -> Result<Vec<Peer>, StoreError> {
        let status = key(status);
        let range = self.statuses.range((status, 0)..=(status, u128::MAX));
        let ids = range.map_err(failed)?.map(|row| Ok(row?.0.value().1));
        self.those(ids)
    }

    pub(super) fn count(&self, status: PeerStatus) -> Result<usize, StoreError> {
        let count = self.counts.get(key(status)).map_err(failed)?;
        let count = count.map_or(0, |count| count.value());
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    pub(super) fn all(&self) -> Result<Vec<Peer>, StoreError> {
        let rows = self.peers.iter().map_err(failed)?;
        let mut peers = Vec::new();
        for row in rows {
            let (id, json) = row.map_err(failed)?;
            peers.extend(self.readable(Uuid::from_u128(id.value()), json.value()));
        }
        Ok(peers)
    }

    pub(super) fn len(&self) -> Result<u64, StoreError> {
        self.peers.len().map_err(failed)
    }

    fn those(
        &self,
        ids: impl Iterator<Item = Result<u128, redb::StorageError>>,
    ) -> Result<Vec<Peer>, StoreError> {
        let mut peers = Vec::new();
        for id in ids {
            let id = id.map_err(failed)?;
            if let Some(json) = self.peers.get(id).map_err(failed)? {
                peers.extend(self.readable(Uuid::from_u128(id), json.value()));
            }
        }
        Ok(peers)
    }

    /// The record, if it can be read: one that cannot be hides no others.
    fn readable(&self, id: Uuid, json: &[u8]) -> Option<Peer> {
        let peer = self.decode(id, json);
        peer.inspect_err(|error| warn!(%error, "a record is left out"))
            .ok()
    }

    fn decode(&self, id: Uuid, json: &[u8]) -> Result<Peer, StoreError> {
        let mut peer: Peer = decode(id, json)?;
        record::settle(&mut peer, self.now);
        Ok(peer)
    }
}

/// Changes.
pub(super) struct Writer<'t> {
    peers: Table<'t, u128, &'static [u8]>,
    addresses: Table<'t, (u128, u16), u128>,
    statuses: Table<'t, (u8, u128), ()>,
    counts: Table<'t, u8, u64>,
    meta: Table<'t, &'static str, u64>,
    /// A ban came or went, or somebody wants it so: durable before anybody hears of it.
    pub(super) is_urgent: bool,
}

impl<'t> Writer<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let open = || -> Result<Self, redb::Error> {
            Ok(Self {
                peers: transaction.open_table(PEERS)?,
                addresses: transaction.open_table(ADDRESSES)?,
                statuses: transaction.open_table(STATUSES)?,
                counts: transaction.open_table(COUNTS)?,
                meta: transaction.open_table(META)?,
                is_urgent: false,
            })
        };
        open().map_err(failed)
    }

    pub(super) fn create(&mut self, peer: &Peer) -> Result<(), StoreError> {
        let known = self.contains(peer.id)?.then_some(peer.id);
        match known.or(self.holder(peer)?) {
            Some(existing) => Err(StoreError::DuplicatePeer { existing }),
            None => self.insert(peer),
        }
    }

    pub(super) fn update(&mut self, peer: &Peer) -> Result<(), StoreError> {
        let id = peer.id;
        if !self.contains(id)? {
            return Err(StoreError::PeerNotFound { id });
        }
        match self.holder(peer)?.filter(|&holder| holder != id) {
            Some(existing) => Err(StoreError::DuplicatePeer { existing }),
            None => self.put(peer),
        }
    }

    pub(super) fn delete(&mut self, id: Uuid) -> Result<(), StoreError> {
        match self.remove(id)? {
            true => Ok(()),
            false => Err(StoreError::PeerNotFound { id }),
        }
    }

    /// Adds or replaces; whatever else has its (IP, port) goes.
    pub(super) fn put(&mut self, peer: &Peer) -> Result<(), StoreError> {
        if let Some(holder) = self.holder(peer)?.filter(|&holder| holder != peer.id) {
            self.remove(holder)?;
        }
        self.remove(peer.id)?;
        self.insert(peer)
    }

    /// Removes a record; whether there was one.
    pub(super) fn remove(&mut self, id: Uuid) -> Result<bool, StoreError> {
        let removed = match self.peers.remove(id.as_u128()).map_err(failed)? {
            Some(json) => json.value().to_vec(),
            None => return Ok(false),
        };
        match decode(id, &removed) {
            Ok(peer) => self.unindex(&peer)?,
            Err(error) => {
                warn!(%error, "a record that cannot be read is replaced or removed");
                self.unindex_unread(id, &removed)?;
            }
        }
        Ok(true)
    }

    fn unindex(&mut self, peer: &Peer) -> Result<(), StoreError> {
        let address = (number(peer.ip_address), peer.port);
        let status = key(peer.status);
        let place = (status, peer.id.as_u128());
        self.addresses.remove(address).map_err(failed)?;
        self.statuses.remove(place).map_err(failed)?;
        self.count(status, |count| count.saturating_sub(1))?;
        self.is_urgent |= is_banned(peer);
        Ok(())
    }

    /// The same for a record of a newer version, as far as it says where it stands.
    fn unindex_unread(&mut self, id: Uuid, json: &[u8]) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct Place {
            ip_address: IpAddr,
            port: u16,
        }
        let id = id.as_u128();
        let address = match serde_json::from_slice(json) {
            Ok(Place { ip_address, port }) => {
                let address = (number(ip_address), port);
                let holder = self.addresses.get(address).map_err(failed)?;
                holder
                    .is_some_and(|holder| holder.value() == id)
                    .then_some(address)
            }
            Err(_) => None,
        };
        match address {
            Some(address) => drop(self.addresses.remove(address).map_err(failed)?),
            // Rare enough to look everywhere.
            None => self
                .addresses
                .retain(|_, holder| holder != id)
                .map_err(failed)?,
        }
        for status in self.known_statuses()? {
            let place = (status, id);
            if self.statuses.remove(place).map_err(failed)?.is_some() {
                self.count(status, |count| count.saturating_sub(1))?;
            }
        }
        // It may have been the record of a ban.
        self.is_urgent = true;
        Ok(())
    }

    /// Makes this transaction durable, and all before it. It has to change something: redb leaves
    /// out the commit of one that does not.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let before = self.meta.get("flushes").map_err(failed)?;
        let before = before.map_or(0, |count| count.value());
        let next = before.wrapping_add(1);
        self.meta.insert("flushes", next).map_err(failed)?;
        self.is_urgent = true;
        Ok(())
    }

    fn insert(&mut self, peer: &Peer) -> Result<(), StoreError> {
        let id = peer.id.as_u128();
        let status = key(peer.status);
        let address = (number(peer.ip_address), peer.port);
        let json = serde_json::to_vec(peer).expect("records have no map with keys other than text");
        self.peers.insert(id, json.as_slice()).map_err(failed)?;
        self.addresses.insert(address, id).map_err(failed)?;
        self.statuses.insert((status, id), ()).map_err(failed)?;
        self.count(status, |count| count + 1)?;
        self.is_urgent |= is_banned(peer);
        Ok(())
    }

    /// All that have ever been counted.
    fn known_statuses(&self) -> Result<Vec<u8>, StoreError> {
        let rows = self.counts.iter().map_err(failed)?;
        rows.map(|row| Ok(row.map_err(failed)?.0.value())).collect()
    }

    fn contains(&self, id: Uuid) -> Result<bool, StoreError> {
        let found = self.peers.get(id.as_u128()).map_err(failed)?;
        Ok(found.is_some())
    }

    /// Whose (IP, port) it is.
    fn holder(&self, peer: &Peer) -> Result<Option<Uuid>, StoreError> {
        let address = (number(peer.ip_address), peer.port);
        let found = self.addresses.get(address).map_err(failed)?;
        Ok(found.map(|id| Uuid::from_u128(id.value())))
    }

    fn count(&mut self, status: u8, change: impl Fn(u64) -> u64) -> Result<(), StoreError> {
        let before = self.counts.get(status).map_err(failed)?;
        let before = before.map_or(0, |count| count.value());
        self.counts.insert(status, change(before)).map_err(failed)?;
        Ok(())
    }
}

fn decode(id: Uuid, json: &[u8]) -> Result<Peer, StoreError> {
    serde_json::from_slice(json).map_err(|error| StoreError::Corrupt {
        place: format!("record {id}"),
        what: error.to_string(),
    })
}

fn number(ip: IpAddr) -> u128 {
    let ip = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    ip.to_bits()
}

fn key(status: PeerStatus) -> u8 {
    slot(status) as u8
}
