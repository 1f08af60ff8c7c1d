//! Records by number, so that an index holds four bytes for one.

/// The number of a record. A free one is given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub(super) u32);

/// Values by [`Id`], never moved: to grow costs the same whatever is held, where one vector would
/// copy hundreds of megabytes.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<Id>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Takes a value in. The caller keeps the number below `u32::MAX`.
    pub(super) fn insert(&mut self, value: T) -> Id {
        if let Some(id) = self.free.pop() {
            *self.place(id) = Some(value);
            return id;
        }
        let full = |chunk: &Vec<_>| chunk.len() == CHUNK;
        if self.chunks.last().is_none_or(full) {
            self.chunks.push(Vec::new());
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("one was pushed");
        let id = Id((before + chunk.len()) as u32);
        chunk.push(Some(value));
        id
    }

    /// Takes a value out. The number must not be used again.
    pub(super) fn remove(&mut self, id: Id) -> T {
        let value = self.place(id).take();
        self.free.push(id);
        value.expect("an id is that of a value")
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut T {
        self.place(id).as_mut().expect("an id is that of a value")
    }

    pub(super) fn get(&self, id: Id) -> &T {
        let at = id.0 as usize;
        self.chunks[at / CHUNK][at % CHUNK]
            .as_ref()
            .expect("an id is that of a value")
    }

    fn place(&mut self, id: Id) -> &mut Option<T> {
        let at = id.0 as usize;
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }
}

/// Values in one allocation: some hundred kilobytes of records.
const CHUNK: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_at_their_numbers_and_numbers_are_used_again() {
        let mut slab = Slab::new();
        let ids: Vec<Id> = (0..3 * CHUNK).map(|value| slab.insert(value)).collect();
        for (value, id) in ids.iter().enumerate() {
            assert_eq!(*slab.get(*id), value);
        }
        assert_eq!(slab.remove(ids[CHUNK]), CHUNK);
        *slab.get_mut(ids[7]) += 1;
        assert_eq!(slab.insert(42), ids[CHUNK]);
        assert_eq!((*slab.get(ids[CHUNK]), *slab.get(ids[7])), (42, 8));
        assert_eq!(slab.insert(43), Id(3 * CHUNK as u32));
    }
}
