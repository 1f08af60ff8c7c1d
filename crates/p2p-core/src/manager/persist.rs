//! What the store is still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Manager;
use crate::events::ControlEvent;
use crate::io::{Action, BatchId};
use crate::peer::{Ban, Peer};

/// Records in one batch, bans apart, which all go at once.
const BATCH: usize = 1000;
/// How long a store that failed is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// Records that have changed since they were stored. One batch is under way at a time.
#[derive(Debug, Default)]
pub(super) struct Records {
    dirty: BTreeSet<SocketAddr>,
    /// Bans and their ends: promised to be stored before they are reported.
    urgent: BTreeSet<SocketAddr>,
    /// Records that are not in the book: bans of IPs.
    kept: BTreeMap<SocketAddr, Peer>,
    unreported: BTreeSet<IpAddr>,
    under_way: Option<Batch>,
    retry_at: Option<Instant>,
    next: u64,
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    peers: Vec<Peer>,
    /// To be reported, if they are still in force by then.
    bans: BTreeMap<IpAddr, Ban>,
}

impl Records {
    /// A record of the book has changed.
    pub(super) fn touch(&mut self, address: SocketAddr) {
        self.dirty.insert(address);
    }

    /// The same, for a ban or its end.
    pub(super) fn touch_urgently(&mut self, address: SocketAddr) {
        self.urgent.insert(address);
    }

    /// A record that is not in the book.
    pub(super) fn keep(&mut self, peer: Peer) {
        self.kept.insert(peer.address(), peer);
    }

    /// The ban of this IP is to be reported when it is stored.
    pub(super) fn report_ban(&mut self, ip: IpAddr) {
        self.unreported.insert(ip);
    }

    /// Whether everything is stored.
    pub(super) fn is_clean(&self) -> bool {
        self.under_way.is_none()
            && self.dirty.is_empty()
            && self.urgent.is_empty()
            && self.kept.is_empty()
    }

    /// When a store that failed is tried again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Records that wait.
    pub(super) fn waiting(&self) -> usize {
        self.dirty.len() + self.urgent.len() + self.kept.len()
    }
}

impl Manager {
    /// Hands the store its next batch, if there is one and none is under way.
    pub(super) fn persist(&mut self) {
        let records = &mut self.records;
        let nothing = records.waiting() == 0 || records.under_way.is_some();
        if nothing || records.retry_at.is_some_and(|at| at > self.now) {
            return;
        }
        records.retry_at = None;
        let mut addresses = std::mem::take(&mut records.urgent);
        while addresses.len() < BATCH {
            let Some(address) = records.dirty.pop_first() else {
                break;
            };
            addresses.insert(address);
        }
        let mut peers: Vec<_> = std::mem::take(&mut records.kept).into_values().collect();
        let in_book = addresses
            .iter()
            .filter_map(|&address| self.book.get(address));
        peers.extend(in_book.map(|entry| entry.peer.clone()));
        if peers.is_empty() {
            // They have left the book meanwhile.
            return;
        }
        let id = BatchId(records.next);
        records.next += 1;
        records.under_way = Some(Batch {
            id,
            peers: peers.clone(),
            bans: std::mem::take(&mut records.unreported)
                .into_iter()
                .filter_map(|ip| Some((ip, self.bans.get(ip)?.clone())))
                .collect(),
        });
        self.actions.push_back(Action::Persist { batch: id, peers });
    }

    /// The store has answered.
    pub(super) fn stored(&mut self, batch: BatchId, result: Result<(), String>) {
        let Some(done) = self
            .records
            .under_way
            .take_if(|under_way| under_way.id == batch)
        else {
            return;
        };
        match result {
            Ok(()) => {
                for (ip, ban) in done.bans {
                    // One that was replaced meanwhile is reported when that is stored.
                    if self.bans.get(ip) == Some(&ban) {
                        let Ban { reason, until, .. } = ban;
                        self.notify(ControlEvent::PeerBanned { ip, reason, until });
                    }
                }
            }
            Err(error) => {
                let records = &mut self.records;
                for peer in done.peers {
                    let address = peer.address();
                    if address.port() == 0 {
                        // A later change of the same ban wins.
                        records.kept.entry(address).or_insert(peer);
                    } else if peer.ban.is_some() {
                        records.urgent.insert(address);
                    } else {
                        records.dirty.insert(address);
                    }
                }
                records.unreported.extend(done.bans.into_keys());
                records.retry_at = Some(self.now + RETRY);
                self.notify(ControlEvent::StoreFailed { error });
            }
        }
    }
}
