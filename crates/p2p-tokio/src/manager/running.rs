//! From the start of a manager to its end.

use std::time::SystemTime;

use p2p_core::{Command, ManagerConfig, Peer};
use p2p_proto::Clock;
use p2p_store::ChangeStream;
use tokio::sync::mpsc;

use super::actor::{Actor, REPORTS, Request};
use super::{Idle, Manager, ManagerError, saver};
use crate::net::connection::now;

impl Manager {
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
