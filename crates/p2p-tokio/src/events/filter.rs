//! What a lossless subscriber wants.

use std::collections::BTreeSet;

use p2p_proto::Command;
use uuid::Uuid;

/// What a lossless subscriber wants: everything, unless it says less.
///
/// ```
/// use p2p_tokio::{Filter, Command};
///
/// // Transactions and blocks, of every peer, however large.
/// let filter = Filter::commands([Command::TX, Command::BLOCK]).with_payloads();
/// # let _ = filter;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Filter {
    peers: Option<BTreeSet<Uuid>>,
    /// A few: to look through them is as fast as can be.
    commands: Option<Vec<Command>>,
    payloads: bool,
}

impl Filter {
    /// Every message of every peer, but for payloads that come in pieces.
    pub fn all() -> Self {
        Self::default()
    }

    /// These messages only.
    pub fn commands(commands: impl IntoIterator<Item = Command>) -> Self {
        Self {
            commands: Some(commands.into_iter().collect()),
            ..Self::default()
        }
    }

    /// Of these peers only.
    #[must_use]
    pub fn of_peers(self, peers: impl IntoIterator<Item = Uuid>) -> Self {
        Self {
            peers: Some(peers.into_iter().collect()),
            ..self
        }
    }

    /// Also payloads above `stream_above`, in pieces: blocks of any size, in constant memory.
    #[must_use]
    pub fn with_payloads(self) -> Self {
        Self {
            payloads: true,
            ..self
        }
    }

    pub(super) fn wants_peer(&self, peer: Uuid) -> bool {
        self.peers
            .as_ref()
            .is_none_or(|peers| peers.contains(&peer))
    }

    pub(super) fn wants(&self, peer: Uuid, command: Command) -> bool {
        let commands = self.commands.as_ref();
        self.wants_peer(peer) && commands.is_none_or(|commands| commands.contains(&command))
    }

    pub(super) fn wants_pieces(&self, peer: Uuid, command: Command) -> bool {
        self.payloads && self.wants(peer, command)
    }
}
