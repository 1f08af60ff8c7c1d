//! A peer to talk to when there is no other: a regtest node on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_proto::{Inventory, InventoryItem, InventoryKind, Message, Network, Services};
use p2p_sim::chain::Chain;
use p2p_tokio::{
    BitcoinMessageEvent, BitcoinMessages, ControlEvent, ControlEvents, InMemoryPeerStore, Manager,
    ManagerConfig, Peer, PeerSource, PeerStore, RecvError, SystemResolver, Timestamp,
};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::Result;

/// Blocks of the chain at the start.
const BLOCKS: usize = 110;
/// Addresses that it knows. It tells of some when asked, as nodes do: 23 %, so of ten.
const ADDRESSES: u8 = 40;
/// Time between new blocks: some come by in ten seconds.
const BLOCK_INTERVAL: Duration = Duration::from_secs(3);

/// A running peer; dropping it stops it.
///
/// A manager that listens and dials nobody: it shakes hands, answers pings and `getaddr` by
/// itself. What a node knows of the chain is the application's, here a [`Chain`].
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
    manager: Manager,
    _server: AbortOnDropHandle<()>,
}

impl Embedded {
    /// Starts a peer on a port of loopback that the system chooses.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts a peer there.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start_at(address: SocketAddr) -> Result<Self> {
        let config = ManagerConfig {
            user_agent: "/bsv-p2p-embedded:0.1.0/".into(),
            services: Services::NETWORK,
            start_height: BLOCKS as i32,
            ..quiet_listener(address)
        };
        let store = InMemoryPeerStore::new();
        store.apply(&known_peers()).await?;
        let manager = Manager::builder(config)
            .store(Arc::new(store))
            .resolver(SystemResolver::new())
            .build()?;
        let mut events = manager.subscribe_control_events();
        let server = Server {
            messages: manager.subscribe_bitcoin_messages(),
            manager: manager.clone(),
            chain: Chain::new(BLOCKS),
        };
        manager.start().await?;
        Ok(Self {
            address: listening(&mut events).await?,
            manager,
            _server: AbortOnDropHandle::new(tokio::spawn(server.run())),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hangs up on everybody, and ends.
    pub async fn stop(self) {
        self.manager.shutdown().await;
    }
}

/// An [`Embedded`] peer on a thread of its own, for programs without a runtime; dropping it stops
/// it.
#[derive(Debug)]
pub struct BackgroundPeer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BackgroundPeer {
    /// Starts a peer on a port of loopback that the system chooses.
    ///
    /// # Errors
    /// When there can be no thread, or it cannot listen.
    pub fn start() -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (started, start) = mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let run = async move {
            match Embedded::start().await {
                Ok(embedded) => {
                    // Whoever started it has gone, or is going to.
                    let _ = started.send(Ok(embedded.address()));
                    let _ = stopped.await;
                    embedded.stop().await;
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        };
        let thread = thread::Builder::new()
            .name("embedded-peer".into())
            .spawn(move || runtime.block_on(run))?;
        Ok(Self {
            address: start.recv()??,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for BackgroundPeer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of its own was printed.
            let _ = thread.join();
        }
    }
}

/// A node of regtest that listens there and dials nobody.
pub(crate) fn quiet_listener(address: SocketAddr) -> ManagerConfig {
    ManagerConfig {
        enable_listener: true,
        listener_address: address.ip(),
        listener_port: Some(address.port()),
        target_connections: 0,
        ..ManagerConfig::new(Network::Regtest)
    }
}

/// Waits until a manager listens, and tells where.
pub(crate) async fn listening(events: &mut ControlEvents) -> Result<SocketAddr> {
    loop {
        match events.recv().await? {
            ControlEvent::ListenerStarted { address } => return Ok(address),
            ControlEvent::ListenerBindFailed { address, error } => {
                return Err(format!("cannot listen on {address}: {error}").into());
            }
            _ => {}
        }
    }
}

/// Addresses of loopback: whoever dials what it learns here stays on this machine.
fn known_peers() -> Vec<Peer> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Timestamp::from_unix(now.unwrap_or_default());
    let peer = |last| {
        let network = Network::Regtest;
        let address = ([127, 0, 1, last], network.default_port()).into();
        Peer::new(network, address, PeerSource::Gossip, now)
    };
    (1..=ADDRESSES).map(peer).collect()
}

struct Server {
    manager: Manager,
    messages: BitcoinMessages,
    chain: Chain,
}

impl Server {
    async fn run(mut self) {
        let mut blocks = tokio::time::interval(BLOCK_INTERVAL);
        blocks.tick().await;
        loop {
            tokio::select! {
                event = self.messages.recv() => match event {
                    Ok(event) => self.answer(event).await,
                    Err(RecvError::Closed) => return,
                    // A question that was missed is not answered.
                    Err(_) => {}
                },
                _ = blocks.tick() => self.announce(),
            }
        }
    }

    fn announce(&mut self) {
        let hash = self.chain.mine().hash();
        let kind = InventoryKind::Block;
        let inv = Inventory::new([InventoryItem { kind, hash }]);
        self.manager.broadcast(&Message::Inv(inv));
    }

    async fn answer(&self, event: BitcoinMessageEvent) {
        // The manager's to answer.
        if event.message == Message::GetAddr {
            return;
        }
        for answer in self.chain.answers(&event.message, &[]) {
            if let Err(error) = self.manager.send_message(event.peer_id, answer).await {
                tracing::debug!(peer = %event.address, %error, "embedded peer cannot answer");
            }
        }
    }
}
