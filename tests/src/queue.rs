//! What is to happen, in the order in which it does.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::time::Time;

/// A queue ordered by time; of what happens at the same time, what was put in first comes first.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::{Queue, Time};
///
/// let mut queue = Queue::default();
/// queue.push(Time::ZERO + Duration::from_secs(2), "later");
/// queue.push(Time::ZERO, "first");
/// queue.push(Time::ZERO, "second");
/// let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, what)| what).collect();
/// assert_eq!(order, ["first", "second", "later"]);
/// ```
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    pushed: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Time,
    number: u64,
    what: T,
}

impl<T> Queue<T> {
    /// Puts something in.
    pub fn push(&mut self, at: Time, what: T) {
        let number = self.pushed;
        self.pushed += 1;
        self.heap.push(Entry { at, number, what });
    }

    /// Takes the next out.
    pub fn pop(&mut self) -> Option<(Time, T)> {
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }

    /// When the next is due.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// How much waits.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            pushed: 0,
        }
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}
