//! What happens: to the model first, then to the manager.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_core::{
    BanReason, CloseReason, Command, ConnId, ConnectionState, DialFailure, Input, ManagerConfig,
    Peer, PeerSource, PeerStatus, Services,
};
use p2p_proto::{NetworkAddress, Ready, Side, TimedAddress, Version};

use super::ids::IDS;
use super::{Event, NETWORK, Phase, Run};
use crate::inputs::{Change, Hello, Nonce, Target};

impl Run {
    pub(super) fn accept(&mut self, from: SocketAddr) {
        if self.phase == Phase::Running {
            self.model.expire(self.timestamp());
        }
        let answer = self.manager.accept(self.now, from);
        let capacity = answer.as_ref().map(|setup| setup.params.capacity);
        let running = self.phase == Phase::Running;
        let capacity = capacity.map_err(|refusal| *refusal);
        self.model
            .check_accept(&self.config, running, from, capacity);
        if let Ok(setup) = answer {
            assert_eq!(setup.side, Side::Inbound);
            self.due.push_back(Event::Accepted(from));
            self.link(&setup);
        }
        self.after();
    }

    pub(super) fn next(&mut self, at: usize, well: bool, hello: Hello, reason: CloseReason) {
        let conn = self.conn(Target::Live(at));
        let Some(link) = self.model.links.get(&conn) else {
            return self.timeout();
        };
        match (link.state, well) {
            (ConnectionState::Connecting, true) => self.connected(conn),
            (ConnectionState::Connecting, false) => {
                self.dial_failed(conn, DialFailure::Refused);
            }
            (ConnectionState::AwaitingHandshake, true) => self.ready(conn, hello),
            (ConnectionState::AwaitingHandshake, false) => self.closed(conn, reason),
            (ConnectionState::Rejected, _) => self.closed(conn, CloseReason::OverCapacity),
            (ConnectionState::Failed, true) => self.closed(conn, CloseReason::Requested),
            (ConnectionState::Failed, false) => self.closed(conn, reason),
            (ConnectionState::Connected | ConnectionState::Disconnected, _) => {
                let latency = Duration::from_millis(at as u64 % 100);
                self.input(Input::Latency { conn, latency });
            }
        }
    }

    pub(super) fn connected(&mut self, conn: ConnId) {
        if let Some(link) = self.model.links.get_mut(&conn)
            && link.state == ConnectionState::Connecting
        {
            link.state = ConnectionState::AwaitingHandshake;
        }
        self.input(Input::Connected { conn });
    }

    pub(super) fn dial_failed(&mut self, conn: ConnId, failure: DialFailure) {
        let link = self.model.links.get(&conn);
        if link.is_some_and(|link| !link.inbound && link.said.is_none()) {
            self.unlink(conn);
        }
        self.input(Input::DialFailed { conn, failure });
    }

    pub(super) fn ready(&mut self, conn: ConnId, hello: Hello) {
        let nonce = match hello.nonce {
            Nonce::Own(nonce) => nonce,
            Nonce::Ours(at) => {
                let links = &self.model.links;
                let link = links.values().nth(at % links.len().max(1));
                link.map_or(0, |link| link.nonce)
            }
        };
        if let Some(link) = self.model.links.get_mut(&conn)
            && link.state == ConnectionState::AwaitingHandshake
        {
            link.said = Some(hello.port);
            self.asked = Some(conn);
        }
        let version = Version {
            nonce,
            addr_from: NetworkAddress {
                port: hello.port,
                ..NetworkAddress::UNSPECIFIED
            },
            ..Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED)
        };
        let ready = Box::new(Ready::new(version, 0));
        self.input(Input::Ready { conn, ready });
    }

    pub(super) fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        if let Some(link) = self.unlink(conn) {
            let is_us = link.told.as_ref().unwrap_or(&reason) == &CloseReason::SelfConnection;
            if let CloseReason::Violation(violation) = &reason {
                let until = self.config.ban_duration;
                self.ban(link.address.ip(), violation.into(), until);
            } else if is_us && !link.inbound {
                self.model.ours.insert(link.address);
            }
        }
        self.input(Input::Closed { conn, reason });
    }

    pub(super) fn gossip(&mut self, conn: ConnId, named: &[SocketAddr]) {
        let link = self.model.links.get(&conn);
        let admitted = link.is_some_and(|link| link.state == ConnectionState::Connected);
        if admitted && self.model.fixed.is_none() {
            self.name(named);
        }
        let addresses = named.iter().map(|&address| TimedAddress {
            time: 0,
            address: NetworkAddress::new(Services::NONE, address),
        });
        let addresses = addresses.collect();
        self.input(Input::Gossip { conn, addresses });
    }

    pub(super) fn listening(&mut self, at: Option<SocketAddr>, well: bool) {
        let Some(address) = at.or(self.listener) else {
            return self.timeout();
        };
        if well {
            return self.input(Input::Listening { address });
        }
        self.listener = self.listener.filter(|&asked| asked != address);
        let error = "in use".to_owned();
        self.input(Input::ListenFailed { address, error });
    }

    pub(super) fn store_answers(&mut self, batch: Option<usize>, ok: bool) {
        let under_way = self.under_way.as_ref().map(|batch| batch.id);
        let batch = match batch {
            None => under_way,
            Some(at) => Some(IDS.batches[at]),
        };
        let Some(batch) = batch else {
            return self.timeout();
        };
        if let Some(done) = self.under_way.take_if(|under_way| under_way.id == batch)
            && ok
        {
            self.stored.extend(done.bans);
        }
        let result = if ok { Ok(()) } else { Err("disk full".into()) };
        self.input(Input::Stored { batch, result });
    }

    pub(super) fn saved(&mut self, ok: bool) {
        self.saving = false;
        let result = if ok { Ok(()) } else { Err("disk full".into()) };
        self.input(Input::Saved { result });
    }

    pub(super) fn changed(&mut self, at: SocketAddr, change: Change) {
        let now = self.timestamp();
        let mut peer = Peer::new(NETWORK, at, PeerSource::Dns, now);
        match change {
            Change::Banned(duration) | Change::BannedByHand(duration) => {
                let reason = match change {
                    Change::BannedByHand(_) => BanReason::Manual,
                    Change::Banned(_) | Change::Free => BanReason::ProtocolViolation {
                        violation: "elsewhere".into(),
                    },
                };
                // Known from now on, to be dialled when the ban is over.
                self.name(&[at]);
                peer.status = PeerStatus::Banned;
                let ban = self.ban_until(reason, duration);
                let ended = ban.until.is_some_and(|until| until <= now);
                if !ended && self.phase != Phase::Stopped && self.model.ban(at.ip(), ban.clone()) {
                    // The store has it, and we are not the ones to store it.
                    self.unreported.remove(&at.ip());
                    self.stored.insert(at.ip(), ban.clone());
                }
                peer.ban = Some(ban);
            }
            Change::Free if at.port() == 0 => {
                self.model.bans.remove(&at.ip());
            }
            Change::Free => self.name(&[at]),
        }
        self.input(Input::Changed { peers: vec![peer] });
    }

    pub(super) fn command(&mut self, command: Command) {
        match &command {
            Command::Start if self.phase == Phase::Idle => self.phase = Phase::Running,
            Command::Shutdown if matches!(self.phase, Phase::Idle | Phase::Running) => {
                self.phase = Phase::Stopping;
                self.stop_by = Some(self.now + Duration::from_secs(10));
            }
            Command::Ban(ip) => {
                self.ban(*ip, BanReason::Manual, None);
            }
            Command::Unban(ip) => {
                self.model.bans.remove(ip);
            }
            Command::AddPeer(address) => self.name(&[*address]),
            _ => {}
        }
        self.input(Input::Command(command));
    }

    pub(super) fn configure(&mut self, config: ManagerConfig) {
        self.config = config.clone();
        let updated = self.manager.update_config(self.now, config);
        updated.expect("the configuration is valid");
        self.after();
    }

    pub(super) fn timeout(&mut self) {
        self.end_if_late();
        self.manager.handle_timeout(self.now);
        self.after();
    }

    pub(super) fn end_if_late(&mut self) {
        if self.phase == Phase::Stopping && self.stop_by.is_some_and(|by| by <= self.now) {
            for conn in self.model.links.keys().copied().collect::<Vec<_>>() {
                self.unlink(conn);
            }
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        self.end_if_late();
        self.manager.handle(self.now, input);
        self.after();
    }
}
