//! Programs that mean no good.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use p2p_core::Network as Chain;
use p2p_proto::{
    Addr, Message, NetworkAddress, Nonce, Services, TimedAddress, UserAgent, Version,
    VersionFields, encode_frame,
};

use crate::network::{HostId, Network, Socket, SocketEvent};
use crate::pipe::Read;
use crate::program::Program;
use crate::time::Time;

/// How often one acts.
const PACE: Duration = Duration::from_secs(1);
/// Connections that one holds at a time: more than a node has slots.
const AT_ONCE: usize = 40;
/// Pings at a time of one who does not wait for pongs.
const BURST: usize = 20;
/// Pings of a flood: as many as are on the way at once.
const FLOOD: usize = 2000;
/// So many of a thousand bursts are floods.
const FLOODS: u32 = 20;
/// So many of a thousand turns bring addresses.
const ADDRESSES: u32 = 20;

/// What a hostile program does.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::{World, hostile::Trick, scenario};
///
/// let mut world = World::new(1);
/// let node = world.add_node(scenario::node());
/// let victim = world.address(node).unwrap();
/// world.add_hostile(Trick::Silence, vec![victim]);
/// // Every rule holds, whatever it does.
/// world.run_for(Duration::from_secs(120))?;
/// # Ok::<(), p2p_sim::Violation>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Trick {
    /// Connects, and says nothing.
    Silence,
    /// Sends its version, and never a verack.
    HalfHandshake,
    /// Names a thousand addresses at a time, all of nobody.
    EndlessAddr,
    /// Speaks with the magic of another network.
    WrongMagic,
    /// Says that it is software of another chain.
    OtherChain,
    /// Connects, shakes hands, hangs up, and begins again.
    Storm,
    /// Asks, and hardly reads the answers.
    SlowReader,
    /// Sends pings, up to thousands at a time.
    PingFlood,
}

impl Trick {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Silence,
        Self::HalfHandshake,
        Self::EndlessAddr,
        Self::WrongMagic,
        Self::OtherChain,
        Self::Storm,
        Self::SlowReader,
        Self::PingFlood,
    ];

    fn shakes_hands(self) -> bool {
        !matches!(
            self,
            Self::Silence | Self::HalfHandshake | Self::WrongMagic | Self::OtherChain
        )
    }

    fn reads(self) -> bool {
        !matches!(self, Self::SlowReader)
    }
}

/// A program with a [`Trick`]: it dials its victims, and those who dial it fare no better.
///
/// ```
/// use p2p_sim::hostile::{Hostile, Trick};
/// use p2p_sim::{World, scenario};
///
/// let mut world = World::new(1);
/// let node = world.add_node(scenario::node());
/// let victims: Vec<_> = world.address(node).into_iter().collect();
/// // The DNS seeds do not name this one.
/// world.add_program(|host, ip| Box::new(Hostile::new(host, ip, Trick::Storm, victims)));
/// ```
#[derive(Debug)]
pub struct Hostile {
    host: HostId,
    ip: IpAddr,
    trick: Trick,
    victims: Vec<SocketAddr>,
    sockets: BTreeMap<Socket, Talk>,
    next: Time,
    turn: usize,
}

#[derive(Debug, Default)]
struct Talk {
    connected: bool,
    /// What the socket has not taken yet.
    output: BytesMut,
    since: Time,
}

impl Hostile {
    /// One on a host.
    pub fn new(host: HostId, ip: IpAddr, trick: Trick, victims: Vec<SocketAddr>) -> Self {
        Self {
            host,
            ip,
            trick,
            victims,
            sockets: BTreeMap::new(),
            next: Time::ZERO,
            turn: 0,
        }
    }

    fn greeting(&self, net: &mut Network) -> BytesMut {
        let mut out = BytesMut::new();
        let chain = match self.trick {
            Trick::WrongMagic => Chain::Testnet,
            _ => Chain::Mainnet,
        };
        if self.trick == Trick::Silence {
            return out;
        }
        let nobody = NetworkAddress::UNSPECIFIED;
        let version = Version {
            nonce: net.rng.any(),
            user_agent: UserAgent::from_static(match self.trick {
                Trick::OtherChain => "/Bitcoin ABC:0.30.0/",
                _ => "/Bitcoin SV:1.2.2/",
            }),
            fields: VersionFields::Relay,
            ..Version::minimal(70016, 1_700_000_000, nobody)
        };
        encode_frame(chain, &Message::Version(Box::new(version)), &mut out);
        if self.trick.shakes_hands() {
            encode_frame(chain, &Message::Verack, &mut out);
        }
        out
    }

    fn molest(&self, net: &mut Network) -> BytesMut {
        let mut out = BytesMut::new();
        match self.trick {
            Trick::EndlessAddr if net.rng.chance(ADDRESSES) => {
                let nobody = |_| TimedAddress {
                    time: 1_700_000_000,
                    // Hosts of no world, at ports where one could listen.
                    address: {
                        let [a, b, c, d, ..] = net.rng.any().to_le_bytes();
                        let nobody = ([112 + a % 8, b, c, d], 8333).into();
                        NetworkAddress::new(Services::NETWORK, nobody)
                    },
                };
                if let Ok(addr) = Addr::new((0..1000).map(nobody)) {
                    encode_frame(Chain::Mainnet, &Message::Addr(addr), &mut out);
                }
            }
            Trick::PingFlood | Trick::SlowReader => {
                // Who reads no pongs soon finds that nobody reads more pings either.
                let many = match self.trick == Trick::SlowReader || net.rng.chance(FLOODS) {
                    true => FLOOD,
                    false => BURST,
                };
                let mut ping = BytesMut::new();
                let nonce = Nonce(net.rng.any());
                encode_frame(Chain::Mainnet, &Message::Ping(nonce), &mut ping);
                (0..many).for_each(|_| out.extend_from_slice(&ping));
            }
            _ => {}
        }
        out
    }

    fn talk(&mut self, net: &mut Network, socket: Socket) {
        let Some(talk) = self.sockets.get_mut(&socket) else {
            return;
        };
        while !talk.output.is_empty() {
            let bytes = Bytes::copy_from_slice(&talk.output);
            match net.write(socket, &bytes) {
                Ok(0) => break,
                Ok(n) => drop(talk.output.split_to(n)),
                Err(_) => return self.hang_up(net, socket),
            }
        }
        if !self.trick.reads() {
            return;
        }
        loop {
            match net.read(socket) {
                Read::Data(_) => {}
                Read::Nothing => return,
                Read::Eof | Read::Reset => return self.hang_up(net, socket),
            }
        }
    }

    fn hang_up(&mut self, net: &mut Network, socket: Socket) {
        self.sockets.remove(&socket);
        net.close(socket);
    }

    fn begin(&mut self, net: &mut Network, socket: Socket) {
        let greeting = self.greeting(net);
        let talk = self.sockets.entry(socket).or_default();
        talk.connected = true;
        talk.since = net.now;
        talk.output = greeting;
        self.talk(net, socket);
    }

    /// A storm hangs up as soon as it has shaken hands; the others when they got nowhere.
    fn give_up(&mut self, net: &mut Network) {
        let lifetime = match self.trick {
            Trick::Storm => Duration::from_secs(2),
            _ => Duration::from_secs(300),
        };
        let old = |(_, talk): &(&Socket, &Talk)| net.now - talk.since > lifetime;
        let old: Vec<Socket> = self.sockets.iter().filter(old).map(|(s, _)| *s).collect();
        for socket in old {
            self.hang_up(net, socket);
        }
    }
}

impl Program for Hostile {
    fn start(&mut self, net: &mut Network) {
        // A port that is taken is nobody's but its own.
        let _ = net.listen(self.host, (self.ip, 8333).into());
        net.note(self.host, format_args!("is hostile: {:?}", self.trick));
        self.next = net.now + PACE;
    }

    fn handle(&mut self, net: &mut Network, socket: Socket, event: SocketEvent) {
        match event {
            SocketEvent::Incoming { .. } => {
                net.accept(socket);
                self.begin(net, socket);
            }
            SocketEvent::Connected => self.begin(net, socket),
            SocketEvent::Refused => self.hang_up(net, socket),
            SocketEvent::Readable | SocketEvent::Writable => self.talk(net, socket),
        }
    }

    fn wake(&mut self, net: &mut Network) {
        self.next = net.now + PACE;
        self.give_up(net);
        if self.sockets.len() < AT_ONCE && !self.victims.is_empty() {
            let victim = self.victims[self.turn % self.victims.len()];
            self.turn += 1;
            let socket = net.dial(self.host, self.ip, victim);
            let talk = Talk {
                since: net.now,
                ..Talk::default()
            };
            self.sockets.insert(socket, talk);
        }
        let talking: Vec<Socket> = self
            .sockets
            .iter()
            .filter(|(_, talk)| talk.connected)
            .map(|(&socket, _)| socket)
            .collect();
        if self.trick == Trick::SlowReader {
            for &socket in &talking {
                net.read_up_to(socket, 100);
            }
        }
        // One at a time: that is enough, and floods cost the simulator more than the nodes. What is
        // never read must all go to one to fill anything.
        let victim = match self.trick {
            Trick::SlowReader => talking.first(),
            _ => net.rng.pick(&talking),
        };
        let Some(&socket) = victim else {
            return;
        };
        let waits = |talk: &Talk| !talk.output.is_empty();
        if !self.sockets.get(&socket).is_some_and(waits) {
            let output = self.molest(net);
            if let Some(talk) = self.sockets.get_mut(&socket) {
                talk.output = output;
            }
        }
        self.talk(net, socket);
    }

    fn wake_at(&self) -> Option<Time> {
        Some(self.next)
    }
}
