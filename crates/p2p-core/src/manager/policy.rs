//! Who may stay: what the configuration says, and what the application adds to it.

use std::sync::Arc;

use p2p_proto::{Config, PeerPolicy, Version};

use super::Manager;

impl Manager {
    /// Asks this policy too, of every peer that the configuration's own rules let through
    /// (`chain_policy`, `banned_user_agents`). With [`ChainPolicy::Any`](crate::ChainPolicy::Any)
    /// and no banned agents it decides alone.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::{Instant, SystemTime};
    ///
    /// use p2p_core::{Clock, Manager, ManagerConfig, Network, OperatingMode, Services};
    /// use p2p_proto::{PeerPolicy, Refusal, Version};
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
    /// let now = Instant::now();
    /// let clock = Clock::new(now, SystemTime::now());
    /// let config = ManagerConfig::new(Network::Mainnet);
    /// let manager = Manager::new(config, OperatingMode::Normal, vec![], [7; 32], clock, now)?
    ///     .with_policy(Arc::new(FullNodesOnly));
    /// # Ok::<(), p2p_core::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with_policy(mut self, policy: Arc<dyn PeerPolicy>) -> Self {
        self.policy = Some(policy);
        self.configure_connections(self.protocol.listen_port);
        self
    }

    /// What connections are made with from now on.
    pub(super) fn protocol_at(&self, listen_port: u16) -> Arc<Config> {
        let mut protocol = self.config.protocol(listen_port);
        if let Some(own) = &self.policy {
            protocol.policy = Arc::new(Both {
                configured: protocol.policy,
                own: own.clone(),
            });
        }
        Arc::new(protocol)
    }
}

#[derive(Debug)]
struct Both {
    configured: Arc<dyn PeerPolicy>,
    own: Arc<dyn PeerPolicy>,
}

impl PeerPolicy for Both {
    fn check(&self, version: &Version) -> Result<(), p2p_proto::Refusal> {
        self.configured.check(version)?;
        self.own.check(version)
    }
}
