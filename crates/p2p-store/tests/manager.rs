//! A store as a manager uses it: what changed gathers while a batch is under way, a ban is reported
//! when it is stored, a store that fails is tried again, and the next manager finds everything.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops when it cannot go on, and waits for one thing among many"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use p2p_core::{
    Action, BatchId, Clock, Command, ControlEvent, Input, Manager, ManagerConfig, Network,
    OperatingMode, Peer, PeerStatus,
};
use p2p_store::{InMemoryPeerStore, PeerStore, StoreError};
use support::stores::places;
use support::{Folder, peer};
use uuid::Uuid;

/// Something for the store to do.
enum Job {
    Persist {
        batch: BatchId,
        peers: Vec<Peer>,
        gone: Vec<Uuid>,
    },
    Save,
}

/// A manager, in virtual time, that dials nobody; and its store, which works when the test says so.
struct Node {
    manager: Manager,
    store: Arc<dyn PeerStore>,
    now: Instant,
    jobs: VecDeque<Job>,
    /// Bans that were reported as stored, in order.
    reported: Vec<IpAddr>,
    failures: usize,
    has_stopped: bool,
}

/// What a manager knows: the status of each peer, and which IPs are banned.
type Known = (BTreeMap<String, PeerStatus>, BTreeSet<IpAddr>);

impl Node {
    async fn start(store: Arc<dyn PeerStore>) -> Self {
        let now = Instant::now();
        let mut config = ManagerConfig::new(Network::Mainnet);
        config.target_connections = 0;
        config.min_outbound = Some(0);
        let known = store.list_all().await.unwrap();
        let clock = Clock::new(now, SystemTime::now());
        let manager = Manager::new(config, OperatingMode::Normal, known, [7; 32], clock, now);
        let mut node = Self {
            manager: manager.unwrap(),
            store,
            now,
            jobs: VecDeque::new(),
            reported: Vec::new(),
            failures: 0,
            has_stopped: false,
        };
        node.command(Command::Start);
        node
    }

    fn command(&mut self, command: Command) {
        self.handle(Input::Command(command));
    }

    fn handle(&mut self, input: Input) {
        self.manager.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.manager.poll_action() {
            match action {
                Action::Persist { batch, peers, gone } => {
                    self.jobs.push_back(Job::Persist { batch, peers, gone });
                }
                Action::Save => self.jobs.push_back(Job::Save),
                Action::Notify(ControlEvent::PeerBanned { ip, .. }) => self.reported.push(ip),
                Action::Notify(ControlEvent::StoreFailed { .. }) => self.failures += 1,
                Action::Stopped => self.has_stopped = true,
                _ => {}
            }
        }
    }

    /// The store does the next job, if there is one.
    async fn work(&mut self) -> bool {
        let text = |error: StoreError| error.to_string();
        let Some(job) = self.jobs.pop_front() else {
            return false;
        };
        self.handle(match job {
            Job::Persist { batch, peers, gone } => {
                let forgotten = self.store.forget(&gone).await;
                let result = match forgotten {
                    Ok(()) => self.store.apply(&peers).await,
                    failed => failed,
                };
                let result = result.map_err(text);
                Input::Stored { batch, result }
            }
            Job::Save => Input::Saved {
                result: self.store.flush().await.map_err(text),
            },
        });
        true
    }

    /// Works until the store has been told everything and is not tried again: the time that the
    /// manager waits in between passes at once.
    async fn settle(&mut self) {
        for _ in 0..1_000 {
            if self.work().await {
                continue;
            }
            // Saves and seeds come later than any store is tried again.
            match self.manager.poll_timeout() {
                Some((at, _)) if at <= self.now + Duration::from_secs(60) => {
                    self.now = at;
                    self.manager.handle_timeout(at);
                    self.drain();
                }
                _ => return,
            }
        }
        panic!("the manager never comes to rest");
    }

    async fn shut_down(mut self) {
        self.settle().await;
        self.command(Command::Shutdown);
        self.settle().await;
        assert!(self.has_stopped);
    }

    fn known(&self) -> Known {
        let peers = self.manager.peers();
        let statuses = peers.map(|peer| (peer.address().to_string(), peer.status));
        let ips = (0..1_000).map(|n| peer(n).ip_address);
        let banned = ips.filter(|ip| self.manager.is_banned(*ip));
        (statuses.collect(), banned.collect())
    }
}

/// A store that fails.
struct Faulty {
    inner: InMemoryPeerStore,
    /// One call of this many fails; half of those after they have had their effect.
    one_fails_of: usize,
    calls: AtomicUsize,
}

impl Faulty {
    fn new(inner: InMemoryPeerStore, one_fails_of: usize) -> Self {
        Self {
            inner,
            one_fails_of,
            calls: AtomicUsize::new(1),
        }
    }

    async fn call(
        &self,
        work: impl Future<Output = Result<(), StoreError>> + Send,
    ) -> Result<(), StoreError> {
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

/// A day of changes.
fn live(node: &mut Node, day: u32) {
    let nth = |n: u32| peer(day * 10 + n);
    for n in 0..10 {
        node.command(Command::AddPeer(nth(n).address()));
    }
    node.command(Command::Ban(nth(0).ip_address));
    node.command(Command::Ban(nth(1).ip_address));
    node.command(Command::Unban(nth(1).ip_address));
    if let Some(yesterday) = day.checked_sub(1) {
        node.command(Command::Unban(peer(yesterday * 10).ip_address));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_finds_everything_again() {
    let folder = Folder::new();
    for place in places(&folder) {
        let mut expected = Known::default();
        for day in 0..5 {
            let mut node = Node::start(place.open().await).await;
            assert_eq!(node.known(), expected, "{} at day {day}", place.name);
            live(&mut node, day);
            expected = node.known();
            let (peers, banned) = &expected;
            assert_eq!(peers.len() as u32, 10 * (day + 1));
            assert!(banned.contains(&peer(day * 10).ip_address));
            node.shut_down().await;
        }
    }
}

#[tokio::test]
async fn a_failing_store_is_tried_until_everything_is_stored() {
    let folder = Folder::new();
    let path = folder.path("peers");
    let inner = InMemoryPeerStore::open(&path).unwrap();
    let mut node = Node::start(Arc::new(Faulty::new(inner, 3))).await;
    for day in 0..5 {
        live(&mut node, day);
        let ip = peer(day * 10).ip_address;
        assert!(
            node.manager.is_banned(ip),
            "at once, whatever the store does"
        );
        assert!(!node.reported.contains(&ip), "it is not stored");
        node.settle().await;
        assert!(node.reported.contains(&ip), "{:?}", node.reported);
        let stored = node.store.find_by_ip(ip).await.unwrap();
        assert!(stored.iter().any(|peer| peer.ban.is_some()), "{stored:?}");
    }
    assert!(node.failures > 3, "the store has failed, and it was told");
    let expected = node.known();
    node.shut_down().await;
    let store = InMemoryPeerStore::open(&path).unwrap();
    let node = Node::start(Arc::new(store)).await;
    assert_eq!(node.known(), expected);
}

#[tokio::test]
async fn while_a_slow_store_works_the_rest_gathers() {
    let mut node = Node::start(Arc::new(InMemoryPeerStore::new())).await;
    for day in 0..50 {
        live(&mut node, day);
    }
    assert_eq!(node.jobs.len(), 1, "one batch is under way at a time");
    assert!(node.reported.is_empty(), "and it is not stored");
    node.work().await;
    assert_eq!(node.jobs.len(), 1, "the rest waits, as one batch");
    node.work().await;
    assert_eq!(node.jobs.len(), 0, "two batches for fifty days");
    let last = peer(490).ip_address;
    assert_eq!(node.reported, [last], "the others were lifted meanwhile");
    let store = node.store.clone();
    let expected = node.known();
    assert_eq!(Node::start(store).await.known(), expected);
}
