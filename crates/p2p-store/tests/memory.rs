//! The store in memory, with and without a file.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

mod support;

use p2p_store::{InMemoryPeerStore, conformance};
use support::Folder;

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_without_a_file() {
    conformance::suite(async || InMemoryPeerStore::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_with_a_file() {
    let folder = Folder::new();
    conformance::suite(async || InMemoryPeerStore::open(folder.fresh()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives() {
    let folder = Folder::new();
    conformance::survives(async || InMemoryPeerStore::open(folder.path("peers.json")).unwrap())
        .await;
}
