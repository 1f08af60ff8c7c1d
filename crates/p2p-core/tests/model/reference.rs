//! The model: counts, bans, and the set of addresses that somebody named.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use p2p_core::{
    Ban, BanReason, CloseReason, ConnId, ConnectionState, InboundRefusal, ManagerConfig,
    PeerConnection, Timestamp,
};
use p2p_proto::Capacity;

/// Handshakes of one IP that only tell "no room".
const OVER_CAPACITY_PER_IP: usize = 2;

#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    pub(crate) inbound: bool,
    pub(crate) full: bool,
    pub(crate) state: ConnectionState,
    pub(crate) nonce: u64,
    /// Where it listens, as it said: complete handshakes only.
    pub(crate) said: Option<u16>,
    pub(crate) admitted: bool,
    /// What it was told to close for: what counts, whatever the driver says.
    pub(crate) told: Option<CloseReason>,
}

#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) links: BTreeMap<ConnId, Link>,
    pub(crate) bans: BTreeMap<IpAddr, Ban>,
    pub(crate) wanted: BTreeSet<SocketAddr>,
    pub(crate) ours: BTreeSet<SocketAddr>,
    pub(crate) fixed: Option<Vec<SocketAddr>>,
    /// An inbound peer was told to make room: the slot is promised to a dial.
    pub(crate) has_evicted: bool,
}

impl Reference {
    pub(crate) fn held(&self) -> usize {
        self.count(|link| !link.full)
    }

    pub(crate) fn established(&self) -> usize {
        self.count(|link| link.state == ConnectionState::Connected)
    }

    fn outbound(&self) -> usize {
        self.count(|link| !link.inbound && link.state != ConnectionState::Failed)
    }

    fn pending_inbound(&self) -> usize {
        let pending = ConnectionState::AwaitingHandshake;
        self.count(|link| link.inbound && !link.full && link.state == pending)
    }

    fn count(&self, which: impl Fn(&Link) -> bool) -> usize {
        self.links.values().filter(|link| which(link)).count()
    }

    pub(crate) fn by_address(&self, address: SocketAddr) -> Option<&Link> {
        self.links.values().find(|link| link.address == address)
    }

    /// Whether this answer to an accepted connection is right.
    pub(crate) fn check_accept(
        &self,
        config: &ManagerConfig,
        running: bool,
        from: SocketAddr,
        answer: Result<Capacity, InboundRefusal>,
    ) {
        let of_ip = |full| {
            let ip = from.ip();
            self.count(|link| link.inbound && link.address.ip() == ip && link.full == full)
        };
        let with_room = || match self.pending_inbound() >= config.max_pending_inbound {
            true => Err(InboundRefusal::Pending),
            false => Ok(Capacity::Free),
        };
        let over = self.count(|link| link.full);
        let without_room =
            || match over >= config.max_over_capacity || of_ip(true) >= OVER_CAPACITY_PER_IP {
                true => Err(InboundRefusal::OverCapacity),
                false => Ok(Capacity::Full),
            };
        let expected = if !running {
            Err(InboundRefusal::NotRunning)
        } else if self.bans.contains_key(&from.ip()) {
            Err(InboundRefusal::Banned)
        } else if self.by_address(from).is_some() {
            Err(InboundRefusal::Duplicate)
        } else if of_ip(false) >= config.max_connections_per_ip() {
            Err(InboundRefusal::PerIp)
        } else if self.held() < config.max_connections {
            // A slot may be kept for a dial.
            if self.has_evicted && answer == without_room() {
                return;
            }
            with_room()
        } else {
            without_room()
        };
        assert_eq!(answer, expected, "{from}");
    }

    /// Whether this dial may be made now.
    pub(crate) fn check_dial(&self, config: &ManagerConfig, to: SocketAddr) {
        assert!(!self.bans.contains_key(&to.ip()), "{to} is banned");
        assert!(!self.ours.contains(&to), "{to} is ourselves");
        assert!(self.by_address(to).is_none(), "{to} is connected");
        assert!(self.wanted.contains(&to), "nobody named {to}");
        assert!(!self.is_listening_peer(to), "{to} has dialled us");
        assert!(self.held() < config.max_connections, "no room to dial");
        match &self.fixed {
            Some(fixed) => assert!(fixed.contains(&to), "{to} is not on the list"),
            None => assert!(
                self.held() - self.pending_inbound() < config.target_connections
                    || self.outbound() < config.min_outbound(),
                "the target is reached"
            ),
        }
    }

    /// Whether an admitted inbound peer says that it listens there.
    fn is_listening_peer(&self, address: SocketAddr) -> bool {
        self.links.values().any(|link| {
            link.inbound
                && link.state == ConnectionState::Connected
                && link
                    .said
                    .is_some_and(|port| address == (link.address.ip(), port).into())
        })
    }

    /// Whether the manager has the connections that we have, and nobody twice.
    pub(crate) fn check_connections<'a>(
        &self,
        connections: impl Iterator<Item = &'a PeerConnection>,
    ) {
        let mut links = self.links.iter();
        for connection in connections {
            let (conn, link) = links.next().expect("a connection that nobody made");
            assert_eq!(connection.id(), *conn);
            assert_eq!(connection.address(), link.address);
            assert_eq!(connection.is_inbound(), link.inbound);
            assert_eq!(connection.reject_after_handshake(), link.full);
            assert_eq!(connection.state(), link.state, "{conn}");
        }
        assert!(links.next().is_none(), "a connection is missing");
        for link in self.links.values() {
            if link.state == ConnectionState::Connected {
                let ip = link.address.ip();
                assert!(!self.bans.contains_key(&ip), "{ip} is banned and connected");
                let twice = !link.inbound && self.is_listening_peer(link.address);
                assert!(!twice, "{} is connected both ways", link.address);
            }
        }
    }

    /// A ban; whether it changes anything.
    pub(crate) fn ban(&mut self, ip: IpAddr, ban: Ban) -> bool {
        let end = |ban: &Ban| ban.until.map_or((1, ban.at), |until| (0, until));
        let manual = |ban: &Ban| ban.reason == BanReason::Manual;
        if let Some(present) = self.bans.get(&ip) {
            let longer = end(present) >= end(&ban);
            let stays = match (manual(present), manual(&ban)) {
                (true, true) => present.until.is_none() || longer,
                (false, false) => longer,
                (present, _) => present,
            };
            if stays {
                return false;
            }
        }
        self.bans.insert(ip, ban);
        true
    }

    /// Forgets bans that have ended.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.bans
            .retain(|_, ban| ban.until.is_none_or(|until| until > now));
    }
}
