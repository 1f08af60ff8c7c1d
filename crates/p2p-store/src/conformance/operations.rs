//! Operations in any order, against a model of the plainest kind.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use p2p_core::{Network, Peer, PeerSource, PeerStatus};
use uuid::Uuid;

use super::{STATUSES, THEN, banned, sorted};
use crate::error::StoreError;
use crate::store::PeerStore;

/// One call of a store, with records of a small world, so that they meet.
///
/// ```
/// use p2p_store::{InMemoryPeerStore, conformance};
///
/// # #[tokio::main]
/// # async fn main() {
/// let operations = conformance::random_operations(7, 100);
/// conformance::check_operations(&InMemoryPeerStore::new(), &operations).await;
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// [`PeerStore::create`].
    Create(Peer),
    /// [`PeerStore::update`].
    Update(Peer),
    /// [`PeerStore::delete`].
    Delete(Uuid),
    /// [`PeerStore::apply`].
    Apply(Vec<Peer>),
    /// [`PeerStore::forget`].
    Forget(Vec<Uuid>),
    /// [`PeerStore::flush`].
    Flush,
    /// All that asks and changes nothing.
    Ask(IpAddr, u16),
}

/// Operations drawn from a seed.
pub fn random_operations(seed: u64, count: usize) -> Vec<Operation> {
    let mut draw = Draw(seed);
    (0..count).map(|_| draw.operation()).collect()
}

/// Does the operations on an empty store, and compares each answer, and what is in the store
/// after it, with what it should be.
///
/// # Panics
/// At the first difference, saying which operation it was.
pub async fn check_operations(store: &dyn PeerStore, operations: &[Operation]) {
    let mut model = Model::default();
    for (n, operation) in operations.iter().enumerate() {
        let answer = carry_out(store, operation).await;
        let expected = model.carry_out(operation);
        assert_eq!(answer, expected, "operation {n}: {operation:?}");
        if let Operation::Ask(ip, port) = operation {
            model.check(store, *ip, *port, n).await;
        }
    }
    let found = store.list_all().await.expect("list_all");
    assert_eq!(sorted(found), sorted(model.0), "after all of them");
}

/// How an operation ends.
#[derive(Debug, PartialEq)]
enum Answer {
    Done,
    NotFound,
    Duplicate(Uuid),
}

async fn carry_out(store: &dyn PeerStore, operation: &Operation) -> Answer {
    let result = match operation {
        Operation::Create(peer) => store.create(peer).await,
        Operation::Update(peer) => store.update(peer).await,
        Operation::Delete(id) => store.delete(*id).await,
        Operation::Apply(peers) => store.apply(peers).await,
        Operation::Forget(ids) => store.forget(ids).await,
        Operation::Flush => store.flush().await,
        Operation::Ask(..) => Ok(()),
    };
    match result {
        Ok(()) => Answer::Done,
        Err(StoreError::PeerNotFound { .. }) => Answer::NotFound,
        Err(StoreError::DuplicatePeer { existing }) => Answer::Duplicate(existing),
        Err(other) => panic!("{operation:?}: {other}"),
    }
}

/// A store that looks through everything each time.
#[derive(Debug, Default)]
struct Model(Vec<Peer>);

impl Model {
    fn carry_out(&mut self, operation: &Operation) -> Answer {
        match operation {
            Operation::Create(peer) => {
                let peer = canonical(peer);
                let by_id = self.0.iter().find(|other| other.id == peer.id);
                let by_address = self.0.iter().find(|other| same_address(other, &peer));
                if let Some(existing) = by_id.or(by_address) {
                    return Answer::Duplicate(existing.id);
                }
                self.0.push(peer);
            }
            Operation::Update(peer) => {
                let peer = canonical(peer);
                if !self.0.iter().any(|other| other.id == peer.id) {
                    return Answer::NotFound;
                }
                let others = |other: &&Peer| other.id != peer.id && same_address(other, &peer);
                if let Some(existing) = self.0.iter().find(others) {
                    return Answer::Duplicate(existing.id);
                }
                self.put(&peer);
            }
            Operation::Delete(id) => {
                let before = self.0.len();
                self.0.retain(|peer| peer.id != *id);
                if self.0.len() == before {
                    return Answer::NotFound;
                }
            }
            Operation::Apply(peers) => peers.iter().for_each(|peer| self.put(&canonical(peer))),
            Operation::Forget(ids) => self.0.retain(|peer| !ids.contains(&peer.id)),
            Operation::Flush | Operation::Ask(..) => {}
        }
        Answer::Done
    }

    fn put(&mut self, peer: &Peer) {
        self.0
            .retain(|other| other.id != peer.id && !same_address(other, peer));
        self.0.push(peer.clone());
    }

    async fn check(&self, store: &dyn PeerStore, ip: IpAddr, port: u16, n: usize) {
        let those = |which: &dyn Fn(&Peer) -> bool| {
            sorted(self.0.iter().filter(|peer| which(peer)).cloned().collect())
        };
        let ip = ip.to_canonical();
        let found = store.find_by_ip_port(ip, port).await.expect("find");
        let expected = those(&|peer| peer.ip_address == ip && peer.port == port);
        assert_eq!(found, expected.into_iter().next(), "{ip} {port} after {n}");
        let found = store.find_by_ip(ip).await.expect("find_by_ip");
        let expected = those(&|peer| peer.ip_address == ip);
        assert_eq!(sorted(found), expected, "{ip} after {n}");
        for status in STATUSES {
            let found = store.find_by_status(status).await.expect("find_by_status");
            let expected = those(&|peer| peer.status == status);
            let count = store.count_by_status(status).await.expect("count");
            assert_eq!(count, expected.len(), "{status:?} after {n}");
            assert_eq!(sorted(found), expected, "{status:?} after {n}");
        }
    }
}

fn canonical(peer: &Peer) -> Peer {
    Peer {
        ip_address: peer.ip_address.to_canonical(),
        ..peer.clone()
    }
}

fn same_address(one: &Peer, other: &Peer) -> bool {
    one.address() == other.address()
}

/// Draws from a seed: SplitMix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// One of twelve addresses; sometimes in its other form.
    fn address(&mut self) -> SocketAddr {
        let ip = Ipv4Addr::new(203, 0, 113, self.below(4) as u8);
        let port = [0, 8333, 8334][self.below(3) as usize];
        match self.below(8) {
            0 => (ip.to_ipv6_mapped(), port).into(),
            _ => (ip, port).into(),
        }
    }

    /// Sometimes the id is of another network, so that two ids meet at one address.
    fn id(&mut self, address: SocketAddr) -> Uuid {
        let network = match self.below(8) {
            0 => Network::Testnet,
            _ => Network::Mainnet,
        };
        Peer::id_of(network, address)
    }

    fn peer(&mut self) -> Peer {
        let address = self.address();
        let mut peer = Peer::new(Network::Mainnet, address, PeerSource::Dns, THEN);
        peer.ip_address = address.ip();
        peer.id = self.id(address);
        peer.status = STATUSES[self.below(4) as usize];
        peer.restart_count = self.below(1000) as u32;
        match peer.status {
            PeerStatus::Banned => banned(peer),
            _ => peer,
        }
    }

    fn any_id(&mut self) -> Uuid {
        let address = self.address();
        self.id(address)
    }

    fn operation(&mut self) -> Operation {
        match self.below(8) {
            0 | 1 => Operation::Create(self.peer()),
            2 => Operation::Update(self.peer()),
            3 => Operation::Delete(self.any_id()),
            4 => Operation::Apply((0..self.below(6)).map(|_| self.peer()).collect()),
            5 => Operation::Forget((0..self.below(3)).map(|_| self.any_id()).collect()),
            6 => {
                let address = self.address();
                Operation::Ask(address.ip(), address.port())
            }
            _ => Operation::Flush,
        }
    }
}
