//! The driving loop: carries out what the manager wants, and tells it what came of it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

use p2p_core::{Action, CloseReason, ConnId, DialFailure, Input};
use p2p_proto::{
    Capacity, Event, Hash256, Initiator, Inventory, InventoryItem, InventoryKind, Message, Side,
};

use crate::happening::Happening;
use crate::invariants::Rule;
use crate::ledger::Ended;
use crate::live::{Live, Stage};
use crate::network::Network;
use crate::node::{LINGER, Node};

/// Marks what the applications of the simulator say to each other.
const CHATTER: &[u8; 8] = b"chatter!";
/// Entries of a large message of theirs: ten times what is on the way at once.
const LARGE: usize = 20_000;

impl Node {
    /// Carries out everything that waits. After every input of the manager all its actions come
    /// first; then answers to them; then the connections that were touched.
    pub(crate) fn pump(&mut self, net: &mut Network) {
        let now = self.now(net);
        while !self.spins(net)
            && let Some(running) = &mut self.running
        {
            if let Some(action) = running.manager.poll_action() {
                self.act(net, now, action);
            } else if let Some(answer) = running.answers.pop_front() {
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
        let (host, life) = (self.host, self.life);
        match action {
            Action::Dial { setup, timeout } => {
                let (conn, address) = (setup.conn, setup.params.remote);
                net.note(host, format_args!("dials {address} as {conn}"));
                let wall = self.wall(now);
                let dialing = self.dialing();
                let (spec, ledger) = self.split();
                ledger.dialled(Self::terms(spec, now, wall), address, dialing);
                let socket = net.dial(host, self.ip, address);
                let deadline = self.local.time(now + timeout);
                let live = Live::dialled(socket, setup, deadline);
                if let Some(running) = &mut self.running {
                    running.by_socket.insert(socket, conn);
                    running.lives.insert(conn, live);
                }
                self.check_slots(Capacity::Free);
            }
            Action::Admit { conn } => {
                let at = net.now;
                self.with(conn, |live| {
                    live.admitted = true;
                    live.admitted_at = at;
                    if let Stage::Open(open) = &mut live.stage {
                        open.connection.admit(now);
                    }
                });
            }
            Action::Close { conn, reason } => self.close(net, now, conn, reason),
            Action::Send { conn, message } => self.with(conn, |live| {
                if let Stage::Open(open) = &mut live.stage {
                    // If it does not fit, nobody minds.
                    let _ = open.connection.send(now, &message);
                }
            }),
            Action::Configure { conn, config } => self.with(conn, |live| match &mut live.stage {
                Stage::Open(open) => open.connection.configure(now, config),
                Stage::Dialing(Some(setup)) => setup.config = config,
                Stage::Dialing(None) | Stage::Lingering(_) => {}
            }),
            Action::Resolve {
                seeds,
                port,
                timeout,
            } => {
                let asked = net.dns.clone();
                let (took, addresses) = asked.resolve(&mut net.rng, seeds.len(), port, timeout);
                let answer = Happening::Resolved {
                    host,
                    life,
                    addresses,
                };
                net.queue.push(net.now + took, answer);
            }
            Action::Listen { address } => self.listen(net, address),
            Action::Unlisten { address } => net.unlisten((self.ip, address.port()).into()),
            Action::Persist { batch, peers, gone } => {
                let (some, less) = (peers.len(), gone.len());
                net.note(host, format_args!("stores {some} records, forgets {less}"));
                let took = self.disk.begin(&mut net.rng, batch, peers, gone);
                let answer = Happening::Stored { host, life, batch };
                net.queue.push(net.now + took, answer);
            }
            Action::Save => {
                net.note(host, format_args!("saves"));
                let took = self.disk.pause(&mut net.rng);
                let answer = Happening::Saved { host, life };
                net.queue.push(net.now + took, answer);
            }
            Action::Notify(event) => self.notified(net, &event),
            Action::Stopped => {
                if let Some(running) = &mut self.running {
                    running.stopped = true;
                }
            }
            other => {
                let what = format!("an action that the driver does not know: {other:?}");
                self.ledger_mut().breaks(Rule::Tables, what);
            }
        }
    }

    fn with(&mut self, conn: ConnId, change: impl FnOnce(&mut Live)) {
        if let Some(running) = &mut self.running
            && let Some(live) = running.lives.get_mut(&conn)
        {
            change(live);
            running.touched.insert(conn);
        }
    }

    fn listen(&mut self, net: &mut Network, address: SocketAddr) {
        let here = (self.ip, address.port()).into();
        let answer = match !self.cannot_listen && net.listen(self.host, here).is_ok() {
            true => Input::Listening { address },
            false => Input::ListenFailed {
                address,
                error: "address in use".into(),
            },
        };
        if let Some(running) = &mut self.running {
            running.answers.push_back(answer);
        }
    }

    fn close(&mut self, net: &mut Network, now: Instant, conn: ConnId, reason: CloseReason) {
        let Some(running) = &mut self.running else {
            return;
        };
        match running.lives.get_mut(&conn).map(|live| &mut live.stage) {
            Some(Stage::Dialing(_)) => {
                let given_up = DialFailure::Other(ErrorKind::Interrupted);
                self.dial_failed(net, conn, given_up);
            }
            Some(Stage::Open(open)) => {
                open.connection.close(now, reason);
                running.touched.insert(conn);
            }
            Some(Stage::Lingering(_)) | None => {}
        }
    }

    /// Moves one connection as far as it goes, or to its first event.
    fn drive(&mut self, net: &mut Network, now: Instant, conn: ConnId) {
        let stalled = self.stalled_until.is_some();
        let local = self.local;
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(live) = running.lives.get_mut(&conn) else {
            return;
        };
        let Stage::Open(open) = &mut live.stage else {
            return;
        };
        let event = open.turn(net, live.socket, now, stalled);
        let deadline = open.connection.poll_timeout();
        live.deadline = deadline.map(|(at, _)| local.time(at));
        let Some(event) = event else {
            return;
        };
        // There may be more behind it.
        running.touched.insert(conn);
        match event {
            Event::Ready(ready) => {
                let port = ready.version.addr_from.port;
                live.listens_at = Some(SocketAddr::new(live.address.ip(), port));
                running.answers.push_back(Input::Ready { conn, ready });
            }
            Event::Message(message) => {
                let latency = open.connection.latency();
                if latency != live.latency {
                    live.latency = latency;
                    let answer = latency.map(|latency| Input::Latency { conn, latency });
                    running.answers.extend(answer);
                }
                running.answers.extend(Input::from_message(conn, &message));
                self.heard(net, conn, &message);
            }
            Event::Closed(reason) => {
                net.note(self.host, format_args!("{conn} ends: {reason}"));
                if reason.initiator() == Initiator::Local {
                    live.deadline = Some(net.now + LINGER);
                    live.stage = Stage::Lingering(reason);
                    net.shutdown(live.socket);
                    let socket = live.socket;
                    self.linger(net, conn, socket);
                } else if let Some(live) = self.remove(net, conn) {
                    self.report_closed(net, conn, &live, reason);
                }
            }
            _ => {}
        }
    }

    fn heard(&mut self, net: &mut Network, conn: ConnId, message: &Message) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(live) = running.lives.get_mut(&conn) else {
            return;
        };
        net.trace.mix(
            net.now,
            [4, self.host.0 as u64, message.payload_len() as u64],
        );
        let (address, heard) = (live.address, live.heard);
        if let Some(number) = number_of(message) {
            live.heard = number;
            if number <= heard {
                let what = format!("{conn} says {number} after {heard}");
                self.ledger_mut().breaks(Rule::MessageOrder, what);
            }
        }
        self.ledger_mut().message(address);
    }

    /// The application says something to one of its peers: mostly little, sometimes much.
    pub(crate) fn chat(&mut self, net: &mut Network) {
        let now = self.now(net);
        let admitted = |(_, live, _): &(ConnId, &Live, _)| live.admitted;
        let peers: Vec<ConnId> = self
            .open_connections()
            .filter(admitted)
            .map(|(conn, ..)| conn)
            .collect();
        let Some(&conn) = net.rng.pick(&peers) else {
            return;
        };
        let entries = match net.rng.chance(20) {
            true => LARGE,
            false => 1,
        };
        self.with(conn, |live| {
            if let Stage::Open(open) = &mut live.stage {
                let message = numbered(live.said + 1, entries);
                // A full queue is the application's to wait for; this one has nothing urgent.
                if open.connection.send(now, &message).is_ok() {
                    live.said += 1;
                }
            }
        });
    }

    // ends

    pub(crate) fn dial_failed(&mut self, net: &mut Network, conn: ConnId, failure: DialFailure) {
        let now = self.now(net);
        let Some(live) = self.remove(net, conn) else {
            return;
        };
        net.note(self.host, format_args!("{conn} fails: {failure}"));
        let answer = Input::DialFailed { conn, failure };
        self.ended(now, &live, Ended::Dial, answer);
    }

    pub(crate) fn report_closed(
        &mut self,
        net: &Network,
        conn: ConnId,
        live: &Live,
        reason: CloseReason,
    ) {
        let now = self.now(net);
        let answer = Input::Closed {
            conn,
            reason: reason.clone(),
        };
        self.ended(now, live, Ended::Closed(&reason), answer);
    }

    fn ended(&mut self, now: Instant, live: &Live, ended: Ended<'_>, answer: Input) {
        let wall = self.wall(now);
        let connected = self
            .manager()
            .map_or(0, |manager| manager.connection_count());
        let (spec, ledger) = self.split();
        if live.side == Side::Outbound {
            let terms = Self::terms(spec, now, wall);
            ledger.outbound_ended(terms, live.address, ended, live.admitted, connected);
        } else if live.admitted
            && let Some(address) = live.listens_at
        {
            ledger.forgive(address);
        }
        ledger.gone(live.address);
        if let Some(running) = &mut self.running {
            running.answers.push_back(answer);
        }
    }
}

/// A message of the application that can be told from others, and in what order it was sent.
fn numbered(number: u64, entries: usize) -> Message {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(CHATTER);
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let item = InventoryItem {
        kind: InventoryKind::Tx,
        hash: Hash256::from_bytes(bytes),
    };
    Message::Inv(Inventory::new(std::iter::repeat_n(item, entries)))
}

fn number_of(message: &Message) -> Option<u64> {
    let Message::Inv(inventory) = message else {
        return None;
    };
    let first = inventory.iter().next()?;
    let bytes = first.hash.as_bytes();
    let number = bytes[8..16].try_into().ok()?;
    bytes
        .starts_with(CHATTER)
        .then(|| u64::from_le_bytes(number))
}
