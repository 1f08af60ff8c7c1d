//! What can be seen of a manager.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_core::{Explanation, PeerExplanation};

use super::actor::Request;
use super::{ConnectionInfo, Manager, ManagerError};
use crate::observe::Stats;

impl Manager {
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
}
