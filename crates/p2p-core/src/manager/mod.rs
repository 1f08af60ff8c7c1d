//! The manager: who to dial, when, how many; whom to let in, whom to ban, when to give up.

mod bans;
mod command;
mod explain;
mod lifecycle;
mod peers;
mod persist;
mod policy;
mod reconcile;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_proto::{Capacity, Clock, CloseReason, Config, Params, PeerPolicy, Side};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub use command::STOP_WITHIN;
pub use explain::{Explanation, PeerExplanation};
pub use persist::STORE_RETRY;

use crate::bans::Bans;
use crate::book::{Book, BookLimits, canonical};
use crate::breaker::Breaker;
use crate::config::{ConfigError, ManagerConfig};
use crate::connection::{ConnId, ConnectionState, PeerConnection};
use crate::events::ControlEvent;
use crate::io::{Action, InboundRefusal, Input, Setup, Wake};
use crate::mode::OperatingMode;
use crate::peer::{Peer, PeerSource, PeerStatus};
use crate::slots::Slots;
use crate::timestamp::Timestamp;
use persist::Records;
use reconcile::{Dns, Listener};

/// Everything that decides about more than one connection, without a socket, a clock or a task.
///
/// # The driving loop
///
/// Inputs: [`accept`](Self::accept), [`handle`](Self::handle),
/// [`update_config`](Self::update_config), [`handle_timeout`](Self::handle_timeout). **After
/// every input, carry out every action that [`poll_action`](Self::poll_action) gives**, then ask
/// [`poll_timeout`](Self::poll_timeout) when to wake. Answers to actions are inputs, and name
/// the connection or batch that they are about; a late answer hurts nobody.
///
/// # How it decides
///
/// An input changes facts; then one function, `reconcile`, compares what is with what should be,
/// and is the only place that decides to dial, close, resolve, listen or store. Called twice it
/// decides nothing the second time.
///
/// # Security
///
/// Slots are reserved before a byte is exchanged and released when the socket is gone, so no
/// number of simultaneous connections exceeds `max_connections`. Handshakes under way, inbound
/// connections of one IP, and handshakes that only tell "no room" are bounded. Who fills all
/// slots from outside cannot keep us from dialling: below `min_outbound` an inbound peer makes
/// room (see [`ManagerConfig`]).
#[derive(Debug)]
pub struct Manager {
    config: ManagerConfig,
    /// What connections are made with; follows from `config`.
    protocol: Arc<Config>,
    /// Asked beside the configuration's.
    policy: Option<Arc<dyn PeerPolicy>>,
    mode: OperatingMode,
    clock: Clock,
    rng: ChaCha8Rng,
    run: Run,
    connections: BTreeMap<ConnId, Live>,
    /// Of all connections, by the other end of the socket.
    by_address: BTreeMap<SocketAddr, ConnId>,
    /// The nonces in our versions, of all connections: one that comes back is our own.
    nonces: BTreeSet<(u64, ConnId)>,
    /// Admitted inbound connections by where their peers listen, as they say.
    listening_peers: BTreeSet<(SocketAddr, ConnId)>,
    slots: Slots,
    /// Slots kept free of newcomers, for a dial that an inbound peer made room for.
    earmarks: usize,
    next_conn: u64,
    /// Dials so far.
    dials: u64,
    book: Book,
    bans: Bans,
    breaker: Breaker,
    /// Probed in vain in this outage: others come first.
    set_aside: VecDeque<SocketAddr>,
    /// Lost connections that are to be made again at once.
    restarts: VecDeque<SocketAddr>,
    /// Addresses at which we met ourselves.
    ours: BTreeSet<SocketAddr>,
    records: Records,
    dns: Dns,
    listener: Listener,
    actions: VecDeque<Action>,
    wake: Option<(Instant, Wake)>,
    /// Draws whom those that ask are told of.
    share_seed: u64,
    started: Instant,
    now: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Idle,
    Running,
    /// Everything ends, whatever is left by then.
    Stopping {
        by: Instant,
    },
    Stopped,
}

/// A connection, and what the manager keeps beside it.
#[derive(Debug)]
struct Live {
    connection: PeerConnection,
    /// Whether the peer was ever admitted.
    was_established: bool,
    /// What it was told to close for: the driver may find another reason first.
    told: Option<CloseReason>,
    /// Failed attempts before it was admitted.
    retries: u32,
    latency: Option<Duration>,
    gossip: peers::GossipBudget,
    addresses_given: bool,
}

impl Manager {
    /// A manager that knows these peers, and does nothing before [`Command::Start`].
    ///
    /// `seed` is the only source of randomness of the whole node: nonces, jitter, the keys of
    /// the address book. It must be secret, and another one at every start.
    ///
    /// # Errors
    /// [`ConfigError`], naming the field.
    ///
    /// [`Command::Start`]: crate::Command::Start
    pub fn new(
        config: ManagerConfig,
        mode: OperatingMode,
        known: Vec<Peer>,
        seed: [u8; 32],
        clock: Clock,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let share_seed = rng.next_u64();
        let mode = mode.canonical();
        let mut book = Book::new(secret, BookLimits::default());
        if let Some(fixed) = mode.fixed_peers() {
            book.only(fixed.iter().copied());
        }
        let mut manager = Self {
            protocol: Arc::new(config.protocol(0)),
            policy: None,
            config,
            mode,
            clock,
            rng,
            run: Run::Idle,
            connections: BTreeMap::new(),
            by_address: BTreeMap::new(),
            nonces: BTreeSet::new(),
            listening_peers: BTreeSet::new(),
            slots: Slots::default(),
            earmarks: 0,
            next_conn: 0,
            dials: 0,
            book,
            bans: Bans::default(),
            breaker: Breaker::default(),
            set_aside: VecDeque::new(),
            restarts: VecDeque::new(),
            ours: BTreeSet::new(),
            records: Records::default(),
            dns: Dns::default(),
            listener: Listener::Off,
            actions: VecDeque::new(),
            wake: None,
            share_seed,
            started: now,
            now,
        };
        manager.learn_known(known);
        Ok(manager)
    }

    // inputs

    /// Asks whether a connection that was just accepted may be spoken to. A refused one is to be
    /// closed before a byte is read.
    ///
    /// # Errors
    /// [`InboundRefusal`]: why not.
    pub fn accept(&mut self, now: Instant, remote: SocketAddr) -> Result<Setup, InboundRefusal> {
        self.at(now);
        if self.run == Run::Stopped {
            return Err(InboundRefusal::NotRunning);
        }
        if self.run == Run::Running {
            self.lift_ended_bans();
        }
        let remote = canonical(remote);
        let admitted = self.admission(remote).map(|capacity| {
            let setup = self.setup(remote, Side::Inbound, capacity);
            self.notify(ControlEvent::InboundConnectionAccepted {
                peer_id: setup.peer_id,
                address: remote,
            });
            setup
        });
        if let Err(reason) = admitted {
            let address = remote;
            self.notify(ControlEvent::InboundConnectionRejected { address, reason });
        }
        self.reconcile();
        admitted
    }

    /// Takes note of what happened outside, and decides what follows.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.at(now);
        if self.run == Run::Stopped {
            return;
        }
        match input {
            Input::Connected { conn } => self.connected(conn),
            Input::DialFailed { conn, failure } => self.dial_failed(conn, failure),
            Input::Ready { conn, ready } => self.ready(conn, ready),
            Input::Closed { conn, reason } => self.closed(conn, reason),
            Input::Latency { conn, latency } => self.measured(conn, latency),
            Input::Gossip { conn, addresses } => self.gossip(conn, &addresses),
            Input::AddressesWanted { conn } => self.addresses_wanted(conn),
            Input::SendHeaders { conn } => self.send_headers(conn),
            Input::Resolved { addresses } => self.resolved(&addresses),
            Input::Listening { address } => self.listening(address),
            Input::ListenFailed { address, error } => self.listen_failed(address, error),
            Input::Stored { batch, result } => self.stored(batch, result),
            Input::Saved { result } => self.saved(result),
            Input::Changed { peers } => self.changed(peers),
            Input::Command(command) => self.command(command),
        }
        self.reconcile();
    }

    /// Puts another configuration into force, as a whole or not at all.
    ///
    /// # Errors
    /// [`ConfigError`], naming the field and the rule; nothing has changed then.
    pub fn update_config(
        &mut self,
        now: Instant,
        config: ManagerConfig,
    ) -> Result<(), ConfigError> {
        self.at(now);
        config.validate()?;
        self.config.check_update(&config)?;
        if self.run == Run::Stopped {
            self.config = config;
            return Ok(());
        }
        self.configure(config);
        self.reconcile();
        Ok(())
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.at(now);
        self.reconcile();
    }

    // outputs

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        self.wake
    }

    // getters

    /// All connections whose sockets are there or being made.
    pub fn connections(&self) -> impl Iterator<Item = &PeerConnection> {
        self.connections.values().map(|live| &live.connection)
    }

    /// Connections that are admitted, in both directions.
    pub fn connection_count(&self) -> usize {
        self.slots.established()
    }

    /// Connections of a side in a state, those that only hear that there is no room included.
    pub fn connections_in(&self, side: Side, state: ConnectionState) -> usize {
        self.slots.in_state(side, state)
    }

    /// Peers of a status in the book.
    pub fn peer_count(&self, status: PeerStatus) -> usize {
        self.book.count(status)
    }

    /// IPs that are banned.
    pub fn ban_count(&self) -> usize {
        self.bans.len()
    }

    /// Everybody in the book, in order of address.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.book.iter().map(|entry| entry.peer)
    }

    /// Those in the book after an address, in order of address: to go through a large book piece
    /// by piece, doing other things between.
    pub fn peers_after(&self, address: Option<SocketAddr>) -> impl Iterator<Item = &Peer> {
        self.book.after(address).map(|entry| entry.peer)
    }

    /// Whether an IP is banned.
    pub fn is_banned(&self, ip: IpAddr) -> bool {
        self.bans.get(ip.to_canonical()).is_some()
    }

    /// A connection by its name.
    pub fn connection(&self, conn: ConnId) -> Option<&PeerConnection> {
        self.connections.get(&conn).map(|live| &live.connection)
    }

    /// Records of those that have dialled us and are admitted, as others of the book have: not to
    /// be stored, for nobody listens at these ports.
    pub fn inbound_peers(&self) -> impl Iterator<Item = Peer> {
        let now = self.timestamp();
        let admitted = self.connections().filter(|connection| {
            connection.is_inbound() && connection.state() == ConnectionState::Connected
        });
        admitted.filter_map(move |connection| {
            let version = &connection.ready()?.version;
            let (network, address) = (self.config.network, connection.address());
            let mut peer = Peer::new(network, address, PeerSource::Inbound, now);
            peer.status = PeerStatus::Valid;
            peer.last_seen = Some(now);
            peer.user_agent = Some(version.user_agent.to_string());
            peer.services = version.services;
            Some(peer)
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> &ManagerConfig {
        &self.config
    }

    // private

    fn at(&mut self, now: Instant) {
        debug_assert!(now >= self.now, "time goes backwards");
        self.now = now;
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_unix(self.clock.unix(self.now))
    }

    /// When a time of the wall clock will be; now, if it has been.
    fn instant_of(&self, time: Timestamp) -> Instant {
        self.now + time.since(self.timestamp())
    }

    fn notify(&mut self, event: ControlEvent) {
        self.actions.push_back(Action::Notify(event));
    }

    /// Makes a connection known, and says what it is to be made with.
    fn setup(&mut self, address: SocketAddr, side: Side, capacity: Capacity) -> Setup {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let peer_id = Peer::id_of(self.config.network, address);
        // Zero would look like no nonce at all.
        let nonce = self.rng.next_u64().max(1);
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let connection = match side {
            Side::Outbound => PeerConnection::outbound(conn, peer_id, address, nonce, self.now),
            Side::Inbound => {
                PeerConnection::inbound(conn, peer_id, address, nonce, capacity, self.now)
            }
        };
        self.slots.add(&connection);
        self.by_address.insert(address, conn);
        self.nonces.insert((nonce, conn));
        self.occupy(address);
        let live = Live {
            connection,
            was_established: false,
            told: None,
            retries: 0,
            latency: None,
            gossip: peers::GossipBudget::new(self.now),
            addresses_given: false,
        };
        self.connections.insert(conn, live);
        Setup {
            conn,
            peer_id,
            config: self.protocol.clone(),
            side,
            params: Params {
                remote: address,
                nonce,
                seed,
                clock: self.clock,
                capacity,
            },
        }
    }
}
