//! One subscriber, as the application sees it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use futures_core::Stream;
use p2p_core::{BitcoinMessageEvent, ControlEvent};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::lossless::{Batch, Room, Space};
use super::outlet::{Backlog, Queued, Wants};
use super::registry::{Entry, Registry};
use super::{Event, PeerEvent, Skipped};

/// What happens to connections, peers, the listener and the node.
pub type ControlEvents = Subscription<ControlEvent>;
/// The messages of all peers.
pub type BitcoinMessages = Subscription<BitcoinMessageEvent>;
/// Both, in the order in which they were published.
pub type Events = Subscription<Event>;

/// A view of what happens, from the moment of subscription on.
///
/// A subscriber that reads too slowly slows nobody down: what does not fit into its queue it
/// misses, and is told how many. A [`Stream`] too, which ends with the manager.
///
/// ```no_run
/// use p2p_tokio::{Manager, RecvError};
///
/// # async fn example(manager: &Manager) {
/// let mut messages = manager.subscribe_bitcoin_messages();
/// loop {
///     match messages.recv().await {
///         Ok(event) => println!("{} from {}", event.message.command(), event.address),
///         Err(RecvError::Lagged(missed)) => println!("{missed} messages missed"),
///         Err(RecvError::Skipped(skipped)) => println!("{} bytes skipped", skipped.length),
///         Err(_) => break,
///     }
/// }
/// # }
/// ```
pub struct Subscription<T> {
    events: mpsc::Receiver<Queued>,
    backlog: Arc<Backlog>,
    /// Came out behind a gap that is told first.
    held: Option<Event>,
    // Last: the queue is closed before the list is changed.
    _entry: Entry,
    take: fn(Event) -> Option<Result<T, RecvError>>,
}

/// Why there is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// This many events were missed here, for the subscriber was too slow.
    #[error("{0} events were missed")]
    Lagged(u64),
    /// A message came here that was not kept.
    #[error("{} of {} bytes from {} was skipped", .0.command, .0.length, .0.address)]
    Skipped(Skipped),
    /// The manager has ended, and everything before that was read.
    #[error("the manager has ended")]
    Closed,
}

impl RecvError {
    /// Whether more can come: yes, but for the end.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Closed)
    }

    /// Whether a peer is to be banned for it: never.
    pub fn is_ban_worthy(&self) -> bool {
        false
    }
}

impl Registry {
    pub(crate) fn control_events(self: &Arc<Self>) -> ControlEvents {
        self.subscribe(Wants::Control, |event| match event {
            Event::Control(event) => Some(Ok(event)),
            Event::Message(_) | Event::Skipped(_) => None,
        })
    }

    pub(crate) fn bitcoin_messages(self: &Arc<Self>) -> BitcoinMessages {
        self.subscribe(Wants::Messages, |event| match event {
            Event::Message(event) => Some(Ok(event)),
            Event::Skipped(skipped) => Some(Err(RecvError::Skipped(skipped))),
            Event::Control(_) => None,
        })
    }

    pub(crate) fn events(self: &Arc<Self>) -> Events {
        self.subscribe(Wants::Everything, |event| Some(Ok(event)))
    }
}

impl<T> Subscription<T> {
    pub(super) fn new(
        entry: Entry,
        events: mpsc::Receiver<Queued>,
        backlog: Arc<Backlog>,
        take: fn(Event) -> Option<Result<T, RecvError>>,
    ) -> Self {
        Self {
            events,
            backlog,
            held: None,
            _entry: entry,
            take,
        }
    }

    /// The next event. Nothing is lost if this is dropped before it is done.
    ///
    /// # Errors
    /// [`RecvError`]: a gap, after which the next event comes; or the end.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next event, if there is one now.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<T>, RecvError> {
        let next = self.next(|events| match events.try_recv() {
            Ok(queued) => Poll::Ready(Some(queued)),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
        });
        match next {
            Poll::Ready(event) => event.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.events.len() + usize::from(self.held.is_some())
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        self.next(|events| events.poll_recv(cx))
    }

    fn next(
        &mut self,
        mut next: impl FnMut(&mut mpsc::Receiver<Queued>) -> Poll<Option<Queued>>,
    ) -> Poll<Result<T, RecvError>> {
        loop {
            let event = match self.held.take() {
                Some(event) => event,
                None => match next(&mut self.events) {
                    Poll::Ready(Some(queued)) => {
                        self.backlog.give_back(queued.bytes);
                        if queued.missed > 0 {
                            self.held = Some(queued.event);
                            return Poll::Ready(Err(RecvError::Lagged(queued.missed)));
                        }
                        queued.event
                    }
                    // There may be a gap that no event has followed yet.
                    end => match (self.backlog.take_missed(), end) {
                        (0, Poll::Pending) => return Poll::Pending,
                        (0, Poll::Ready(_)) => return Poll::Ready(Err(RecvError::Closed)),
                        (missed, _) => return Poll::Ready(Err(RecvError::Lagged(missed))),
                    },
                },
            };
            if let Some(event) = (self.take)(event) {
                return Poll::Ready(event);
            }
        }
    }
}

impl<T> Stream for Subscription<T> {
    type Item = Result<T, RecvError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.get_mut().poll_recv(cx));
        Poll::Ready(match next {
            Err(RecvError::Closed) => None,
            next => Some(next),
        })
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("waiting", &self.events.len())
            .finish_non_exhaustive()
    }
}

/// What lossless subscribers get: see
/// [`subscribe_lossless`](crate::Manager::subscribe_lossless).
#[derive(Debug)]
pub struct LosslessEvents {
    pub(super) batches: mpsc::Receiver<Batch>,
    /// The first of them, what is left of it.
    batch: vec::IntoIter<PeerEvent>,
    /// What that has taken of the room.
    space: Space,
    pub(super) room: Arc<Room>,
    /// What was taken out and not given back.
    taken: Space,
    _entry: Entry,
}

impl LosslessEvents {
    pub(super) fn new(entry: Entry, batches: mpsc::Receiver<Batch>, room: Arc<Room>) -> Self {
        Self {
            batches,
            batch: Vec::new().into_iter(),
            space: Space::default(),
            room,
            taken: Space::default(),
            _entry: entry,
        }
    }

    /// The next event; `None` when the manager has ended. Nothing is lost if this is dropped
    /// before it is done.
    pub async fn recv(&mut self) -> Option<PeerEvent> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<PeerEvent>> {
        loop {
            // Without a look at the task's budget, which each batch counts for: as with `recv_many`.
            if let Some(event) = self.batch.next() {
                if self.batch.len() == 0 {
                    self.room.took(self.space, &mut self.taken);
                }
                return Poll::Ready(Some(event));
            }
            match self.batches.poll_recv(cx) {
                Poll::Ready(Some(batch)) => {
                    self.batch = batch.events.into_iter();
                    self.space = batch.space;
                }
                end => {
                    // Nothing waits: there is room for all that can.
                    self.room.give_back(&mut self.taken);
                    return end.map(|_| None);
                }
            }
        }
    }
}

impl Stream for LosslessEvents {
    type Item = PeerEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_recv(cx)
    }
}

impl Drop for LosslessEvents {
    fn drop(&mut self) {
        self.room.close();
    }
}
