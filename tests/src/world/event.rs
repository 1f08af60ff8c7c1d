//! What is to happen in a world, as its queue holds it.

use std::net::SocketAddr;

use p2p_core::BatchId;

use crate::faults::Fault;
use crate::network::{HostId, Socket};

/// Something that is to happen.
#[derive(Debug, Clone)]
pub(crate) enum WorldEvent {
    /// Something arrives at this end.
    Arrival { reader: Socket },
    /// There is room to write at this end.
    Writable { socket: Socket },
    /// A host wanted to be woken.
    Wake { host: HostId },
    /// The DNS seeds have answered those who asked in this incarnation.
    Resolved {
        host: HostId,
        incarnation: u32,
        addresses: Vec<SocketAddr>,
    },
    /// The disk has done what it could, for those who asked in this incarnation.
    Stored {
        host: HostId,
        incarnation: u32,
        batch: BatchId,
    },
    /// The disk has saved what it held back, or has not.
    Saved { host: HostId, incarnation: u32 },
    /// Something breaks, or is mended.
    Fault(Fault),
    /// All of the world is looked at.
    Look,
}
