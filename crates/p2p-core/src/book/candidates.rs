//! Who is dialled next.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::indexes::relist;
use super::keyed::Place;
use super::record::ByStatus;
use super::slab::Id;
use crate::peer::PeerStatus;

/// A peer that may be dialled; in the order in which those of a status and group are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ready {
    pub(super) status: PeerStatus,
    pub(super) place: Place,
    /// First those that did not fail: else one that is dead would be all that its group is judged
    /// by, once its backoff is shorter than a round of all groups.
    pub(super) retries: u8,
    pub(super) rank: u64,
    pub(super) id: Id,
}

/// A group of which a peer may be dialled; in the order in which those of a status are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    status: PeerStatus,
    connections: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Group {
    connections: u32,
    ready: ByStatus<u32>,
}

/// Peers that may be dialled, by status and netgroup.
///
/// The groups of a status and number of connections stand on a ring, at places that the secret
/// gives them, and a cursor goes round. A group that appears gets its turn when the cursor comes
/// by, not before those that wait: nobody gains by naming ever more.
#[derive(Debug)]
pub(super) struct Candidates {
    ready: BTreeSet<Ready>,
    turns: BTreeSet<Turn>,
    groups: BTreeMap<Place, Group>,
    /// The group whose turn it was last.
    cursors: ByStatus<Place>,
    counts: ByStatus<usize>,
}

impl Candidates {
    pub(super) const fn new() -> Self {
        Self {
            ready: BTreeSet::new(),
            turns: BTreeSet::new(),
            groups: BTreeMap::new(),
            cursors: ByStatus::all(Place::FIRST),
            counts: ByStatus::all(0),
        }
    }

    pub(super) fn replace(&mut self, before: Option<Ready>, after: Option<Ready>) {
        if before == after {
            return;
        }
        if let Some(ready) = before {
            self.remove(ready);
        }
        if let Some(ready) = after {
            self.insert(ready);
        }
    }

    /// A group has one connection more.
    pub(super) fn connected(&mut self, place: Place) {
        self.change(place, |group| {
            group.connections = group.connections.saturating_add(1);
        });
    }

    /// A group has one connection less.
    pub(super) fn disconnected(&mut self, place: Place) {
        self.change(place, |group| {
            debug_assert!(group.connections > 0, "what ends was there");
            group.connections = group.connections.saturating_sub(1);
        });
    }

    pub(super) fn first(&self, status: PeerStatus) -> Option<Ready> {
        // Every group that has a turn has somebody ready.
        let place = self.turn(status)?;
        let least = Ready {
            status,
            place,
            retries: 0,
            rank: 0,
            id: Id(0),
        };
        self.ready.range(least..).next().copied()
    }

    pub(super) fn count(&self, status: PeerStatus) -> usize {
        *self.counts.get(status)
    }

    fn insert(&mut self, ready: Ready) {
        self.ready.insert(ready);
        *self.counts.get_mut(ready.status) += 1;
        self.change(ready.place, |group| *group.ready.get_mut(ready.status) += 1);
    }

    fn remove(&mut self, ready: Ready) {
        // Whoever takes the candidate, for whatever reason, has used its group's turn.
        if self.first(ready.status) == Some(ready) {
            *self.cursors.get_mut(ready.status) = ready.place;
        }
        self.ready.remove(&ready);
        *self.counts.get_mut(ready.status) -= 1;
        self.change(ready.place, |group| *group.ready.get_mut(ready.status) -= 1);
    }

    /// The group whose turn it is.
    fn turn(&self, status: PeerStatus) -> Option<Place> {
        let least = Turn {
            status,
            connections: 0,
            place: Place::FIRST,
        };
        let first = self.turns.range(least..).next();
        let first = first.filter(|first| first.status == status)?;
        let cursor = Turn {
            place: *self.cursors.get(status),
            ..*first
        };
        let next = self.turns.range((Excluded(cursor), Unbounded)).next();
        let next =
            next.filter(|next| next.status == status && next.connections == first.connections);
        Some(next.unwrap_or(first).place)
    }

    /// Changes a group, and its turns with it.
    fn change(&mut self, place: Place, change: impl FnOnce(&mut Group)) {
        let group = self.groups.entry(place).or_default();
        let before = *group;
        change(group);
        let after = *group;
        if after == Group::default() {
            self.groups.remove(&place);
        }
        for status in PeerStatus::ALL {
            let turn = |group: Group| {
                (*group.ready.get(status) > 0).then_some(Turn {
                    status,
                    connections: group.connections,
                    place,
                })
            };
            relist(&mut self.turns, turn(before), turn(after));
        }
    }
}

#[cfg(test)]
impl Candidates {
    /// Whether these are those, which were made from the records alone.
    pub(super) fn check(&self, mut fresh: Self) {
        for (place, group) in &self.groups {
            (0..group.connections).for_each(|_| fresh.connected(*place));
        }
        assert_eq!(self.ready, fresh.ready);
        assert_eq!(self.turns, fresh.turns);
        assert_eq!(self.groups, fresh.groups);
        assert_eq!(self.counts, fresh.counts);
    }
}
