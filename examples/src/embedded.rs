//! A peer to talk to when there is no other: a regtest node on loopback.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use p2p_proto::{
    Addr, Inventory, InventoryItem, InventoryKind, Message, Network, NetworkAddress, Services,
    TimedAddress, UserAgent,
};
use p2p_tokio::{BitcoinMessageEvent, Config, ControlEvent, Node, NodeEvent};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::chain::Chain;

/// Blocks of the chain at the start.
const BLOCKS: usize = 110;
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
        let mut chain = Chain::regtest();
        for _ in 0..BLOCKS {
            chain.mine();
        }
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
        match event.message {
            Message::GetAddr => self.send(event.peer_id, addresses()).await,
            Message::GetHeaders(locator) => {
                let headers = self.chain.headers_after(&locator);
                self.send(event.peer_id, Message::Headers(headers)).await;
            }
            Message::GetData(wanted) => {
                let mut missing = Vec::new();
                for item in wanted.iter() {
                    match self.chain.block(item.hash) {
                        Some(block) if item.kind == InventoryKind::Block => {
                            let block = Message::Block(block.clone());
                            self.send(event.peer_id, block).await;
                        }
                        _ => missing.push(item),
                    }
                }
                if !missing.is_empty() {
                    let missing = Message::NotFound(Inventory::new(missing));
                    self.send(event.peer_id, missing).await;
                }
            }
            _ => {}
        }
    }

    async fn send(&self, peer: Uuid, message: Message) {
        if let Err(error) = self.node.send(peer, message).await {
            tracing::debug!(%peer, %error, "embedded peer cannot answer");
        }
    }
}

/// Loopback addresses: whoever dials what it learns here stays on this machine.
fn addresses() -> Message {
    let time = u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or(u32::MAX);
    let entries = (2..12).map(|last| TimedAddress {
        time,
        address: NetworkAddress::new(
            Services::NETWORK,
            ([127, 0, 0, last], Network::Regtest.default_port()).into(),
        ),
    });
    // Ten, where a thousand may be.
    Message::Addr(Addr::new(entries).unwrap_or_else(|_| unreachable!()))
}
