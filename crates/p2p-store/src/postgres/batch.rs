//! A batch as one statement wants it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use p2p_core::Peer;
use uuid::Uuid;

use crate::record;

/// What is left of a batch when each record was put after the other: no id twice, no address
/// twice.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) records: BTreeMap<Uuid, Cow<'a, Peer>>,
    /// Records whose places were taken by later ones.
    pub(super) displaced: Vec<Uuid>,
}

impl<'a> Plan<'a> {
    pub(super) fn of(peers: &'a [Peer]) -> Self {
        let mut plan = Self::default();
        let mut holders = BTreeMap::new();
        for peer in peers {
            let peer = record::canonical(peer);
            let (id, address) = (peer.id, peer.address());
            if let Some(before) = plan.records.get(&id) {
                holders.remove(&before.address());
            }
            if let Some(holder) = holders.insert(address, id)
                && holder != id
            {
                plan.records.remove(&holder);
                plan.displaced.push(holder);
            }
            plan.records.insert(id, peer);
        }
        let records = &plan.records;
        plan.displaced.retain(|id| !records.contains_key(id));
        plan
    }
}
