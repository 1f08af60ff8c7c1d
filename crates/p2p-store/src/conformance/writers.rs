//! Many callers at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use p2p_core::{Peer, PeerStatus};
use tokio::task::JoinSet;

use super::{STATUSES, banned, peer, sorted};
use crate::error::StoreError;
use crate::store::PeerStore;

/// Writers at a time.
const WRITERS: u32 = 32;
/// Records of each.
const RECORDS: u32 = 16;

pub(super) async fn write_different_records(store: Arc<dyn PeerStore>) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for n in writer * RECORDS..(writer + 1) * RECORDS {
                store.create(&peer(n)).await.expect("create");
                let mut changed = peer(n);
                changed.status = STATUSES[n as usize % 4];
                store.update(&changed).await.expect("update");
                assert_eq!(store.read(changed.id).await.expect("read"), changed);
                if n % 8 == 0 {
                    store.delete(changed.id).await.expect("delete");
                }
            }
        });
    }
    all_of(writers).await;
    let expected = (0..WRITERS * RECORDS).filter(|n| n % 8 != 0).map(|n| Peer {
        status: STATUSES[n as usize % 4],
        ..peer(n)
    });
    let expected: Vec<_> = expected.collect();
    for status in STATUSES {
        let count = store.count_by_status(status).await;
        let of_status = expected.iter().filter(|peer| peer.status == status);
        assert_eq!(count.expect("count_by_status"), of_status.count());
    }
    let found = store.list_all().await.expect("list_all");
    assert_eq!(sorted(found), sorted(expected));
}

pub(super) async fn create_the_same_record(store: Arc<dyn PeerStore>) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            // The same address under another id is a duplicate too.
            let candidate = Peer {
                id: peer(writer / 2).id,
                ..peer(0)
            };
            match store.create(&candidate).await {
                Ok(()) => Some(candidate.id),
                Err(StoreError::DuplicatePeer { .. }) => None,
                Err(other) => panic!("instead of DuplicatePeer: {other}"),
            }
        });
    }
    let created: Vec<_> = all_of(writers).await.into_iter().flatten().collect();
    assert_eq!(created.len(), 1, "one of all has created it");
    let found = store.list_all().await.expect("list_all");
    let found: Vec<_> = found.iter().map(|peer| peer.id).collect();
    assert_eq!(found, created);
}

/// Each batch marks all records with the same status: whoever looks sees one of them.
pub(super) async fn apply_the_same_records(store: Arc<dyn PeerStore>) {
    let batch = |status| -> Vec<Peer> {
        let of_status = |n| Peer { status, ..peer(n) };
        let batch = (0..RECORDS).map(of_status);
        match status {
            PeerStatus::Banned => batch.map(banned).collect(),
            _ => batch.collect(),
        }
    };
    store.apply(&batch(PeerStatus::Valid)).await.expect("apply");
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let status = STATUSES[writer as usize % 4];
            store.apply(&batch(status)).await.expect("apply");
            let seen = store.list_all().await.expect("list_all");
            let statuses: BTreeSet<_> = seen.iter().map(|peer| peer.status).collect();
            assert_eq!(statuses.len(), 1, "a batch is seen as a whole");
            assert_eq!(seen.len(), RECORDS as usize);
        });
    }
    all_of(writers).await;
}

/// All want the same addresses, each for ids of its own: who comes last has them.
pub(super) async fn apply_to_the_same_addresses(store: Arc<dyn PeerStore>) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let claim = |n| Peer {
                id: peer(1_000 * (writer + 1) + n).id,
                ..peer(n)
            };
            let batch: Vec<_> = (0..RECORDS).map(claim).collect();
            store.apply(&batch).await.expect("apply");
        });
    }
    all_of(writers).await;
    let found = store.list_all().await.expect("list_all");
    assert_eq!(found.len(), RECORDS as usize, "one for each address");
    for n in 0..RECORDS {
        let holder = store.find_by_ip_port(peer(n).ip_address, peer(n).port);
        assert!(holder.await.expect("find_by_ip_port").is_some());
    }
}

async fn all_of<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        match result {
            Ok(result) => results.push(result),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    results
}
