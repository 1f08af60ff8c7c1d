//! What survives when a node goes down.

use std::collections::BTreeMap;
use std::time::Duration;

use p2p_core::{BatchId, Peer};
use uuid::Uuid;

use crate::rng::Rng;

/// The store of one node: its records, and a batch on the way to them.
#[derive(Debug)]
pub struct Disk {
    records: BTreeMap<Uuid, Peer>,
    under_way: Option<(BatchId, Vec<Peer>)>,
    /// Whether every batch fails.
    pub fails: bool,
    /// How long a batch takes, at most.
    pub slowness: Duration,
}

impl Default for Disk {
    /// An empty one that works, and takes up to 20 ms.
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
            under_way: None,
            fails: false,
            slowness: Duration::from_millis(20),
        }
    }
}

impl Disk {
    /// Everything that was stored.
    pub fn records(&self) -> impl Iterator<Item = &Peer> {
        self.records.values()
    }

    /// Puts a record there, as a node of an earlier life did.
    pub fn insert(&mut self, peer: Peer) {
        self.records.insert(peer.id, peer);
    }

    /// Begins to store a batch; tells how long it will take.
    pub(crate) fn begin(&mut self, rng: &mut Rng, batch: BatchId, peers: Vec<Peer>) -> Duration {
        self.under_way = Some((batch, peers));
        rng.duration(Duration::ZERO, self.slowness)
    }

    /// The batch is stored now, or is not.
    pub(crate) fn finish(&mut self, batch: BatchId) -> Result<(), String> {
        let under_way = self.under_way.take_if(|(id, _)| *id == batch);
        if self.fails {
            return Err("no space left on device".into());
        }
        for peer in under_way.into_iter().flat_map(|(_, peers)| peers) {
            self.insert(peer);
        }
        Ok(())
    }

    /// The node goes down: a batch on the way is stored as a whole, or not at all.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        if let Some((_, peers)) = self.under_way.take()
            && !self.fails
            && rng.chance(500)
        {
            peers.into_iter().for_each(|peer| self.insert(peer));
        }
    }
}
