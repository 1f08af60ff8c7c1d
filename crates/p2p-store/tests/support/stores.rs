//! All stores, opened again and again at the same place.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use p2p_store::tokio_postgres::NoTls;
use p2p_store::{InMemoryPeerStore, PeerStore, PostgresOptions, PostgresPeerStore, RedbPeerStore};

use super::Folder;
use super::server::Server;

type Opening = Pin<Box<dyn Future<Output = Arc<dyn PeerStore>>>>;

/// A place where a store is kept.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    open: Box<dyn Fn() -> Opening>,
}

impl Place {
    pub(crate) async fn open(&self) -> Arc<dyn PeerStore> {
        (self.open)().await
    }
}

/// An empty place of each kind.
pub(crate) fn places(folder: &Folder) -> Vec<Place> {
    let json = folder.fresh();
    let redb = folder.fresh();
    let options = options();
    vec![
        place("InMemoryPeerStore", move || {
            let store = InMemoryPeerStore::open(&json).unwrap();
            async { Arc::new(store) as Arc<dyn PeerStore> }
        }),
        place("RedbPeerStore", move || {
            let store = RedbPeerStore::open(&redb).unwrap();
            async { Arc::new(store) as Arc<dyn PeerStore> }
        }),
        place("PostgresPeerStore", move || {
            let options = options.clone();
            async move {
                let store = connect(Server::shared(), &options).await;
                Arc::new(store) as Arc<dyn PeerStore>
            }
        }),
    ]
}

/// Options with a schema that no other test of the program has.
pub(crate) fn options() -> PostgresOptions {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut options = PostgresOptions::default();
    options.schema = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    options
}

pub(crate) async fn connect(server: &Server, options: &PostgresOptions) -> PostgresPeerStore {
    let config = server.config().parse().unwrap();
    let connected = PostgresPeerStore::connect_with(config, NoTls, options.clone()).await;
    connected.unwrap()
}

fn place<F>(name: &'static str, open: impl Fn() -> F + 'static) -> Place
where
    F: Future<Output = Arc<dyn PeerStore>> + 'static,
{
    Place {
        name,
        open: Box::new(move || Box::pin(open())),
    }
}
