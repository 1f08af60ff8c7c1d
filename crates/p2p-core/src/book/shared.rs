//! Whom others are told of.

use std::collections::BTreeSet;

use super::keyed::Keys;
use super::slab::Id;

/// Peers that others may be told of, in no order, so that any of them is drawn in one step.
#[derive(Debug, Default)]
pub(super) struct Shared {
    ids: Vec<Id>,
    /// Where in `ids` a record is, by its number.
    places: Vec<Option<u32>>,
}

impl Shared {
    pub(super) fn replace(&mut self, id: Id, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.insert(id),
            (true, false) => self.remove(id),
            (true, true) | (false, false) => {}
        }
    }

    /// At most `most` of them and at most 23 %, as the node answers, drawn evenly (Floyd's
    /// algorithm).
    pub(super) fn sample(&self, most: usize, keys: Keys, seed: u64) -> Vec<Id> {
        let all = self.ids.len();
        // Rounded up: a book of one has one to tell of.
        let most = most.min((all * SHARED_PERCENT).div_ceil(100));
        let mut drawn = BTreeSet::new();
        let mut ids = Vec::with_capacity(most);
        for last in all - most..all {
            let below = last as u32 + 1;
            let draw = keys.draw(seed, u64::from(below), below) as usize;
            let place = if drawn.contains(&draw) { last } else { draw };
            drawn.insert(place);
            ids.push(self.ids[place]);
        }
        ids
    }

    fn insert(&mut self, id: Id) {
        let at = id.0 as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        self.places[at] = Some(self.ids.len() as u32);
        self.ids.push(id);
    }

    fn remove(&mut self, id: Id) {
        let place = self.places[id.0 as usize].take();
        let place = place.expect("what is removed was inserted");
        self.ids.swap_remove(place as usize);
        if let Some(moved) = self.ids.get(place as usize) {
            self.places[moved.0 as usize] = Some(place);
        }
    }
}

#[cfg(test)]
impl Shared {
    /// Whether these are those, which were made from the records alone.
    pub(super) fn check(&self, fresh: &Self) {
        let set = |shared: &Self| shared.ids.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(set(self), set(fresh));
        assert_eq!(set(self).len(), self.ids.len());
        for (place, id) in self.ids.iter().enumerate() {
            assert_eq!(self.places[id.0 as usize], Some(place as u32));
        }
        assert_eq!(self.places.iter().flatten().count(), self.ids.len());
    }
}

/// How much of its table a node tells at most: who asks many times shall not have all of it soon.
const SHARED_PERCENT: usize = 23;
