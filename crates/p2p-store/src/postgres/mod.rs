//! Records in PostgreSQL, for many managers.

mod batch;
mod failure;
mod link;
mod news;
mod options;
mod row;
mod session;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use p2p_core::{Peer, PeerStatus};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::timeout;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, NoTls, Row, Socket, Statement};
use tracing::warn;
use uuid::Uuid;

pub use options::PostgresOptions;

use crate::error::StoreError;
use crate::record::{self, is_banned};
use crate::store::{ChangeStream, PeerStore, StoreChange};
use batch::Plan;
use failure::{failed, is_conflict, refused, unavailable};
use link::{Keeper, Link};
use session::Session;

/// Changes that wait for a stream to be read.
const CHANGES: usize = 4096;

/// Records in a schema of a [PostgreSQL](tokio_postgres) database, for fleets: managers on many
/// machines share one book and one list of bans.
///
/// The store makes its schema, brings it up to date, and refuses one that is newer than itself. It
/// keeps one connection, in a task of the runtime that it was connected on; after a loss it
/// connects again, with growing pauses. Calls wait for that for [`PostgresOptions::timeout`], then
/// fail, and may be repeated.
///
/// # Many writers
///
/// Every method is one transaction, durable when it returns, so `flush` has nothing to do. Of two
/// changes of one record the later one counts, but for one case: **who does not know of a ban
/// cannot lift it.** A record without a ban, put by a store that has neither read nor made the ban
/// that is there, changes everything but the ban and the status. When it has read the record, or
/// was told of it by [`changes`](PeerStore::changes), it can.
///
/// What one changes the others are told within a moment, over `LISTEN` and `NOTIFY`, whoever it
/// was: a trigger does it, so what an operator changes in SQL counts too. The column `record` is
/// the truth, the others follow from it.
///
/// A record with the character U+0000 in a text is refused: `jsonb` has no place for it.
///
/// ```no_run
/// # use p2p_store::{PostgresPeerStore, StoreError};
/// # async fn example() -> Result<(), StoreError> {
/// let store = PostgresPeerStore::connect("host=db.example user=p2p dbname=peers").await?;
/// # Ok(())
/// # }
/// ```
pub struct PostgresPeerStore {
    link: watch::Receiver<Link>,
    hung: Arc<Notify>,
    changes: broadcast::Sender<StoreChange>,
    knowledge: Arc<Knowledge>,
    options: PostgresOptions,
}

/// The bans that this handle has read, made, or was told of: those that its caller can lift.
#[derive(Debug, Default)]
struct Knowledge(Mutex<HashSet<Uuid>>);

impl PostgresPeerStore {
    /// Connects without TLS: for a server on this machine, or on a network that is trusted.
    /// `config` is a connection string or URL, as [`Config`] reads it.
    ///
    /// # Errors
    /// [`StoreError::Backend`]: the server cannot be reached, or refuses.
    pub async fn connect(config: &str) -> Result<Self, StoreError> {
        let config: Config = config.parse().map_err(failed)?;
        Self::connect_with(config, NoTls, PostgresOptions::default()).await
    }

    /// Connects with any TLS that [`tokio_postgres`] takes, such as `tokio-postgres-rustls` makes.
    /// Let `config` say `sslmode=require`: by default a server that offers no TLS, or whoever
    /// speaks in its place, is talked to without.
    ///
    /// # Errors
    /// [`StoreError::Backend`]: the server cannot be reached, or refuses, or an option is not
    /// valid.
    pub async fn connect_with<T>(
        config: Config,
        tls: T,
        options: PostgresOptions,
    ) -> Result<Self, StoreError>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        options.validate()?;
        let (changes, _) = broadcast::channel(CHANGES);
        let hung = Arc::new(Notify::new());
        let keeper = Keeper::new(
            config,
            tls,
            options.clone(),
            Uuid::new_v4(),
            changes.clone(),
            hung.clone(),
        );
        let connected = keeper.connect().await?;
        let (sender, link) = watch::channel(Link::Up(connected.session.clone()));
        tokio::spawn(keeper.keep(sender, connected));
        Ok(Self {
            link,
            hung,
            changes,
            knowledge: Arc::default(),
            options,
        })
    }

    /// How it is set up.
    pub fn options(&self) -> &PostgresOptions {
        &self.options
    }

    /// The connection, once there is one.
    async fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut link = self.link.clone();
        let up = link.wait_for(|link| matches!(link, Link::Up(_)));
        let found = match timeout(self.options.timeout, up).await {
            Ok(Ok(link)) => link.clone(),
            // Only with the runtime that it was connected on.
            Ok(Err(_)) => return Err(StoreError::Closed),
            Err(_) => self.link.borrow().clone(),
        };
        match found {
            Link::Up(session) => Ok(session),
            Link::Down(error) => Err(unavailable(format!("no connection: {error}"))),
        }
    }

    /// Waits for an answer, or for the next part of one.
    async fn answer<T>(&self, answer: impl Future<Output = T>) -> Result<T, StoreError> {
        match timeout(self.options.timeout, answer).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                // Whatever is asked on this connection would wait behind it.
                self.hung.notify_waiters();
                let limit = self.options.timeout;
                Err(unavailable(format!("no answer within {limit:?}")))
            }
        }
    }

    async fn rows(
        &self,
        session: &Session,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let asked = session
            .client
            .query_raw(statement, parameters.iter().copied());
        let mut stream = Box::pin(self.answer(asked).await?.map_err(failed)?);
        let mut rows = Vec::new();
        while let Some(row) = self.answer(stream.next()).await? {
            rows.push(row.map_err(failed)?);
        }
        Ok(rows)
    }

    /// Records; those that cannot be read are left out.
    async fn peers(
        &self,
        statement: impl Fn(&Session) -> &Statement + Send,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Peer>, StoreError> {
        let session = self.session().await?;
        let rows = self.rows(&session, statement(&session), parameters).await?;
        let mut peers = Vec::with_capacity(rows.len());
        for row in &rows {
            match row::decode(row)?.1 {
                Ok(peer) => peers.push(peer),
                Err(error) => warn!(%error, "a record is left out"),
            }
        }
        self.knowledge.learn(&peers);
        Ok(peers)
    }

    /// How many rows a statement has changed.
    async fn changed(
        &self,
        session: &Session,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Result<u64, tokio_postgres::Error>, StoreError> {
        self.answer(session.client.execute(statement, parameters))
            .await
    }

    /// Who has the id or the address of this record, first who has the id.
    async fn holder(&self, session: &Session, peer: &Peer) -> Result<Option<Uuid>, StoreError> {
        let port = i32::from(peer.port);
        let parameters: [&(dyn ToSql + Sync); 3] = [&peer.id, &peer.ip_address, &port];
        let rows = self.rows(session, &session.holder, &parameters).await?;
        let id = rows.first().map(|row| row.try_get(0).map_err(failed));
        id.transpose()
    }
}

#[async_trait]
impl PeerStore for PostgresPeerStore {
    /// If the connection is lost before the answer comes, the record may be there.
    async fn create(&self, peer: &Peer) -> Result<(), StoreError> {
        let peer = record::canonical(peer);
        let json = row::encode(&peer)?;
        let session = self.session().await?;
        loop {
            let created = self
                .changed(&session, &session.create, &[&peer.id, &json])
                .await?;
            if created.map_err(failed)? > 0 {
                self.knowledge.learn([&*peer]);
                return Ok(());
            }
            // Who was in the way may be gone by now.
            if let Some(existing) = self.holder(&session, &peer).await? {
                return Err(StoreError::DuplicatePeer { existing });
            }
        }
    }

    async fn read(&self, id: Uuid) -> Result<Peer, StoreError> {
        let found = self.peers(|session| &session.read, &[&id]).await?;
        let found = found.into_iter().next();
        found.ok_or(StoreError::PeerNotFound { id })
    }

    async fn update(&self, peer: &Peer) -> Result<(), StoreError> {
        let peer = record::canonical(peer);
        let id = peer.id;
        let json = row::encode(&peer)?;
        let knew = self.knowledge.has(id);
        let session = self.session().await?;
        loop {
            let parameters: [&(dyn ToSql + Sync); 3] = [&id, &json, &knew];
            let updated = self.changed(&session, &session.update, &parameters);
            match updated.await? {
                Ok(0) => return Err(StoreError::PeerNotFound { id }),
                Ok(_) => {
                    self.knowledge.put(&peer, knew);
                    return Ok(());
                }
                Err(error) if !is_conflict(&error) => return Err(failed(error)),
                Err(_) => {}
            }
            // Its own id is no answer: ask for the address alone.
            let stranger = Peer {
                id: Uuid::nil(),
                ..peer.clone().into_owned()
            };
            // Who was in the way may be gone by now.
            let holder = self.holder(&session, &stranger).await?;
            if let Some(existing) = holder.filter(|&holder| holder != id) {
                return Err(StoreError::DuplicatePeer { existing });
            }
        }
    }

    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        let session = self.session().await?;
        let ids = vec![id];
        let deleted = self.changed(&session, &session.forget, &[&ids]).await?;
        match deleted.map_err(failed)? {
            0 => Err(StoreError::PeerNotFound { id }),
            _ => {
                self.knowledge.forget(&ids);
                Ok(())
            }
        }
    }

    /// A record that cannot be read is left out; the log names it.
    async fn list_all(&self) -> Result<Vec<Peer>, StoreError> {
        self.peers(|session| &session.all, &[]).await
    }

    async fn find_by_status(&self, status: PeerStatus) -> Result<Vec<Peer>, StoreError> {
        let status = row::status(status);
        self.peers(|session| &session.of_status, &[&status]).await
    }

    async fn find_by_ip_port(&self, ip: IpAddr, port: u16) -> Result<Option<Peer>, StoreError> {
        let (ip, port) = (ip.to_canonical(), i32::from(port));
        let found = self.peers(|session| &session.at, &[&ip, &port]).await?;
        Ok(found.into_iter().next())
    }

    async fn find_by_ip(&self, ip: IpAddr) -> Result<Vec<Peer>, StoreError> {
        let ip = ip.to_canonical();
        self.peers(|session| &session.of_ip, &[&ip]).await
    }

    async fn count_by_status(&self, status: PeerStatus) -> Result<usize, StoreError> {
        let session = self.session().await?;
        let status = row::status(status);
        let rows = self.rows(&session, &session.count, &[&status]).await?;
        let row = rows
            .first()
            .ok_or_else(|| refused("count(*) gave no row".into()))?;
        let count: i64 = row.try_get(0).map_err(failed)?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// One transaction: all of the batch is there, or nothing. Two batches with the same records
    /// come one after the other.
    async fn apply(&self, peers: &[Peer]) -> Result<(), StoreError> {
        if peers.is_empty() {
            return Ok(());
        }
        let plan = Plan::of(peers);
        let records: Vec<_> = plan.records.values().collect();
        let json = row::encode(&records)?;
        let known = self.knowledge.of(plan.records.keys());
        let session = self.session().await?;
        let mut alone = false;
        loop {
            let parameters: [&(dyn ToSql + Sync); 4] = [&json, &plan.displaced, &known, &alone];
            let applied = self.changed(&session, &session.apply, &parameters);
            match applied.await? {
                Ok(_) => break,
                // Who writes alone meets nobody.
                Err(error) if is_conflict(&error) && !alone => alone = true,
                Err(error) => return Err(failed(error)),
            }
        }
        for peer in records {
            // In order of id, as the plan is.
            let knew = known.binary_search(&peer.id).is_ok();
            self.knowledge.put(peer, knew);
        }
        self.knowledge.forget(&plan.displaced);
        Ok(())
    }

    /// One transaction.
    async fn forget(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let session = self.session().await?;
        let forgotten = self.changed(&session, &session.forget, &[&ids]).await?;
        forgotten.map_err(failed)?;
        self.knowledge.forget(ids);
        Ok(())
    }

    /// Tells of what other stores and operators change, within a moment. After a loss of the
    /// connection it begins with [`StoreChange::Missed`]. Call it before you read all records: what
    /// changes in between comes twice then, and not never.
    fn changes(&self) -> Option<ChangeStream> {
        let start = (self.changes.subscribe(), self.knowledge.clone());
        let stream = stream::unfold(start, async |(mut changes, knowledge)| {
            let change = match changes.recv().await {
                Ok(change) => change,
                Err(broadcast::error::RecvError::Lagged(_)) => StoreChange::Missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            match &change {
                StoreChange::Upserted(peer) => knowledge.learn([&**peer]),
                StoreChange::Deleted(id) => knowledge.forget(&[*id]),
                StoreChange::Missed => {}
            }
            Some((change, (changes, knowledge)))
        });
        Some(Box::pin(stream))
    }
}

impl Knowledge {
    fn of<'a>(&self, ids: impl Iterator<Item = &'a Uuid>) -> Vec<Uuid> {
        let known = self.lock();
        ids.filter(|id| known.contains(id)).copied().collect()
    }

    fn has(&self, id: Uuid) -> bool {
        self.lock().contains(&id)
    }

    /// These were read, or made anew.
    fn learn<'a>(&self, peers: impl IntoIterator<Item = &'a Peer>) {
        let mut known = self.lock();
        for peer in peers {
            match is_banned(peer) {
                true => known.insert(peer.id),
                false => known.remove(&peer.id),
            };
        }
    }

    /// This was put: without a ban it lifts one that was known, and leaves one that was not.
    fn put(&self, peer: &Peer, knew: bool) {
        if is_banned(peer) || knew {
            self.learn([peer]);
        }
    }

    fn forget(&self, ids: &[Uuid]) {
        let mut known = self.lock();
        for id in ids {
            known.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PostgresPeerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPeerStore")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
