//! A manager of other parts than the usual ones.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p_core::{ManagerConfig, OperatingMode};
use p2p_proto::PeerPolicy;
use p2p_store::PeerStore;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::{LinksByPeer, REQUESTS};
use super::{Idle, Life, Manager, ManagerError, Shared};
use crate::events::{QueueLimits, Registry};
use crate::observe::{Counters, Log, LogHandle, Witness};
use crate::resolver::{self, InForce, Resolver};

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
    pub(super) fn new(config: ManagerConfig) -> Self {
        Self {
            config,
            mode: OperatingMode::Normal,
            store: None,
            resolver: None,
            policy: None,
            log_handle: None,
            telemetry_interval: None,
        }
    }

    /// Where peers are kept. Default an [`InMemoryPeerStore`](p2p_store::InMemoryPeerStore), in
    /// the file `peer_store_file_path` if that is set.
    pub fn store(self, store: Arc<dyn PeerStore>) -> Self {
        Self {
            store: Some(store),
            ..self
        }
    }

    /// Who is asked for the addresses of seeds, whatever `dns_servers` says. Default a [`HickoryResolver`](crate::HickoryResolver)
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
    /// use p2p_tokio::{Manager, ManagerConfig, ManagerError, Network};
    /// use p2p_tokio::{PeerPolicy, Refusal, Services, Version};
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
            Some(resolver) => InForce::OfApplication(resolver),
            None => InForce::OfConfig(resolver::of_config(&config)?),
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
            store,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let idle = Idle {
            config,
            witness,
            resolver,
            mode,
            policy,
            requests: waiting,
        };
        Ok(Manager {
            requests,
            life: Arc::new(Mutex::new(Life::Idle(Box::new(idle)))),
            shared: Arc::new(shared),
        })
    }
}
