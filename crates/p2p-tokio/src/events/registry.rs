//! Who wants to hear what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};

use super::Event;
use super::filter::Filter;
use super::lossless::{Lossless, Room};
use super::outlet::{Backlog, Lossy, Wants};
use super::publisher::Publisher;
use super::subscription::{LosslessEvents, RecvError, Subscription};
use crate::observe::Counters;

/// How much may wait for one subscriber.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// All subscribers. A list that is replaced as a whole: who publishes has a copy, and looks at an
/// atomic number to see whether it is the latest.
#[derive(Debug)]
pub(crate) struct Registry {
    limits: QueueLimits,
    lists: watch::Sender<Arc<Lists>>,
    next: AtomicU64,
    counters: Arc<Counters>,
}

/// Names a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SubscriberId(u64);

#[derive(Debug, Default, Clone)]
pub(super) struct Lists {
    pub(super) lossy: Vec<(SubscriberId, Arc<Lossy>)>,
    pub(super) lossless: Vec<(SubscriberId, Arc<Lossless>)>,
    ended: bool,
}

impl Registry {
    pub(crate) fn new(limits: QueueLimits, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            lists: watch::Sender::default(),
            next: AtomicU64::new(0),
            counters,
        })
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::new(self.lists.subscribe())
    }

    pub(super) fn subscribe<T>(
        self: &Arc<Self>,
        wants: Wants,
        take: fn(Event) -> Option<Result<T, RecvError>>,
    ) -> Subscription<T> {
        let (queue, events) = mpsc::channel(self.limits.events);
        let backlog = Arc::new(Backlog::new(self.limits.bytes));
        let lossy = Arc::new(Lossy {
            wants,
            queue,
            backlog: backlog.clone(),
            counters: self.counters.clone(),
        });
        let id = self.add(|id, lists| lists.lossy.push((id, lossy)));
        Subscription::new(Entry::new(id, self), events, backlog, take)
    }

    pub(crate) fn subscribe_lossless(
        self: &Arc<Self>,
        filter: Filter,
        capacity: usize,
    ) -> LosslessEvents {
        let slots = u32::try_from(capacity.max(1)).unwrap_or(u32::MAX);
        let bytes = u32::try_from(self.limits.bytes).unwrap_or(u32::MAX);
        let (queue, events) = mpsc::channel(slots as usize);
        let room = Arc::new(Room::new(slots, bytes));
        let lossless = Arc::new(Lossless {
            filter,
            queue,
            room: room.clone(),
        });
        let id = self.add(|id, lists| lists.lossless.push((id, lossless)));
        LosslessEvents::new(Entry::new(id, self), events, room)
    }

    /// Nothing will happen any more: every queue ends with what is in it.
    pub(crate) fn end(&self) {
        self.lists.send_replace(Arc::new(Lists {
            ended: true,
            ..Lists::default()
        }));
    }

    fn add(&self, add: impl FnOnce(SubscriberId, &mut Lists)) -> SubscriberId {
        let id = SubscriberId(self.next.fetch_add(1, Ordering::Relaxed));
        self.lists.send_modify(|lists| {
            // After the end the queue is dropped at once: it is at its end.
            if !lists.ended {
                add(id, Arc::make_mut(lists));
            }
        });
        id
    }

    fn remove(&self, id: SubscriberId) {
        self.lists.send_modify(|lists| {
            let lists = Arc::make_mut(lists);
            lists.lossy.retain(|&(other, _)| other != id);
            lists.lossless.retain(|&(other, _)| other != id);
        });
    }
}

/// A subscriber's place in the registry, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    id: SubscriberId,
    // Not to keep the queues of others open.
    registry: std::sync::Weak<Registry>,
}

impl Entry {
    fn new(id: SubscriberId, registry: &Arc<Registry>) -> Self {
        Self {
            id,
            registry: Arc::downgrade(registry),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.remove(self.id);
        }
    }
}
