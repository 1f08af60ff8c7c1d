//! What is in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use p2p_core::Peer;
use uuid::Uuid;

use super::journal::Entry;
use crate::error::StoreError;
use crate::index::Index;
use crate::record::is_banned;

/// The records, and what of them is not durable yet.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) index: Index,
    /// Counts changes. What was saved at this count needs no saving again.
    pub(super) version: u64,
    /// Counts changes that must not be lost.
    pub(super) seq: u64,
    /// Records whose last such change is not known to be durable, and which change it is. Whoever
    /// touches one of them waits until it is.
    unsettled: BTreeMap<Uuid, u64>,
}

impl State {
    /// Puts records. Returns what the journal has to say of it, if anything.
    pub(super) fn put(&mut self, peers: Vec<Arc<Peer>>) -> Option<Entry> {
        let mut entry = Entry::default();
        for peer in peers {
            let before = self.index.get(peer.id);
            let settled = !self.unsettled.contains_key(&peer.id);
            if settled && before == Some(&peer) {
                continue;
            }
            self.version += 1;
            let promised = is_banned(&peer) || before.is_some_and(|peer| is_banned(peer));
            if promised || !settled {
                entry.put.push(peer.clone());
            }
            if let Some(displaced) = self.index.put(peer) {
                entry.displace(&displaced, self.unsettled.contains_key(&displaced.id));
            }
        }
        self.promised(entry)
    }

    /// Removes records. Returns what the journal has to say of it, if anything.
    pub(super) fn forget(&mut self, ids: &[Uuid]) -> Option<Entry> {
        let mut entry = Entry::default();
        for &id in ids {
            let removed = self.index.remove(id);
            self.version += u64::from(removed.is_some());
            let promised = removed.is_some_and(|peer| is_banned(&peer));
            if promised || self.unsettled.contains_key(&id) {
                entry.gone.push(id);
            }
        }
        self.promised(entry)
    }

    /// Adds a record that must not be there.
    pub(super) fn create(&mut self, peer: Arc<Peer>) -> Result<Option<Entry>, StoreError> {
        let known = self.index.get(peer.id).map(|peer| peer.id);
        let holder = self.index.at(peer.ip_address, peer.port);
        match known.or(holder) {
            Some(existing) => Err(StoreError::DuplicatePeer { existing }),
            None => Ok(self.put(vec![peer])),
        }
    }

    /// Replaces a record that must be there.
    pub(super) fn update(&mut self, peer: Arc<Peer>) -> Result<Option<Entry>, StoreError> {
        let id = peer.id;
        if self.index.get(id).is_none() {
            return Err(StoreError::PeerNotFound { id });
        }
        let holder = self.index.at(peer.ip_address, peer.port);
        match holder.filter(|&holder| holder != id) {
            Some(existing) => Err(StoreError::DuplicatePeer { existing }),
            None => Ok(self.put(vec![peer])),
        }
    }

    /// Removes a record that must be there.
    pub(super) fn delete(&mut self, id: Uuid) -> Result<Option<Entry>, StoreError> {
        match self.index.get(id) {
            Some(_) => Ok(self.forget(&[id])),
            None => Err(StoreError::PeerNotFound { id }),
        }
    }

    /// The changes named are durable.
    pub(super) fn settle(&mut self, changes: impl IntoIterator<Item = (Uuid, u64)>) {
        for (id, seq) in changes {
            if self.unsettled.get(&id) == Some(&seq) {
                self.unsettled.remove(&id);
            }
        }
    }

    /// All changes up to this one are durable.
    pub(super) fn settle_to(&mut self, covered: u64) {
        self.unsettled.retain(|_, seq| *seq > covered);
    }

    fn promised(&mut self, mut entry: Entry) -> Option<Entry> {
        if entry.put.is_empty() && entry.gone.is_empty() {
            return None;
        }
        // A file may say that it was as high as it gets.
        self.seq = self.seq.saturating_add(1);
        entry.seq = self.seq;
        let ids = entry.ids().map(|id| (id, self.seq));
        self.unsettled.extend(ids);
        Some(entry)
    }
}

impl Entry {
    /// A record has lost its place to another of the same batch. What the entry says of it so far
    /// would bring it back: records that are gone go first when it is repeated.
    fn displace(&mut self, displaced: &Peer, is_unsettled: bool) {
        let before = self.put.len();
        self.put.retain(|peer| peer.id != displaced.id);
        let is_put = self.put.len() < before;
        if is_put || is_unsettled || is_banned(displaced) {
            self.gone.push(displaced.id);
        }
    }

    /// The records that it is about.
    pub(super) fn ids(&self) -> impl Iterator<Item = Uuid> {
        let put = self.put.iter().map(|peer| peer.id);
        put.chain(self.gone.iter().copied())
    }
}

/// What callers and the writer share.
#[derive(Debug, Default)]
pub(super) struct Shared(RwLock<State>);

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self(RwLock::new(state))
    }

    /// Nothing that is done under the lock can panic half-way, so a poisoned one is whole.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
