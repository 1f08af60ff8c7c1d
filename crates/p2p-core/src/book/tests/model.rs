//! The book as its documentation has it, with a vector for everything and no index at all.

use std::cmp::Reverse;

use super::keyed::Place;
use super::*;

#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) peer: Peer,
    pub(super) learned_from: Option<IpAddr>,
    pub(super) availability: Availability,
    /// What it waits for while it is `Busy` or `Never`.
    pub(super) pause: Option<Instant>,
    pub(super) retries: u32,
}

pub(super) struct Model {
    keys: Keys,
    limits: BookLimits,
    pub(super) known: Vec<Known>,
    connected: Vec<NetGroup>,
    /// The group whose turn it was last, by status.
    cursors: Vec<(PeerStatus, Place)>,
}

impl Known {
    pub(super) fn address(&self) -> SocketAddr {
        self.peer.address()
    }

    fn group(&self) -> NetGroup {
        NetGroup::of(self.peer.ip_address)
    }

    fn source(&self) -> Option<NetGroup> {
        self.learned_from.map(NetGroup::of)
    }

    fn is_the_users(&self) -> bool {
        [PeerSource::Manual, PeerSource::Fixed].contains(&self.peer.source)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.availability == Availability::Ready
            && self.peer.status != PeerStatus::Banned
            && self.peer.source != PeerSource::Inbound
    }

    pub(super) fn set_availability(&mut self, availability: Availability) {
        self.pause = match (availability, self.availability) {
            (Availability::Busy | Availability::Never, Availability::At(at)) => Some(at),
            (Availability::Busy | Availability::Never, _) => self.pause,
            (Availability::Ready | Availability::At(_), _) => None,
        };
        self.availability = availability;
    }

    pub(super) fn release(&mut self) {
        if [Availability::Busy, Availability::Never].contains(&self.availability) {
            let pause = self.pause.take();
            self.availability = pause.map_or(Availability::Ready, Availability::At);
        }
    }

    /// What makes it a candidate where it is one.
    fn candidacy(&self) -> Option<(PeerStatus, u32)> {
        self.is_ready()
            .then_some((self.peer.status, self.retries.min(255)))
    }

    /// Less is worse; `None` stays in any case.
    fn worth(&self, keys: &Keys) -> Option<(u8, u64, Reverse<u64>)> {
        let stays = [Availability::Busy, Availability::Never].contains(&self.availability);
        if self.is_the_users() || stays {
            return None;
        }
        let tried = self.retries > 0 || self.peer.last_attempt.is_some();
        let rank = Reverse(keys.rank(self.address()));
        if self.peer.status == PeerStatus::Inaccessible {
            Some((0, self.peer.status_timestamp.as_millis(), Reverse(0)))
        } else if self.peer.status == PeerStatus::Unknown && !tried {
            Some((1, 0, rank))
        } else {
            None
        }
    }
}

impl Model {
    pub(super) fn new(secret: [u8; 32], limits: BookLimits) -> Self {
        Self {
            keys: Keys::new(secret),
            limits,
            known: Vec::new(),
            connected: Vec::new(),
            cursors: Vec::new(),
        }
    }

    pub(super) fn find(&self, address: SocketAddr) -> Option<&Known> {
        self.known.iter().find(|known| known.address() == address)
    }

    /// Those who made room, in the order of leaving.
    pub(super) fn insert(&mut self, newcomer: Known) -> Result<Vec<SocketAddr>, Refused> {
        if self.find(newcomer.address()).is_some() {
            return Err(Refused::Known);
        }
        let mut leaving: Vec<SocketAddr> = Vec::new();
        let of_source = |known: &&Known| known.source() == newcomer.source();
        if newcomer.source().is_some()
            && self.known.iter().filter(of_source).count() >= self.limits.per_source as usize
        {
            leaving.push(
                self.worst(&newcomer, of_source)
                    .ok_or(Refused::SourceFull)?,
            );
        }
        let of_group = |known: &&Known| known.group() == newcomer.group();
        let stays = |known: &&Known| !leaving.contains(&known.address());
        let learned = self.known.iter().filter(of_group).filter(stays);
        let learned = learned.filter(|known| !known.is_the_users()).count();
        if !newcomer.is_the_users() && learned >= self.limits.per_netgroup as usize {
            leaving.push(
                self.worst(&newcomer, of_group)
                    .ok_or(Refused::NetGroupFull)?,
            );
        }
        if self.known.len() - leaving.len() >= self.limits.total as usize {
            leaving.push(self.worst_of_fullest(&newcomer).ok_or(Refused::Full)?);
        }
        for address in &leaving {
            self.remove(*address);
        }
        self.known.push(newcomer);
        Ok(leaving)
    }

    pub(super) fn remove(&mut self, address: SocketAddr) -> bool {
        self.change(address, |known| known.availability = Availability::Never);
        let before = self.known.len();
        self.known.retain(|known| known.address() != address);
        self.known.len() < before
    }

    pub(super) fn change(&mut self, address: SocketAddr, change: impl FnOnce(&mut Known)) {
        let Some(at) = self
            .known
            .iter()
            .position(|known| known.address() == address)
        else {
            return;
        };
        let before = self.known[at].candidacy();
        let status = self.known[at].peer.status;
        let was_candidate = self.candidate(status) == Some(address);
        change(&mut self.known[at]);
        if was_candidate && self.known[at].candidacy() != before {
            let place = self.keys.place(address.ip());
            self.cursors.retain(|(of, _)| *of != status);
            self.cursors.push((status, place));
        }
    }

    pub(super) fn advance(&mut self, now: Instant) {
        for known in &mut self.known {
            if matches!(known.availability, Availability::At(at) if at <= now) {
                known.availability = Availability::Ready;
            }
        }
    }

    pub(super) fn connected(&mut self, address: SocketAddr) {
        self.connected.push(NetGroup::of(address.ip()));
    }

    /// Whether there was a connection.
    pub(super) fn disconnected(&mut self, address: SocketAddr) -> bool {
        let group = NetGroup::of(address.ip());
        let at = self.connected.iter().position(|other| *other == group);
        at.map(|at| self.connected.swap_remove(at)).is_some()
    }

    pub(super) fn candidate(&self, status: PeerStatus) -> Option<SocketAddr> {
        let ready = || {
            let known = self.known.iter();
            known.filter(move |known| known.is_ready() && known.peer.status == status)
        };
        let connections = |known: &Known| {
            self.connected
                .iter()
                .filter(|group| **group == known.group())
                .count()
        };
        let fewest = ready().map(connections).min()?;
        let best = ready().filter(|known| connections(known) == fewest);

        let cursor = self.cursors.iter().find(|(of, _)| *of == status);
        // First those behind the cursor, then those before it.
        let turn = |known: &Known| {
            let place = self.keys.place(known.peer.ip_address);
            (cursor.is_some_and(|(_, cursor)| place <= *cursor), place)
        };
        let order = |known: &&Known| {
            let rank = self.keys.rank(known.address());
            (turn(known), known.retries.min(255), rank)
        };
        best.min_by_key(order).map(Known::address)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self
            .known
            .iter()
            .filter_map(|known| match known.availability {
                Availability::At(at) => Some(at),
                Availability::Ready | Availability::Busy | Availability::Never => None,
            });
        due.min()
    }

    /// The worst of some, if it is worse than the newcomer.
    fn worst(&self, newcomer: &Known, some: impl Fn(&&Known) -> bool) -> Option<SocketAddr> {
        let dispensable = self.known.iter().filter(some);
        let dispensable = dispensable.filter_map(|known| Some((known.worth(&self.keys)?, known)));
        let (worth, worst) = dispensable.min_by_key(|(worth, _)| *worth)?;
        let own = newcomer.worth(&self.keys);
        own.is_none_or(|own| own > worth).then(|| worst.address())
    }

    fn worst_of_fullest(&self, newcomer: &Known) -> Option<SocketAddr> {
        let size = |group| {
            self.known
                .iter()
                .filter(|known| known.group() == group)
                .count()
        };
        let dispensable = self.known.iter();
        let dispensable = dispensable.filter(|known| known.worth(&self.keys).is_some());
        let place = |known: &Known| self.keys.place(known.peer.ip_address);
        let fullest = dispensable.max_by_key(|known| (size(known.group()), place(known)))?;
        let fullest = fullest.group();
        let mut newcomer = newcomer.clone();
        if size(newcomer.group()) + 1 < size(fullest) {
            newcomer.peer.status = PeerStatus::Valid;
        }
        self.worst(&newcomer, |known| known.group() == fullest)
    }
}
