//! What others change in a store that several share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use p2p_tokio::{
    ChangeStream, ControlEvent, InMemoryPeerStore, Manager, Peer, PeerStatus, PeerStore,
    StoreChange, StoreError, Uuid, async_trait,
};
use tokio::sync::mpsc;

use crate::support::*;

/// A store whose news are those of a test.
#[derive(Debug)]
struct Shared {
    records: InMemoryPeerStore,
    news: Mutex<Option<mpsc::Receiver<StoreChange>>>,
}

#[async_trait]
impl PeerStore for Shared {
    async fn create(&self, peer: &Peer) -> Result<(), StoreError> {
        self.records.create(peer).await
    }

    async fn read(&self, id: Uuid) -> Result<Peer, StoreError> {
        self.records.read(id).await
    }

    async fn update(&self, peer: &Peer) -> Result<(), StoreError> {
        self.records.update(peer).await
    }

    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        self.records.delete(id).await
    }

    async fn list_all(&self) -> Result<Vec<Peer>, StoreError> {
        self.records.list_all().await
    }

    async fn find_by_status(&self, status: PeerStatus) -> Result<Vec<Peer>, StoreError> {
        self.records.find_by_status(status).await
    }

    async fn find_by_ip_port(&self, ip: IpAddr, port: u16) -> Result<Option<Peer>, StoreError> {
        self.records.find_by_ip_port(ip, port).await
    }

    async fn find_by_ip(&self, ip: IpAddr) -> Result<Vec<Peer>, StoreError> {
        self.records.find_by_ip(ip).await
    }

    async fn count_by_status(&self, status: PeerStatus) -> Result<usize, StoreError> {
        self.records.count_by_status(status).await
    }

    async fn apply(&self, peers: &[Peer]) -> Result<(), StoreError> {
        self.records.apply(peers).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.records.flush().await
    }

    fn changes(&self) -> Option<ChangeStream> {
        let news = self.news.lock().unwrap().take()?;
        let next = |mut news: mpsc::Receiver<StoreChange>| async {
            news.recv().await.map(|change| (change, news))
        };
        Some(Box::pin(futures_util::stream::unfold(news, next)))
    }
}

#[tokio::test]
async fn a_ban_that_was_lifted_elsewhere_while_nobody_listened_is_lifted_here() {
    let (tell, news) = mpsc::channel(1);
    let store = Arc::new(Shared {
        records: InMemoryPeerStore::new(),
        news: Mutex::new(Some(news)),
    });
    let mut node = Node::of(Manager::new(config(), store.clone()).unwrap()).await;
    let (kept, lifted) = (loopback(8), loopback(9));
    node.manager.ban_ip(kept).await.unwrap();
    node.manager.ban_ip(lifted).await.unwrap();
    // Another manager lifts one, and the news of it are lost.
    let mut record = store.find_by_ip(lifted).await.unwrap().remove(0);
    (record.status, record.ban) = (PeerStatus::Unknown, None);
    store.apply(&[record]).await.unwrap();
    tell.send(StoreChange::Missed).await.unwrap();
    let unbanned = node
        .control(|event| match event {
            ControlEvent::PeerUnbanned { ip } => Some(*ip),
            _ => None,
        })
        .await;
    assert_eq!(unbanned, lifted);
    assert_eq!(node.manager.explain().await.unwrap().banned, 1);
}
