//! The store's task: one thing at a time, and the manager never waits for it.

use std::any::Any;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use p2p_core::{BatchId, Input, Peer, PeerStatus, STORE_RETRY, deciding_records};
use p2p_proto::Network;
use p2p_store::{ChangeStream, PeerStore, StoreChange, StoreError};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use uuid::Uuid;

use super::Report;

/// Something for the store to do.
#[derive(Debug)]
pub(super) enum Job {
    Persist {
        batch: BatchId,
        peers: Vec<Peer>,
        gone: Vec<Uuid>,
    },
    Save,
}

/// Jobs that can be under way: the manager has one batch and one save at a time.
pub(super) const JOBS: usize = 2;

/// Does what the manager wants, until it wants no more.
pub(super) async fn work(
    store: Arc<dyn PeerStore>,
    mut jobs: mpsc::Receiver<Job>,
    reports: mpsc::Sender<Report>,
) {
    while let Some(job) = jobs.recv().await {
        let input = match job {
            Job::Persist { batch, peers, gone } => Input::Stored {
                batch,
                result: answer_of(persist(&*store, &peers, &gone)).await,
            },
            Job::Save => Input::Saved {
                result: answer_of(store.flush()).await,
            },
        };
        if reports.send(Report::Input(input)).await.is_err() {
            return;
        }
    }
}

async fn persist(store: &dyn PeerStore, peers: &[Peer], gone: &[Uuid]) -> Result<(), StoreError> {
    if !gone.is_empty() {
        store.forget(gone).await?;
    }
    if !peers.is_empty() {
        store.apply(peers).await?;
    }
    Ok(())
}

/// Tells the manager what others change in the store.
pub(super) async fn watch(
    network: Network,
    store: Arc<dyn PeerStore>,
    mut changes: ChangeStream,
    reports: mpsc::Sender<Report>,
) {
    loop {
        let next = std::future::poll_fn(|cx| changes.as_mut().poll_next(cx)).await;
        let peers = match next {
            None => return,
            Some(StoreChange::Upserted(peer)) => vec![*peer],
            Some(StoreChange::Missed) => missed(network, &*store, &reports).await,
            // What others forget we may still know.
            Some(_) => continue,
        };
        if reports
            .send(Report::Input(Input::Changed { peers }))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// What must not be missed, read as soon as the store can be read.
async fn missed(
    network: Network,
    store: &dyn PeerStore,
    reports: &mpsc::Sender<Report>,
) -> Vec<Peer> {
    loop {
        match answer_of(bans_and_their_ends(store, reports)).await {
            Ok(peers) => return peers,
            Err(error) => warn!(
                target: "p2p_tokio", %network, error,
                "bans of others may have been missed, and cannot be read; tried again soon"
            ),
        }
        tokio::time::sleep(STORE_RETRY).await;
    }
}

/// Bans of others, and the records that lift bans.
async fn bans_and_their_ends(
    store: &dyn PeerStore,
    reports: &mpsc::Sender<Report>,
) -> Result<Vec<Peer>, StoreError> {
    let mut peers = store.find_by_status(PeerStatus::Banned).await?;
    // Where a port's record says "banned", or ours does, the record of the IP may say otherwise.
    let mut unsure: BTreeSet<IpAddr> = peers.iter().map(|peer| peer.ip_address).collect();
    let (asked, answer) = oneshot::channel();
    if reports.send(Report::StoredBans(asked)).await.is_ok()
        && let Ok(known) = answer.await
    {
        unsure.extend(known);
    }
    for peer in peers.iter().filter(|peer| peer.port == 0) {
        unsure.remove(&peer.ip_address);
    }
    for ip in unsure {
        let of_ip = store.find_by_ip(ip).await?;
        peers.extend(of_ip.into_iter().filter(|peer| peer.port == 0));
    }
    peers.sort_unstable_by_key(Peer::address);
    Ok(deciding_records(&peers).cloned().collect())
}

/// What becomes of work for the store. A bug in it is a failure like others: the work after it
/// goes on.
async fn answer_of<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("the store panicked: {}", text(&*panic))),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word")
}
