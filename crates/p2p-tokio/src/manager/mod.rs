//! The manager, as applications hold it.

mod actor;
mod error;
mod saver;
mod view;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use p2p_core::{Command, Explanation, ManagerConfig, OperatingMode, Peer, PeerExplanation};
use p2p_proto::{Clock, EncodedMessage, Message, Network, PeerPolicy};
use p2p_store::{ChangeStream, PeerStore, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub(crate) use actor::Report;
pub use error::{ManagerError, SendMessageError};
pub use view::{ConnectionInfo, PeerInfo};

use crate::events::{
    BitcoinMessages, ControlEvents, Events, Filter, LosslessEvents, QueueLimits, Registry,
};
use crate::net::connection::now;
use crate::observe::{Counters, Log, LogHandle, Stats, Witness};
use crate::resolver::{self, Resolver};
use actor::{Actor, LinksByPeer, REPORTS, REQUESTS, Request};

/// Finds peers, shakes hands, stays connected, bans the wrong ones, and hands every message over.
///
/// Cheap to clone: every clone is a handle of the same manager. When the last one is dropped the
/// manager shuts down by itself, as [`shutdown`](Self::shutdown) does.
///
/// ```no_run
/// use std::sync::Arc;
/// use p2p_tokio::{InMemoryPeerStore, Manager, ManagerConfig, Network};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ManagerConfig::new(Network::Mainnet);
/// let manager = Manager::new(config, Arc::new(InMemoryPeerStore::new()))?;
/// let mut events = manager.subscribe_control_events();
/// manager.start().await?;
/// println!("{:?}", events.recv().await?);
/// manager.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Manager {
    requests: mpsc::Sender<Request>,
    idle: Arc<Mutex<Option<Idle>>>,
    shared: Arc<Shared>,
}

/// What every task of a manager may use. It holds no handle, or the manager would keep itself.
pub(crate) struct Shared {
    network: Network,
    registry: Arc<Registry>,
    counters: Arc<Counters>,
    log: Arc<Log>,
    count: watch::Sender<usize>,
    /// Connections by peer. Read without a lock, on the way of every message out.
    links: LinksByPeer,
    resolver: Arc<dyn Resolver>,
    store: Arc<dyn PeerStore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A manager that is not started.
struct Idle {
    config: ManagerConfig,
    witness: Witness,
    mode: OperatingMode,
    policy: Option<Arc<dyn PeerPolicy>>,
    requests: mpsc::Receiver<Request>,
}

/// Makes a [`Manager`] of other parts than the usual ones.
///
/// ```
/// use p2p_tokio::{Manager, ManagerConfig, Network, SystemResolver};
///
/// # fn example() -> Result<(), p2p_tokio::ManagerError> {
/// let manager = Manager::builder(ManagerConfig::new(Network::Regtest))
///     .resolver(SystemResolver::new())
///     .fixed_peers(["127.0.0.1:18444".parse().unwrap()])
///     .build()?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[must_use]
pub struct ManagerBuilder {
    config: ManagerConfig,
    mode: OperatingMode,
    store: Option<Arc<dyn PeerStore>>,
    resolver: Option<Arc<dyn Resolver>>,
    policy: Option<Arc<dyn PeerPolicy>>,
    log_handle: Option<LogHandle>,
    telemetry_interval: Option<Duration>,
}

impl fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerBuilder")
            .field("config", &self.config)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl ManagerBuilder {
    /// Where peers are kept. Default an [`InMemoryPeerStore`](p2p_store::InMemoryPeerStore), in
    /// the file `peer_store_file_path` if that is set.
    pub fn store(self, store: Arc<dyn PeerStore>) -> Self {
        Self {
            store: Some(store),
            ..self
        }
    }

    /// Who is asked for the addresses of seeds. Default a [`HickoryResolver`](crate::HickoryResolver)
    /// of the configuration with the feature `hickory`, else a
    /// [`SystemResolver`](crate::SystemResolver).
    pub fn resolver(self, resolver: impl Resolver + 'static) -> Self {
        Self {
            resolver: Some(Arc::new(resolver)),
            ..self
        }
    }

    /// Who is told of the configuration's `log_level`: at the start, and when it changes. Without
    /// it the level is the program's own to set.
    pub fn log_handle(self, log: LogHandle) -> Self {
        Self {
            log_handle: Some(log),
            ..self
        }
    }

    /// How often metrics are exported while `enable_telemetry` is set. Default once a minute, or
    /// `OTEL_METRIC_EXPORT_INTERVAL`.
    #[cfg(feature = "telemetry")]
    pub fn telemetry_interval(self, interval: Duration) -> Self {
        Self {
            telemetry_interval: Some(interval),
            ..self
        }
    }

    /// These peers are dialled and no others: no DNS, no gossip, no target.
    pub fn fixed_peers(self, peers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            mode: OperatingMode::FixedPeerList(peers.into_iter().collect()),
            ..self
        }
    }

    /// Asks this policy too, of every peer that the configuration's own rules let through: see
    /// [`p2p_core::Manager::with_policy`].
    ///
    /// ```
    /// use p2p_tokio::p2p_proto::{Refusal, Version};
    /// use p2p_tokio::{Manager, ManagerConfig, ManagerError, Network, PeerPolicy, Services};
    ///
    /// #[derive(Debug)]
    /// struct FullNodesOnly;
    ///
    /// impl PeerPolicy for FullNodesOnly {
    ///     fn check(&self, version: &Version) -> Result<(), Refusal> {
    ///         match version.services.contains(Services::NETWORK) {
    ///             true => Ok(()),
    ///             false => Err(Refusal::Unwanted { why: "serves no blocks" }),
    ///         }
    ///     }
    /// }
    ///
    /// let manager = Manager::builder(ManagerConfig::new(Network::Mainnet))
    ///     .peer_policy(FullNodesOnly)
    ///     .build()?;
    /// # Ok::<(), ManagerError>(())
    /// ```
    pub fn peer_policy(self, policy: impl PeerPolicy + 'static) -> Self {
        Self {
            policy: Some(Arc::new(policy)),
            ..self
        }
    }

    /// The manager, which does nothing before [`Manager::start`].
    ///
    /// # Errors
    /// [`ManagerError::Config`], [`ManagerError::Store`], [`ManagerError::Resolver`].
    pub fn build(self) -> Result<Manager, ManagerError> {
        let Self {
            config,
            mode,
            store,
            resolver,
            policy,
            log_handle,
            telemetry_interval,
        } = self;
        config.validate()?;
        let store = match store {
            Some(store) => store,
            None => Arc::new(p2p_store::InMemoryPeerStore::from_config(&config)?),
        };
        let resolver = match resolver {
            Some(resolver) => resolver,
            None => resolver::of_config(&config)?,
        };
        let (requests, waiting) = mpsc::channel(REQUESTS);
        let counters = Arc::new(Counters::default());
        let limits = QueueLimits {
            events: config.event_channel_capacity,
            bytes: config.event_channel_bytes,
        };
        let log = Arc::new(Log::new(config.network, counters.clone()));
        let witness = Witness::new(
            log.clone(),
            counters.clone(),
            log_handle,
            telemetry_interval,
        );
        let shared = Shared {
            network: config.network,
            registry: Registry::new(limits, counters.clone()),
            log,
            counters,
            count: watch::Sender::new(0),
            links: LinksByPeer::new(),
            resolver,
            store,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let idle = Idle {
            config,
            witness,
            mode,
            policy,
            requests: waiting,
        };
        Ok(Manager {
            requests,
            idle: Arc::new(Mutex::new(Some(idle))),
            shared: Arc::new(shared),
        })
    }
}

impl Manager {
    /// A manager in normal mode: it finds its peers by DNS, by gossip, and in the store.
    ///
    /// # Errors
    /// [`ManagerError::Config`], naming the field and the rule; [`ManagerError::Resolver`].
    pub fn new(config: ManagerConfig, store: Arc<dyn PeerStore>) -> Result<Self, ManagerError> {
        Self::builder(config).store(store).build()
    }

    /// A manager that dials these peers only, and never gives them up.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_fixed_peers(
        config: ManagerConfig,
        store: Arc<dyn PeerStore>,
        peers: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Self, ManagerError> {
        Self::builder(config)
            .store(store)
            .fixed_peers(peers)
            .build()
    }

    /// A manager of parts of your choice.
    pub fn builder(config: ManagerConfig) -> ManagerBuilder {
        ManagerBuilder {
            config,
            mode: OperatingMode::Normal,
            store: None,
            resolver: None,
            policy: None,
            log_handle: None,
            telemetry_interval: None,
        }
    }

    /// Reads the store and begins. Needs a tokio runtime with IO and time enabled.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// assert_eq!(manager.start().await.unwrap_err().to_string(), "the manager is started already");
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::AlreadyStarted`], [`ManagerError::AlreadyStopped`];
    /// [`ManagerError::Store`] if the store cannot be read, [`ManagerError::Telemetry`] if metrics
    /// cannot be exported as configured, and `start` may be called again then.
    pub async fn start(&self) -> Result<(), ManagerError> {
        if self.shared.stop.is_cancelled() {
            return Err(ManagerError::AlreadyStopped);
        }
        let idle = self.idle().take();
        let Some(idle) = idle else {
            return Err(ManagerError::AlreadyStarted);
        };
        // What goes on from here must not be cut in two by a caller who drops this future.
        let waiting = PutBack {
            idle: Some(idle),
            to: self,
        };
        // What changes while it is read is not missed.
        let changes = self.shared.store.changes();
        let known = self.shared.store.list_all().await?;
        waiting.into_running(known, changes)
    }

    /// Closes every connection, saves the store, and waits until all tasks have ended: ten seconds
    /// at most, however many peers hang and whatever the store does. A second call waits for the
    /// same end.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// manager.shutdown().await;
    /// assert!(manager.add_peer("127.0.0.1:18444".parse().unwrap()).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self) {
        let idle = self.idle().take();
        if idle.is_some() {
            self.shared.stop.cancel();
            self.shared.registry.end();
        } else {
            // It has ended already.
            let _ = self
                .requests
                .send(Request::Command(Command::Shutdown))
                .await;
        }
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Puts another configuration into force while connections go on, as a whole or not at all.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// let config = ManagerConfig { target_connections: 3, ..ManagerConfig::new(Network::Regtest) };
    /// manager.update_config(config).await?;
    /// assert_eq!(manager.explain().await?.target, 3);
    /// let other = ManagerConfig::new(Network::Testnet);
    /// let error = manager.update_config(other).await.unwrap_err();
    /// assert_eq!(error.to_string(), "network cannot be changed while the manager runs");
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::Config`], naming the field and the rule, and
    /// [`ConfigError::ImmutableField`](p2p_core::ConfigError::ImmutableField) for what cannot
    /// change; [`ManagerError::Telemetry`]; nothing has changed then. [`ManagerError::NotStarted`],
    /// [`ManagerError::AlreadyStopped`].
    pub async fn update_config(&self, config: ManagerConfig) -> Result<(), ManagerError> {
        let update = |answer| Request::UpdateConfig(Box::new(config), answer);
        self.ask(update).await?
    }

    // what happens

    /// A view of what happens to connections, peers, the listener and the node, from now on.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// let mut events = manager.subscribe_control_events();
    /// manager.shutdown().await;
    /// assert_eq!(events.recv().await, Ok(p2p_tokio::ControlEvent::ShuttingDown));
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe_control_events(&self) -> ControlEvents {
        self.shared.registry.control_events()
    }

    /// A view of the messages of all peers, from now on.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut messages = manager.subscribe_bitcoin_messages();
    /// let event = messages.recv().await?;
    /// println!("{} sent {}", event.address, event.message.command());
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe_bitcoin_messages(&self) -> BitcoinMessages {
        self.shared.registry.bitcoin_messages()
    }

    /// A view of both, in the order in which they were published.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager) -> Result<(), Box<dyn std::error::Error>> {
    /// use p2p_tokio::{Event, RecvError};
    ///
    /// let mut events = manager.events();
    /// loop {
    ///     match events.recv().await {
    ///         Ok(Event::Control(event)) => println!("{event:?}"),
    ///         Ok(Event::Message(event)) => println!("{}", event.message.command()),
    ///         Ok(_) => {}
    ///         Err(RecvError::Closed) => break,
    ///         Err(gap) => println!("{gap}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        self.shared.registry.events()
    }

    /// Messages for those who must miss nothing: when `capacity` events wait, or the bytes of
    /// `event_channel_bytes`, the peer whose message is next is not read from until there is
    /// room. Its pings and its end go on; other peers are not held up until they have something
    /// for the same subscriber.
    ///
    /// Payloads above `stream_above`, as big blocks, come in pieces if the filter says so, and to
    /// no other kind of subscriber.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager) -> Result<(), Box<dyn std::error::Error>> {
    /// use p2p_tokio::{Command, Filter, PeerEvent};
    ///
    /// let mut blocks = manager.subscribe_lossless(Filter::commands([Command::BLOCK]).with_payloads(), 64);
    /// while let Some(event) = blocks.recv().await {
    ///     if let PeerEvent::Payload { address, event, .. } = event {
    ///         println!("{address}: {event:?}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe_lossless(&self, filter: Filter, capacity: usize) -> LosslessEvents {
        self.shared.registry.subscribe_lossless(filter, capacity)
    }

    // messages

    /// Queues a message for a peer, and waits for room in its queue. `Ok` means queued: the
    /// protocol has no receipt.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager) -> Result<(), Box<dyn std::error::Error>> {
    /// use p2p_tokio::Message;
    ///
    /// for connection in manager.connections().await? {
    ///     manager.send_message(connection.peer_id, Message::GetAddr).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SendMessageError`]: there is no such connection, or it does not take the message.
    pub async fn send_message(
        &self,
        peer_id: Uuid,
        message: Message,
    ) -> Result<(), SendMessageError> {
        let link = self.shared.links.pin().get(&peer_id).cloned();
        let link = link.ok_or(SendMessageError::UnknownPeer(peer_id))?;
        let message = Arc::new(EncodedMessage::new(self.shared.network, &message));
        Ok(link.send(message).await?)
    }

    /// Queues a message for a peer if there is room.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager, peer_id: uuid::Uuid) -> Result<(), Box<dyn std::error::Error>> {
    /// use p2p_tokio::{Message, SendError, SendMessageError};
    ///
    /// match manager.try_send_message(peer_id, &Message::GetAddr) {
    ///     Err(SendMessageError::Refused(SendError::Full)) => println!("later"),
    ///     done => done?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`send_message`](Self::send_message), and
    /// [`SendError::Full`](p2p_proto::SendError::Full).
    pub fn try_send_message(
        &self,
        peer_id: Uuid,
        message: &Message,
    ) -> Result<(), SendMessageError> {
        let link = self.shared.links.pin().get(&peer_id).cloned();
        let link = link.ok_or(SendMessageError::UnknownPeer(peer_id))?;
        Ok(link.try_send(Arc::new(EncodedMessage::new(self.shared.network, message)))?)
    }

    /// Queues a message for every peer that has room, encoded and hashed once. Returns for how
    /// many.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// // Nobody is connected.
    /// assert_eq!(manager.broadcast(&p2p_tokio::Message::GetAddr), 0);
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn broadcast(&self, message: &Message) -> usize {
        let message = Arc::new(EncodedMessage::new(self.shared.network, message));
        let links = self.shared.links.pin();
        let sent = links
            .values()
            .filter(|link| link.try_send(message.clone()).is_ok());
        sent.count()
    }

    // peers

    /// Makes a peer known, to be dialled like others.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// let address = "127.0.0.1:18444".parse().unwrap();
    /// manager.add_peer(address).await?;
    /// assert!(manager.explain_peer(address).await?.is_some());
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn add_peer(&self, address: SocketAddr) -> Result<(), ManagerError> {
        self.command(Command::AddPeer(address)).await
    }

    /// Hangs up on a peer; nothing if there is no connection to it. It may be dialled again
    /// later: a ban prevents that.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager) -> Result<(), Box<dyn std::error::Error>> {
    /// for connection in manager.connections().await? {
    ///     if connection.latency.is_some_and(|latency| latency.as_secs() > 2) {
    ///         manager.disconnect_peer(connection.peer_id).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn disconnect_peer(&self, peer_id: Uuid) -> Result<(), ManagerError> {
        self.command(Command::Disconnect(peer_id)).await
    }

    /// Bans the IP of a peer until the ban is lifted, and closes all its connections at once.
    /// Returns when the store has it: a crash does not lose it.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager, peer_id: uuid::Uuid) -> Result<(), Box<dyn std::error::Error>> {
    /// manager.ban_peer(peer_id).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::PeerNotFound`]; [`ManagerError::BanNotStored`] if the ban is in force, but
    /// not safe; [`ManagerError::Store`] if the store cannot say who the peer is;
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn ban_peer(&self, peer_id: Uuid) -> Result<(), ManagerError> {
        self.ban_ip(self.ip_of(peer_id).await?).await
    }

    /// As [`ban_peer`](Self::ban_peer), by IP.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// manager.ban_ip("203.0.113.7".parse().unwrap()).await?;
    /// assert_eq!(manager.explain().await?.banned, 1);
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::BanNotStored`] if the ban is in force, but not safe;
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn ban_ip(&self, ip: IpAddr) -> Result<(), ManagerError> {
        self.ask(|answer| Request::Ban(ip.to_canonical(), answer))
            .await?
    }

    /// Lifts the ban of a peer's IP: all peers of that IP may be dialled, and may dial, again. At
    /// once, and stored soon: a crash in between brings the ban back.
    ///
    /// # Errors
    /// [`ManagerError::PeerNotFound`]; [`ManagerError::Store`] if the store cannot say who the peer
    /// is; [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn unban_peer(&self, peer_id: Uuid) -> Result<(), ManagerError> {
        self.unban_ip(self.ip_of(peer_id).await?).await
    }

    /// As [`unban_peer`](Self::unban_peer), by IP.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// let ip = "203.0.113.7".parse().unwrap();
    /// manager.ban_ip(ip).await?;
    /// manager.unban_ip(ip).await?;
    /// assert_eq!(manager.explain().await?.banned, 0);
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn unban_ip(&self, ip: IpAddr) -> Result<(), ManagerError> {
        self.command(Command::Unban(ip)).await
    }

    /// Connections that are admitted, in both directions.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// assert_eq!(manager.get_connection_count(), 0);
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_connection_count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// Waits until this many connections are admitted.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// let too_few = manager.wait_for_peers(1, std::time::Duration::from_millis(1)).await.unwrap_err();
    /// assert_eq!(too_few.to_string(), "0 of 1 peers after 0.001 s");
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::TooFewPeers`] when the time is over, or the manager has ended.
    pub async fn wait_for_peers(
        &self,
        wanted: usize,
        timeout: Duration,
    ) -> Result<(), ManagerError> {
        let mut count = self.shared.count.subscribe();
        let enough = async { count.wait_for(|count| *count >= wanted).await.is_ok() };
        let in_time = tokio::select! {
            enough = tokio::time::timeout(timeout, enough) => enough.unwrap_or(false),
            () = self.shared.stop.cancelled() => false,
        };
        match in_time {
            true => Ok(()),
            false => Err(ManagerError::TooFewPeers {
                wanted,
                connected: self.get_connection_count(),
                waited: timeout,
            }),
        }
    }

    /// All connections: those admitted, and those being made or unmade.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// for connection in manager.connections().await? {
    ///     println!("{} {:?} for {:?}", connection.address, connection.state, connection.age);
    /// }
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn connections(&self) -> Result<Vec<ConnectionInfo>, ManagerError> {
        self.ask(Request::Connections).await
    }

    /// Every peer in the book, in order of address, and those that have dialled us. The book is
    /// read piece by piece, so that nothing else waits: what changes meanwhile may be there or
    /// not.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// manager.add_peer("127.0.0.1:18444".parse().unwrap()).await?;
    /// assert_eq!(manager.get_peers().await?.len(), 1);
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn get_peers(&self) -> Result<Vec<Peer>, ManagerError> {
        let mut peers: Vec<Peer> = Vec::new();
        loop {
            let after = peers.last().map(Peer::address);
            let page = self.ask(|answer| Request::Peers(after, answer)).await?;
            if page.is_empty() {
                break;
            }
            peers.extend(page);
        }
        peers.extend(self.ask(Request::InboundPeers).await?);
        Ok(peers)
    }

    /// Where peers can dial us; `None` while there is no listener, or it cannot be bound.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// assert_eq!(manager.listen_address().await?, None);
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn listen_address(&self) -> Result<Option<SocketAddr>, ManagerError> {
        Ok(self.explain().await?.listening)
    }

    /// Why there are as many connections as there are.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// let why = manager.explain().await?;
    /// println!("{} of {}; {} to be dialled, {} banned", why.connected, why.target, why.ready, why.banned);
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn explain(&self) -> Result<Explanation, ManagerError> {
        self.ask(Request::Explain).await
    }

    /// Everything that is counted: connections, peers, failures, handshakes, messages, and more.
    /// Costs a few thousand loads and no lock, and works before the start and after the end, too.
    pub fn stats(&self) -> Stats {
        self.shared.counters.stats()
    }

    /// What is known about one address.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// let address = "127.0.0.1:18444".parse().unwrap();
    /// assert_eq!(manager.explain_peer(address).await?, None);
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn explain_peer(
        &self,
        address: SocketAddr,
    ) -> Result<Option<PeerExplanation>, ManagerError> {
        self.ask(|answer| Request::ExplainPeer(address, answer))
            .await
    }

    // private

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Idle>> {
        // No code that can panic runs under this lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn command(&self, command: Command) -> Result<(), ManagerError> {
        self.request(Request::Command(command)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, ManagerError> {
        let (answer, answered) = oneshot::channel();
        self.request(request(answer)).await?;
        answered.await.map_err(|_| ManagerError::AlreadyStopped)
    }

    async fn request(&self, request: Request) -> Result<(), ManagerError> {
        if self.shared.stop.is_cancelled() {
            return Err(ManagerError::AlreadyStopped);
        }
        if self.idle().is_some() {
            return Err(ManagerError::NotStarted);
        }
        let sent = self.requests.send(request).await;
        sent.map_err(|_| ManagerError::AlreadyStopped)
    }

    async fn ip_of(&self, peer_id: Uuid) -> Result<IpAddr, ManagerError> {
        if let Some(link) = self.shared.links.pin().get(&peer_id) {
            return Ok(link.ip);
        }
        match self.shared.store.read(peer_id).await {
            Ok(peer) => Ok(peer.ip_address),
            Err(StoreError::PeerNotFound { .. }) => Err(ManagerError::PeerNotFound(peer_id)),
            Err(error) => Err(error.into()),
        }
    }
}

/// A start under way: what is not started is as it was.
struct PutBack<'a> {
    idle: Option<Idle>,
    to: &'a Manager,
}

impl PutBack<'_> {
    fn into_running(
        mut self,
        known: Vec<Peer>,
        changes: Option<ChangeStream>,
    ) -> Result<(), ManagerError> {
        let shared = &self.to.shared;
        let Some(idle) = &self.idle else {
            return Err(ManagerError::AlreadyStarted);
        };
        let prepared = idle.witness.prepare(&idle.config)?;
        // From here on nothing goes wrong: the configuration was checked when it was given.
        let Some(Idle {
            config,
            mut witness,
            mode,
            policy,
            requests,
        }) = self.idle.take()
        else {
            return Err(ManagerError::AlreadyStarted);
        };
        witness.configured(&config, prepared);
        let now = now();
        let clock = Clock::new(now, SystemTime::now());
        let mut manager = p2p_core::Manager::new(config, mode, known, rand::random(), clock, now)?;
        if let Some(policy) = policy {
            manager = manager.with_policy(policy);
        }
        let (reporter, reports) = mpsc::channel(REPORTS);
        let (jobs, waiting) = mpsc::channel(saver::JOBS);
        let actor = Actor::new(
            manager,
            shared.clone(),
            reporter.clone(),
            reports,
            jobs,
            witness,
        );
        let store = shared.store.clone();
        shared.spawn(saver::work(store.clone(), waiting, reporter.clone()));
        if let Some(changes) = changes {
            shared.spawn(saver::watch(store, changes, reporter));
        }
        shared.spawn(shared.log.clone().tell_regularly());
        shared.tasks.spawn(actor.run(requests));
        Ok(())
    }
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.take() {
            *self.to.idle() = Some(idle);
        }
    }
}

impl Shared {
    /// Runs a task until it ends, or everything does.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("network", &self.shared.network)
            .field("connections", &self.get_connection_count())
            .finish_non_exhaustive()
    }
}
