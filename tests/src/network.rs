//! The network between the hosts: sockets, listeners, and what goes between them.

mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;

pub use faults::Crash;

use crate::dns::Dns;
use crate::pipe::{Item, Line, Pipe, Read};
use crate::queue::Queue;
use crate::rng::Rng;
use crate::time::Time;
use crate::trace::Trace;
use crate::world::WorldEvent;

/// The first of the ports that dialling hosts use, as Linux has it. Nobody listens above it.
pub const FIRST_EPHEMERAL_PORT: u16 = 32_768;
/// Bytes that one read gives at most.
const READ: usize = 64 * 1024;

/// Names a host: the first of a world is `HostId(0)`.
///
/// ```
/// use p2p_sim::{HostId, World, scenario};
///
/// let first = World::new(1).add_node(scenario::node());
/// assert_eq!(first, HostId(0));
/// assert_eq!(first.to_string(), "n000");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{:03}", self.0)
    }
}

/// Names one end of a connection.
///
/// ```
/// use p2p_sim::{HostId, World, ip_of, scenario};
///
/// let mut world = World::new(1);
/// let node = world.add_node(scenario::node());
/// let address = world.address(node).unwrap();
/// // A host that does nothing by itself dials the node.
/// let socket = world.net.dial(HostId(7), ip_of(HostId(7)), address);
/// assert_eq!(world.net.source(socket).map(|source| source.ip()), Some(ip_of(HostId(7))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    pub(crate) link: u64,
    pub(crate) end: End,
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum End {
    Dialler,
    Acceptor,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

impl Socket {
    /// The other end.
    pub(crate) fn peer(self) -> Self {
        Self {
            end: self.end.other(),
            ..self
        }
    }
}

/// What a host is told about a socket. [`Program`](crate::Program) has an example of a whole
/// program.
///
/// ```
/// use p2p_sim::{Network, Socket, SocketEvent};
///
/// /// Takes everybody in, and hangs up.
/// fn handle(net: &mut Network, socket: Socket, event: SocketEvent) {
///     match event {
///         SocketEvent::Incoming { .. } => {
///             net.accept(socket);
///             net.close(socket);
///         }
///         SocketEvent::Connected | SocketEvent::Refused => net.close(socket),
///         SocketEvent::Readable | SocketEvent::Writable => {}
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEvent {
    /// Somebody dials: answer with [`Network::accept`], or do not and [`Network::abort`] it.
    Incoming {
        /// Who.
        from: SocketAddr,
    },
    /// The dial was accepted.
    Connected,
    /// The dial was refused.
    Refused,
    /// There is something to read, the end of the stream and a reset included.
    Readable,
    /// There is room again after a write that was not taken whole.
    Writable,
}

#[derive(Debug)]
struct Link {
    hosts: [HostId; 2],
    /// Whether this end was closed, or is nobody.
    gone: [bool; 2],
    from: SocketAddr,
    to: SocketAddr,
    accepted: bool,
    /// Broken by a fault: what its ends believe of it need not agree.
    broken: bool,
    /// Whether a fault has changed what was written.
    flipped: bool,
    /// By who reads.
    pipes: [Pipe; 2],
}

/// The network, with virtual time, chance and the record of the run: all that hosts share.
///
/// ```
/// use p2p_sim::{AddressInUse, HostId, Time, World, ip_of};
///
/// let mut world = World::new(1);
/// let net = &mut world.net;
/// assert_eq!(net.now, Time::ZERO);
/// let host = HostId(0);
/// let address = (ip_of(host), 7).into();
/// assert_eq!(net.listen(host, address), Ok(()));
/// assert_eq!(net.listen(host, address), Err(AddressInUse));
/// net.unlisten(address);
/// assert_eq!(net.listen(host, address), Ok(()));
/// ```
#[derive(Debug)]
pub struct Network {
    /// Now.
    pub now: Time,
    /// Where [`Time::ZERO`] lies for all clocks of this world.
    pub epoch: Instant,
    /// Chance.
    pub rng: Rng,
    /// The record.
    pub trace: Trace,
    /// The DNS seeds.
    pub dns: Dns,
    pub(crate) queue: Queue<WorldEvent>,
    /// What lines are like that are made from now on.
    pub line: Line,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    next_port: BTreeMap<IpAddr, u16>,
    hosts: BTreeMap<IpAddr, HostId>,
    listeners: BTreeMap<SocketAddr, HostId>,
    refusing: BTreeSet<HostId>,
    /// Hosts apart from the others; none is apart if there is none.
    island: BTreeSet<HostId>,
    cut_off: BTreeSet<HostId>,
    /// Hosts whose machine is off.
    off: BTreeSet<HostId>,
    /// Whether all lines are down.
    outage: bool,
    /// When a line last went down or came back.
    pub(crate) lines_changed_at: Time,
}

impl Network {
    pub(crate) fn new(seed: u64, epoch: Instant) -> Self {
        Self {
            now: Time::ZERO,
            epoch,
            rng: Rng::new(seed),
            trace: Trace::default(),
            dns: Dns::default(),
            queue: Queue::default(),
            line: Line::default(),
            links: BTreeMap::new(),
            next_link: 0,
            next_port: BTreeMap::new(),
            hosts: BTreeMap::new(),
            listeners: BTreeMap::new(),
            refusing: BTreeSet::new(),
            island: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            off: BTreeSet::new(),
            outage: false,
            lines_changed_at: Time::ZERO,
        }
    }

    /// Writes a line of the record.
    pub fn note(&mut self, host: HostId, what: fmt::Arguments<'_>) {
        self.trace.line(self.now, Some(host), what);
    }

    pub(crate) fn add_host(&mut self, ip: IpAddr, host: HostId) {
        self.hosts.insert(ip, host);
    }

    // what hosts do

    /// Listens; an address that is taken is refused.
    ///
    /// # Errors
    /// Somebody listens there.
    pub fn listen(&mut self, host: HostId, address: SocketAddr) -> Result<(), AddressInUse> {
        match self.listeners.insert(address, host) {
            None => Ok(()),
            Some(other) => {
                self.listeners.insert(address, other);
                Err(AddressInUse)
            }
        }
    }

    /// Stops listening.
    pub fn unlisten(&mut self, address: SocketAddr) {
        self.listeners.remove(&address);
    }

    /// Dials; the answer is [`SocketEvent::Connected`], [`SocketEvent::Refused`], or none at all.
    pub fn dial(&mut self, host: HostId, from: IpAddr, to: SocketAddr) -> Socket {
        let port = self.next_port.entry(from).or_insert(FIRST_EPHEMERAL_PORT);
        let from = SocketAddr::new(from, *port);
        *port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        let id = self.next_link;
        self.next_link += 1;
        let there = self.hosts.get(&to.ip()).copied();
        let mut link = Link {
            hosts: [host, there.unwrap_or(host)],
            gone: [false, there.is_none()],
            from,
            to,
            accepted: false,
            broken: false,
            flipped: false,
            pipes: [Pipe::new(self.line), Pipe::new(self.line)],
        };
        match there {
            None => link.pipes.iter_mut().for_each(Pipe::lose),
            Some(there) if self.is_cut(host, there) => link.pipes.iter_mut().for_each(Pipe::hold),
            Some(_) => {}
        }
        self.links.insert(id, link);
        let socket = Socket {
            link: id,
            end: End::Dialler,
        };
        self.put(socket.peer(), Item::Ask);
        socket
    }

    /// Takes an incoming connection.
    pub fn accept(&mut self, socket: Socket) {
        if let Some(link) = self.links.get_mut(&socket.link) {
            link.accepted = true;
        }
        self.put(socket.peer(), Item::Accept);
    }

    /// Writes as much as there is room for, and tells how much that was; [`SocketEvent::Writable`]
    /// comes when there is room for the rest.
    ///
    /// # Errors
    /// The connection was reset.
    pub fn write(&mut self, socket: Socket, bytes: &Bytes) -> Result<usize, BrokenPipe> {
        let (now, rng) = (self.now, &mut self.rng);
        let link = self.links.get_mut(&socket.link).ok_or(BrokenPipe)?;
        if link.pipes[socket.end as usize].is_reset() {
            return Err(BrokenPipe);
        }
        let n = link.pipes[socket.end.other() as usize].write(now, rng, bytes);
        self.trace
            .number(now, [socket.link, socket.end as u64, n as u64]);
        self.schedule(socket.peer());
        Ok(n)
    }

    /// Reads what has come, up to 64 KiB of it.
    pub fn read(&mut self, socket: Socket) -> Read {
        self.read_up_to(socket, READ)
    }

    /// Reads what has come, up to `max` bytes of it.
    pub fn read_up_to(&mut self, socket: Socket, max: usize) -> Read {
        let now = self.now;
        let Some(link) = self.links.get_mut(&socket.link) else {
            return Read::Reset;
        };
        let pipe = &mut link.pipes[socket.end as usize];
        let read = pipe.read(now, max);
        if let Some(at) = pipe.writable_at() {
            let socket = socket.peer();
            self.queue.push(at, WorldEvent::Writable { socket });
        }
        read
    }

    /// Closes this side for writing: the peer reads to the end, and then the end.
    pub fn shutdown(&mut self, socket: Socket) {
        self.put(socket.peer(), Item::Fin);
    }

    /// Gives the socket back: in good order, or with a reset if something is unread, as TCP does.
    pub fn close(&mut self, socket: Socket) {
        let Some(link) = self.links.get_mut(&socket.link) else {
            return;
        };
        let item = match link.pipes[socket.end as usize].has_unread() {
            true => Item::Reset,
            false => Item::Fin,
        };
        self.put(socket.peer(), item);
        self.leave(socket);
    }

    /// Gives the socket back with a reset.
    pub fn abort(&mut self, socket: Socket) {
        self.put(socket.peer(), Item::Reset);
        self.leave(socket);
    }

    /// Our own address as the peer sees it, if we have dialled.
    pub fn source(&self, socket: Socket) -> Option<SocketAddr> {
        self.links.get(&socket.link).map(|link| link.from)
    }

    fn leave(&mut self, socket: Socket) {
        let Some(link) = self.links.get_mut(&socket.link) else {
            return;
        };
        link.gone[socket.end as usize] = true;
        let asked_in_vain = socket.end == End::Dialler
            && !link.accepted
            && link.pipes[End::Acceptor as usize].next_arrival().is_none();
        if link.gone == [true, true] || asked_in_vain {
            self.links.remove(&socket.link);
        }
    }

    // what the world does

    /// What arrives at `reader` by now.
    pub(crate) fn arrive(&mut self, reader: Socket, events: &mut Vec<(HostId, SocketEvent)>) {
        let now = self.now;
        if let Some(link) = self.links.get_mut(&reader.link) {
            link.pipes[reader.end as usize].scheduled = None;
        }
        loop {
            let Some(link) = self.links.get_mut(&reader.link) else {
                return;
            };
            let host = link.hosts[reader.end as usize];
            let takes_calls =
                self.listeners.get(&link.to) == Some(&host) && !self.refusing.contains(&host);
            let gone = link.gone[reader.end as usize];
            let pipe = &mut link.pipes[reader.end as usize];
            let Some(item) = pipe.arrive(now) else {
                break;
            };
            let event = match item {
                Item::Ask if !takes_calls => {
                    self.put(reader.peer(), Item::Refuse);
                    self.leave(reader);
                    continue;
                }
                Item::Ask => SocketEvent::Incoming { from: link.from },
                Item::Accept => SocketEvent::Connected,
                Item::Refuse => SocketEvent::Refused,
                Item::Data(bytes) => {
                    let len = bytes.len() as u64;
                    self.trace
                        .number(now, [reader.link, 2 + reader.end as u64, len]);
                    pipe.deliver(bytes);
                    SocketEvent::Readable
                }
                Item::Fin => {
                    pipe.end(Read::Eof);
                    SocketEvent::Readable
                }
                Item::Reset => {
                    pipe.end(Read::Reset);
                    SocketEvent::Readable
                }
            };
            if !gone {
                if events.last() != Some(&(host, event)) {
                    events.push((host, event));
                }
            } else if !pipe.is_reset() {
                // Whoever writes to nobody is told so.
                self.put(reader.peer(), Item::Reset);
            }
        }
        self.schedule(reader);
    }

    /// Who has this end of a connection, if anybody still does.
    pub(crate) fn owner(&self, socket: Socket) -> Option<HostId> {
        let link = self.links.get(&socket.link)?;
        let end = socket.end as usize;
        (!link.gone[end]).then_some(link.hosts[end])
    }

    fn put(&mut self, reader: Socket, item: Item) {
        let now = self.now;
        if let Some(link) = self.links.get_mut(&reader.link) {
            let pipe = &mut link.pipes[reader.end as usize];
            if item == Item::Reset {
                pipe.drop_in_flight();
            }
            pipe.put(now, &mut self.rng, item);
            self.schedule(reader);
        }
    }

    fn schedule(&mut self, reader: Socket) {
        if let Some(link) = self.links.get_mut(&reader.link) {
            let pipe = &mut link.pipes[reader.end as usize];
            if let Some(at) = pipe.next_arrival()
                && pipe.scheduled.is_none_or(|scheduled| at < scheduled)
            {
                pipe.scheduled = Some(at);
                self.queue.push(at, WorldEvent::Arrival { reader });
            }
        }
    }
}

/// Somebody listens at the address already.
///
/// ```
/// assert_eq!(p2p_sim::AddressInUse.to_string(), "somebody listens at the address already");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressInUse;

impl fmt::Display for AddressInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("somebody listens at the address already")
    }
}

impl Error for AddressInUse {}

/// The connection was reset.
///
/// ```
/// assert_eq!(p2p_sim::BrokenPipe.to_string(), "the connection was reset");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenPipe;

impl fmt::Display for BrokenPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was reset")
    }
}

impl Error for BrokenPipe {}
