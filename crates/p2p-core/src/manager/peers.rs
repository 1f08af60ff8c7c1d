//! What is known about peers: where it comes from, and who is banned.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_proto::{Addr, MAX_ADDR, Message, NetworkAddress, Services, TimedAddress, UserAgent};

use super::bans::ban_of;
use super::{Manager, canonical};
use crate::book::Availability;
use crate::connection::{ConnId, ConnectionState};
use crate::events::{ControlEvent, DiscoverySource};
use crate::io::Action;
use crate::mode::OperatingMode;
use crate::netgroup::is_routable;
use crate::peer::{Peer, PeerSource, PeerStatus};
use crate::timestamp::Timestamp;

/// Addresses that a peer may name at once: one full `addr`, the answer to our `getaddr`.
const GOSSIP_BURST: u32 = MAX_ADDR as u32;
/// After that one more in this time, as Bitcoin Core allows.
const GOSSIP_REFILL: Duration = Duration::from_secs(10);

/// How long peers that ask are told of the same addresses.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Who the DNS seeds are, as a source of addresses: all of them one, and nobody.
const SEEDS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// By how much one that we never reached is told as older than we know of it: what the node takes
/// off where it does not believe a time.
const HEARSAY_PENALTY: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// How many addresses a peer may still name.
#[derive(Debug)]
pub(super) struct GossipBudget {
    left: u32,
    refilled: Instant,
}

impl GossipBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: GOSSIP_BURST,
            refilled: now,
        }
    }

    /// Takes as many of `wanted` as the budget has.
    fn take(&mut self, now: Instant, wanted: usize) -> usize {
        let points =
            now.saturating_duration_since(self.refilled).as_secs() / GOSSIP_REFILL.as_secs();
        self.refilled += GOSSIP_REFILL * u32::try_from(points).unwrap_or(u32::MAX);
        let points = u32::try_from(points).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(points).min(GOSSIP_BURST);
        let taken = self.left.min(u32::try_from(wanted).unwrap_or(u32::MAX));
        self.left -= taken;
        taken as usize
    }
}

impl Manager {
    /// Takes in what a store knew. In order of address, so that the store's order decides nothing.
    pub(super) fn learn_known(&mut self, mut known: Vec<Peer>) {
        known.sort_by_key(Peer::address);
        self.learn_bans(&known);
        for peer in known {
            self.learn_record(peer);
        }
        if let OperatingMode::FixedPeerList(fixed) = self.mode.clone() {
            for address in fixed {
                self.add(address, PeerSource::Fixed, None);
                // One that was given up by a node in normal mode is not given up here.
                self.free(address);
            }
        }
    }

    fn learn_record(&mut self, mut peer: Peer) {
        let now = self.timestamp();
        let address = peer.address();
        let ban = self.bans.get(peer.ip_address).cloned();
        // Where a peer dialled from is no place to dial, and a ban of an IP is none at all.
        if peer.port == 0 || peer.source == PeerSource::Inbound {
            if peer.port != 0 {
                self.records.gone(address);
            } else if ban.is_none() {
                self.records.set_ban(peer.ip_address, None);
            }
            return;
        }
        let recorded = ban_of(&peer);
        // A stored time in the future counts as now.
        peer.status_timestamp = peer.status_timestamp.min(now);
        peer.last_attempt = peer.last_attempt.map(|at| at.min(now));
        let status = match (&ban, peer.status) {
            (Some(_), _) => PeerStatus::Banned,
            (None, PeerStatus::Banned) => PeerStatus::Unknown,
            (None, status) => status,
        };
        peer.set_status(status, now);
        peer.ban = ban;
        if peer.ban != recorded {
            self.records.touch_urgently(address);
        }
        let due = self.revisit_at(&peer);
        let availability = match self.availability(address) {
            Availability::Ready => due.map_or(Availability::Ready, Availability::At),
            other @ (Availability::At(_) | Availability::Busy | Availability::Never) => other,
        };
        self.insert(peer, None, availability);
    }

    /// Puts a peer into the book; whether there was room. Who had to make room is forgotten.
    fn insert(&mut self, peer: Peer, from: Option<IpAddr>, availability: Availability) -> bool {
        let evicted = self.book.insert(peer, from, availability);
        for peer in evicted.iter().flatten() {
            self.records.gone(peer.address());
        }
        evicted.is_ok()
    }

    /// When one that was written off is due to be tried again; `None` for others.
    fn revisit_at(&self, peer: &Peer) -> Option<Instant> {
        if peer.status != PeerStatus::Inaccessible {
            return None;
        }
        let since = peer
            .status_timestamp
            .max(peer.last_attempt.unwrap_or_default());
        let passed = self.timestamp().since(since);
        Some(self.now + self.config.inaccessible_retry.saturating_sub(passed))
    }

    /// What stands between an address and a dial, but for its backoff.
    pub(super) fn availability(&self, address: SocketAddr) -> Availability {
        if self.bans.get(address.ip()).is_some() || self.ours.contains(&address) {
            Availability::Never
        } else if self.by_address.contains_key(&address)
            || self.listening_at(address).next().is_some()
        {
            Availability::Busy
        } else {
            Availability::Ready
        }
    }

    /// Admitted inbound connections of peers that listen there, as they say.
    pub(super) fn listening_at(&self, address: SocketAddr) -> impl Iterator<Item = ConnId> {
        let range = (address, ConnId(0))..=(address, ConnId(u64::MAX));
        self.listening_peers.range(range).map(|&(_, conn)| conn)
    }

    /// An address is not to be dialled while something is against it. When it may be dialled after
    /// that stays as it is.
    pub(super) fn occupy(&mut self, address: SocketAddr) {
        match self.availability(address) {
            Availability::Ready | Availability::At(_) => {}
            blocked @ (Availability::Busy | Availability::Never) => {
                self.book.set_availability(address, blocked);
            }
        }
    }

    /// A connection of an address has ended: it may be dialled when it might have been without,
    /// unless something else is against it.
    pub(super) fn vacate(&mut self, address: SocketAddr) {
        match self.availability(address) {
            Availability::Ready | Availability::At(_) => self.book.release(address),
            blocked @ (Availability::Busy | Availability::Never) => {
                self.book.set_availability(address, blocked);
            }
        }
    }

    /// Makes an address known; whether it was not. One that was is the user's from now on, if it is
    /// the user who names it.
    pub(super) fn add(
        &mut self,
        address: SocketAddr,
        source: PeerSource,
        from: Option<IpAddr>,
    ) -> bool {
        // Most of what peers name is known, and to make an id costs more than to look it up. At
        // port 0 nobody listens: it stands for the IP, in records of bans.
        if address.port() == 0 {
            return false;
        }
        if let Some(entry) = self.book.get(address) {
            if source.is_the_users() && !entry.peer.source.is_the_users() {
                self.book.update(address, |peer| peer.source = source);
                self.records.touch(address);
            }
            return false;
        }
        let mut peer = Peer::new(self.config.network, address, source, self.timestamp());
        let availability = self.availability(address);
        if let Some(ban) = self.bans.get(address.ip()) {
            peer.status = PeerStatus::Banned;
            peer.ban = Some(ban.clone());
        }
        // One on the fixed list is dialled as soon as its ban is lifted.
        let wanted = availability != Availability::Never || source == PeerSource::Fixed;
        let added = wanted && self.insert(peer, from, availability);
        if added {
            self.records.touch(address);
        }
        added
    }

    /// A handshake with it was completed.
    pub(super) fn was_reached(
        &mut self,
        address: SocketAddr,
        user_agent: &UserAgent,
        services: Services,
    ) {
        let now = self.timestamp();
        self.book.update(address, |peer| {
            peer.set_status(PeerStatus::Valid, now);
            peer.last_seen = Some(now);
            peer.user_agent = Some(user_agent.to_string());
            peer.services = services;
        });
        self.book.set_retries(address, 0);
        self.book.connected(address);
        self.records.touch(address);
    }

    /// DNS seeds have named addresses.
    pub(super) fn resolved(&mut self, addresses: &[SocketAddr]) {
        self.dns.answered();
        if self.mode != OperatingMode::Normal {
            return;
        }
        let mut count = 0;
        for &address in addresses {
            let address = canonical(address);
            if self.is_dialable(address) {
                count += usize::from(self.add(address, PeerSource::Dns, Some(SEEDS)));
            }
        }
        self.notify(ControlEvent::PeersDiscovered {
            source: DiscoverySource::Dns,
            count,
        });
    }

    /// A peer has named addresses.
    pub(super) fn gossip(&mut self, conn: ConnId, addresses: &[TimedAddress]) {
        let now = self.now;
        let Some(live) = self.connections.get_mut(&conn) else {
            return;
        };
        if self.mode != OperatingMode::Normal || live.connection.state != ConnectionState::Connected
        {
            return;
        }
        let from = live.connection.address.ip();
        let allowed = live.gossip.take(now, addresses.len());
        let mut count = 0;
        for entry in addresses.iter().take(allowed) {
            let address = canonical(entry.address.socket_addr());
            if self.is_dialable(address) {
                count += usize::from(self.add(address, PeerSource::Gossip, Some(from)));
            }
        }
        if count > 0 {
            self.notify(ControlEvent::PeersDiscovered {
                source: DiscoverySource::Gossip,
                count,
            });
        }
    }

    /// Whether an address that somebody names could be one of a peer at all.
    fn is_dialable(&self, address: SocketAddr) -> bool {
        address.port() != 0
            && !address.ip().is_unspecified()
            && (is_routable(address.ip()) || self.config.allows_private_addresses())
    }

    /// A peer asks for addresses: it is told once, and only if it dialled us; and all are told of
    /// the same ones for a day, so that nobody can read the book out by dialling again and again.
    pub(super) fn addresses_wanted(&mut self, conn: ConnId) {
        let Some(live) = self.connections.get_mut(&conn) else {
            return;
        };
        let first = !std::mem::replace(&mut live.addresses_given, true);
        if !first
            || !live.connection.is_inbound()
            || live.connection.state != ConnectionState::Connected
        {
            return;
        }
        let day = self.now.duration_since(self.started).as_secs() / DAY.as_secs();
        let seed = self.share_seed.wrapping_add(day);
        let sample = self.book.sample(MAX_ADDR, seed);
        if sample.is_empty() {
            // As the node: who knows nobody says nothing.
            return;
        }
        let entries = sample.into_iter().map(|peer| TimedAddress {
            time: seconds(self.seen(peer)),
            address: NetworkAddress::new(peer.services, peer.address()),
        });
        if let Ok(addr) = Addr::new(entries) {
            let message = Message::Addr(addr);
            self.actions.push_back(Action::Send { conn, message });
        }
    }

    /// When a peer was there, as others are told.
    fn seen(&self, peer: &Peer) -> Timestamp {
        let now = self.timestamp();
        let conn = self.by_address.get(&peer.address());
        let is_connected = conn
            .and_then(|conn| self.connection(*conn))
            .is_some_and(|of| !of.is_inbound() && of.state() == ConnectionState::Connected);
        match peer.last_seen {
            _ if is_connected => now,
            Some(seen) => seen.min(now),
            None => {
                let known = Duration::from_millis(peer.status_timestamp.min(now).as_millis());
                Timestamp::from_unix(known.saturating_sub(HEARSAY_PENALTY))
            }
        }
    }

    /// Another manager of the same store, or an operator, has changed records.
    pub(super) fn changed(&mut self, peers: Vec<Peer>) {
        let now = self.timestamp();
        for peer in peers {
            let ip = peer.ip_address;
            match ban_of(&peer) {
                Some(ban) if ban.until.is_none_or(|until| until > now) => {
                    self.banned_elsewhere(ip, ban);
                    // Known, it is cleared with the ban.
                    if peer.port != 0 && self.book.get(peer.address()).is_none() {
                        self.learn_record(peer);
                    }
                }
                None if peer.port == 0 => self.lifted_elsewhere(ip),
                _ if self.book.get(peer.address()).is_none() => self.learn_record(peer),
                _ => {}
            }
        }
    }
}

/// Unix time in seconds, as `addr` has it.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_millis() / 1000).unwrap_or(u32::MAX)
}
