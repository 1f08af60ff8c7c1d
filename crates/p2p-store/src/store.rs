//! What a store is.

use std::net::IpAddr;
use std::pin::Pin;

use async_trait::async_trait;
use futures_core::Stream;
use p2p_core::{Peer, PeerStatus};
use uuid::Uuid;

use crate::error::StoreError;

/// Where a node keeps what it knows about peers.
///
/// Object-safe: a manager holds an `Arc<dyn PeerStore>`. Every implementation passes the suite of
/// the feature `conformance`.
///
/// # What a record is
///
/// A record is known by its id, and its (IP, port) belongs to it alone. IPs are canonical: a
/// store turns an IPv4-mapped IPv6 address into the IPv4 address, in records and in questions.
/// Whatever else is in a record comes back as it was, [`Peer::newer`] included, but for times of
/// the past (all but the end of a ban) that lie in the future: they may come back as now.
///
/// # What is atomic
///
/// Every method takes effect at one instant between its call and its answer. Who asks at the same
/// time sees all of it or nothing, a batch included, and who asks after the answer sees it. Of two
/// calls at the same time one is first; which one is nobody's promise.
///
/// A future that is dropped before it is done has had its effect or will have it, or not.
///
/// # What is durable
///
/// A ban is a promise to the operator: a method that adds, changes, lifts or deletes the record of
/// a ban returns `Ok` only when that survives the loss of power. Everything else is durable after
/// the next [`flush`](Self::flush) that returns `Ok`. A store that cannot outlive its process says
/// so.
///
/// Where several managers share a store, it may keep a ban that is there when a record without one
/// is put by a handle that has neither made nor read that ban: who does not know of it has not
/// lifted it. Whoever has read the record, by any method or from [`changes`](Self::changes), can.
///
/// A method that returns an error other than [`PeerNotFound`](StoreError::PeerNotFound) and
/// [`DuplicatePeer`](StoreError::DuplicatePeer) may have had its effect, and that may be durable
/// or not. To call [`apply`](Self::apply), [`forget`](Self::forget) and [`flush`](Self::flush)
/// again is harmless, and their `Ok` then means what it always means.
///
/// ```
/// # use p2p_store::{InMemoryPeerStore, PeerStore, StoreError};
/// # use p2p_core::{Network, Peer, PeerSource, Timestamp};
/// # async fn example() -> Result<(), StoreError> {
/// let store: Box<dyn PeerStore> = Box::new(InMemoryPeerStore::new());
/// let address = "203.0.113.7:8333".parse().unwrap();
/// let peer = Peer::new(Network::Mainnet, address, PeerSource::Dns, Timestamp::default());
/// store.create(&peer).await?;
/// let found = store.find_by_ip_port(address.ip(), 8333).await?;
/// assert_eq!(found, Some(peer));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait PeerStore: Send + Sync {
    /// Adds a record.
    ///
    /// # Errors
    /// [`StoreError::DuplicatePeer`] if its id or its (IP, port) is there already; nothing has
    /// changed then.
    async fn create(&self, peer: &Peer) -> Result<(), StoreError>;

    /// The record of this id.
    ///
    /// # Errors
    /// [`StoreError::PeerNotFound`].
    async fn read(&self, id: Uuid) -> Result<Peer, StoreError>;

    /// Replaces the record of the same id.
    ///
    /// # Errors
    /// [`StoreError::PeerNotFound`]; [`StoreError::DuplicatePeer`] if its (IP, port) is that of
    /// another record. Nothing has changed then.
    async fn update(&self, peer: &Peer) -> Result<(), StoreError>;

    /// Removes the record of this id.
    ///
    /// # Errors
    /// [`StoreError::PeerNotFound`].
    async fn delete(&self, id: Uuid) -> Result<(), StoreError>;

    /// Every record, in no order that anybody may rely on.
    ///
    /// # Errors
    /// What the store cannot do.
    async fn list_all(&self) -> Result<Vec<Peer>, StoreError>;

    /// The records of this status.
    ///
    /// # Errors
    /// What the store cannot do.
    async fn find_by_status(&self, status: PeerStatus) -> Result<Vec<Peer>, StoreError>;

    /// The record of this IP and port.
    ///
    /// # Errors
    /// What the store cannot do.
    async fn find_by_ip_port(&self, ip: IpAddr, port: u16) -> Result<Option<Peer>, StoreError>;

    /// The records of this IP, whatever their ports: what a ban covers.
    ///
    /// # Errors
    /// What the store cannot do.
    async fn find_by_ip(&self, ip: IpAddr) -> Result<Vec<Peer>, StoreError>;

    /// How many records have this status.
    ///
    /// # Errors
    /// What the store cannot do.
    async fn count_by_status(&self, status: PeerStatus) -> Result<usize, StoreError>;

    /// Puts a batch of records: those of known ids are replaced, the others added. A record whose
    /// (IP, port) is that of another takes its place. Of two records of one id or one (IP, port)
    /// in a batch the later counts.
    ///
    /// This is how a manager stores. The default puts one record after the other: a batch is
    /// not atomic with it.
    ///
    /// # Errors
    /// What the store cannot do. To call it again with the same batch is harmless.
    async fn apply(&self, peers: &[Peer]) -> Result<(), StoreError> {
        for peer in peers {
            put(self, peer).await?;
        }
        Ok(())
    }

    /// Removes a batch of records. Ids that are not there are fine.
    ///
    /// The default removes one record after the other: a batch is not atomic with it.
    ///
    /// # Errors
    /// What the store cannot do. To call it again with the same batch is harmless.
    async fn forget(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        for &id in ids {
            match self.delete(id).await {
                Ok(()) | Err(StoreError::PeerNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes everything durable that was done before the call. A manager calls it every
    /// `store_save_interval`, and when it shuts down. The default does nothing, for stores that
    /// leave nothing for later.
    ///
    /// # Errors
    /// What the store cannot do.
    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What others change from now on: other managers of the same book, operators. `None` if
    /// nobody else can.
    ///
    /// Each call gives a stream of its own. See [`StoreChange`] for what it promises.
    fn changes(&self) -> Option<ChangeStream> {
        None
    }
}

/// What others change in a store.
pub type ChangeStream = Pin<Box<dyn Stream<Item = StoreChange> + Send>>;

/// Something that somebody else has changed in a store: not through the handle whose
/// [`changes`](PeerStore::changes) tells of it.
///
/// # Order and loss
///
/// The changes of one record come in the order in which they were made, but of several in a row
/// only the last may come, and one may come twice. The changes of different records come in any
/// order. Nothing is lost unless [`Missed`](Self::Missed) says so. The stream ends with the store.
///
/// ```
/// # use p2p_store::StoreChange;
/// # use uuid::Uuid;
/// let change = StoreChange::Deleted(Uuid::nil());
/// assert_eq!(change.id(), Some(Uuid::nil()));
/// assert_eq!(StoreChange::Missed.id(), None);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StoreChange {
    /// A record was added or replaced: as it was when it was read, soon after.
    Upserted(Box<Peer>),
    /// The record of this id was removed.
    Deleted(Uuid),
    /// Changes may have been lost: the connection was, or the stream was not read for too long.
    /// Read again what you need; what changes from now on comes as always.
    Missed,
}

impl StoreChange {
    /// The record that it is about; `None` if it may be any.
    pub fn id(&self) -> Option<Uuid> {
        match self {
            Self::Upserted(peer) => Some(peer.id),
            Self::Deleted(id) => Some(*id),
            Self::Missed => None,
        }
    }
}

/// Puts one record by the methods that every store has.
async fn put<S: PeerStore + ?Sized>(store: &S, peer: &Peer) -> Result<(), StoreError> {
    // Who else writes may come in between. Each round ends as it should or finds that somebody
    // else made progress, so this ends.
    loop {
        match store.update(peer).await {
            Err(StoreError::PeerNotFound { .. }) => match store.create(peer).await {
                Err(StoreError::DuplicatePeer { existing }) => {
                    make_way(store, existing, peer).await?;
                }
                done => return done,
            },
            Err(StoreError::DuplicatePeer { existing }) => make_way(store, existing, peer).await?,
            done => return done,
        }
    }
}

async fn make_way<S: PeerStore + ?Sized>(
    store: &S,
    existing: Uuid,
    peer: &Peer,
) -> Result<(), StoreError> {
    if existing == peer.id {
        return Ok(());
    }
    store.forget(&[existing]).await
}
