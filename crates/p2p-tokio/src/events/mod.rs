//! What the application hears, and how.
//!
//! Every subscriber has a queue of its own, bounded in events and in bytes. Whoever has something
//! to tell puts it into the queues of those who want it: without a lock, and without waiting for
//! anybody but a lossless subscriber, who holds up the one connection whose message does not fit.

mod filter;
mod lossless;
mod outbox;
mod outlet;
mod publisher;
mod registry;
mod subscription;

pub use filter::Filter;
pub(crate) use outbox::{Outbox, TURN};
pub(crate) use publisher::{Publisher, Source};
pub(crate) use registry::{QueueLimits, Registry};
pub use subscription::{
    BitcoinMessages, ControlEvents, Events, LosslessEvents, RecvError, Subscription,
};

use std::net::SocketAddr;

use p2p_core::{BitcoinMessageEvent, ControlEvent};
use p2p_proto::{CloseReason, Command, PayloadEvent};
use uuid::Uuid;

/// Anything that happens, in the order in which it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Something happened to a connection, a peer, the listener, or the node.
    Control(ControlEvent),
    /// A message came.
    Message(BitcoinMessageEvent),
    /// A message came that was not kept.
    Skipped(Skipped),
}

/// A message that a subscriber does not get: it comes in pieces, which only
/// [`subscribe_lossless`](crate::Manager::subscribe_lossless) gives, or it did not fit into what
/// may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// From whom.
    pub peer_id: Uuid,
    /// Where the peer is.
    pub address: SocketAddr,
    /// What it was.
    pub command: Command,
    /// The length of its payload, in bytes.
    pub length: u64,
}

/// What a lossless subscriber gets of one peer: `Established`, then everything that it asked for
/// without a gap, then `Lost`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// The connection is there. Also the first that is heard of one that was there before the
    /// subscription.
    Established {
        /// The peer.
        peer_id: Uuid,
        /// Where it is.
        address: SocketAddr,
    },
    /// A message came.
    Message(BitcoinMessageEvent),
    /// A piece of a payload that is too large to be kept whole. A payload that has no `End` before
    /// `Lost` is incomplete.
    Payload {
        /// The peer.
        peer_id: Uuid,
        /// Where it is.
        address: SocketAddr,
        /// The piece.
        event: PayloadEvent,
    },
    /// The connection has ended.
    Lost {
        /// The peer.
        peer_id: Uuid,
        /// Where it was.
        address: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
}
