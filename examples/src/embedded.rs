//! A peer to talk to when there is no other: a regtest node on loopback.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use p2p_proto::{Inventory, InventoryItem, InventoryKind, Message, Network, Services, UserAgent};
use p2p_sim::chain::{Chain, loopback_addresses};
use p2p_tokio::{BitcoinMessageEvent, Config, ControlEvent, Node, NodeEvent};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// Blocks of the chain at the start.
const BLOCKS: usize = 110;
/// Addresses that it tells of.
const ADDRESSES: u8 = 10;
/// Time between new blocks: some come by in ten seconds.
const BLOCK_INTERVAL: Duration = Duration::from_secs(3);

/// A running peer; dropping it stops it.
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Embedded {
    /// Starts a peer on a port of loopback that the system chooses.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> io::Result<Self> {
        let chain = Chain::new(BLOCKS);
        let mut config = Config::new(Network::Regtest);
        config.user_agent = UserAgent::from_static("/bsv-p2p-embedded:0.1.0/");
        config.services = Services::NETWORK;
        config.start_height = BLOCKS as i32;
        let node = Node::new(config);
        let server = Server {
            events: node.subscribe(),
            node: node.clone(),
            chain,
            peers: Vec::new(),
        };
        let address = node.listen(([127, 0, 0, 1], 0).into()).await?;
        Ok(Self {
            address,
            _server: AbortOnDropHandle::new(tokio::spawn(server.run())),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

struct Server {
    node: Node,
    events: tokio::sync::broadcast::Receiver<NodeEvent>,
    chain: Chain,
    peers: Vec<Uuid>,
}

impl Server {
    async fn run(mut self) {
        let mut blocks = tokio::time::interval(BLOCK_INTERVAL);
        blocks.tick().await;
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(NodeEvent::Control(event)) => self.control(&event),
                    Ok(NodeEvent::Message(event)) => self.answer(event).await,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                _ = blocks.tick() => self.announce().await,
            }
        }
    }

    fn control(&mut self, event: &ControlEvent) {
        if let ControlEvent::ConnectionEstablished { peer_id, .. } = event {
            self.peers.push(*peer_id);
        }
        if let ControlEvent::ConnectionLost { peer_id, .. } = event {
            self.peers.retain(|peer| peer != peer_id);
        }
    }

    async fn announce(&mut self) {
        let hash = self.chain.mine().hash();
        let kind = InventoryKind::Block;
        let inv = Message::Inv(Inventory::new([InventoryItem { kind, hash }]));
        for peer in self.peers.clone() {
            self.send(peer, inv.clone()).await;
        }
    }

    async fn answer(&self, event: BitcoinMessageEvent) {
        let now = u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or(u32::MAX);
        let addresses = loopback_addresses(ADDRESSES, Network::Regtest.default_port(), now);
        for answer in self.chain.answers(&event.message, &addresses) {
            self.send(event.peer_id, answer).await;
        }
    }

    async fn send(&self, peer: Uuid, message: Message) {
        if let Err(error) = self.node.send(peer, message).await {
            tracing::debug!(%peer, %error, "embedded peer cannot answer");
        }
    }
}
