//! What the book knows about one peer, and what its indexes make of that.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Instant;

use super::candidates::Ready;
use super::keyed::Place;
use super::room::{Tenant, Worth};
use super::slab::Id;
use crate::error::ConnectionError;
use crate::netgroup::NetGroup;
use crate::peer::{Peer, PeerSource, PeerStatus};
use crate::timestamp::Timestamp;

/// Whether a peer may be dialled.
///
/// ```
/// use p2p_core::book::Availability;
/// use std::time::{Duration, Instant};
///
/// let backing_off = Availability::At(Instant::now() + Duration::from_secs(5));
/// assert_ne!(backing_off, Availability::Ready);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Availability {
    /// Now.
    Ready,
    /// From then on: it becomes `Ready` in [`Book::advance`](super::Book::advance).
    At(Instant),
    /// Not while there is a connection or a dial.
    Busy,
    /// Banned, or our own address.
    Never,
}

/// What keeps a peer from being dialled, however long it has been left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    Busy,
    Never,
}

/// What the book knows about one peer.
///
/// ```
/// use p2p_core::book::{Availability, Book, BookLimits};
/// use p2p_core::{Network, Peer, PeerSource, Timestamp};
///
/// let address = "1.2.3.4:8333".parse().unwrap();
/// let peer = Peer::new(Network::Mainnet, address, PeerSource::Dns, Timestamp::default());
/// let mut book = Book::new([7; 32], BookLimits::default());
/// book.insert(peer, None, Availability::Ready).unwrap();
///
/// let entry = book.get(address).unwrap();
/// assert_eq!((entry.retries, entry.availability), (0, Availability::Ready));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The peer.
    pub peer: &'a Peer,
    /// Dials in a row that failed.
    pub retries: u32,
    /// Whether it may be dialled.
    pub availability: Availability,
    /// Who told us; `None` for what the user or our own store did.
    pub learned_from: Option<IpAddr>,
    /// How the last attempt or connection ended.
    pub last_failure: Option<&'a ConnectionError>,
}

/// Whether a record is of those that may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// All are.
    Open,
    /// Only those on a list, and it is on it.
    Listed,
    /// Only those on a list.
    Unlisted,
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) peer: Peer,
    pub(super) retries: u32,
    pub(super) blocked: Option<Blocked>,
    /// Until when it is left alone. A connection that comes and goes meanwhile changes nothing
    /// about that.
    pub(super) due: Option<Instant>,
    pub(super) listing: Listing,
    pub(super) learned_from: Option<IpAddr>,
    /// Boxed: most of a full book was never tried.
    pub(super) last_failure: Option<Box<ConnectionError>>,
    /// Both follow from the address.
    pub(super) place: Place,
    pub(super) rank: u64,
}

impl Record {
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry {
            peer: &self.peer,
            retries: self.retries,
            availability: self.availability(),
            learned_from: self.learned_from,
            last_failure: self.last_failure.as_deref(),
        }
    }

    pub(super) fn facts(&self, id: Id) -> Facts {
        Facts {
            status: self.peer.status,
            ready: self.is_ready().then(|| self.ready(id)),
            due: match self.availability() {
                Availability::At(instant) if self.listing != Listing::Unlisted => {
                    Some((instant, id))
                }
                Availability::At(_)
                | Availability::Ready
                | Availability::Busy
                | Availability::Never => None,
            },
            tenant: Tenant {
                id,
                place: self.place,
                source: self.learned_from.map(NetGroup::of),
                learned: !self.is_the_users(),
                worth: self.worth(),
            },
            shared: self.is_shared(),
        }
    }

    pub(super) fn availability(&self) -> Availability {
        match (self.blocked, self.due) {
            (Some(Blocked::Busy), _) => Availability::Busy,
            (Some(Blocked::Never), _) => Availability::Never,
            (None, Some(due)) => Availability::At(due),
            (None, None) => Availability::Ready,
        }
    }

    pub(super) fn set_availability(&mut self, availability: Availability) {
        match availability {
            Availability::Ready => (self.blocked, self.due) = (None, None),
            Availability::At(due) => (self.blocked, self.due) = (None, Some(due)),
            Availability::Busy => self.blocked = Some(Blocked::Busy),
            Availability::Never => self.blocked = Some(Blocked::Never),
        }
    }

    /// The manager sees to it that a banned peer is `Never` available and that no inbound peer is
    /// here. What would follow from a slip is worth two comparisons.
    fn is_ready(&self) -> bool {
        self.listing != Listing::Unlisted
            && self.availability() == Availability::Ready
            && self.peer.status != PeerStatus::Banned
            && self.peer.source != PeerSource::Inbound
    }

    /// Its place among those that may be dialled. On a list, which nobody else chose, the one that
    /// was tried least recently comes first, or those that are dead would keep others from it.
    fn ready(&self, id: Id) -> Ready {
        let status = self.peer.status;
        match self.listing {
            Listing::Open | Listing::Unlisted => Ready {
                status,
                place: self.place,
                retries: u8::try_from(self.retries).unwrap_or(u8::MAX),
                rank: self.rank,
                id,
            },
            Listing::Listed => Ready {
                status,
                place: Place::FIRST,
                retries: 0,
                rank: self.peer.last_attempt.map_or(0, Timestamp::as_millis),
                id,
            },
        }
    }

    /// What the record is worth when room is needed; `None` if it stays in any case.
    ///
    /// An `Unknown` peer that was tried stays until that is decided: who could push it out and
    /// tell us of it again would make us dial it before its backoff has passed.
    fn worth(&self) -> Option<Worth> {
        if self.blocked.is_some() || self.is_the_users() {
            return None;
        }
        let tried = self.retries > 0 || self.peer.last_attempt.is_some();
        match self.peer.status {
            PeerStatus::Inaccessible => Some(Worth::Inaccessible {
                since: self.peer.status_timestamp,
            }),
            PeerStatus::Unknown if !tried => Some(Worth::Untried {
                rank: Reverse(self.rank),
            }),
            PeerStatus::Unknown | PeerStatus::Valid | PeerStatus::Banned => None,
        }
    }

    /// Whether others may be told of it: not what failed or is banned, not our own address, and
    /// not what the user configured, which may be private.
    fn is_shared(&self) -> bool {
        let promising = match self.peer.status {
            PeerStatus::Valid => true,
            PeerStatus::Unknown => self.retries < TERRIBLE_RETRIES,
            PeerStatus::Inaccessible | PeerStatus::Banned => false,
        };
        promising
            && self.blocked != Some(Blocked::Never)
            && !self.is_the_users()
            && self.peer.source != PeerSource::Inbound
    }

    fn is_the_users(&self) -> bool {
        self.peer.source.is_the_users()
    }
}

/// What the indexes hold of a record: they change when this does, and only then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) status: PeerStatus,
    pub(super) ready: Option<Ready>,
    pub(super) due: Option<(Instant, Id)>,
    pub(super) tenant: Tenant,
    pub(super) shared: bool,
}

/// Something for each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ByStatus<T>([T; PeerStatus::ALL.len()]);

impl<T: Copy> ByStatus<T> {
    pub(super) const fn all(value: T) -> Self {
        Self([value; PeerStatus::ALL.len()])
    }
}

impl<T> ByStatus<T> {
    pub(super) fn get(&self, status: PeerStatus) -> &T {
        &self.0[Self::at(status)]
    }

    pub(super) fn get_mut(&mut self, status: PeerStatus) -> &mut T {
        &mut self.0[Self::at(status)]
    }

    const fn at(status: PeerStatus) -> usize {
        match status {
            PeerStatus::Valid => 0,
            PeerStatus::Inaccessible => 1,
            PeerStatus::Banned => 2,
            PeerStatus::Unknown => 3,
        }
    }
}

/// Failed dials from which on the node calls an address that never worked terrible, and tells
/// nobody of it.
const TERRIBLE_RETRIES: u32 = 3;
