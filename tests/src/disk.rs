//! What survives when a node goes down.

use std::collections::BTreeMap;
use std::time::Duration;

use p2p_core::{BatchId, Peer};
use uuid::Uuid;

use crate::rng::Rng;

/// The store of one node, as weak as a store may be: bans, and records that lift one, are safe once
/// a batch is stored, all else once it is saved. That includes what is forgotten: a ban among it is
/// back after a crash that comes before the save.
///
/// ```
/// use p2p_sim::{Disk, World, scenario};
/// use std::time::Duration;
///
/// assert!(!Disk::default().fails);
/// let mut world = World::new(1);
/// let node = world.add_node(scenario::node());
/// // What this node wants to be stored takes seconds from now on.
/// world.with_node(node, |node, _| node.disk.slowness = Duration::from_secs(5))?;
/// # Ok::<(), p2p_sim::Violation>(())
/// ```
#[derive(Debug)]
pub struct Disk {
    /// What is safe.
    records: BTreeMap<Uuid, Peer>,
    /// What was stored since the last save; `None` for what is to be forgotten.
    held_back: BTreeMap<Uuid, Option<Peer>>,
    under_way: Option<Batch>,
    /// Whether everything fails.
    pub fails: bool,
    /// How long a batch takes, at most.
    pub slowness: Duration,
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    peers: Vec<Peer>,
    gone: Vec<Uuid>,
}

impl Default for Disk {
    /// An empty one that works, and takes up to 20 ms.
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
            held_back: BTreeMap::new(),
            under_way: None,
            fails: false,
            slowness: Duration::from_millis(20),
        }
    }
}

impl Disk {
    /// Everything that is safe.
    pub fn records(&self) -> impl Iterator<Item = &Peer> {
        self.records.values()
    }

    /// Puts a record there, as a node of an earlier incarnation did.
    pub fn insert(&mut self, peer: Peer) {
        self.records.insert(peer.id, peer);
    }

    /// Begins to store a batch; tells how long it will take.
    pub(crate) fn begin(
        &mut self,
        rng: &mut Rng,
        id: BatchId,
        peers: Vec<Peer>,
        gone: Vec<Uuid>,
    ) -> Duration {
        self.under_way = Some(Batch { id, peers, gone });
        self.pause(rng)
    }

    /// How long the next thing takes.
    pub(crate) fn pause(&self, rng: &mut Rng) -> Duration {
        rng.duration(Duration::ZERO, self.slowness)
    }

    /// The batch is stored now, or is not.
    pub(crate) fn finish(&mut self, id: BatchId) -> Result<(), String> {
        let under_way = self.under_way.take_if(|batch| batch.id == id);
        self.check()?;
        if let Some(batch) = under_way {
            self.store(batch);
        }
        Ok(())
    }

    /// What was held back is saved now, or is not.
    pub(crate) fn save(&mut self) -> Result<(), String> {
        self.check()?;
        for (id, record) in std::mem::take(&mut self.held_back) {
            match record {
                Some(peer) => self.insert(peer),
                None => drop(self.records.remove(&id)),
            }
        }
        Ok(())
    }

    /// The node goes down: a batch on the way is stored as a whole, or not at all.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let under_way = self.under_way.take();
        if let Some(batch) = under_way
            && !self.fails
            && rng.chance(500)
        {
            self.store(batch);
        }
        self.held_back.clear();
    }

    fn store(&mut self, batch: Batch) {
        for peer in batch.peers {
            let stored = self.records.get(&peer.id);
            let was_banned = stored.is_some_and(|stored| stored.ban.is_some());
            if peer.ban.is_some() || was_banned {
                self.held_back.remove(&peer.id);
                self.insert(peer);
            } else {
                self.held_back.insert(peer.id, Some(peer));
            }
        }
        let gone = batch.gone.into_iter().map(|id| (id, None));
        self.held_back.extend(gone);
    }

    fn check(&self) -> Result<(), String> {
        match self.fails {
            true => Err("no space left on device".into()),
            false => Ok(()),
        }
    }
}
