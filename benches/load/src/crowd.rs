//! Many connections in one thread.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::peer::{Peer, Tally, Work};
use crate::wire::{self, FrameReader, Magic};

/// Read at once; the same for all connections.
const BUFFER: usize = 256 * 1024;
/// Connections from one address: each has some 28,000 ports, and some peers count by address.
const PER_ADDRESS: usize = 200;
/// Connections whose handshake is under way.
const HANDSHAKES: usize = 256;
/// How long a transaction may take to come to all while that is tried out.
const RELAY: Duration = Duration::from_millis(500);
/// How long a wait for the sockets lasts at most: so exact are the limits of time.
const TICK: Duration = Duration::from_millis(10);

/// Whom to dial, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) magic: Magic,
    pub(crate) agent: String,
    /// How long everything that was asked may remain unanswered.
    pub(crate) patience: Duration,
}

/// What came of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
}

/// Connections that have shaken hands.
pub(crate) struct Crowd {
    target: Target,
    poll: Poll,
    events: Events,
    peers: Vec<Peer>,
    buffer: Vec<u8>,
    tally: Tally,
}

impl Crowd {
    pub(crate) fn new(target: Target) -> Result<Self, String> {
        Ok(Self {
            target,
            poll: Poll::new().map_err(|error| format!("no epoll: {error}"))?,
            events: Events::with_capacity(1024),
            peers: Vec::new(),
            buffer: vec![0; BUFFER],
            tally: Tally::default(),
        })
    }

    /// Dials until there are this many, and shakes hands with all.
    pub(crate) fn open(&mut self, count: usize) -> Result<Done, String> {
        let begun = Instant::now();
        let work = Work::default();
        let mut progress = (begun, 0);
        while self.tally.ready < count {
            while self.peers.len() < count && self.peers.len() - self.tally.ready < HANDSHAKES {
                self.dial(&work)?;
            }
            self.turn(&work)?;
            if self.tally.ready > progress.1 {
                progress = (Instant::now(), self.tally.ready);
            } else if progress.0.elapsed() > self.target.patience {
                return Err(format!(
                    "{} of {count} connections have shaken hands; the peer answers no more",
                    self.tally.ready
                ));
            }
        }
        Ok(Done {
            messages: count as u64,
            elapsed: begun.elapsed(),
        })
    }

    /// Does work on all connections for a time, and waits until all is answered.
    pub(crate) fn work(&mut self, work: &Work, time: Duration) -> Result<Done, String> {
        let begun = Instant::now();
        self.tally.stopping = false;
        self.tally.batches = 0;
        for peer in &mut self.peers {
            peer.begin(work);
            peer.write(work)?;
        }
        while begun.elapsed() < time {
            self.turn(work)?;
        }
        self.tally.stopping = true;
        self.tally.under_way = self.peers.len() as u64 * u64::from(work.depth);
        while self.tally.under_way > 0 {
            self.turn(work)?;
            if begun.elapsed() > time + self.target.patience {
                return Err(format!(
                    "{} of {} batches were never answered",
                    self.tally.under_way,
                    self.tally.under_way + self.tally.batches
                ));
            }
        }
        Ok(Done {
            messages: self.tally.batches * work.messages,
            elapsed: begun.elapsed(),
        })
    }

    /// Sends transactions until one comes to all: a peer may relay none to those whom it has just
    /// shaken hands with.
    pub(crate) fn wait_until_relayed(&mut self, length: usize) -> Result<(), String> {
        let begun = Instant::now();
        let work = Work::default();
        // None of these is one of those that are counted.
        for number in (0..u32::MAX).rev() {
            self.tally.txs = 0;
            let sent = Instant::now();
            self.send_tx(number, length, &work)?;
            while sent.elapsed() < RELAY {
                self.turn(&work)?;
            }
            if self.tally.txs >= self.peers.len() as u64 {
                break;
            }
            if begun.elapsed() > self.target.patience {
                return Err(format!(
                    "{} of {} transactions came: does the peer relay all of them, to their \
                     sender too?",
                    self.tally.txs,
                    self.peers.len()
                ));
            }
        }
        Ok(())
    }

    /// Sends one transaction after the other from the first connection, each once the one before
    /// has come to all; counts those that came.
    pub(crate) fn relay(&mut self, length: usize, time: Duration) -> Result<Done, String> {
        let begun = Instant::now();
        let work = Work::default();
        self.tally.txs = 0;
        let mut sent = 0;
        while begun.elapsed() < time {
            sent += 1;
            self.send_tx(sent, length, &work)?;
            let expected = u64::from(sent) * self.peers.len() as u64;
            while self.tally.txs < expected {
                self.turn(&work)?;
                if begun.elapsed() > time + self.target.patience {
                    return Err(format!(
                        "{} of {expected} transactions came: the peer relays some of them no more",
                        self.tally.txs
                    ));
                }
            }
        }
        Ok(Done {
            messages: self.tally.txs,
            elapsed: begun.elapsed(),
        })
    }

    /// Answers the other end's pings, and says nothing else.
    pub(crate) fn idle(&mut self, time: Duration) -> Result<Done, String> {
        let begun = Instant::now();
        let work = Work::default();
        while begun.elapsed() < time {
            self.turn(&work)?;
        }
        Ok(Done {
            messages: self.peers.len() as u64,
            elapsed: begun.elapsed(),
        })
    }

    /// Gives the last connection away, for blocking use.
    pub(crate) fn take(&mut self) -> Result<(TcpStream, FrameReader), String> {
        let peer = self.peers.pop().ok_or("there is no connection")?;
        self.tally.ready -= 1;
        let Peer {
            mut socket, reader, ..
        } = peer;
        let released = self.poll.registry().deregister(&mut socket);
        let socket = TcpStream::from(std::os::fd::OwnedFd::from(socket));
        let blocking = released.and_then(|()| socket.set_nonblocking(false));
        blocking.map_err(|error| format!("a socket that blocks: {error}"))?;
        Ok((socket, reader))
    }

    fn send_tx(&mut self, number: u32, length: usize, work: &Work) -> Result<(), String> {
        let tx = wire::frame(self.target.magic, "tx", &wire::transaction(number, length));
        let peer = self.peers.first_mut().ok_or("there is no connection")?;
        peer.say(&tx);
        peer.write(work)
    }

    fn dial(&mut self, work: &Work) -> Result<(), String> {
        let number = self.peers.len();
        let socket = connect(self.target.address, number)?;
        let mut socket = mio::net::TcpStream::from_std(socket);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self
            .poll
            .registry()
            .register(&mut socket, Token(number), interest);
        registered.map_err(|error| format!("connection {number}: {error}"))?;
        // No two connections of any run have the same, or they would look like one peer.
        let nonce = (u64::from(std::process::id()) << 32) + number as u64 + 1;
        let version = wire::version(self.target.magic, &self.target.agent, nonce);
        let mut peer = Peer::new(socket, self.target.magic, version);
        peer.write(work)?;
        self.peers.push(peer);
        Ok(())
    }

    /// Waits for the sockets, and does what there is to do.
    fn turn(&mut self, work: &Work) -> Result<(), String> {
        if let Err(error) = self.poll.poll(&mut self.events, Some(TICK))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(format!("epoll: {error}"));
        }
        for event in &self.events {
            let number = event.token().0;
            let Some(peer) = self.peers.get_mut(number) else {
                continue;
            };
            peer.react(&mut self.buffer, work, &mut self.tally)
                .map_err(|error| format!("connection {number}: {error}"))?;
        }
        Ok(())
    }
}

/// A socket of connection `number`, from an address that it shares with few others. It is reset
/// when it is closed, so that its port is free at once.
pub(crate) fn connect(address: SocketAddr, number: usize) -> Result<TcpStream, String> {
    let connect = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv4() {
            let group = number / PER_ADDRESS;
            let from = Ipv4Addr::new(127, 0, (group / 250) as u8, 2 + (group % 250) as u8);
            socket.bind(&SocketAddr::from((from, 0)).into())?;
        }
        socket.connect(&address.into())?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        Ok(TcpStream::from(socket))
    };
    connect().map_err(|error: std::io::Error| format!("connection {number} to {address}: {error}"))
}
