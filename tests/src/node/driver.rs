//! The driving loop: carries out what the manager wants, and tells it what came of it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_core::{Action, BatchId, CloseReason, ConnId, DialFailure, Input, Peer, Setup};
use p2p_proto::{
    Event, Hash256, Initiator, Inventory, InventoryItem, InventoryKind, Message, Side,
};
use uuid::Uuid;

use super::Node;
use super::connection::{NodeConnection, Stage};
use super::sockets::LINGER;
use crate::invariants::Rule;
use crate::ledger::Ended;
use crate::network::Network;
use crate::world::WorldEvent;

/// A dial that we gave up.
const GIVEN_UP: DialFailure = DialFailure::Other(ErrorKind::Interrupted);
/// Marks what the applications of the simulator say to each other.
const CHATTER: &[u8; 8] = b"chatter!";
/// Entries of a large message of theirs: three times what is on the way at once.
const LARGE: usize = 6_000;
/// So many of a thousand messages are large.
const LARGE_PER_MILLE: u32 = 20;

impl Node {
    /// Carries out everything that waits. After every input of the manager all its actions come
    /// first; then answers to them; then the connections that were touched.
    pub(super) fn pump(&mut self, net: &mut Network) {
        let now = self.now(net);
        while !self.spins(net)
            && let Some(running) = &mut self.running
        {
            if let Some(action) = running.manager.poll_action() {
                self.act(net, now, action);
            } else if let Some(answer) = running.answers.pop_front() {
                running.told = true;
                running.manager.handle(now, answer);
            } else if let Some(conn) = running.touched.pop_first() {
                self.drive(net, now, conn);
            } else {
                break;
            }
        }
        self.ledger.quiet();
        self.check(net);
    }

    fn act(&mut self, net: &mut Network, now: Instant, action: Action) {
        let (host, incarnation) = (self.host, self.incarnation);
        match action {
            Action::Dial { setup, timeout } => self.dial(net, now, setup, timeout),
            Action::Admit { conn } => self.admit(net, now, conn),
            Action::Close { conn, reason } => self.close(net, now, conn, reason),
            Action::Send { conn, message } => self.with(conn, |of| {
                if let Stage::Open(open) = &mut of.stage {
                    // If it does not fit, nobody minds.
                    let _ = open.protocol.send(now, &message);
                }
            }),
            Action::Configure { conn, config } => self.with(conn, |of| match &mut of.stage {
                Stage::Open(open) => open.protocol.configure(now, config),
                Stage::Dialing(Some(setup)) => setup.config = config,
                Stage::Dialing(None) | Stage::Lingering(_) => {}
            }),
            Action::Resolve {
                seeds,
                port,
                timeout,
            } => {
                let (dns, rng) = (&net.dns, &mut net.rng);
                let (took, addresses) = dns.resolve(rng, seeds.len(), port, timeout);
                let answer = WorldEvent::Resolved {
                    host,
                    incarnation,
                    addresses,
                };
                net.queue.push(net.now + took, answer);
            }
            Action::Listen { address } => self.listen(net, address),
            Action::Unlisten { address } => {
                net.unlisten((self.ip, address.port()).into());
                if let Some(running) = &mut self.running {
                    running.listening = None;
                }
            }
            Action::Persist { batch, peers, gone } => self.persist(net, batch, peers, gone),
            Action::Save => self.save(net),
            Action::Notify(event) => {
                net.note(host, format_args!("{event:?}"));
                self.ledger.notified(&event);
                if let Some(told) = &mut self.told {
                    told.push(event);
                }
            }
            Action::Stopped => {
                if let Some(running) = &mut self.running {
                    running.stopped = true;
                }
            }
            other => {
                let what = format!("an action that the driver does not know: {other:?}");
                self.ledger.breaks(Rule::Tables, what);
            }
        }
    }

    fn dial(&mut self, net: &mut Network, now: Instant, setup: Setup, timeout: Duration) {
        let (conn, address) = (setup.conn, setup.params.remote);
        net.note(self.host, format_args!("dials {address} as {conn}"));
        let dialing = self.connections().filter(|of| of.is_dialing()).count();
        let (terms, ledger) = self.judge(now);
        ledger.dialled(terms, address, dialing);
        let socket = net.dial(self.host, self.ip, address);
        let deadline = self.local.time(now + timeout);
        if let Some(running) = &mut self.running {
            let dialled = NodeConnection::dialled(socket, setup, deadline);
            running.by_socket.insert(socket, conn);
            running.connections.insert(conn, dialled);
        }
        self.check_slots(conn);
    }

    fn admit(&mut self, net: &Network, now: Instant, conn: ConnId) {
        let Some(running) = &mut self.running else {
            return;
        };
        if let Some(of) = running.connections.get_mut(&conn)
            && of.admitted_at.is_none()
        {
            of.admitted_at = Some(net.now);
            let count = running.admitted.entry(of.address.ip()).or_default();
            *count += 1;
            running.shared_ips += usize::from(*count == 2);
            if let Stage::Open(open) = &mut of.stage {
                open.protocol.admit(now);
            }
            running.touched.insert(conn);
        }
    }

    fn persist(&mut self, net: &mut Network, batch: BatchId, peers: Vec<Peer>, gone: Vec<Uuid>) {
        let (some, less) = (peers.len(), gone.len());
        net.note(
            self.host,
            format_args!("stores {some} records, forgets {less}"),
        );
        let took = self.disk.begin(&mut net.rng, batch, peers, gone);
        let answer = WorldEvent::Stored {
            host: self.host,
            incarnation: self.incarnation,
            batch,
        };
        net.queue.push(net.now + took, answer);
    }

    fn save(&self, net: &mut Network) {
        net.note(self.host, format_args!("saves"));
        let took = self.disk.pause(&mut net.rng);
        let answer = WorldEvent::Saved {
            host: self.host,
            incarnation: self.incarnation,
        };
        net.queue.push(net.now + took, answer);
    }

    fn with(&mut self, conn: ConnId, change: impl FnOnce(&mut NodeConnection)) {
        if let Some(running) = &mut self.running
            && let Some(of) = running.connections.get_mut(&conn)
        {
            change(of);
            running.touched.insert(conn);
        }
    }

    fn listen(&mut self, net: &mut Network, address: SocketAddr) {
        let here = (self.ip, address.port()).into();
        let listens = !self.cannot_listen && net.listen(self.host, here).is_ok();
        let answer = match listens {
            true => Input::Listening { address },
            false => Input::ListenFailed {
                address,
                error: "address in use".into(),
            },
        };
        if let Some(running) = &mut self.running {
            running.listening = listens.then_some(address);
            running.answers.push_back(answer);
        }
    }

    fn close(&mut self, net: &mut Network, now: Instant, conn: ConnId, reason: CloseReason) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(of) = running.connections.get_mut(&conn) else {
            return;
        };
        of.told = Some(reason.clone());
        match &mut of.stage {
            Stage::Dialing(_) => {
                self.dial_failed(net, conn, GIVEN_UP);
            }
            Stage::Open(open) => {
                open.protocol.close(now, reason);
                running.touched.insert(conn);
            }
            Stage::Lingering(_) => {}
        }
    }

    /// Moves one connection as far as it goes, or to its first event.
    fn drive(&mut self, net: &mut Network, now: Instant, conn: ConnId) {
        let stalled = self.stalled_until.is_some();
        let local = self.local;
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(of) = running.connections.get_mut(&conn) else {
            return;
        };
        let Stage::Open(open) = &mut of.stage else {
            return;
        };
        let event = open.turn(net, of.socket, now, stalled);
        let deadline = open.protocol.poll_timeout();
        of.deadline = deadline.map(|(at, _)| local.time(at));
        if event.is_some() {
            // There may be more behind it.
            running.touched.insert(conn);
        }
        self.check_connection(now, conn);
        if let Some(event) = event {
            self.connection_event(net, conn, event);
        }
    }

    fn connection_event(&mut self, net: &mut Network, conn: ConnId, event: Event) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(of) = running.connections.get_mut(&conn) else {
            return;
        };
        match event {
            Event::Ready(ready) => {
                let port = ready.version.addr_from.port;
                of.listens_at = (port != 0).then(|| SocketAddr::new(of.address.ip(), port));
                running.answers.push_back(Input::Ready { conn, ready });
            }
            Event::Message(message) => {
                if let Stage::Open(open) = &of.stage {
                    let latency = open.protocol.latency();
                    if latency != of.latency {
                        of.latency = latency;
                        let answer = latency.map(|latency| Input::Latency { conn, latency });
                        running.answers.extend(answer);
                    }
                }
                running.answers.extend(Input::from_message(conn, &message));
                self.heard(net, conn, &message);
            }
            Event::Closed(reason) => {
                net.note(self.host, format_args!("{conn} ends: {reason}"));
                if reason.initiator() == Initiator::Local {
                    of.deadline = Some(net.now + LINGER);
                    of.stage = Stage::Lingering(reason);
                    let socket = of.socket;
                    net.shutdown(socket);
                    self.linger(net, conn, socket);
                } else if let Some(removed) = self.remove(net, conn) {
                    self.report_closed(net, conn, &removed, reason);
                }
            }
            _ => {}
        }
    }

    fn heard(&mut self, net: &mut Network, conn: ConnId, message: &Message) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(of) = running.connections.get_mut(&conn) else {
            return;
        };
        net.trace.number(
            net.now,
            [4, self.host.0 as u64, message.payload_len() as u64],
        );
        let address = of.address;
        if let Some(chatter) = Chatter::of(message) {
            let expected = of.heard + 1;
            of.heard = chatter.number;
            // A message with a wrong bit is dropped.
            let may_skip = net.was_flipped(of.socket) && chatter.number > expected;
            if !chatter.is_whole || (chatter.number != expected && !may_skip) {
                let what = format!("{conn} says {chatter:?}, expected {expected}");
                self.ledger.breaks(Rule::MessageOrder, what);
            }
        }
        self.ledger.message(address);
    }

    /// The application says something to one of its peers: mostly little, sometimes much.
    pub(super) fn chat(&mut self, net: &mut Network) {
        let now = self.now(net);
        let peers: Vec<ConnId> = self
            .open_connections()
            .filter(|(_, of, _)| of.is_admitted())
            .map(|(conn, ..)| conn)
            .collect();
        let Some(&conn) = net.rng.pick(&peers) else {
            return;
        };
        let entries = match net.rng.chance(LARGE_PER_MILLE) {
            true => LARGE,
            false => 1,
        };
        self.with(conn, |of| {
            if let Stage::Open(open) = &mut of.stage {
                let message = Chatter::message(of.said + 1, entries);
                // A full queue is the application's to wait for; this one has nothing urgent.
                if open.protocol.send(now, &message).is_ok() {
                    of.said += 1;
                }
            }
        });
    }

    // ends

    pub(super) fn dial_failed(&mut self, net: &mut Network, conn: ConnId, failure: DialFailure) {
        let now = self.now(net);
        let Some(removed) = self.remove(net, conn) else {
            return;
        };
        net.note(self.host, format_args!("{conn} fails: {failure}"));
        let answer = Input::DialFailed { conn, failure };
        let ended = match failure {
            GIVEN_UP => Ended::GivenUp,
            _ => Ended::Dial,
        };
        self.ended(now, &removed, ended, answer);
    }

    pub(super) fn report_closed(
        &mut self,
        net: &Network,
        conn: ConnId,
        removed: &NodeConnection,
        reason: CloseReason,
    ) {
        let now = self.now(net);
        let answer = Input::Closed {
            conn,
            reason: reason.clone(),
        };
        // One that it wanted gone is judged by that, whatever ended it first.
        let judged = match &removed.told {
            Some(told) if !matches!(reason, CloseReason::Violation(_)) => told,
            _ => &reason,
        };
        self.ended(now, removed, Ended::Closed(judged), answer);
    }

    fn ended(&mut self, now: Instant, of: &NodeConnection, ended: Ended<'_>, answer: Input) {
        let connected = self.connections().filter(|of| of.is_kept()).count();
        let (terms, ledger) = self.judge(now);
        if of.side == Side::Outbound {
            ledger.outbound_ended(terms, of.address, ended, of.is_admitted(), connected);
        } else if of.is_admitted()
            && let Some(address) = of.listens_at
        {
            ledger.forgive(address);
        }
        ledger.gone(of.address);
        if let Some(running) = &mut self.running {
            running.answers.push_back(answer);
        }
    }
}

/// A message of the application that can be told from others, and in what order it was sent.
#[derive(Debug)]
struct Chatter {
    number: u64,
    is_whole: bool,
}

impl Chatter {
    fn message(number: u64, entries: usize) -> Message {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(CHATTER);
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        bytes[16..24].copy_from_slice(&(entries as u64).to_le_bytes());
        let item = InventoryItem {
            kind: InventoryKind::Tx,
            hash: Hash256::from_bytes(bytes),
        };
        Message::Inv(Inventory::new(std::iter::repeat_n(item, entries)))
    }

    fn of(message: &Message) -> Option<Self> {
        let Message::Inv(inventory) = message else {
            return None;
        };
        let first = inventory.iter().next()?;
        let bytes = first.hash.as_bytes();
        let number = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        bytes.starts_with(CHATTER).then_some(())?;
        Some(Self {
            number: number(8)?,
            is_whole: number(16)? == inventory.len() as u64 && inventory.iter().all(|i| i == first),
        })
    }
}
