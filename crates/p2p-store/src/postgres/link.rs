//! The connection: made, listened to, made again.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Config, Connection, Socket};
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::failure::{failed, unavailable};
use super::news::{Batch, News};
use super::options::PostgresOptions;
use super::row;
use super::session::Session;
use crate::error::StoreError;
use crate::store::StoreChange;

/// The first pause before connecting again.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// What systems count keepalives in.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);

/// Whether there is a connection.
#[derive(Clone)]
pub(super) enum Link {
    Up(Arc<Session>),
    /// Why not.
    Down(StoreError),
}

/// Makes connections, and keeps one.
pub(super) struct Keeper<T> {
    config: Config,
    tls: T,
    options: PostgresOptions,
    origin: Uuid,
    changes: broadcast::Sender<StoreChange>,
    /// Rung by a call that had no answer in time: the connection is of no use any more.
    hung: Arc<Notify>,
}

/// A connection that is ready for use, as long as it is driven.
pub(super) struct Connected<S> {
    pub(super) session: Arc<Session>,
    connection: Connection<Socket, S>,
    news: News,
}

impl<T> Keeper<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    pub(super) fn new(
        mut config: Config,
        tls: T,
        options: PostgresOptions,
        origin: Uuid,
        changes: broadcast::Sender<StoreChange>,
        hung: Arc<Notify>,
    ) -> Self {
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(options.timeout);
        }
        if config.get_application_name().is_none() {
            config.application_name("p2p-store");
        }
        // Of several hosts, the one that takes writes.
        if config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        // Who listens sends nothing: without these a server that vanished is never missed.
        let seconds = options.timeout.max(LEAST_KEEPALIVE);
        config.keepalives_idle(seconds);
        config.keepalives_interval(seconds);
        config.tcp_user_timeout(seconds * 2);
        Self {
            config,
            tls,
            options,
            origin,
            changes,
            hung,
        }
    }

    /// Makes a connection and everything on it that a store needs.
    pub(super) async fn connect(&self) -> Result<Connected<T::Stream>, StoreError> {
        let attempt = async {
            let connecting = self.config.connect(self.tls.clone());
            let (client, mut connection) = connecting.await.map_err(failed)?;
            let news = News::default();
            // The connection has to be driven while it is set up.
            let session = tokio::select! {
                session = Session::new(client, &self.options, self.origin) => session?,
                error = self.drive(&mut connection, &news) => return Err(error),
            };
            Ok(Connected {
                session: Arc::new(session),
                connection,
                news,
            })
        };
        let late = |_| unavailable(format!("no connection within {:?}", self.options.timeout));
        timeout(self.options.timeout, attempt).await.map_err(late)?
    }

    /// Keeps a connection for as long as somebody looks at the link.
    pub(super) async fn keep(self, link: watch::Sender<Link>, first: Connected<T::Stream>) {
        let schema = &self.options.schema;
        let mut connected = first;
        loop {
            let error = tokio::select! {
                error = self.serve(&mut connected) => error,
                () = self.hung.notified() => unavailable("it does not answer".into()),
                () = link.closed() => return,
            };
            drop(connected);
            warn!(%error, schema, "the peer store's connection is lost: connecting again");
            link.send_replace(Link::Down(error));
            connected = tokio::select! {
                connected = self.reconnect(&link) => connected,
                () = link.closed() => return,
            };
            info!(schema, "the peer store is connected again");
            link.send_replace(Link::Up(connected.session.clone()));
            // Nobody told us what happened meanwhile.
            self.tell(StoreChange::Missed);
        }
    }

    async fn reconnect(&self, link: &watch::Sender<Link>) -> Connected<T::Stream> {
        // Managers that lost the same server come back apart from each other.
        let part = f64::from(self.origin.as_u128() as u32) / f64::from(u32::MAX);
        let mut backoff = FIRST_BACKOFF;
        loop {
            sleep(backoff.mul_f64(0.5 + part / 2.0)).await;
            match self.connect().await {
                Ok(connected) => return connected,
                Err(error) => {
                    warn!(%error, schema = self.options.schema, "the peer store cannot be reached: it is tried again");
                    link.send_replace(Link::Down(error));
                }
            }
            backoff = (backoff * 2).min(self.options.max_backoff);
        }
    }

    /// Passes on what others change, until the connection ends.
    async fn serve(&self, connected: &mut Connected<T::Stream>) -> StoreError {
        let Connected {
            session,
            connection,
            news,
        } = connected;
        let report = async {
            loop {
                let batch = news.next().await;
                if let Err(error) = self.report(session, batch).await {
                    return error;
                }
            }
        };
        tokio::select! {
            error = self.drive(connection, news) => error,
            error = report => error,
        }
    }

    /// Drives the connection until it ends, and gathers what it hears.
    async fn drive(
        &self,
        connection: &mut Connection<Socket, T::Stream>,
        news: &News,
    ) -> StoreError {
        let origin = self.origin.to_string();
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notification(heard)) => news.heard(heard.payload(), &origin),
                Ok(AsyncMessage::Notice(notice)) => debug!(%notice, "PostgreSQL says"),
                Ok(_) => {}
                Err(error) => return failed(error),
            }
        }
        unavailable("the server has closed the connection".into())
    }

    /// Reads what has changed and tells of it.
    async fn report(&self, session: &Session, batch: Batch) -> Result<(), StoreError> {
        if self.changes.receiver_count() == 0 {
            return Ok(());
        }
        if batch.missed {
            self.tell(StoreChange::Missed);
        }
        let mut gone = batch.ids;
        let ids: Vec<_> = gone.iter().copied().collect();
        let parameters: [&(dyn ToSql + Sync); 1] = [&ids];
        let reading = session.client.query(&session.these, &parameters);
        let late = |_| unavailable(format!("no answer within {:?}", self.options.timeout));
        let rows = timeout(self.options.timeout, reading).await.map_err(late)?;
        for row in rows.map_err(failed)? {
            let (id, peer) = row::decode(&row)?;
            gone.remove(&id);
            match peer {
                Ok(peer) => self.tell(StoreChange::Upserted(Box::new(peer))),
                Err(error) => warn!(%error, "a changed record cannot be read: it is left out"),
            }
        }
        for id in gone {
            self.tell(StoreChange::Deleted(id));
        }
        Ok(())
    }

    fn tell(&self, change: StoreChange) {
        // That nobody listens is fine.
        let _ = self.changes.send(change);
    }
}
