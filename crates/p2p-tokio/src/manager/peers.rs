//! Whom a manager knows, and whom it keeps out.

use std::net::{IpAddr, SocketAddr};

use p2p_core::{Command, Peer};
use p2p_store::StoreError;
use uuid::Uuid;

use super::actor::{Request, Sought};
use super::{Manager, ManagerError};

impl Manager {
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
    /// may not be safe; [`ManagerError::Store`] if the store cannot say who the peer is;
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
    /// [`ManagerError::BanNotStored`] if the ban is in force, but may not be safe;
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

    // private

    async fn ip_of(&self, peer_id: Uuid) -> Result<IpAddr, ManagerError> {
        if let Some(link) = self.shared.links.pin().get(&peer_id) {
            return Ok(link.ip);
        }
        // The book first: it has who was just added, and needs no store that works.
        if let Some(ip) = self.ip_in_book(peer_id).await? {
            return Ok(ip);
        }
        match self.shared.store.read(peer_id).await {
            Ok(peer) => Ok(peer.ip_address),
            Err(StoreError::PeerNotFound { .. }) => Err(ManagerError::PeerNotFound(peer_id)),
            Err(error) => Err(error.into()),
        }
    }

    /// Piece by piece, so that nothing else waits.
    async fn ip_in_book(&self, peer_id: Uuid) -> Result<Option<IpAddr>, ManagerError> {
        let mut after = None;
        loop {
            let sought = self.ask(|answer| Request::Seek(peer_id, after, answer));
            match sought.await? {
                Sought::At(address) => return Ok(Some(address.ip())),
                Sought::NotUpTo(address) => after = Some(address),
                Sought::Nowhere => return Ok(None),
            }
        }
    }
}
