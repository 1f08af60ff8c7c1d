//! What is known about peers: where it comes from, and who is banned.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_proto::{Addr, CloseReason, MAX_ADDR, Message, NetworkAddress, TimedAddress, Version};
use rand_core::Rng;

use super::{Manager, canonical};
use crate::book::Availability;
use crate::connection::{ConnId, ConnectionState};
use crate::events::{ControlEvent, DiscoverySource};
use crate::io::Action;
use crate::mode::OperatingMode;
use crate::netgroup::is_routable;
use crate::peer::{Ban, BanReason, Peer, PeerSource, PeerStatus};
use crate::timestamp::Timestamp;

/// Addresses that a peer may name at once: one full `addr`, the answer to our `getaddr`.
const GOSSIP_BURST: u32 = MAX_ADDR as u32;
/// After that one more in this time, as Bitcoin Core allows.
const GOSSIP_REFILL: Duration = Duration::from_secs(10);

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
        for peer in known {
            self.learn_record(peer);
        }
        if let OperatingMode::FixedPeerList(fixed) = self.mode.clone() {
            for address in fixed {
                let address = canonical(address);
                self.add(address, PeerSource::Fixed, None);
                // One that was given up by a node in normal mode is not given up here.
                self.free(address);
            }
        }
    }

    fn learn_record(&mut self, mut peer: Peer) {
        let now = self.timestamp();
        let banned = peer.status == PeerStatus::Banned;
        if let Some(ban) = peer.ban.take_if(|_| banned) {
            if ban.until.is_none_or(|until| until > now) {
                self.bans.ban(peer.ip_address, ban.clone());
                peer.ban = Some(ban);
            } else {
                peer.set_status(PeerStatus::Unknown, now);
            }
        }
        // A stored time in the future counts as now.
        peer.status_timestamp = peer.status_timestamp.min(now);
        peer.last_attempt = peer.last_attempt.map(|at| at.min(now));
        // Where a peer dialled from is no place to dial, and a ban of an IP is none at all.
        if peer.port == 0 || peer.source == PeerSource::Inbound {
            return;
        }
        let address = peer.address();
        let revisit = self.revisit_at(&peer);
        if self.book.insert(peer, None, Availability::Ready).is_ok() {
            self.free(address);
            if let (Availability::Ready, Some(at)) = (self.availability(address), revisit) {
                self.book.set_availability(address, Availability::At(at));
            }
        }
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

    /// There is a connection to an address: it is not to be dialled. Until when it was not to be
    /// dialled anyway is handed back.
    pub(super) fn occupy(&mut self, address: SocketAddr) -> Option<Instant> {
        let before = self.book.get(address)?.availability;
        self.book
            .set_availability(address, self.availability(address));
        match before {
            Availability::At(due) => Some(due),
            Availability::Ready | Availability::Busy | Availability::Never => None,
        }
    }

    /// Makes an address known; whether it was not.
    pub(super) fn add(
        &mut self,
        address: SocketAddr,
        source: PeerSource,
        from: Option<IpAddr>,
    ) -> bool {
        // Most of what peers name is known, and to make an id costs more than to look it up. At
        // port 0 nobody listens: it stands for the IP, in records of bans.
        if address.port() == 0 || self.book.get(address).is_some() {
            return false;
        }
        let peer = Peer::new(self.config.network, address, source, self.timestamp());
        let availability = self.availability(address);
        // One on the fixed list is dialled as soon as its ban is lifted.
        let wanted = availability != Availability::Never || source == PeerSource::Fixed;
        let added = wanted && self.book.insert(peer, from, availability).is_ok();
        if added {
            self.records.touch(address);
        }
        added
    }

    /// A handshake with it was completed.
    pub(super) fn was_reached(&mut self, address: SocketAddr, version: &Version) {
        let now = self.timestamp();
        self.book.update(address, |peer| {
            peer.set_status(PeerStatus::Valid, now);
            peer.last_seen = Some(now);
            peer.user_agent = Some(version.user_agent.to_string());
            peer.services = version.services;
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
                count += usize::from(self.add(address, PeerSource::Dns, None));
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

    /// A peer asks for addresses: it is told once, and only if it dialled us, so that nobody can
    /// read the book out.
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
        let now = self.timestamp();
        let sample = self.book.sample(MAX_ADDR, self.rng.next_u64());
        let entries = sample.into_iter().map(|peer| TimedAddress {
            time: seconds(peer.last_seen.unwrap_or(peer.status_timestamp).min(now)),
            address: NetworkAddress::new(peer.services, peer.address()),
        });
        if let Ok(addr) = Addr::new(entries) {
            let message = Message::Addr(addr);
            self.actions.push_back(Action::Send { conn, message });
        }
    }

    /// Bans an IP: every connection of it ends, every record of it says so.
    pub(super) fn ban(&mut self, ip: IpAddr, reason: BanReason, duration: Option<Duration>) {
        let at = self.timestamp();
        let until = duration
            .map(|duration| Timestamp::from_unix(Duration::from_millis(at.as_millis()) + duration));
        let ban = Ban { reason, at, until };
        let changed = self.bans.ban(ip, ban);
        let of_ip = |live: &super::Live| live.connection.address.ip() == ip;
        let connections: Vec<_> = self
            .connections
            .values()
            .filter(|live| of_ip(live))
            .map(|live| live.connection.id)
            .collect();
        for conn in connections {
            self.close(conn, CloseReason::Banned);
        }
        let Some(ban) = self.bans.get(ip).filter(|_| changed).cloned() else {
            return;
        };
        for address in self.book.of_ip(ip).collect::<Vec<_>>() {
            self.book.update(address, |peer| {
                peer.set_status(PeerStatus::Banned, at);
                peer.ban = Some(ban.clone());
            });
            self.book.set_availability(address, Availability::Never);
            self.records.touch_urgently(address);
        }
        let record = self.record_of_ban(ip, Some(ban));
        self.records.keep(record);
        self.records.report_ban(ip);
    }

    /// Lifts a ban: every record of the IP is as if it had never been tried.
    pub(super) fn unban(&mut self, ip: IpAddr) {
        if self.bans.lift(ip) {
            self.unbanned(ip);
        }
    }

    /// The ban of an IP is over.
    pub(super) fn unbanned(&mut self, ip: IpAddr) {
        let now = self.timestamp();
        for address in self.book.of_ip(ip).collect::<Vec<_>>() {
            self.book.update(address, |peer| {
                peer.set_status(PeerStatus::Unknown, now);
                peer.ban = None;
            });
            self.free(address);
            self.records.touch_urgently(address);
        }
        let record = self.record_of_ban(ip, None);
        self.records.keep(record);
        self.notify(ControlEvent::PeerUnbanned { ip });
    }

    /// The record of a ban itself: of an IP, so of no port.
    fn record_of_ban(&self, ip: IpAddr, ban: Option<Ban>) -> Peer {
        let source = PeerSource::Inbound;
        let mut record = Peer::new(
            self.config.network,
            (ip, 0).into(),
            source,
            self.timestamp(),
        );
        if ban.is_some() {
            record.status = PeerStatus::Banned;
        }
        record.ban = ban;
        record
    }

    /// Another manager of the same book, or an operator, has changed records.
    pub(super) fn changed(&mut self, peers: Vec<Peer>) {
        for peer in peers {
            let ip = peer.ip_address;
            let banned = peer.status == PeerStatus::Banned;
            match (banned, self.bans.get(ip).is_some()) {
                (true, _) => {
                    let (reason, until) = match &peer.ban {
                        Some(ban) => (ban.reason.clone(), ban.until),
                        None => (BanReason::Manual, None),
                    };
                    let duration = until.map(|until| until.since(self.timestamp()));
                    self.ban(ip, reason, duration);
                }
                (false, true) if peer.port == 0 => self.unban(ip),
                (false, _) => {
                    if self.book.get(peer.address()).is_none() {
                        self.learn_record(peer);
                    }
                }
            }
        }
    }
}

/// Unix time in seconds, as `addr` has it.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_millis() / 1000).unwrap_or(u32::MAX)
}
