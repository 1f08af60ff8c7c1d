//! What the queue of a world holds.

use std::net::SocketAddr;

use p2p_core::BatchId;

use crate::faults::Fault;
use crate::network::{HostId, Socket};

/// Something that is to happen.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// Something arrives at this end.
    Arrival { reader: Socket },
    /// There is room to write at this end.
    Writable { socket: Socket },
    /// A host wanted to be woken.
    Wake { host: HostId },
    /// The DNS seeds have answered. Programs that have ended since do not hear of it: `life` counts
    /// them.
    Resolved {
        host: HostId,
        life: u32,
        addresses: Vec<SocketAddr>,
    },
    /// The disk has done what it could.
    Stored {
        host: HostId,
        life: u32,
        batch: BatchId,
    },
    /// The disk has saved what it held back, or not.
    Saved { host: HostId, life: u32 },
    /// Something breaks, or is mended.
    Fault(Fault),
    /// All of the world is looked at.
    Look,
}
