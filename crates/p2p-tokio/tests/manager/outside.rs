//! What others change in a store that several share.

use std::net::IpAddr;
use std::sync::Arc;

use p2p_tokio::{
    ControlEvent, Manager, Network, Peer, PeerSource, PeerStatus, PeerStore, StoreChange, Timestamp,
};

use crate::scripted::{Call, Does, Scripted};
use crate::support::*;

async fn unbanned(node: &mut Node) -> IpAddr {
    node.control(|event| match event {
        ControlEvent::PeerUnbanned { ip } => Some(*ip),
        _ => None,
    })
    .await
}

/// Another manager lifts a ban, and the news of it are lost.
async fn lift_elsewhere(store: &Scripted, ip: IpAddr) {
    let of_ip = store.records.find_by_ip_port(ip, 0).await.unwrap();
    let mut record = of_ip.unwrap();
    (record.status, record.ban) = (PeerStatus::Unknown, None);
    store.records.apply(&[record]).await.unwrap();
}

#[tokio::test]
async fn a_ban_that_was_lifted_elsewhere_while_nobody_listened_is_lifted_here() {
    let (store, tell) = Scripted::with_news();
    let store = Arc::new(store);
    let mut node = Node::of(Manager::new(config(), store.clone()).unwrap()).await;
    let (kept, lifted) = (loopback(8), loopback(9));
    node.manager.ban_ip(kept).await.unwrap();
    node.manager.ban_ip(lifted).await.unwrap();
    lift_elsewhere(&store, lifted).await;
    tell.send(StoreChange::Missed).await.unwrap();
    assert_eq!(unbanned(&mut node).await, lifted);
    assert_eq!(node.manager.explain().await.unwrap().banned, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_read_when_the_store_works_again() {
    let (store, tell) = Scripted::with_news();
    let store = Arc::new(store);
    let mut node = Node::of(Manager::new(config(), store.clone()).unwrap()).await;
    let lifted = loopback(9);
    node.manager.ban_ip(lifted).await.unwrap();
    lift_elsewhere(&store, lifted).await;
    for (times, does) in [(1, Does::Fails), (2, Does::Panics)] {
        store.set(Call::FindByStatus, does);
        if times == 1 {
            tell.send(StoreChange::Missed).await.unwrap();
        }
        store.called(Call::FindByStatus, times).await;
    }
    store.set(Call::FindByStatus, Does::Works);
    assert_eq!(unbanned(&mut node).await, lifted);
    // It does not hold up the end.
    store.set(Call::FindByStatus, Does::Fails);
    tell.send(StoreChange::Missed).await.unwrap();
    store.called(Call::FindByStatus, 4).await;
    node.manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn of_an_ip_that_has_a_record_those_of_its_ports_say_nothing() {
    let (store, tell) = Scripted::with_news();
    let store = Arc::new(store);
    let mut node = Node::of(Manager::new(config(), store.clone()).unwrap()).await;
    let (banned, lifted, never) = (loopback(8), loopback(9), loopback(10));
    for ip in [banned, lifted, never] {
        node.manager.ban_ip(ip).await.unwrap();
        let source = PeerSource::Dns;
        let mut of_port = Peer::new(
            Network::Regtest,
            (ip, 1).into(),
            source,
            Timestamp::default(),
        );
        of_port.status = PeerStatus::Banned;
        store.records.apply(&[of_port]).await.unwrap();
    }
    node.manager.unban_ip(never).await.unwrap();
    assert_eq!(unbanned(&mut node).await, never);
    // Three bans, and the end of one.
    store.called(Call::Apply, 4).await;
    lift_elsewhere(&store, lifted).await;
    tell.send(StoreChange::Missed).await.unwrap();
    assert_eq!(unbanned(&mut node).await, lifted);
    assert_eq!(node.manager.explain().await.unwrap().banned, 1);
}
