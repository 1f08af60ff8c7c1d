//! Records by everything that is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use p2p_core::{Peer, PeerStatus};
use uuid::Uuid;

/// Records by id, by (IP, port) and so by IP, and by status.
///
/// Records are shared, not copied: who reads holds the lock for as long as it takes to count
/// references, and copies afterwards. In order of id, so that a reader may stop anywhere and go on
/// from there later, while others write.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_id: BTreeMap<Uuid, Arc<Peer>>,
    by_address: BTreeMap<(IpAddr, u16), Uuid>,
    by_status: [BTreeSet<Uuid>; 4],
}

impl Index {
    /// Adds or replaces a record. Whatever else had its (IP, port) goes, and is handed back.
    pub(crate) fn put(&mut self, peer: Arc<Peer>) -> Option<Arc<Peer>> {
        let displaced = self
            .at(peer.ip_address, peer.port)
            .filter(|&holder| holder != peer.id)
            .and_then(|holder| self.remove(holder));
        self.remove(peer.id);
        self.by_address
            .insert((peer.ip_address, peer.port), peer.id);
        self.by_status[slot(peer.status)].insert(peer.id);
        self.by_id.insert(peer.id, peer);
        displaced
    }

    pub(crate) fn remove(&mut self, id: Uuid) -> Option<Arc<Peer>> {
        let peer = self.by_id.remove(&id)?;
        self.by_address.remove(&(peer.ip_address, peer.port));
        self.by_status[slot(peer.status)].remove(&id);
        Some(peer)
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<&Arc<Peer>> {
        self.by_id.get(&id)
    }

    /// Whose (IP, port) it is.
    pub(crate) fn at(&self, ip: IpAddr, port: u16) -> Option<Uuid> {
        self.by_address.get(&(ip, port)).copied()
    }

    pub(crate) fn of_ip(&self, ip: IpAddr) -> Vec<Arc<Peer>> {
        let ports = self.by_address.range((ip, 0)..=(ip, u16::MAX));
        ports.filter_map(|(_, id)| self.get(*id).cloned()).collect()
    }

    pub(crate) fn of_status(&self, status: PeerStatus) -> Vec<Arc<Peer>> {
        let ids = self.by_status[slot(status)].iter();
        ids.filter_map(|id| self.get(*id).cloned()).collect()
    }

    pub(crate) fn count(&self, status: PeerStatus) -> usize {
        self.by_status[slot(status)].len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.by_id.values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The first records behind this id, in order of id.
    pub(crate) fn after(&self, id: Option<Uuid>, limit: usize) -> Vec<Arc<Peer>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.by_id.range((from, Bound::Unbounded));
        rest.take(limit).map(|(_, peer)| peer.clone()).collect()
    }
}

/// A number for each status: where it stands in indexes, on disk too.
pub(crate) const fn slot(status: PeerStatus) -> usize {
    match status {
        PeerStatus::Valid => 0,
        PeerStatus::Inaccessible => 1,
        PeerStatus::Banned => 2,
        PeerStatus::Unknown => 3,
    }
}
