//! Everything that is kept sorted, and the one place where it changes.

use std::collections::BTreeSet;
use std::time::Instant;

use super::candidates::Candidates;
use super::record::{ByStatus, Facts};
use super::room::Room;
use super::shared::Shared;
use super::slab::Id;

/// What follows from the records, kept at hand.
pub(super) struct Indexes {
    pub(super) counts: ByStatus<usize>,
    pub(super) due: BTreeSet<(Instant, Id)>,
    pub(super) candidates: Candidates,
    pub(super) room: Room,
    pub(super) shared: Shared,
}

impl Indexes {
    pub(super) fn new() -> Self {
        Self {
            counts: ByStatus::default(),
            due: BTreeSet::new(),
            candidates: Candidates::new(),
            room: Room::default(),
            shared: Shared::default(),
        }
    }

    /// A record appears, changes or disappears. Whatever changes a record ends here.
    pub(super) fn replace(&mut self, id: Id, before: Option<&Facts>, after: Option<&Facts>) {
        if let Some(before) = before {
            *self.counts.get_mut(before.status) -= 1;
        }
        if let Some(after) = after {
            *self.counts.get_mut(after.status) += 1;
        }
        let ready = |facts: Option<&Facts>| facts.and_then(|facts| facts.ready);
        self.candidates.replace(ready(before), ready(after));

        let due = |facts: Option<&Facts>| facts.and_then(|facts| facts.due);
        relist(&mut self.due, due(before), due(after));

        let tenant = |facts: Option<&Facts>| facts.map(|facts| facts.tenant);
        self.room.replace(tenant(before), tenant(after));

        let shared = |facts: Option<&Facts>| facts.is_some_and(|facts| facts.shared);
        self.shared.replace(id, shared(before), shared(after));
    }
}

/// What an index has as `before` is `after` from now on.
pub(super) fn relist<T: Ord>(index: &mut BTreeSet<T>, before: Option<T>, after: Option<T>) {
    if before == after {
        return;
    }
    if let Some(before) = before {
        index.remove(&before);
    }
    if let Some(after) = after {
        index.insert(after);
    }
}
