//! From the start of a manager to its end.

use std::time::SystemTime;

use p2p_core::{Command, ManagerConfig, Peer};
use p2p_proto::Clock;
use p2p_store::ChangeStream;
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::actor::{Actor, REPORTS, Request};
use super::{Idle, Life, Manager, ManagerError, saver};
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
    /// [`ManagerError::AlreadyStarted`], also while another call waits for the store;
    /// [`ManagerError::AlreadyStopped`], also if the shutdown comes meanwhile;
    /// [`ManagerError::Store`] if the store cannot be read, [`ManagerError::Telemetry`] if metrics
    /// cannot be exported as configured, and `start` may be called again then.
    pub async fn start(&self) -> Result<(), ManagerError> {
        // What goes on from here must not be cut in two by a caller who drops this future.
        let start = Start {
            idle: Some(self.take_idle()?),
            of: self,
        };
        let store = &self.shared.store;
        // What changes while it is read is not missed.
        let changes = store.changes();
        let known = self.shared.stop.run_until_cancelled(store.list_all()).await;
        start.into_running(known.ok_or(ManagerError::AlreadyStopped)??, changes)
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
        if self.ends_before_it_runs() {
            self.shared.registry.end();
        } else {
            // Where nobody takes it, it has ended already.
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
    /// change; [`ManagerError::Resolver`], [`ManagerError::Telemetry`]; nothing has changed then.
    /// [`ManagerError::NotStarted`], [`ManagerError::AlreadyStopped`].
    pub async fn update_config(&self, config: ManagerConfig) -> Result<(), ManagerError> {
        let update = |answer| Request::UpdateConfig(Box::new(config), answer);
        self.ask(update).await?
    }

    // private

    fn take_idle(&self) -> Result<Box<Idle>, ManagerError> {
        let mut life = self.life();
        if self.shared.stop.is_cancelled() {
            return Err(ManagerError::AlreadyStopped);
        }
        match std::mem::replace(&mut *life, Life::Starting) {
            Life::Idle(idle) => Ok(idle),
            as_it_was => {
                *life = as_it_was;
                Err(ManagerError::AlreadyStarted)
            }
        }
    }

    fn put_back(&self, idle: Box<Idle>) {
        let mut life = self.life();
        if !self.shared.stop.is_cancelled() {
            *life = Life::Idle(idle);
        }
    }

    /// Requests are taken from now on. A shutdown waits for the token, and so for whoever takes
    /// them.
    fn begin(&self) -> Result<TaskTrackerToken, ManagerError> {
        let mut life = self.life();
        if self.shared.stop.is_cancelled() {
            return Err(ManagerError::AlreadyStopped);
        }
        *life = Life::Running;
        Ok(self.shared.tasks.token())
    }

    /// Ends what does not run yet: a start that is under way finds that it must not go on.
    fn ends_before_it_runs(&self) -> bool {
        let mut life = self.life();
        if matches!(*life, Life::Running) {
            return false;
        }
        self.shared.stop.cancel();
        let before = std::mem::replace(&mut *life, Life::Starting);
        drop(life);
        // What belongs to the application is dropped without the lock.
        drop(before);
        true
    }
}

/// A start under way: what is not started is as it was, unless everything has ended.
struct Start<'a> {
    idle: Option<Box<Idle>>,
    of: &'a Manager,
}

impl Start<'_> {
    fn into_running(
        mut self,
        known: Vec<Peer>,
        changes: Option<ChangeStream>,
    ) -> Result<(), ManagerError> {
        let shared = &self.of.shared;
        let idle = self.idle.as_ref().ok_or(ManagerError::AlreadyStarted)?;
        let prepared = idle.witness.prepare(&idle.config)?;
        // From here on nothing goes wrong: the configuration was checked when it was given.
        let idle = self.idle.take().ok_or(ManagerError::AlreadyStarted)?;
        let Idle {
            config,
            mut witness,
            resolver,
            mode,
            policy,
            requests,
        } = *idle;
        let now = now();
        let clock = Clock::new(now, SystemTime::now());
        let mut manager = p2p_core::Manager::new(config, mode, known, rand::random(), clock, now)?;
        if let Some(policy) = policy {
            manager = manager.with_policy(policy);
        }
        let _begun = self.of.begin()?;
        witness.configured(manager.config(), prepared);
        let (reporter, reports) = mpsc::channel(REPORTS);
        let (jobs, waiting) = mpsc::channel(saver::JOBS);
        let actor = Actor::new(
            manager,
            shared.clone(),
            reporter.clone(),
            reports,
            jobs,
            witness,
            resolver,
        );
        let store = shared.store.clone();
        shared.spawn(saver::work(store.clone(), waiting, reporter.clone()));
        if let Some(changes) = changes {
            shared.spawn(saver::watch(shared.network, store, changes, reporter));
        }
        shared.spawn(shared.log.clone().tell_regularly());
        shared.tasks.spawn(actor.run(requests));
        Ok(())
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.take() {
            self.of.put_back(idle);
        }
    }
}
