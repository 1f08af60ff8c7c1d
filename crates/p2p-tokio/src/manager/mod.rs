//! The manager, as applications hold it.

mod actor;
mod builder;
mod error;
mod insight;
mod messages;
mod peers;
mod running;
mod saver;
mod view;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_core::{Command, ManagerConfig, OperatingMode};
use p2p_proto::{Network, PeerPolicy};
use p2p_store::PeerStore;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use actor::Report;
pub use builder::ManagerBuilder;
pub use error::{ManagerError, SendMessageError};
pub use view::{ConnectionInfo, PeerInfo};

use crate::events::Registry;
use crate::observe::{Counters, Log, Witness};
use crate::resolver::InForce;
use actor::{LinksByPeer, Request};

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
    life: Arc<Mutex<Life>>,
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
    store: Arc<dyn PeerStore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// How far a manager has come. The end is told by [`Shared::stop`] alone.
enum Life {
    Idle(Box<Idle>),
    /// The store is read.
    Starting,
    /// There is somebody to answer requests, or there was.
    Running,
}

/// A manager that is not started.
struct Idle {
    config: ManagerConfig,
    witness: Witness,
    resolver: InForce,
    mode: OperatingMode,
    policy: Option<Arc<dyn PeerPolicy>>,
    requests: mpsc::Receiver<Request>,
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
        ManagerBuilder::new(config)
    }

    // private

    fn life(&self) -> MutexGuard<'_, Life> {
        // No code that can panic runs under this lock.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
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
        if !matches!(*self.life(), Life::Running) {
            return Err(ManagerError::NotStarted);
        }
        let sent = self.requests.send(request).await;
        sent.map_err(|_| ManagerError::AlreadyStopped)
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
