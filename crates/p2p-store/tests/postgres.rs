//! The store in PostgreSQL, against a real server.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

mod support;

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use p2p_core::PeerStatus;
use p2p_store::tokio_postgres::{Client, NoTls};
use p2p_store::{ChangeStream, PeerStore, PostgresPeerStore, StoreChange, StoreError, conformance};
use support::server::Server;
use support::stores::{connect, options};
use support::{banned, of_status, peer, sorted};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longer than anything here takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let server = Server::shared();
    conformance::suite(async || connect(server, &options()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives() {
    let (server, options) = (Server::shared(), options());
    conformance::survives(async || connect(server, &options).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hears_of_the_changes_of_the_other() {
    let (server, options) = (Server::shared(), options());
    let ours = connect(server, &options).await;
    let theirs = connect(server, &options).await;
    conformance::tells_of_changes(&ours, &theirs).await;
}

/// Two managers' worth of writers, and the server dies in the middle, with everything that it has
/// not written. By default it would not have written what it has answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_costs_no_ban() {
    let server = Server::start("-c synchronous_commit=off -c wal_writer_delay=10s");
    let options = options();
    let managers = [
        Arc::new(connect(&server, &options).await),
        Arc::new(connect(&server, &options).await),
    ];
    let mut changes = managers.clone().map(|manager| manager.changes().unwrap());
    let (stored, mut progress) = watch::channel(BTreeSet::new());
    let refused = Arc::new(AtomicU32::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let manager = managers[writer as usize % 2].clone();
        let (stored, refused, stop) = (stored.clone(), refused.clone(), stop.clone());
        writers.spawn(async move {
            for n in (writer..).step_by(16) {
                let batch = [of_status(n + 100_000, PeerStatus::Valid), banned(n)];
                while let Err(error) = manager.apply(&batch).await {
                    assert!(error.is_retryable(), "{error}");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                stored.send_if_modified(|stored| stored.insert(n));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
    }
    progress
        .wait_for(|stored| stored.len() > 200)
        .await
        .unwrap();
    server.crash();
    let before = stored.borrow().len();
    server.up();
    let enough = progress.wait_for(|stored| stored.len() > before + 200);
    timeout(LIMIT, enough).await.expect("they go on").unwrap();
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;

    assert!(
        refused.load(Ordering::Relaxed) > 0,
        "nobody noticed the death"
    );
    let found = connect(&server, &options).await.list_all().await.unwrap();
    let found: BTreeSet<_> = found.iter().map(|peer| peer.id).collect();
    for &n in stored.borrow().iter() {
        assert!(found.contains(&banned(n).id), "ban {n} is lost");
        assert!(
            found.contains(&peer(n + 100_000).id),
            "the batch of {n} is torn"
        );
    }
    // Both are told that they may have missed something, and of what came after.
    for (n, changes) in changes.iter_mut().enumerate() {
        let other = &managers[1 - n];
        other.create(&peer(500_000)).await.unwrap();
        until(changes, |change| *change == StoreChange::Missed).await;
        until(changes, |change| change.id() == Some(peer(500_000).id)).await;
        other.delete(peer(500_000).id).await.unwrap();
    }
}

/// Both want the same addresses for ids of their own, in opposite orders.
#[tokio::test(flavor = "multi_thread")]
async fn managers_in_each_others_way_both_get_through() {
    let (server, options) = (Server::shared(), options());
    let mut writers = JoinSet::new();
    for manager in 0..4 {
        let store = connect(server, &options).await;
        writers.spawn(async move {
            for round in 0..30 {
                let claim = |n| {
                    let mut peer = of_status(n, PeerStatus::Valid);
                    peer.id = self::peer(1_000_000 + (round * 4 + manager) * 100 + n).id;
                    peer
                };
                let batch: Vec<_> = (0..20).map(claim).collect();
                store.apply(&batch).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let found = connect(server, &options).await.list_all().await.unwrap();
    assert_eq!(found.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_of_a_ban_cannot_lift_it() {
    let (server, options) = (Server::shared(), options());
    let ours = connect(server, &options).await;
    let theirs = connect(server, &options).await;
    ours.create(&peer(1)).await.unwrap();
    theirs.apply(&[banned(1), banned(2)]).await.unwrap();

    // What it knows of it is older than the ban.
    let mut ignorant = of_status(1, PeerStatus::Valid);
    ignorant.restart_count = 7;
    ours.apply(slice::from_ref(&ignorant)).await.unwrap();
    ours.update(&ignorant).await.unwrap();
    let mut expected = banned(1);
    expected.restart_count = 7;
    assert_eq!(theirs.read(expected.id).await.unwrap(), expected);
    ours.apply(&[peer(2)]).await.unwrap();
    assert_eq!(theirs.read(peer(2).id).await.unwrap(), banned(2));

    // Now it knows.
    assert_eq!(ours.read(expected.id).await.unwrap(), expected);
    ours.apply(slice::from_ref(&ignorant)).await.unwrap();
    assert_eq!(theirs.read(ignorant.id).await.unwrap(), ignorant);

    // To be told is to know.
    let mut changes = ours.changes().unwrap();
    theirs.apply(&[banned(3)]).await.unwrap();
    until(&mut changes, |change| change.id() == Some(peer(3).id)).await;
    ours.apply(&[peer(3)]).await.unwrap();
    assert_eq!(theirs.read(peer(3).id).await.unwrap(), peer(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_does_in_sql_is_heard() {
    let (server, options) = (Server::shared(), options());
    let store = connect(server, &options).await;
    store.apply(&[peer(1), peer(2)]).await.unwrap();
    let mut changes = store.changes().unwrap();
    let operator = operator(server).await;
    let schema = &options.schema;
    let sql = format!(
        "UPDATE {schema}.peers SET record = jsonb_set(record, '{{status}}', '\"Valid\"')
         WHERE ip = '{}'",
        peer(1).ip_address
    );
    operator.batch_execute(&sql).await.unwrap();
    let valid = of_status(1, PeerStatus::Valid);
    let change = until(&mut changes, |_| true).await;
    assert_eq!(change, StoreChange::Upserted(Box::new(valid.clone())));
    let found = store.find_by_status(PeerStatus::Valid).await.unwrap();
    assert_eq!(found, [valid], "the other columns follow");

    let sql = format!(
        "DELETE FROM {schema}.peers WHERE ip = '{}'",
        peer(2).ip_address
    );
    operator.batch_execute(&sql).await.unwrap();
    let change = until(&mut changes, |_| true).await;
    assert_eq!(change, StoreChange::Deleted(peer(2).id));
    let sql = format!("TRUNCATE {schema}.peers");
    operator.batch_execute(&sql).await.unwrap();
    assert_eq!(until(&mut changes, |_| true).await, StoreChange::Missed);

    // A record that nobody can read hides no other.
    store.apply(&[peer(1), peer(2)]).await.unwrap();
    let sql = format!(
        "UPDATE {schema}.peers SET record = jsonb_set(record, '{{status}}', '\"Odd\"')
         WHERE ip = '{}'",
        peer(1).ip_address
    );
    operator.batch_execute(&sql).await.unwrap();
    assert_eq!(store.list_all().await.unwrap(), [peer(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_start_at_once_and_a_newer_schema_is_refused() {
    let (server, options) = (Server::shared(), options());
    let mut starts = JoinSet::new();
    for n in 0..8 {
        let options = options.clone();
        starts.spawn(async move {
            let store = connect(server, &options).await;
            store.create(&peer(n)).await.unwrap();
        });
    }
    starts.join_all().await;
    let store = connect(server, &options).await;
    let all = sorted((0..8).map(peer).collect());
    assert_eq!(sorted(store.list_all().await.unwrap()), all);

    let sql = format!("UPDATE {}.schema_version SET version = 99", options.schema);
    operator(server).await.batch_execute(&sql).await.unwrap();
    let config = server.config().parse().unwrap();
    let refused = PostgresPeerStore::connect_with(config, NoTls, options.clone()).await;
    let error = refused.unwrap_err();
    assert!(!error.is_retryable());
    let text = error.to_string();
    assert!(
        text.contains("version 99") && text.contains(&options.schema),
        "{text}"
    );
}

/// A manager may have no right to make anything, once somebody has made it.
#[tokio::test(flavor = "multi_thread")]
async fn rights_on_the_table_are_enough() {
    let (server, options) = (Server::shared(), options());
    connect(server, &options).await;
    let schema = &options.schema;
    let sql = format!(
        "CREATE ROLE guest LOGIN;
         GRANT USAGE ON SCHEMA {schema} TO guest;
         GRANT SELECT ON {schema}.schema_version TO guest;
         GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.peers TO guest;"
    );
    operator(server).await.batch_execute(&sql).await.unwrap();
    let config = server.config().replace("user=p2p", "user=guest");
    let guest = PostgresPeerStore::connect_with(config.parse().unwrap(), NoTls, options).await;
    let guest = guest.unwrap();
    guest.apply(&[banned(1)]).await.unwrap();
    assert_eq!(guest.list_all().await.unwrap(), [banned(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_makes_calls_fail_and_not_hang() {
    let server = Server::start("");
    let mut options = options();
    options.timeout = Duration::from_millis(300);
    let store = connect(&server, &options).await;
    server.crash();
    let refused = timeout(LIMIT, store.apply(&[banned(1)])).await.unwrap();
    assert!(refused.unwrap_err().is_retryable());
    // The one before may have met the end of the connection; this one meets none.
    let refused = timeout(LIMIT, store.list_all()).await.unwrap();
    let error = refused.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("no connection"),
        "{error}"
    );
    let config = server.config();
    let refused = timeout(LIMIT, PostgresPeerStore::connect(&config))
        .await
        .unwrap();
    assert!(refused.unwrap_err().is_retryable());
}

/// Somebody holds a lock: calls fail in time, and go on when it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_makes_calls_fail_and_not_hang() {
    let server = Server::shared();
    let mut options = options();
    options.timeout = Duration::from_millis(500);
    let store = connect(server, &options).await;
    let mut operator = operator(server).await;
    let transaction = operator.transaction().await.unwrap();
    let sql = format!("LOCK TABLE {}.peers", options.schema);
    transaction.batch_execute(&sql).await.unwrap();
    let refused = timeout(LIMIT, store.apply(&[banned(1)])).await.unwrap();
    assert!(refused.unwrap_err().is_retryable());
    transaction.rollback().await.unwrap();
    store.apply(&[banned(1)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jsonb_has_no_place_for_is_refused_as_a_whole() {
    let store = connect(Server::shared(), &options()).await;
    let mut odd = peer(1);
    odd.user_agent = Some("a\0b".into());
    let refused = store.apply(&[banned(2), odd]).await;
    assert!(matches!(
        refused,
        Err(StoreError::Backend {
            retryable: false,
            ..
        })
    ));
    assert_eq!(store.list_all().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_dropped_leaves_no_connection() {
    let (server, options) = (Server::shared(), options());
    let config = format!("{} application_name={}", server.config(), options.schema);
    let store = PostgresPeerStore::connect_with(config.parse().unwrap(), NoTls, options.clone());
    let store = store.await.unwrap();
    let mut changes = store.changes().unwrap();
    let operator = operator(server).await;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    let count = async || {
        let row = operator.query_one(sql, &[&options.schema]).await.unwrap();
        row.get::<_, i64>(0)
    };
    assert_eq!(count().await, 1);
    drop(store);
    let end = timeout(LIMIT, changes.next()).await.unwrap();
    assert_eq!(end, None, "the stream ends with the store");
    let gone = async { while count().await > 0 {} };
    timeout(LIMIT, gone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_told_that_it_missed_something() {
    let (server, options) = (Server::shared(), options());
    let ours = connect(server, &options).await;
    let theirs = connect(server, &options).await;
    let mut changes = ours.changes().unwrap();
    for round in 0..6 {
        let batch: Vec<_> = (0..1_000).map(|n| peer(round * 1_000 + n)).collect();
        theirs.apply(&batch).await.unwrap();
    }
    until(&mut changes, |change| *change == StoreChange::Missed).await;
    theirs.apply(&[banned(9_999)]).await.unwrap();
    until(&mut changes, |change| change.id() == Some(peer(9_999).id)).await;
}

async fn operator(server: &Server) -> Client {
    let config = server.config();
    let (client, connection) = p2p_store::tokio_postgres::connect(&config, NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// The next change of which this holds.
async fn until(changes: &mut ChangeStream, wanted: impl Fn(&StoreChange) -> bool) -> StoreChange {
    let search = async {
        loop {
            let change = changes.next().await.expect("the stream goes on");
            if wanted(&change) {
                return change;
            }
        }
    };
    timeout(LIMIT, search).await.expect("a change")
}
