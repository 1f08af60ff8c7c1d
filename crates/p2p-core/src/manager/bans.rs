//! Who is banned, and when that is told.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use p2p_proto::CloseReason;

use super::Manager;
use crate::bans::Outcome;
use crate::book::Availability;
use crate::deciding::deciding_records;
use crate::events::ControlEvent;
use crate::peer::{Ban, BanReason, Peer, PeerSource, PeerStatus};
use crate::timestamp::Timestamp;

impl Manager {
    /// The bans that a store knew.
    pub(super) fn learn_bans(&mut self, sorted: &[Peer]) {
        let now = self.timestamp();
        for peer in deciding_records(sorted) {
            if let Some(ban) = ban_of(peer)
                && ban.until.is_none_or(|until| until > now)
            {
                self.bans.ban(peer.ip_address, ban);
            }
        }
    }

    /// Bans an IP, and tells so when the store knows it.
    pub(super) fn ban(&mut self, ip: IpAddr, reason: BanReason, duration: Option<Duration>) {
        let at = self.timestamp();
        let until = duration
            .map(|duration| Timestamp::from_unix(Duration::from_millis(at.as_millis()) + duration));
        let ban = Ban { reason, at, until };
        let is_manual = ban.reason == BanReason::Manual;
        // Who asks for a ban waits to hear of it, also of one that is there.
        if self.enforce(ip, ban) || is_manual {
            let record = self.bans.get(ip).cloned();
            let record = record.map(|ban| self.record_of_ip(ip, Some(ban)));
            self.records.set_ban(ip, record);
            self.records.report_ban(ip);
        }
    }

    /// Puts a ban into force: every connection of the IP ends, every record of it says so.
    /// Whether it was not.
    fn enforce(&mut self, ip: IpAddr, ban: Ban) -> bool {
        let at = ban.at.min(self.timestamp());
        let outcome = self.bans.ban(ip, ban.clone());
        let ports = SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX);
        let of_ip = self.by_address.range(ports).map(|(_, &conn)| conn);
        // The oldest first, whatever their ports.
        for conn in of_ip.collect::<BTreeSet<_>>() {
            self.close(conn, CloseReason::Banned);
        }
        let Outcome::Banned { displaced } = outcome else {
            return false;
        };
        for address in self.book.of_ip(ip).collect::<Vec<_>>() {
            self.book.update(address, |peer| {
                peer.set_status(PeerStatus::Banned, at);
                peer.ban = Some(ban.clone());
            });
            self.book.set_availability(address, Availability::Never);
            self.records.touch_urgently(address);
        }
        if let Some(displaced) = displaced {
            self.ended(displaced);
        }
        true
    }

    /// IPs whose bans the store has, as far as is known here; bans on their way to it are left out.
    /// Whoever has missed what others changed asks the store about these: there may be a record
    /// that lifts one ([`Input::Changed`](crate::Input::Changed)).
    pub fn stored_bans(&self) -> impl Iterator<Item = IpAddr> {
        self.bans.ips().filter(|&ip| !self.records.has_ban(ip))
    }

    /// Lifts a ban.
    pub(super) fn unban(&mut self, ip: IpAddr) {
        if self.bans.lift(ip) {
            // The record stays until the next start, so that others who share the store see it.
            let record = self.record_of_ip(ip, None);
            self.records.set_ban(ip, Some(record));
            self.release(ip);
        }
    }

    /// A ban has ended by itself.
    pub(super) fn ended(&mut self, ip: IpAddr) {
        self.records.set_ban(ip, None);
        self.release(ip);
    }

    /// An IP is not banned any more: every record of it is as if it had never been tried.
    fn release(&mut self, ip: IpAddr) {
        let now = self.timestamp();
        for address in self.book.of_ip(ip).collect::<Vec<_>>() {
            self.book.update(address, |peer| {
                peer.set_status(PeerStatus::Unknown, now);
                peer.ban = None;
            });
            self.book.set_retries(address, 0);
            self.free(address);
            self.records.touch_urgently(address);
        }
        self.notify(ControlEvent::PeerUnbanned { ip });
    }

    /// The record of an IP, which is of no port: it is there for bans alone.
    fn record_of_ip(&self, ip: IpAddr, ban: Option<Ban>) -> Peer {
        let (source, now) = (PeerSource::Inbound, self.timestamp());
        let mut record = Peer::new(self.config.network, (ip, 0).into(), source, now);
        if ban.is_some() {
            record.status = PeerStatus::Banned;
        }
        record.ban = ban;
        record
    }

    /// Another manager of the same store has banned an IP: the store knows it.
    pub(super) fn banned_elsewhere(&mut self, ip: IpAddr, ban: Ban) {
        if self.enforce(ip, ban.clone()) {
            self.records.supersede_ban(ip);
            self.tell_banned(ip, ban);
        }
    }

    /// Another manager of the same store has lifted a ban.
    pub(super) fn lifted_elsewhere(&mut self, ip: IpAddr) {
        if self.bans.lift(ip) {
            self.records.supersede_ban(ip);
            self.release(ip);
        }
    }
}

/// The ban that a record tells of. One that says no more than "banned" was set by an operator.
pub(super) fn ban_of(peer: &Peer) -> Option<Ban> {
    let manual = || Ban {
        reason: BanReason::Manual,
        at: peer.status_timestamp,
        until: None,
    };
    (peer.status == PeerStatus::Banned).then(|| peer.ban.clone().unwrap_or_else(manual))
}
