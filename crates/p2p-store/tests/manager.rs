//! A store as a manager uses it: records that changed gather, one batch is under way at a time, a
//! ban is reported when it is stored, and a store that fails or is slow stops nobody.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::{self, Either};
use p2p_core::{Peer, PeerStatus};
use p2p_store::{ChangeStream, InMemoryPeerStore, PeerStore, StoreChange, StoreError};
use support::server::Server;
use support::stores::{connect, options, places};
use support::{Folder, banned, of_status, peer, sorted};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// What a manager does about its store, and nothing else.
struct FakeManager {
    store: Arc<dyn PeerStore>,
    book: BTreeMap<Uuid, Peer>,
    dirty: BTreeSet<Uuid>,
    gone: BTreeSet<Uuid>,
    /// Bans that were reported to the user: those that are stored.
    reported: Vec<Uuid>,
    /// Failures that were reported to the user.
    failures: usize,
}

impl FakeManager {
    async fn start(store: Arc<dyn PeerStore>) -> Self {
        let known = store.list_all().await.unwrap();
        Self {
            store,
            book: known.into_iter().map(|peer| (peer.id, peer)).collect(),
            dirty: BTreeSet::new(),
            gone: BTreeSet::new(),
            reported: Vec::new(),
            failures: 0,
        }
    }

    fn put(&mut self, peer: Peer) {
        self.gone.remove(&peer.id);
        self.dirty.insert(peer.id);
        self.book.insert(peer.id, peer);
    }

    fn forget(&mut self, id: Uuid) {
        self.book.remove(&id);
        self.dirty.remove(&id);
        self.gone.insert(id);
    }

    /// What the next batch is.
    fn batch(&mut self) -> Batch {
        let ids = std::mem::take(&mut self.dirty);
        let put = ids.iter().map(|id| self.book[id].clone()).collect();
        let gone = std::mem::take(&mut self.gone).into_iter().collect();
        Batch { put, gone }
    }

    fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.gone.is_empty()
    }

    /// The batch has ended.
    fn stored(&mut self, batch: Batch, result: Result<(), StoreError>) {
        if result.is_ok() {
            let bans = batch.put.iter().filter(|peer| peer.ban.is_some());
            self.reported.extend(bans.map(|peer| peer.id));
            return;
        }
        self.failures += 1;
        // What changed meanwhile is newer.
        let known = |id: &Uuid| self.book.contains_key(id);
        let put = batch.put.iter().map(|peer| peer.id);
        self.dirty.extend(put.filter(known));
        let known = |id: &Uuid| !self.book.contains_key(id);
        self.gone.extend(batch.gone.into_iter().filter(known));
    }

    /// Stores until there is nothing left to store.
    async fn settle(&mut self) {
        while !self.is_clean() {
            let batch = self.batch();
            let result = batch.store(&*self.store).await;
            self.stored(batch, result);
        }
    }

    async fn shut_down(mut self) {
        self.settle().await;
        while self.store.flush().await.is_err() {}
    }
}

struct Batch {
    put: Vec<Peer>,
    gone: Vec<Uuid>,
}

impl Batch {
    async fn store(&self, store: &dyn PeerStore) -> Result<(), StoreError> {
        store.apply(&self.put).await?;
        store.forget(&self.gone).await
    }
}

/// A store that fails, and waits, as the test says.
struct Faulty {
    inner: InMemoryPeerStore,
    /// One call of this many fails; half of those after they have had their effect.
    one_fails_of: usize,
    calls: AtomicUsize,
    at_once: AtomicUsize,
    /// Each call takes one.
    permits: Semaphore,
}

impl Faulty {
    fn new(inner: InMemoryPeerStore, one_fails_of: usize, permits: usize) -> Self {
        Self {
            inner,
            one_fails_of,
            calls: AtomicUsize::new(1),
            at_once: AtomicUsize::new(0),
            permits: Semaphore::new(permits),
        }
    }

    async fn call(
        &self,
        work: impl Future<Output = Result<(), StoreError>> + Send,
    ) -> Result<(), StoreError> {
        let others = self.at_once.fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "one batch is under way at a time");
        self.permits.acquire().await.unwrap().forget();
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = call.is_multiple_of(self.one_fails_of);
        let has_effect = !fails || (call / self.one_fails_of).is_multiple_of(2);
        if has_effect {
            work.await?;
        }
        match fails {
            true => Err(StoreError::Backend {
                backend: "faulty",
                message: format!("call {call}"),
                retryable: true,
            }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl PeerStore for Faulty {
    async fn create(&self, peer: &Peer) -> Result<(), StoreError> {
        self.call(self.inner.create(peer)).await
    }
    async fn read(&self, id: Uuid) -> Result<Peer, StoreError> {
        self.inner.read(id).await
    }
    async fn update(&self, peer: &Peer) -> Result<(), StoreError> {
        self.call(self.inner.update(peer)).await
    }
    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        self.call(self.inner.delete(id)).await
    }
    async fn list_all(&self) -> Result<Vec<Peer>, StoreError> {
        self.inner.list_all().await
    }
    async fn find_by_status(&self, status: PeerStatus) -> Result<Vec<Peer>, StoreError> {
        self.inner.find_by_status(status).await
    }
    async fn find_by_ip_port(&self, ip: IpAddr, port: u16) -> Result<Option<Peer>, StoreError> {
        self.inner.find_by_ip_port(ip, port).await
    }
    async fn find_by_ip(&self, ip: IpAddr) -> Result<Vec<Peer>, StoreError> {
        self.inner.find_by_ip(ip).await
    }
    async fn count_by_status(&self, status: PeerStatus) -> Result<usize, StoreError> {
        self.inner.count_by_status(status).await
    }
    async fn apply(&self, peers: &[Peer]) -> Result<(), StoreError> {
        self.call(self.inner.apply(peers)).await
    }
    async fn forget(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        self.call(self.inner.forget(ids)).await
    }
    async fn flush(&self) -> Result<(), StoreError> {
        self.call(self.inner.flush()).await
    }
}

/// A day of changes; what should be there at its end.
fn live(manager: &mut FakeManager, day: u32) {
    for n in 0..20 {
        manager.put(of_status(day * 10 + n, PeerStatus::Valid));
    }
    manager.put(banned(day * 10));
    manager.put(peer(day * 10 + 1));
    manager.forget(peer(day * 10 + 2).id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_finds_everything_again() {
    let folder = Folder::new();
    for place in places(&folder) {
        let mut expected = Vec::new();
        for day in 0..5 {
            let mut manager = FakeManager::start(place.open().await).await;
            let found: Vec<_> = manager.book.values().cloned().collect();
            assert_eq!(found, expected, "{} at day {day}", place.name);
            live(&mut manager, day);
            expected = manager.book.values().cloned().collect();
            manager.shut_down().await;
        }
    }
}

#[tokio::test]
async fn a_failing_store_is_tried_until_everything_is_stored() {
    let folder = Folder::new();
    let path = folder.path("peers");
    let inner = InMemoryPeerStore::open(&path).unwrap();
    let store = Arc::new(Faulty::new(inner, 3, Semaphore::MAX_PERMITS));
    let mut manager = FakeManager::start(store).await;
    for day in 0..5 {
        live(&mut manager, day);
        // A ban that is not stored is not reported.
        let before = manager.reported.len();
        let batch = manager.batch();
        let refused = Err(StoreError::Closed);
        manager.stored(batch, refused);
        assert_eq!(manager.reported.len(), before);
        manager.settle().await;
        assert!(manager.reported.contains(&peer(day * 10).id));
    }
    assert!(manager.failures > 5, "the store itself failed too");
    let expected: Vec<_> = manager.book.values().cloned().collect();
    manager.shut_down().await;
    let found = InMemoryPeerStore::open(&path).unwrap();
    assert_eq!(sorted(found.list_all().await.unwrap()), expected);
}

#[tokio::test]
async fn while_a_slow_store_works_the_rest_gathers() {
    let store = Arc::new(Faulty::new(InMemoryPeerStore::new(), usize::MAX, 0));
    let mut manager = FakeManager::start(store.clone()).await;
    live(&mut manager, 0);
    let batch = manager.batch();
    let mut under_way = Box::pin(batch.store(&*store));
    assert!(
        future::poll_immediate(&mut under_way).await.is_none(),
        "it takes its time"
    );
    for day in 1..50 {
        live(&mut manager, day);
    }
    assert!(manager.reported.is_empty());
    assert!(!manager.is_clean(), "the rest waits, as one batch");
    store.permits.add_permits(2);
    let result = under_way.as_mut().await;
    drop(under_way);
    manager.stored(batch, result);
    assert_eq!(manager.reported, [peer(0).id]);
    store.permits.add_permits(2);
    manager.settle().await;
    let calls = store.calls.load(Ordering::SeqCst) - 1;
    assert_eq!(calls, 4, "two batches for fifty days");
    let expected: Vec<_> = manager.book.values().cloned().collect();
    assert_eq!(sorted(store.list_all().await.unwrap()), expected);
}

/// Two managers of one book: each takes over what the other changes, and after a loss of the
/// connection everything.
#[tokio::test(flavor = "multi_thread")]
async fn managers_of_one_book_come_to_agree() {
    let server = Server::start("");
    let options = options();
    let ours: Arc<dyn PeerStore> = Arc::new(connect(&server, &options).await);
    let theirs: Arc<dyn PeerStore> = Arc::new(connect(&server, &options).await);
    let mut changes = [ours.changes().unwrap(), theirs.changes().unwrap()];
    let mut one = FakeManager::start(ours).await;
    let mut other = FakeManager::start(theirs).await;
    for day in 0..6 {
        if day == 3 {
            server.crash();
            server.up();
        }
        live(&mut one, day);
        one.settle().await;
        live(&mut other, 100 + day);
        other.settle().await;
        let [ours, theirs] = &mut changes;
        agree(&mut one, ours, &mut other, theirs).await;
    }
    assert!(one.book.len() > 100);
}

/// Lets both take over changes until their books are the same.
async fn agree(
    one: &mut FakeManager,
    ours: &mut ChangeStream,
    other: &mut FakeManager,
    theirs: &mut ChangeStream,
) {
    let agreement = async {
        while one.book != other.book {
            match future::select(ours.next(), theirs.next()).await {
                Either::Left((change, _)) => take_over(one, change.unwrap()).await,
                Either::Right((change, _)) => take_over(other, change.unwrap()).await,
            }
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, agreement)
        .await
        .expect("they agree");
}

async fn take_over(manager: &mut FakeManager, change: StoreChange) {
    match change {
        StoreChange::Upserted(peer) => drop(manager.book.insert(peer.id, *peer)),
        StoreChange::Deleted(id) => drop(manager.book.remove(&id)),
        // Read again.
        _ => {
            let known = manager.store.list_all().await.unwrap();
            manager.book = known.into_iter().map(|peer| (peer.id, peer)).collect();
        }
    }
}
