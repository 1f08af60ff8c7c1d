//! The address book: every peer that is known, and who is dialled next.
//!
//! [`Book`] holds up to a million [`Peer`]s. Every operation costs O(log n), and the answer to
//! "who is next?" is at hand at any time. Time and randomness are parameters: the same secret and
//! the same calls give the same answers.
//!
//! ```
//! use p2p_core::book::{Availability, Book, BookLimits};
//! use p2p_core::{Network, Peer, PeerSource, PeerStatus, Timestamp};
//! use std::time::{Duration, Instant};
//!
//! let mut book = Book::new([7; 32], BookLimits::default());
//! for address in ["1.2.3.4:8333", "1.2.3.5:8333", "5.6.7.8:8333"] {
//!     let address = address.parse().unwrap();
//!     let peer = Peer::new(Network::Mainnet, address, PeerSource::Dns, Timestamp::default());
//!     book.insert(peer, None, Availability::Ready).unwrap();
//! }
//!
//! // A dial, and its failure.
//! let address = book.candidate(PeerStatus::Unknown).unwrap();
//! book.set_availability(address, Availability::Busy);
//! assert_ne!(book.candidate(PeerStatus::Unknown), Some(address));
//! let retry = Instant::now() + Duration::from_secs(5);
//! book.set_retries(address, 1);
//! book.set_availability(address, Availability::At(retry));
//!
//! assert_eq!(book.next_due(), Some(retry));
//! book.advance(retry);
//! assert_eq!(book.ready_count(PeerStatus::Unknown), 3);
//! ```
//!
//! # Security
//!
//! Anybody can name addresses, as many as they like. The book assumes that addresses are free,
//! that netgroups (see [`NetGroup`](crate::netgroup::NetGroup)) are not, and that the secret is one.
//!
//! - **Who is dialled.** First the netgroups to which we have the fewest connections, so that many
//!   groups are preferred over many addresses of one. Among those the turn goes round, at places
//!   that the secret gives: a group has one turn a round, however many addresses it has, and
//!   nobody can choose addresses that come early.
//! - **What is remembered.** [`BookLimits`] bound the whole, each netgroup, and what each source
//!   tells. When a limit is reached, what is worth least goes: the peer that has been inaccessible
//!   for longest, then one that was never tried, drawn by the secret. That can be the newcomer:
//!   to name the same or many addresses again and again changes nothing. A peer that worked, is
//!   banned, was tried, is in use, or is the user's own never goes.
//! - **What is told.** [`Book::sample`] tells neither the order of dialling nor what the user
//!   configured.

mod candidates;
mod indexes;
mod keyed;
mod limits;
mod record;
mod room;
mod shared;
mod slab;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use crate::error::ConnectionError;
use crate::peer::{Peer, PeerStatus};
use indexes::Indexes;
use keyed::Keys;
pub use limits::{BookLimits, Refused};
pub use record::{Availability, Entry};
use record::{Listing, Record};
use slab::{Id, Slab};

/// Every peer that is known: see the [module](self).
///
/// Addresses are canonical: an IPv4-mapped IPv6 address is an IPv4 address here. What names an
/// address that is not in the book does nothing.
pub struct Book {
    keys: Keys,
    limits: BookLimits,
    records: Slab<Record>,
    by_address: BTreeMap<SocketAddr, Id>,
    /// Those that may be dialled; `None` if all may.
    listed: Option<BTreeSet<SocketAddr>>,
    indexes: Indexes,
}

impl Book {
    /// An empty book. The secret decides about order: one that others know or can guess lets
    /// them choose whom we dial.
    pub fn new(secret: [u8; 32], limits: BookLimits) -> Self {
        let keys = Keys::new(secret);
        Self {
            keys,
            limits,
            records: Slab::new(),
            by_address: BTreeMap::new(),
            listed: None,
            indexes: Indexes::new(),
        }
    }

    /// Of all that are known and will be, only these are candidates, and only these are waited
    /// for. The one that was attempted least recently comes first, whatever its netgroup.
    ///
    /// ```
    /// use p2p_core::book::{Availability, Book, BookLimits};
    /// use p2p_core::{Network, Peer, PeerSource, PeerStatus, Timestamp};
    ///
    /// let listed = "1.2.3.4:8333".parse().unwrap();
    /// let mut book = Book::new([7; 32], BookLimits::default());
    /// book.only([listed]);
    /// for address in [listed, "5.6.7.8:8333".parse().unwrap()] {
    ///     let peer = Peer::new(Network::Mainnet, address, PeerSource::Dns, Timestamp::default());
    ///     book.insert(peer, None, Availability::Ready).unwrap();
    /// }
    /// assert_eq!(book.ready_count(PeerStatus::Unknown), 1);
    /// assert_eq!(book.candidate(PeerStatus::Unknown), Some(listed));
    /// ```
    pub fn only(&mut self, list: impl IntoIterator<Item = SocketAddr>) {
        self.listed = Some(list.into_iter().map(canonical).collect());
        let known: Vec<_> = self.by_address.iter().map(|(at, id)| (*at, *id)).collect();
        for (address, id) in known {
            let listing = self.listing(address);
            self.change_record(id, |record| record.listing = listing);
        }
    }

    /// Adds a peer that is not known.
    ///
    /// `learned_from` is who told us; `None` for what the user or our own store did, which no
    /// source answers for. Returns those that made room, at most two; they are known no longer.
    ///
    /// # Errors
    /// The peer is known, or a limit is reached and nothing worse is there: [`Refused`].
    pub fn insert(
        &mut self,
        mut peer: Peer,
        learned_from: Option<IpAddr>,
        availability: Availability,
    ) -> Result<Vec<Peer>, Refused> {
        let address = canonical(peer.address());
        if self.by_address.contains_key(&address) {
            return Err(Refused::Known);
        }
        peer.ip_address = address.ip();
        let mut record = Record {
            peer,
            retries: 0,
            blocked: None,
            due: None,
            listing: self.listing(address),
            learned_from,
            last_failure: None,
            place: self.keys.place(address.ip()),
            rank: self.keys.rank(address),
        };
        record.set_availability(availability);
        // The number is given when there is room; none of the limits looks at it.
        let newcomer = record.facts(Id(u32::MAX)).tenant;
        let place_of = |id| self.records.get(id).place;
        let room = &self.indexes.room;
        let victims = room.victims(&newcomer, &self.limits, place_of)?;
        let evicted = victims
            .into_iter()
            .flatten()
            .filter_map(|id| self.remove(self.records.get(id).peer.address()))
            .collect();

        let id = self.records.insert(record);
        self.by_address.insert(address, id);
        let facts = self.records.get(id).facts(id);
        self.indexes.replace(id, None, Some(&facts));
        Ok(evicted)
    }

    /// Forgets a peer.
    pub fn remove(&mut self, address: SocketAddr) -> Option<Peer> {
        let id = self.by_address.remove(&canonical(address))?;
        let record = self.records.remove(id);
        self.indexes.replace(id, Some(&record.facts(id)), None);
        Some(record.peer)
    }

    /// Changes what is recorded of a peer, and returns what `change` does. Its address stays.
    pub fn update<R>(
        &mut self,
        address: SocketAddr,
        change: impl FnOnce(&mut Peer) -> R,
    ) -> Option<R> {
        let address = canonical(address);
        self.change(address, |record| {
            let result = change(&mut record.peer);
            record.peer.ip_address = address.ip();
            record.peer.port = address.port();
            result
        })
    }

    /// Sets how many dials in a row have failed.
    pub fn set_retries(&mut self, address: SocketAddr, retries: u32) {
        self.change(canonical(address), |record| record.retries = retries);
    }

    /// Sets whether a peer may be dialled. One that becomes `Busy` or `Never` keeps its time, if it
    /// waits for one, until it is [`release`](Self::release)d or made something else.
    pub fn set_availability(&mut self, address: SocketAddr, availability: Availability) {
        self.change(canonical(address), |record| {
            record.set_availability(availability);
        });
    }

    /// What made a peer `Busy` or `Never` is over: it is what it was before, `Ready` or waiting for
    /// its time. One whose time has come meanwhile is `Ready` after the next
    /// [`advance`](Self::advance).
    pub fn release(&mut self, address: SocketAddr) {
        self.change(canonical(address), |record| record.blocked = None);
    }

    /// Notes how an attempt or a connection ended. Nothing is decided by it.
    pub fn set_last_failure(&mut self, address: SocketAddr, failure: ConnectionError) {
        if let Some(&id) = self.by_address.get(&canonical(address)) {
            self.records.get_mut(id).last_failure = Some(Box::new(failure));
        }
    }

    /// Makes those `Ready` whose time has come. Costs O(log n) for each.
    pub fn advance(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.indexes.due.first()
            && due <= now
        {
            self.change_record(id, |record| record.due = None);
        }
    }

    /// A connection to this address exists: its netgroup is less attractive. The address need not
    /// be in the book.
    pub fn connected(&mut self, address: SocketAddr) {
        let place = self.keys.place(address.ip());
        self.indexes.candidates.connected(place);
    }

    /// A connection that was [`connected`](Self::connected) has ended.
    pub fn disconnected(&mut self, address: SocketAddr) {
        let place = self.keys.place(address.ip());
        self.indexes.candidates.disconnected(place);
    }

    /// The best peer of this status that is `Ready`, if there is one.
    ///
    /// It is of a netgroup to which we have the fewest connections, and of those of the one whose
    /// turn it is. In a group those with the fewest retries come first, the rest is the secret's.
    /// The same until something changes; a candidate that stops being ready, or of this status,
    /// has used its group's turn. A banned or inbound peer is never one.
    pub fn candidate(&self, status: PeerStatus) -> Option<SocketAddr> {
        let first = self.indexes.candidates.first(status)?;
        Some(self.records.get(first.id).peer.address())
    }

    /// When the next one will be ready; [`advance`](Self::advance) is to be called then.
    pub fn next_due(&self) -> Option<Instant> {
        self.indexes.due.first().map(|(due, _)| *due)
    }

    /// How many wait for their time.
    pub fn waiting_count(&self) -> usize {
        self.indexes.due.len()
    }

    /// What is known about a peer.
    pub fn get(&self, address: SocketAddr) -> Option<Entry<'_>> {
        let id = self.by_address.get(&canonical(address))?;
        Some(self.records.get(*id).entry())
    }

    /// How many dials in a row have failed.
    pub fn retries(&self, address: SocketAddr) -> Option<u32> {
        self.get(address).map(|entry| entry.retries)
    }

    /// The addresses of an IP, by port.
    pub fn of_ip(&self, ip: IpAddr) -> impl Iterator<Item = SocketAddr> {
        let at = |port| SocketAddr::new(ip.to_canonical(), port);
        let range = self.by_address.range(at(0)..=at(u16::MAX));
        range.map(|(address, _)| *address)
    }

    /// All peers, in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let ids = self.by_address.values();
        ids.map(|id| self.records.get(*id).entry())
    }

    /// Peers to tell others of: at most `most`, and at most 23 % (rounded up) of those that are
    /// worth telling, drawn evenly. Costs O(log n) for each.
    ///
    /// Worth telling are `Valid` ones and `Unknown` ones with less than three retries, but not
    /// the user's own. When they were last seen is for the caller to judge. A seed gives the same
    /// sample until the book changes; to give a peer one seed for a day keeps it from collecting
    /// all by asking again.
    pub fn sample(&self, most: usize, seed: u64) -> Vec<&Peer> {
        let ids = self.indexes.shared.sample(most, self.keys, seed);
        ids.into_iter()
            .map(|id| &self.records.get(id).peer)
            .collect()
    }

    /// The peers after an address, in the order of their addresses: to go through a large book
    /// piece by piece.
    pub fn after(&self, address: Option<SocketAddr>) -> impl Iterator<Item = Entry<'_>> {
        let start = address.map_or(Unbounded, |address| Excluded(canonical(address)));
        let ids = self.by_address.range((start, Unbounded));
        ids.map(|(_, id)| self.records.get(*id).entry())
    }

    /// How many peers are known.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// How many peers are of this status.
    pub fn count(&self, status: PeerStatus) -> usize {
        *self.indexes.counts.get(status)
    }

    /// How many peers of this status could be a [`candidate`](Self::candidate) now.
    pub fn ready_count(&self, status: PeerStatus) -> usize {
        self.indexes.candidates.count(status)
    }

    fn listing(&self, address: SocketAddr) -> Listing {
        match &self.listed {
            None => Listing::Open,
            Some(list) if list.contains(&address) => Listing::Listed,
            Some(_) => Listing::Unlisted,
        }
    }

    fn change<R>(
        &mut self,
        address: SocketAddr,
        change: impl FnOnce(&mut Record) -> R,
    ) -> Option<R> {
        let id = *self.by_address.get(&address)?;
        Some(self.change_record(id, change))
    }

    fn change_record<R>(&mut self, id: Id, change: impl FnOnce(&mut Record) -> R) -> R {
        let record = self.records.get_mut(id);
        let before = record.facts(id);
        let result = change(record);
        let after = record.facts(id);
        self.indexes.replace(id, Some(&before), Some(&after));
        result
    }
}

impl fmt::Debug for Book {
    /// Without the secret, and without a million lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book")
            .field("limits", &self.limits)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The address by which a peer is known, however the system writes it.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
