//! A store that does as a test says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

use p2p_tokio::{
    ChangeStream, InMemoryPeerStore, Peer, PeerStatus, PeerStore, StoreChange, StoreError,
};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::PATIENCE;

/// What the store is asked for, as far as a test can say what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Read,
    ListAll,
    FindByStatus,
    Apply,
    Flush,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    Works,
    /// Goes on when the test says something else.
    Waits,
    Fails,
    Panics,
}

/// Keeps records in memory, but where a test says otherwise.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) records: InMemoryPeerStore,
    script: watch::Sender<BTreeMap<Call, Does>>,
    calls: watch::Sender<BTreeMap<Call, usize>>,
    news: Mutex<Option<mpsc::Receiver<StoreChange>>>,
}

impl Scripted {
    /// A store that works, and has no news.
    pub(crate) fn new() -> Self {
        Self {
            records: InMemoryPeerStore::new(),
            script: watch::Sender::default(),
            calls: watch::Sender::default(),
            news: Mutex::new(None),
        }
    }

    /// A store that works, and whose news are those of the test.
    pub(crate) fn with_news() -> (Self, mpsc::Sender<StoreChange>) {
        let (tell, news) = mpsc::channel(1);
        let store = Self {
            news: Mutex::new(Some(news)),
            ..Self::new()
        };
        (store, tell)
    }

    /// From now on a call does this; one that waits goes on.
    pub(crate) fn set(&self, call: Call, does: Does) {
        self.script.send_modify(|script| {
            script.insert(call, does);
        });
    }

    /// Waits until a call was made for so many times.
    pub(crate) async fn called(&self, call: Call, times: usize) {
        let mut calls = self.calls.subscribe();
        let enough = calls.wait_for(|calls| calls.get(&call).is_some_and(|&n| n >= times));
        let enough = timeout(PATIENCE, enough).await;
        enough.expect("the call is made").unwrap();
    }

    async fn does(&self, call: Call) -> Result<(), StoreError> {
        self.calls
            .send_modify(|calls| *calls.entry(call).or_default() += 1);
        let mut script = self.script.subscribe();
        let does = |script: &BTreeMap<Call, Does>| *script.get(&call).unwrap_or(&Does::Works);
        let goes_on = script.wait_for(|script| does(script) != Does::Waits).await;
        let does = does(&goes_on.unwrap());
        assert_ne!(does, Does::Panics, "the store has a bug");
        match does {
            Does::Fails => Err(StoreError::Backend {
                backend: "scripted",
                message: "out of order".into(),
                retryable: true,
            }),
            _ => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl PeerStore for Scripted {
    async fn create(&self, peer: &Peer) -> Result<(), StoreError> {
        self.records.create(peer).await
    }

    async fn read(&self, id: Uuid) -> Result<Peer, StoreError> {
        self.does(Call::Read).await?;
        self.records.read(id).await
    }

    async fn update(&self, peer: &Peer) -> Result<(), StoreError> {
        self.records.update(peer).await
    }

    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        self.records.delete(id).await
    }

    async fn list_all(&self) -> Result<Vec<Peer>, StoreError> {
        self.does(Call::ListAll).await?;
        self.records.list_all().await
    }

    async fn find_by_status(&self, status: PeerStatus) -> Result<Vec<Peer>, StoreError> {
        self.does(Call::FindByStatus).await?;
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
        self.does(Call::Apply).await?;
        self.records.apply(peers).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.does(Call::Flush).await?;
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
