//! The store's task: one thing at a time, and the manager never waits for it.

use std::sync::Arc;

use p2p_core::{BatchId, Input, Peer, PeerStatus};
use p2p_store::{ChangeStream, PeerStore, StoreChange, StoreError};
use tokio::sync::mpsc;
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
                result: persist(&*store, &peers, &gone).await.map_err(text),
            },
            Job::Save => Input::Saved {
                result: store.flush().await.map_err(text),
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
    store: Arc<dyn PeerStore>,
    mut changes: ChangeStream,
    reports: mpsc::Sender<Report>,
) {
    loop {
        let next = std::future::poll_fn(|cx| changes.as_mut().poll_next(cx)).await;
        let peers = match next {
            None => return,
            Some(StoreChange::Upserted(peer)) => vec![*peer],
            // Bans are what must not be missed.
            Some(StoreChange::Missed) => match store.find_by_status(PeerStatus::Banned).await {
                Ok(banned) => banned,
                Err(error) => {
                    warn!(%error, "bans of others may have been missed, and cannot be read");
                    continue;
                }
            },
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

fn text(error: StoreError) -> String {
    error.to_string()
}
