//! Where the peers to dial come from.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::book::canonical;

/// Where the peers to dial come from. Decided when the manager is made, for good.
///
/// ```
/// use p2p_core::OperatingMode;
///
/// let mode = OperatingMode::FixedPeerList(vec!["10.0.0.7:8333".parse().unwrap()]);
/// assert_eq!(mode.fixed_peers().map(<[_]>::len), Some(1));
/// assert_eq!(OperatingMode::default().fixed_peers(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OperatingMode {
    /// From the store, the DNS seeds and other peers, until `target_connections` is reached.
    #[default]
    Normal,
    /// These, and no others. Neither target, DNS nor gossip matter; a peer that fails is tried
    /// again for ever, unless it is banned. Inbound connections are taken as in normal mode.
    FixedPeerList(Vec<SocketAddr>),
}

impl OperatingMode {
    /// Each peer of a list once, as the manager writes addresses, however they were given.
    pub(crate) fn canonical(self) -> Self {
        match self {
            Self::Normal => Self::Normal,
            Self::FixedPeerList(peers) => {
                let mut seen = BTreeSet::new();
                let peers = peers.into_iter().map(canonical);
                Self::FixedPeerList(peers.filter(|&peer| seen.insert(peer)).collect())
            }
        }
    }

    /// The list, if there is one. An empty one is a node that dials nobody.
    pub fn fixed_peers(&self) -> Option<&[SocketAddr]> {
        match self {
            Self::Normal => None,
            Self::FixedPeerList(peers) => Some(peers),
        }
    }
}
