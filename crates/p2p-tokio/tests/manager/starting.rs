//! A start that is under way, and what is asked meanwhile.

use std::sync::Arc;

use p2p_tokio::{Manager, ManagerError, RecvError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::scripted::{Call, Does, Scripted};
use crate::support::*;

type Started = JoinHandle<Result<(), ManagerError>>;

/// A manager whose start waits for its store.
async fn starting() -> (Manager, Arc<Scripted>, Started) {
    let store = Arc::new(Scripted::new());
    store.set(Call::ListAll, Does::Waits);
    let manager = Manager::new(config(), store.clone()).unwrap();
    let started = start(&manager, &store, 1).await;
    (manager, store, started)
}

/// Starts it for the nth time, up to where it waits.
async fn start(manager: &Manager, store: &Scripted, nth: usize) -> Started {
    let starts = manager.clone();
    let started = tokio::spawn(async move { starts.start().await });
    store.called(Call::ListAll, nth).await;
    started
}

async fn ended(started: Started) -> Result<(), ManagerError> {
    let started = timeout(PATIENCE, started).await;
    started.expect("the start ends").unwrap()
}

#[tokio::test]
async fn a_shutdown_ends_a_start_that_is_under_way_and_nobody_is_dialled() {
    let listener = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let store = Arc::new(Scripted::new());
    store.set(Call::ListAll, Does::Waits);
    let peers = [listener.local_addr().unwrap()];
    let manager = Manager::with_fixed_peers(config(), store.clone(), peers).unwrap();
    let mut events = manager.events();
    let started = start(&manager, &store, 1).await;
    timeout(PATIENCE, manager.shutdown()).await.unwrap();
    store.set(Call::ListAll, Does::Works);
    let refused = ended(started).await;
    assert!(
        matches!(refused, Err(ManagerError::AlreadyStopped)),
        "{refused:?}"
    );
    assert_eq!(events.recv().await, Err(RecvError::Closed));
    assert_eq!(manager.stats().dials, 0);
    let asked = manager.explain().await;
    for refused in [manager.start().await, asked.map(|_| ())] {
        assert!(
            matches!(refused, Err(ManagerError::AlreadyStopped)),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_shutdown_ends_a_start_whose_store_hangs() {
    let (manager, _store, started) = starting().await;
    timeout(PATIENCE, manager.shutdown()).await.unwrap();
    let refused = ended(started).await;
    assert!(
        matches!(refused, Err(ManagerError::AlreadyStopped)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_is_asked_during_a_start_is_answered_at_once() {
    let (manager, store, started) = starting().await;
    let asked = timeout(PATIENCE, manager.explain()).await;
    let early = asked.expect("there is an answer").unwrap_err();
    assert!(matches!(early, ManagerError::NotStarted), "{early:?}");
    let second = manager.start().await;
    assert!(
        matches!(second, Err(ManagerError::AlreadyStarted)),
        "{second:?}"
    );
    store.set(Call::ListAll, Does::Works);
    ended(started).await.unwrap();
    manager.explain().await.unwrap();
    manager.shutdown().await;
}

#[tokio::test]
async fn a_start_that_failed_leaves_nothing_behind_that_the_next_one_would_do() {
    let (manager, store, started) = starting().await;
    let asked = manager.clone();
    let asked = tokio::spawn(async move { asked.explain().await });
    store.set(Call::ListAll, Does::Fails);
    let failed = ended(started).await;
    assert!(matches!(failed, Err(ManagerError::Store(_))), "{failed:?}");
    let asked = timeout(PATIENCE, asked).await.expect("there is an answer");
    assert!(matches!(asked.unwrap(), Err(ManagerError::NotStarted)));
    store.set(Call::ListAll, Does::Works);
    manager.start().await.unwrap();
    manager.explain().await.unwrap();
    manager.shutdown().await;
}

#[tokio::test]
async fn a_start_that_is_given_up_can_be_made_again() {
    let (manager, store, started) = starting().await;
    started.abort();
    assert!(started.await.unwrap_err().is_cancelled());
    store.set(Call::ListAll, Does::Works);
    manager.start().await.unwrap();
    manager.shutdown().await;
}
