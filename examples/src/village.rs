//! A little network to crawl when there is no other: regtest nodes on loopback that know each
//! other.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_proto::{Addr, NetworkAddress, Services, TimedAddress};
use p2p_tokio::{
    ControlEvent, ControlEvents, Manager, ManagerConfig, Message, Network, SystemResolver,
};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::Result;
use crate::embedded::{listening, quiet_listener};

/// Nodes. Each tells of 23 % of those that it knows, as nodes do, so with this many it is certain
/// enough that somebody tells of everybody: of a million villages, two have one in hiding.
pub const NODES: usize = 64;
/// Addresses that everybody knows, and where nobody lives.
pub const EMPTY_HOUSES: usize = 2;
/// How long it may take until everybody knows everybody; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running network; dropping it stops it.
#[derive(Debug)]
pub struct Village {
    addresses: Vec<SocketAddr>,
    nodes: Vec<Manager>,
    _empty_houses: Vec<TcpSocket>,
}

impl Village {
    /// Starts the nodes, on ports of loopback that the system chooses, and makes them known to
    /// each other.
    ///
    /// # Errors
    /// When a node cannot listen, or was told of nobody.
    pub async fn start() -> Result<Self> {
        let mut nodes = Vec::new();
        let mut events = Vec::new();
        let mut addresses = Vec::new();
        for number in 0..NODES {
            let node = Manager::builder(config(number))
                .resolver(SystemResolver::new())
                .build()?;
            let mut happens = node.subscribe_control_events();
            node.start().await?;
            addresses.push(listening(&mut happens).await?);
            events.push(happens);
            nodes.push(node);
        }
        let empty_houses = empty_houses()?;
        let mut known = addresses.clone();
        for house in &empty_houses {
            known.push(house.local_addr()?);
        }
        cry(&addresses, &known, &mut events).await?;
        Ok(Self {
            addresses,
            nodes,
            _empty_houses: empty_houses,
        })
    }

    /// Where a stranger finds the first node.
    pub fn gate(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Everybody hangs up, and ends.
    pub async fn stop(self) {
        for node in &self.nodes {
            node.shutdown().await;
        }
    }
}

/// Not all are alike.
fn config(number: usize) -> ManagerConfig {
    let (user_agent, services, behind) = match number % 8 {
        0..4 => ("/village-node:1.2.1/", Services::NETWORK, 0),
        4..7 => ("/village-node:1.2.0/", Services::NETWORK, 1),
        _ => ("/village-light:0.3/", Services::NONE, 110),
    };
    ManagerConfig {
        user_agent: user_agent.into(),
        services,
        start_height: 110 - behind,
        ..quiet_listener((Ipv4Addr::LOCALHOST, 0).into())
    }
}

/// Ports that are taken, and on which nobody listens.
fn empty_houses() -> Result<Vec<TcpSocket>> {
    let house = |_| {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(socket)
    };
    (0..EMPTY_HOUSES).map(house).collect()
}

/// A crier goes round and tells everybody of everybody, by gossip: what an application adds to a
/// node by hand, the node keeps to itself.
async fn cry(
    nodes: &[SocketAddr],
    known: &[SocketAddr],
    events: &mut [ControlEvents],
) -> Result<()> {
    let config = ManagerConfig {
        max_connections: nodes.len(),
        ..ManagerConfig::new(Network::Regtest)
    };
    let crier = Manager::builder(config)
        .resolver(SystemResolver::new())
        .fixed_peers(nodes.iter().copied())
        .build()?;
    let mut messages = crier.subscribe_bitcoin_messages();
    crier.start().await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let entry = |&address| TimedAddress {
        time: u32::try_from(now).unwrap_or(u32::MAX),
        address: NetworkAddress::new(Services::NETWORK, address),
    };
    let news = Message::Addr(Addr::new(known.iter().map(entry))?);
    let everybody_knows = async {
        // Whoever says something is told.
        let mut told = BTreeSet::new();
        while told.len() < nodes.len() {
            let peer_id = messages.recv().await?.peer_id;
            if told.insert(peer_id) {
                crier.send_message(peer_id, news.clone()).await?;
            }
        }
        for events in events {
            while !matches!(events.recv().await?, ControlEvent::PeersDiscovered { .. }) {}
        }
        Result::Ok(())
    };
    timeout(PATIENCE, everybody_knows)
        .await
        .map_err(|_| "the nodes did not hear of each other in time")??;
    crier.shutdown().await;
    Ok(())
}
