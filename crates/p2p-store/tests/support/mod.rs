//! What the tests share.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test uses its part, and stops when it cannot go on; a child speaks on its output"
)]

#[cfg(feature = "redb")]
pub(crate) mod child;
#[cfg(feature = "postgres")]
pub(crate) mod server;
#[cfg(all(feature = "postgres", feature = "redb"))]
pub(crate) mod stores;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use p2p_core::{Ban, BanReason, Network, Peer, PeerSource, PeerStatus, Timestamp};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder of its own, which goes with it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::within(std::env::temp_dir())
    }

    pub(crate) fn within(folder: PathBuf) -> Self {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("p2p-store-{}-{n}", std::process::id());
        let path = folder.join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A path that nothing has.
    pub(crate) fn fresh(&self) -> PathBuf {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        self.path(&format!("store-{n}"))
    }

    /// Its path; somebody else removes it.
    pub(crate) fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }

    /// The names of what is in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Some moment of the past.
pub(crate) const THEN: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A peer for each number, never tried.
pub(crate) fn peer(n: u32) -> Peer {
    let [_, b, c, d] = n.to_be_bytes();
    let address = ([203, b, c, d], 8333).into();
    Peer::new(Network::Mainnet, address, PeerSource::Gossip, THEN)
}

pub(crate) fn of_status(n: u32, status: PeerStatus) -> Peer {
    let mut peer = peer(n);
    peer.status = status;
    peer
}

pub(crate) fn banned(n: u32) -> Peer {
    let mut peer = of_status(n, PeerStatus::Banned);
    peer.ban = Some(Ban {
        reason: BanReason::Manual,
        at: THEN,
        until: None,
    });
    peer
}

pub(crate) fn sorted(mut peers: Vec<Peer>) -> Vec<Peer> {
    peers.sort_by_key(|peer| peer.id);
    peers
}

/// How often: as the variable says, or as the tests of every change do it.
pub(crate) fn scale(variable: &str, default: u32) -> u32 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: not a number")),
        Err(_) => default,
    }
}
