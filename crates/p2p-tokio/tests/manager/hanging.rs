//! A store that hangs.

use std::net::IpAddr;

use p2p_tokio::{InMemoryPeerStore, Peer, PeerStatus, PeerStore, StoreError};
use uuid::Uuid;

/// Works in memory, but takes no batch: whoever waits for one waits for ever.
#[derive(Default)]
pub(crate) struct Hanging {
    store: InMemoryPeerStore,
}

#[async_trait::async_trait]
impl PeerStore for Hanging {
    async fn create(&self, peer: &Peer) -> Result<(), StoreError> {
        self.store.create(peer).await
    }

    async fn read(&self, id: Uuid) -> Result<Peer, StoreError> {
        self.store.read(id).await
    }

    async fn update(&self, peer: &Peer) -> Result<(), StoreError> {
        self.store.update(peer).await
    }

    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        self.store.delete(id).await
    }

    async fn list_all(&self) -> Result<Vec<Peer>, StoreError> {
        self.store.list_all().await
    }

    async fn find_by_status(&self, status: PeerStatus) -> Result<Vec<Peer>, StoreError> {
        self.store.find_by_status(status).await
    }

    async fn find_by_ip_port(&self, ip: IpAddr, port: u16) -> Result<Option<Peer>, StoreError> {
        self.store.find_by_ip_port(ip, port).await
    }

    async fn find_by_ip(&self, ip: IpAddr) -> Result<Vec<Peer>, StoreError> {
        self.store.find_by_ip(ip).await
    }

    async fn count_by_status(&self, status: PeerStatus) -> Result<usize, StoreError> {
        self.store.count_by_status(status).await
    }

    async fn apply(&self, _: &[Peer]) -> Result<(), StoreError> {
        std::future::pending().await
    }
}
