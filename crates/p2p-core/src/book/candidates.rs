//! Who is dialled next.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::keyed::Keys;
use super::record::ByStatus;
use super::relist;
use super::slab::Id;
use crate::netgroup::NetGroup;
use crate::peer::PeerStatus;

/// A peer that may be dialled; in the order in which those of a status and group are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ready {
    pub(super) status: PeerStatus,
    pub(super) group: NetGroup,
    /// First those that did not fail: else one that is dead would be all that its group is judged
    /// by, once its backoff is shorter than a round of all groups.
    pub(super) retries: u8,
    pub(super) rank: u64,
}

/// A group of which a peer may be dialled; in the order in which those of a status are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    status: PeerStatus,
    connections: u32,
    ring: u64,
    group: NetGroup,
}

#[derive(Debug, PartialEq, Eq)]
struct Group {
    ring: u64,
    connections: u32,
    ready: ByStatus<u32>,
}

/// Peers that may be dialled, by status and netgroup.
///
/// The groups of a status and number of connections stand on a ring, at places that the secret
/// gives them, and a cursor goes round. A group that appears gets its turn when the cursor comes
/// by, not before those that wait: nobody gains by naming ever more.
pub(super) struct Candidates {
    keys: Keys,
    ready: BTreeSet<(Ready, Id)>,
    turns: BTreeSet<Turn>,
    groups: BTreeMap<NetGroup, Group>,
    /// Behind the group whose turn it was last.
    cursors: ByStatus<(u64, NetGroup)>,
    counts: ByStatus<usize>,
}

impl Candidates {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            ready: BTreeSet::new(),
            turns: BTreeSet::new(),
            groups: BTreeMap::new(),
            cursors: ByStatus::all((0, NetGroup::UNROUTABLE)),
            counts: ByStatus::default(),
        }
    }

    pub(super) fn replace(&mut self, id: Id, before: Option<Ready>, after: Option<Ready>) {
        if before == after {
            return;
        }
        if let Some(ready) = before {
            self.remove(ready, id);
        }
        if let Some(ready) = after {
            self.insert(ready, id);
        }
    }

    /// A group has one connection more.
    pub(super) fn connected(&mut self, group: NetGroup) {
        self.change(group, |entry| {
            entry.connections = entry.connections.saturating_add(1);
        });
    }

    /// A group has one connection less.
    pub(super) fn disconnected(&mut self, group: NetGroup) {
        self.change(group, |entry| {
            debug_assert!(entry.connections > 0, "what ends was there");
            entry.connections = entry.connections.saturating_sub(1);
        });
    }

    pub(super) fn first(&self, status: PeerStatus) -> Option<Id> {
        let turn = self.turn(status)?;
        self.first_of(status, turn.group).map(|(_, id)| id)
    }

    pub(super) fn count(&self, status: PeerStatus) -> usize {
        *self.counts.get(status)
    }

    fn insert(&mut self, ready: Ready, id: Id) {
        self.ready.insert((ready, id));
        *self.counts.get_mut(ready.status) += 1;
        self.change(ready.group, |group| *group.ready.get_mut(ready.status) += 1);
    }

    fn remove(&mut self, ready: Ready, id: Id) {
        // Whoever takes the candidate, for whatever reason, has used its group's turn.
        let turn = self.turn(ready.status);
        if let Some(turn) = turn.filter(|turn| turn.group == ready.group)
            && self.first_of(ready.status, ready.group) == Some((ready, id))
        {
            *self.cursors.get_mut(ready.status) = (turn.ring, turn.group);
        }
        self.ready.remove(&(ready, id));
        *self.counts.get_mut(ready.status) -= 1;
        self.change(ready.group, |group| *group.ready.get_mut(ready.status) -= 1);
    }

    /// The group whose turn it is.
    fn turn(&self, status: PeerStatus) -> Option<Turn> {
        let least = Turn {
            status,
            connections: 0,
            ring: 0,
            group: NetGroup::UNROUTABLE,
        };
        let first = self.turns.range(least..).next()?;
        if first.status != status {
            return None;
        }
        let (ring, group) = *self.cursors.get(status);
        let cursor = Turn {
            ring,
            group,
            ..*first
        };
        let next = self.turns.range((Excluded(cursor), Unbounded)).next();
        let next =
            next.filter(|next| next.status == status && next.connections == first.connections);
        Some(*next.unwrap_or(first))
    }

    fn first_of(&self, status: PeerStatus, group: NetGroup) -> Option<(Ready, Id)> {
        let least = Ready {
            status,
            group,
            retries: 0,
            rank: 0,
        };
        let first = self.ready.range((least, Id(0))..).next();
        first
            .filter(|(ready, _)| ready.status == status && ready.group == group)
            .copied()
    }

    /// Changes a group, and its turns with it.
    fn change(&mut self, name: NetGroup, change: impl FnOnce(&mut Group)) {
        let keys = &self.keys;
        let group = self.groups.entry(name).or_insert_with(|| Group {
            ring: keys.ring(name),
            connections: 0,
            ready: ByStatus::default(),
        });
        let (connections, ready) = (group.connections, group.ready);
        change(group);
        for (status, count) in group.ready.iter() {
            let turn = |connections| Turn {
                status,
                connections,
                ring: group.ring,
                group: name,
            };
            let before = (*ready.get(status) > 0).then(|| turn(connections));
            let after = (*count > 0).then(|| turn(group.connections));
            relist(&mut self.turns, before, after);
        }
        if group.connections == 0 && group.ready == ByStatus::default() {
            self.groups.remove(&name);
        }
    }
}

#[cfg(test)]
impl Candidates {
    /// Whether these are those, which were made from the records alone.
    pub(super) fn check(&self, mut fresh: Self) {
        for (name, group) in &self.groups {
            (0..group.connections).for_each(|_| fresh.connected(*name));
        }
        assert_eq!(self.ready, fresh.ready);
        assert_eq!(self.turns, fresh.turns);
        assert_eq!(self.groups, fresh.groups);
        assert_eq!(self.counts, fresh.counts);
    }
}
