//! Who has something to tell: the manager's task, and one task for each connection.

use std::net::SocketAddr;
use std::sync::Arc;

use p2p_core::{BitcoinMessageEvent, ControlEvent};
use p2p_proto::{CloseReason, Command, PayloadEvent};
use tokio::sync::watch;
use uuid::Uuid;

use super::lossless::Lossless;
use super::outbox::Outbox;
use super::outlet::Wants;
use super::registry::{Lists, SubscriberId};
use super::{Event, PeerEvent, Skipped};

/// Tells the subscribers.
#[derive(Debug)]
pub(crate) struct Publisher {
    latest: watch::Receiver<Arc<Lists>>,
    lists: Arc<Lists>,
    /// Lossless subscribers who know of the connection.
    introduced: Vec<SubscriberId>,
    /// The message whose pieces pass by, and who gets them.
    streaming: Vec<SubscriberId>,
}

/// A peer, as events name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub(crate) peer_id: Uuid,
    pub(crate) address: SocketAddr,
}

impl Publisher {
    pub(super) fn new(mut latest: watch::Receiver<Arc<Lists>>) -> Self {
        let lists = latest.borrow_and_update().clone();
        Self {
            latest,
            lists,
            introduced: Vec::new(),
            streaming: Vec::new(),
        }
    }

    pub(crate) fn control(&mut self, event: &ControlEvent) {
        self.refresh();
        for (_, outlet) in &self.lists.lossy {
            if outlet.wants != Wants::Messages {
                let event = || Event::Control(event.clone());
                outlet.offer(0, event, event);
            }
        }
    }

    pub(crate) fn message(&mut self, event: BitcoinMessageEvent, outbox: &mut Outbox) {
        self.refresh();
        let bytes = event.message.payload_len();
        let command = event.message.command();
        for (_, outlet) in &self.lists.lossy {
            if outlet.wants != Wants::Control {
                let skipped = || skipped(&event, command, bytes as u64);
                outlet.offer(bytes, || Event::Message(event.clone()), skipped);
            }
        }
        let source = Source {
            peer_id: event.peer_id,
            address: event.address,
        };
        let mut last: Option<&Arc<Lossless>> = None;
        for (id, outlet) in &self.lists.lossless {
            if outlet.filter.wants(event.peer_id, command) {
                introduce(&mut self.introduced, source, *id, outlet, outbox);
                if let Some(earlier) = last.replace(outlet) {
                    outbox.push(earlier, PeerEvent::Message(event.clone()));
                }
            }
        }
        if let Some(last) = last {
            outbox.push(last, PeerEvent::Message(event));
        }
    }

    pub(crate) fn payload(&mut self, source: Source, event: PayloadEvent, outbox: &mut Outbox) {
        self.refresh();
        if let PayloadEvent::Begin { command, length } = event {
            self.streaming.clear();
            let Source { peer_id, address } = source;
            let skipped = || {
                Event::Skipped(Skipped {
                    peer_id,
                    address,
                    command,
                    length,
                })
            };
            for (_, outlet) in &self.lists.lossy {
                if outlet.wants != Wants::Control {
                    outlet.offer(0, skipped, skipped);
                }
            }
            for (id, outlet) in &self.lists.lossless {
                if outlet.filter.wants_pieces(peer_id, command) {
                    introduce(&mut self.introduced, source, *id, outlet, outbox);
                    self.streaming.push(*id);
                }
            }
        }
        // Who subscribes while a payload passes by does not get the rest of it.
        for (id, outlet) in &self.lists.lossless {
            if self.streaming.contains(id) {
                let event = PeerEvent::Payload {
                    peer_id: source.peer_id,
                    address: source.address,
                    event: event.clone(),
                };
                outbox.push(outlet, event);
            }
        }
    }

    /// The peer is admitted.
    pub(crate) fn established(&mut self, source: Source, outbox: &mut Outbox) {
        self.refresh();
        for (id, outlet) in &self.lists.lossless {
            if outlet.filter.wants_peer(source.peer_id) {
                introduce(&mut self.introduced, source, *id, outlet, outbox);
            }
        }
    }

    /// The connection has ended.
    pub(crate) fn lost(&mut self, source: Source, reason: &CloseReason, outbox: &mut Outbox) {
        self.refresh();
        for (id, outlet) in &self.lists.lossless {
            if self.introduced.contains(id) {
                let event = PeerEvent::Lost {
                    peer_id: source.peer_id,
                    address: source.address,
                    reason: reason.clone(),
                };
                outbox.push(outlet, event);
            }
        }
    }

    /// Takes the latest lists. Connections share them: to count references to them at each message
    /// would have all processors write to one place.
    fn refresh(&mut self) {
        // The registry outlives its publishers; if not, there is nobody to tell.
        if self.latest.has_changed().unwrap_or(false) {
            self.lists = self.latest.borrow_and_update().clone();
            let lists = &self.lists;
            let is_there = |id: &SubscriberId| lists.lossless.iter().any(|(other, _)| other == id);
            self.introduced.retain(is_there);
        }
    }
}

/// Tells a lossless subscriber of the connection, once.
fn introduce(
    introduced: &mut Vec<SubscriberId>,
    source: Source,
    id: SubscriberId,
    outlet: &Arc<Lossless>,
    outbox: &mut Outbox,
) {
    if !introduced.contains(&id) {
        introduced.push(id);
        let Source { peer_id, address } = source;
        outbox.push(outlet, PeerEvent::Established { peer_id, address });
    }
}

fn skipped(event: &BitcoinMessageEvent, command: Command, length: u64) -> Event {
    Event::Skipped(Skipped {
        peer_id: event.peer_id,
        address: event.address,
        command,
        length,
    })
}
