//! Random operations on every store, against the model of the conformance suite; what fails is
//! made smaller.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

mod support;

use p2p_core::Peer;
use p2p_store::conformance::{Operation, check_operations, random_operations};
use p2p_store::{InMemoryPeerStore, PeerStore, RedbPeerStore};
use proptest::prelude::*;
use support::server::Server;
use support::stores::{connect, options};
use support::{Folder, sorted};
use tokio::runtime::Runtime;

/// Operations that shrink by leaving some out.
fn operations() -> impl Strategy<Value = Vec<Operation>> {
    any::<u64>()
        .prop_map(|seed| random_operations(seed, 60))
        .prop_flat_map(|operations| proptest::sample::subsequence(operations, 0..=60))
}

fn check(runtime: &Runtime, store: &dyn PeerStore, operations: &[Operation]) {
    runtime.block_on(check_operations(store, operations));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn in_memory_it_does_as_the_model_does(operations in operations()) {
        let runtime = Runtime::new()?;
        check(&runtime, &InMemoryPeerStore::new(), &operations);
    }

    /// Closed and opened in between: what was flushed and what was promised is there.
    #[test]
    fn in_a_file_it_does_as_the_model_does(operations in operations()) {
        let runtime = Runtime::new()?;
        let folder = Folder::new();
        let path = folder.path("peers");
        let all = |store: &InMemoryPeerStore| sorted(runtime.block_on(store.list_all()).unwrap());
        let store = InMemoryPeerStore::open(&path).unwrap();
        check(&runtime, &store, &operations);
        let bans = |peers: Vec<Peer>| -> Vec<_> {
            peers.into_iter().filter(|peer| peer.ban.is_some()).collect()
        };
        let promised = bans(all(&store));
        drop(store);
        let store = InMemoryPeerStore::open(&path).unwrap();
        prop_assert_eq!(bans(all(&store)), promised);

        runtime.block_on(store.flush()).unwrap();
        let before = all(&store);
        drop(store);
        let store = InMemoryPeerStore::open(&path).unwrap();
        prop_assert_eq!(all(&store), before);
    }

    #[test]
    fn in_redb_it_does_as_the_model_does(operations in operations()) {
        let runtime = Runtime::new()?;
        let folder = Folder::new();
        check(&runtime, &RedbPeerStore::open(folder.path("peers")).unwrap(), &operations);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn in_postgres_it_does_as_the_model_does(operations in operations()) {
        let runtime = Runtime::new()?;
        let store = runtime.block_on(connect(Server::shared(), &options()));
        check(&runtime, &store, &operations);
    }
}
