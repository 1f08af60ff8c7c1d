//! What the store is still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Manager, Run};
use crate::bans::MAX_BANS;
use crate::events::ControlEvent;
use crate::io::{Action, BatchId, Wake};
use crate::peer::{Ban, Peer};

/// Records in one batch, but for bans and what comes with them, which all go at once.
const BATCH: usize = 1000;
/// Records that may wait for a store that does not work: more than a full book, so that only those
/// that have left it are given up.
const MAX_DIRTY: usize = 2_000_000;
/// How long a store that failed is left alone: by the manager, and by a driver that has to read it.
pub const STORE_RETRY: Duration = Duration::from_secs(5);

/// Records that have changed since they were stored. One batch is under way at a time.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Addresses whose records have changed: what the book has there is to be stored, and where
    /// it has nothing the record is to be forgotten.
    dirty: BTreeSet<SocketAddr>,
    /// The same, to go before all others.
    urgent: BTreeSet<SocketAddr>,
    /// Records of IPs: bans, and their ends (`None`: to be forgotten).
    bans: BTreeMap<IpAddr, Option<Peer>>,
    /// Bans to be reported when they are stored.
    unreported: BTreeSet<IpAddr>,
    under_way: Option<Batch>,
    retry_at: Option<Instant>,
    next: u64,
    save: Save,
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    addresses: BTreeSet<SocketAddr>,
    bans: BTreeMap<IpAddr, Option<Peer>>,
    /// To be reported, if they are still in force by then.
    reports: BTreeMap<IpAddr, Ban>,
}

/// What is stored is not yet saved, with stores that save from time to time.
#[derive(Debug, Default, Clone, Copy)]
struct Save {
    due: Option<Instant>,
    asked: bool,
    /// The save at the end of everything was asked for.
    last: bool,
}

impl Records {
    /// The record of an address has changed.
    pub(super) fn touch(&mut self, address: SocketAddr) {
        self.dirty.insert(address);
    }

    /// There is no record of an address any more. With a store that has not worked for long, one
    /// record too many is stored then.
    pub(super) fn gone(&mut self, address: SocketAddr) {
        if self.dirty.len() < MAX_DIRTY {
            self.dirty.insert(address);
        }
    }

    /// The same, for a ban or its end.
    pub(super) fn touch_urgently(&mut self, address: SocketAddr) {
        self.urgent.insert(address);
    }

    /// The record of an IP, which is of no port: `None` if it is to be forgotten, which can be
    /// left to the next start if the store has not worked for long.
    pub(super) fn set_ban(&mut self, ip: IpAddr, record: Option<Peer>) {
        if record.is_none() && self.bans.len() >= MAX_BANS {
            self.bans.remove(&ip);
        } else {
            self.bans.insert(ip, record);
        }
    }

    /// The ban of this IP is to be reported when it is stored.
    pub(super) fn report_ban(&mut self, ip: IpAddr) {
        self.unreported.insert(ip);
    }

    /// Somebody else has stored another record of this IP, which is in force now.
    pub(super) fn supersede_ban(&mut self, ip: IpAddr) {
        self.bans.remove(&ip);
        self.unreported.remove(&ip);
    }

    /// Whether the store is still to be told of a ban of this IP, or of its end.
    pub(super) fn has_ban(&self, ip: IpAddr) -> bool {
        let under_way = self.under_way.as_ref();
        self.bans.contains_key(&ip) || under_way.is_some_and(|batch| batch.bans.contains_key(&ip))
    }

    /// Whether there is nothing to wait for: everything is stored, or the store does not work.
    pub(super) fn is_settled(&self) -> bool {
        self.under_way.is_none() && (self.is_empty() || self.retry_at.is_some())
    }

    /// What is to be done about the store at a later time.
    pub(super) fn next_wake(&self) -> Option<(Instant, Wake)> {
        let retry = self.retry_at.filter(|_| !self.is_empty());
        let save = self.save.due.filter(|_| !self.save.asked);
        let retry = retry.map(|at| (at, Wake::Store));
        retry
            .into_iter()
            .chain(save.map(|at| (at, Wake::Save)))
            .min()
    }

    fn is_empty(&self) -> bool {
        self.dirty.is_empty() && self.urgent.is_empty() && self.bans.is_empty()
    }

    /// Takes out the records of the next batch.
    fn next_batch(&mut self) -> (BTreeSet<SocketAddr>, BTreeMap<IpAddr, Option<Peer>>) {
        let mut addresses = std::mem::take(&mut self.urgent);
        while addresses.len() < BATCH {
            let Some(address) = self.dirty.pop_first() else {
                break;
            };
            addresses.insert(address);
        }
        (addresses, std::mem::take(&mut self.bans))
    }

    /// A batch was not stored: it goes again, before all others.
    fn put_back(&mut self, batch: Batch) {
        self.urgent.extend(batch.addresses);
        for (ip, record) in batch.bans {
            // A later change of the same ban wins.
            self.bans.entry(ip).or_insert(record);
        }
        self.unreported.extend(batch.reports.into_keys());
    }
}

impl Manager {
    /// Hands the store its next batch, if there is one and none is under way; and has it saved
    /// from time to time.
    pub(super) fn persist(&mut self) {
        let records = &self.records;
        let rests = records.retry_at.is_some_and(|at| at > self.now);
        if records.under_way.is_none() && !rests && !records.is_empty() {
            self.store();
        }
        let save = &mut self.records.save;
        if !save.asked && save.due.is_some_and(|due| due <= self.now) {
            (save.due, save.asked) = (None, true);
            self.actions.push_back(Action::Save);
        }
    }

    fn store(&mut self) {
        let (addresses, bans) = self.records.next_batch();
        let (mut peers, mut gone) = (Vec::new(), Vec::new());
        for (&ip, record) in &bans {
            match record {
                Some(record) => peers.push(record.clone()),
                None => gone.push(self.id_of((ip, 0).into())),
            }
        }
        for &address in &addresses {
            match self.book.get(address) {
                Some(entry) => peers.push(entry.peer.clone()),
                None => gone.push(self.id_of(address)),
            }
        }
        let records = &mut self.records;
        let unreported = std::mem::take(&mut records.unreported).into_iter();
        let batch = Batch {
            id: BatchId(records.next),
            addresses,
            bans,
            reports: unreported
                .filter_map(|ip| Some((ip, self.bans.get(ip)?.clone())))
                .collect(),
        };
        records.next += 1;
        records.retry_at = None;
        let id = batch.id;
        records.under_way = Some(batch);
        let batch = id;
        self.actions
            .push_back(Action::Persist { batch, peers, gone });
    }

    /// The store has answered.
    pub(super) fn stored(&mut self, batch: BatchId, result: Result<(), String>) {
        let under_way = &mut self.records.under_way;
        let Some(mut done) = under_way.take_if(|under_way| under_way.id == batch) else {
            return;
        };
        match result {
            Ok(()) => {
                let due = self.now + self.config.store_save_interval;
                self.records.save.due.get_or_insert(due);
                for (ip, ban) in done.reports {
                    // One that was replaced meanwhile is reported when that is stored.
                    if self.bans.get(ip) == Some(&ban) {
                        self.tell_banned(ip, ban);
                    }
                }
            }
            Err(error) => {
                // What was superseded meanwhile is not stored after it.
                done.bans.retain(|&ip, record| {
                    let ban = record.as_ref().and_then(|record| record.ban.as_ref());
                    ban == self.bans.get(ip)
                });
                self.records.put_back(done);
                self.records.retry_at = Some(self.now + STORE_RETRY);
                self.notify(ControlEvent::StoreFailed { error });
            }
        }
    }

    /// The store has saved what it was given, or has not.
    pub(super) fn saved(&mut self, result: Result<(), String>) {
        let save = &mut self.records.save;
        if !std::mem::take(&mut save.asked) {
            return;
        }
        if let Err(error) = result {
            let again = (self.run == Run::Running).then(|| self.now + STORE_RETRY);
            save.due = again.or(save.due);
            self.notify(ControlEvent::StoreFailed { error });
        }
    }

    /// Whether the store has everything that it can have; has it saved a last time before.
    pub(super) fn is_saved(&mut self) -> bool {
        if !self.records.is_settled() {
            return false;
        }
        let save = &mut self.records.save;
        if !save.last && !save.asked {
            *save = Save {
                due: None,
                asked: true,
                last: true,
            };
            self.actions.push_back(Action::Save);
        }
        !self.records.save.asked
    }

    pub(super) fn tell_banned(&mut self, ip: IpAddr, ban: Ban) {
        let Ban { reason, until, .. } = ban;
        self.notify(ControlEvent::PeerBanned { ip, reason, until });
    }

    fn id_of(&self, address: SocketAddr) -> Uuid {
        Peer::id_of(self.config.network, address)
    }
}
