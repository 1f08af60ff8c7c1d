//! What every store does, each rule by its own name, on all three.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops when it cannot go on, and waits for one thing among many"
)]

mod support;

use std::time::{Instant, SystemTime};

use p2p_core::{
    Action, Clock, Command, ControlEvent, InboundRefusal, Input, Manager, ManagerConfig, Network,
    OperatingMode, Peer, PeerStatus,
};
use p2p_store::{PeerStore, StoreError};
use support::stores::places;
use support::{Folder, banned, of_status, peer, sorted};
use tokio::task::JoinSet;

#[tokio::test]
async fn test_create_peer() {
    let folder = Folder::new();
    for place in places(&folder) {
        let store = place.open().await;
        store.create(&peer(1)).await.unwrap();
        assert_eq!(
            store.read(peer(1).id).await.unwrap(),
            peer(1),
            "{}",
            place.name
        );
        let unknown = store.read(peer(2).id).await;
        assert!(matches!(unknown, Err(StoreError::PeerNotFound { id }) if id == peer(2).id));
    }
}

#[tokio::test]
async fn test_find_by_ip_port() {
    let folder = Folder::new();
    for place in places(&folder) {
        let store = place.open().await;
        store.create(&peer(1)).await.unwrap();
        let ip = peer(1).ip_address;
        let found = store.find_by_ip_port(ip, 8333).await.unwrap();
        assert_eq!(found, Some(peer(1)), "{}", place.name);
        assert_eq!(store.find_by_ip_port(ip, 8334).await.unwrap(), None);
    }
}

#[tokio::test]
async fn test_find_by_status() {
    let folder = Folder::new();
    for place in places(&folder) {
        let store = place.open().await;
        store.apply(&[peer(1), banned(2), banned(3)]).await.unwrap();
        let found = store.find_by_status(PeerStatus::Banned).await.unwrap();
        assert_eq!(
            sorted(found),
            sorted(vec![banned(2), banned(3)]),
            "{}",
            place.name
        );
    }
}

/// Many tasks change their own records at a time; nothing is lost, nothing is mixed up.
#[tokio::test(flavor = "multi_thread")]
async fn test_concurrent_updates() {
    let folder = Folder::new();
    for place in places(&folder) {
        let store = place.open().await;
        let mut tasks = JoinSet::new();
        for n in 0..32 {
            let store = store.clone();
            tasks.spawn(async move {
                store.create(&peer(n)).await.unwrap();
                for count in 1..=10 {
                    let mut changed = peer(n);
                    changed.restart_count = count;
                    store.update(&changed).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        let all = store.list_all().await.unwrap();
        assert_eq!(all.len(), 32, "{}", place.name);
        assert!(all.iter().all(|peer| peer.restart_count == 10));
    }
}

#[tokio::test]
async fn test_duplicate_prevention() {
    let folder = Folder::new();
    for place in places(&folder) {
        let store = place.open().await;
        store.create(&peer(1)).await.unwrap();
        let mut same_address = peer(1);
        same_address.id = peer(2).id;
        for duplicate in [peer(1), same_address] {
            let refused = store.create(&duplicate).await;
            let expected = peer(1).id;
            assert!(
                matches!(refused, Err(StoreError::DuplicatePeer { existing }) if existing == expected),
                "{}: {refused:?}",
                place.name
            );
        }
    }
}

#[tokio::test]
async fn test_update_peer_status() {
    let folder = Folder::new();
    for place in places(&folder) {
        let store = place.open().await;
        store.create(&peer(1)).await.unwrap();
        let valid = of_status(1, PeerStatus::Valid);
        store.update(&valid).await.unwrap();
        assert_eq!(store.read(valid.id).await.unwrap(), valid, "{}", place.name);
        let found = store.find_by_status(PeerStatus::Unknown).await.unwrap();
        assert_eq!(found, []);
    }
}

#[tokio::test]
async fn test_count_by_status() {
    let folder = Folder::new();
    for place in places(&folder) {
        let store = place.open().await;
        store.apply(&[peer(1), peer(2), banned(3)]).await.unwrap();
        store.delete(peer(1).id).await.unwrap();
        for (status, expected) in [
            (PeerStatus::Unknown, 1),
            (PeerStatus::Banned, 1),
            (PeerStatus::Valid, 0),
        ] {
            let count = store.count_by_status(status).await.unwrap();
            assert_eq!(count, expected, "{} {status:?}", place.name);
        }
    }
}

#[tokio::test]
async fn test_peer_store_survives_restart() {
    let folder = Folder::new();
    for place in places(&folder) {
        let peers = vec![of_status(1, PeerStatus::Valid), peer(2), banned(3)];
        let store = place.open().await;
        store.apply(&peers).await.unwrap();
        store.flush().await.unwrap();
        drop(store);
        let found = place.open().await.list_all().await.unwrap();
        assert_eq!(sorted(found), sorted(peers), "{}", place.name);
    }
}

/// A manager bans an IP and reports it; the process is gone without another word. The next
/// manager refuses connections from there, whatever the port, until the ban is lifted; and the
/// one after that accepts them.
#[tokio::test]
async fn test_ban_enforcement_across_manager_restart() {
    let folder = Folder::new();
    for place in places(&folder) {
        let remote = "127.0.0.9:40000".parse().unwrap();
        let store = place.open().await;
        let mut manager = manager(store.list_all().await.unwrap());
        let now = Instant::now();
        assert!(manager.accept(now, remote).is_ok());
        let reported = command(&mut manager, &*store, Command::Ban(remote.ip())).await;
        assert!(
            reported
                .iter()
                .any(|event| matches!(event, ControlEvent::PeerBanned { .. }))
        );
        drop(store);

        let store = place.open().await;
        let mut manager = self::manager(store.list_all().await.unwrap());
        let refused = manager.accept(Instant::now(), remote);
        assert_eq!(
            refused.unwrap_err(),
            InboundRefusal::Banned,
            "{}",
            place.name
        );
        command(&mut manager, &*store, Command::Unban(remote.ip())).await;
        drop(store);

        let store = place.open().await;
        let mut manager = self::manager(store.list_all().await.unwrap());
        let accepted = manager.accept(Instant::now(), remote);
        assert!(accepted.is_ok(), "{}", place.name);
    }
}

fn manager(known: Vec<Peer>) -> Manager {
    let now = Instant::now();
    let config = ManagerConfig::new(Network::Regtest);
    let clock = Clock::new(now, SystemTime::now());
    let mut manager =
        Manager::new(config, OperatingMode::Normal, known, [7; 32], clock, now).unwrap();
    manager.handle(now, Input::Command(Command::Start));
    while manager.poll_action().is_some() {}
    manager
}

/// Gives a command, stores what the manager wants stored, and returns what it reports.
async fn command(
    manager: &mut Manager,
    store: &dyn PeerStore,
    command: Command,
) -> Vec<ControlEvent> {
    manager.handle(Instant::now(), Input::Command(command));
    let mut events = Vec::new();
    while let Some(action) = manager.poll_action() {
        match action {
            Action::Persist { batch, peers, .. } => {
                let result = store.apply(&peers).await.map_err(|error| error.to_string());
                manager.handle(Instant::now(), Input::Stored { batch, result });
            }
            Action::Notify(event) => events.push(event),
            _ => {}
        }
    }
    events
}
