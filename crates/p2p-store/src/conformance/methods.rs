//! One caller, every method.

use std::net::IpAddr;
use std::slice;

use p2p_core::{Ban, BanReason, Network, Peer, PeerSource, PeerStatus, Services, Timestamp};

use super::{STATUSES, THEN, banned, peer, sorted};
use crate::error::StoreError;
use crate::store::PeerStore;

pub(super) async fn creates_and_reads(store: &dyn PeerStore) {
    assert_eq!(store.list_all().await.expect("list_all"), []);
    store.create(&peer(1)).await.expect("create");
    store.create(&peer(2)).await.expect("create another");
    assert_eq!(store.read(peer(1).id).await.expect("read"), peer(1));
    assert_eq!(all(store).await, sorted(vec![peer(1), peer(2)]));
    not_found(store.read(peer(3).id).await, &peer(3));
}

pub(super) async fn updates(store: &dyn PeerStore) {
    store.create(&peer(1)).await.expect("create");
    let mut changed = peer(1);
    changed.status = PeerStatus::Valid;
    changed.user_agent = Some("/Bitcoin SV:1.2.0/".into());
    store.update(&changed).await.expect("update");
    assert_eq!(store.read(changed.id).await.expect("read"), changed);
    assert_eq!(count(store, PeerStatus::Unknown).await, 0, "moved on");
    assert_eq!(count(store, PeerStatus::Valid).await, 1);

    let moved = Peer {
        port: 8444,
        ..changed.clone()
    };
    store.update(&moved).await.expect("update of the port");
    assert_eq!(at(store, &changed).await, None, "the old port is free");
    assert_eq!(at(store, &moved).await, Some(moved));

    not_found(store.update(&peer(2)).await, &peer(2));
    assert_eq!(all(store).await.len(), 1, "an update adds nothing");
}

pub(super) async fn deletes(store: &dyn PeerStore) {
    store.create(&banned(peer(1))).await.expect("create");
    store.delete(peer(1).id).await.expect("delete");
    not_found(store.read(peer(1).id).await, &peer(1));
    not_found(store.delete(peer(1).id).await, &peer(1));
    assert_eq!(at(store, &peer(1)).await, None);
    assert_eq!(count(store, PeerStatus::Banned).await, 0);
    store.create(&peer(1)).await.expect("create once more");
}

pub(super) async fn refuses_duplicates(store: &dyn PeerStore) {
    store.create(&peer(1)).await.expect("create");
    duplicate(store.create(&peer(1)).await, &peer(1));
    let same_address = Peer {
        id: peer(2).id,
        ..peer(1)
    };
    duplicate(store.create(&same_address).await, &peer(1));
    let same_id = Peer {
        id: peer(1).id,
        ..peer(2)
    };
    duplicate(store.create(&same_id).await, &peer(1));
    let another_port = Peer::new(
        Network::Mainnet,
        (peer(1).ip_address, 1).into(),
        PeerSource::Dns,
        THEN,
    );
    let created = store.create(&another_port).await;
    created.expect("another port of the same IP is another peer");

    let same_address = Peer {
        port: 8333,
        ..another_port.clone()
    };
    duplicate(store.update(&same_address).await, &peer(1));
    assert_eq!(
        all(store).await,
        sorted(vec![peer(1), another_port]),
        "what is refused changes nothing"
    );
}

pub(super) async fn finds(store: &dyn PeerStore) {
    let mut peers: Vec<_> = (0..12).map(peer).collect();
    for (n, peer) in peers.iter_mut().enumerate() {
        peer.status = STATUSES[n % 4];
    }
    let mut other_port = peer(0);
    other_port.id = Peer::id_of(Network::Mainnet, (other_port.ip_address, 0).into());
    other_port.port = 0;
    peers.push(banned(other_port));
    for peer in &peers {
        store.create(peer).await.expect("create");
    }
    for status in STATUSES {
        let of_status = peers.iter().filter(|peer| peer.status == status);
        let expected: Vec<_> = of_status.cloned().collect();
        let found = store.find_by_status(status).await.expect("find_by_status");
        assert_eq!(count(store, status).await, expected.len(), "{status:?}");
        assert_eq!(sorted(found), sorted(expected), "{status:?}");
    }
    for peer in &peers {
        assert_eq!(at(store, peer).await.as_ref(), Some(peer));
    }
    let unknown = store.find_by_ip_port(peers[0].ip_address, 1).await;
    assert_eq!(unknown.expect("find_by_ip_port"), None);
    let found = store.find_by_ip(peers[0].ip_address).await;
    assert_eq!(
        sorted(found.expect("find_by_ip")),
        sorted(vec![peers[0].clone(), peers[12].clone()]),
        "whatever the port"
    );
    let unknown = store.find_by_ip(IpAddr::from([9, 9, 9, 9])).await;
    assert_eq!(unknown.expect("find_by_ip"), []);
}

pub(super) async fn knows_one_ip_by_both_names(store: &dyn PeerStore) {
    let mut mapped = peer(1);
    let IpAddr::V4(ip) = mapped.ip_address else {
        unreachable!("peers of this suite have IPv4 addresses")
    };
    mapped.ip_address = ip.to_ipv6_mapped().into();
    store.create(&mapped).await.expect("create");
    assert_eq!(store.read(mapped.id).await.expect("read"), peer(1));
    duplicate(store.create(&peer(1)).await, &peer(1));
    assert_eq!(at(store, &mapped).await, Some(peer(1)));
    assert_eq!(at(store, &peer(1)).await, Some(peer(1)));
    let found = store.find_by_ip(mapped.ip_address).await;
    assert_eq!(found.expect("find_by_ip"), [peer(1)]);
    store.apply(slice::from_ref(&mapped)).await.expect("apply");
    store.update(&mapped).await.expect("update");
    assert_eq!(all(store).await, [peer(1)]);
}

pub(super) async fn keeps_every_field(store: &dyn PeerStore) {
    let reasons = [
        BanReason::NetworkMismatch {
            expected: [0xe3, 0xe1, 0xf3, 0xe8],
            received: [0xf9, 0xbe, 0xb4, 0xd9],
        },
        BanReason::BlockchainMismatch {
            user_agent: "/Satoshi:27.0.0/".into(),
        },
        BanReason::BannedUserAgent {
            user_agent: r#"/"quoted" \n 日本/"#.into(),
        },
        BanReason::ProtocolViolation {
            violation: "x".into(),
        },
        BanReason::Manual,
    ];
    for (n, reason) in (0..).zip(reasons) {
        let address = format!("[2001:db8::{n}]:8333").parse().expect("an address");
        let mut full = Peer::new(Network::Mainnet, address, PeerSource::Manual, THEN);
        full.status = PeerStatus::Banned;
        full.last_attempt = Some(Timestamp::from_millis(1));
        full.restart_count = u32::MAX;
        full.restart_window_start = Some(THEN);
        full.ban = Some(Ban {
            reason,
            at: THEN,
            // An end far ahead is no time of the past.
            until: Some(Timestamp::from_millis(1 << 52)),
        });
        full.last_seen = Some(THEN);
        full.user_agent = Some("/Bitcoin SV:1.2.0/\u{1F600}".into());
        full.services = Services(u64::MAX);
        let newer = serde_json::json!({"list": [1, "two", null], "flag": true});
        full.newer.insert("of a newer version".into(), newer);
        store.apply(slice::from_ref(&full)).await.expect("apply");
        assert_eq!(store.read(full.id).await.expect("read"), full);
        store.update(&full).await.expect("update");
        assert_eq!(at(store, &full).await, Some(full));
    }
}

pub(super) async fn applies_batches(store: &dyn PeerStore) {
    store.apply(&[]).await.expect("an empty batch");
    store.create(&peer(1)).await.expect("create");
    let mut changed = peer(1);
    changed.status = PeerStatus::Valid;
    let batch = [changed.clone(), banned(peer(2)), peer(3)];
    store.apply(&batch).await.expect("apply");
    assert_eq!(all(store).await, sorted(batch.to_vec()));
    store.apply(&batch).await.expect("the same once more");
    assert_eq!(all(store).await, sorted(batch.to_vec()));
    store.apply(&[peer(2)]).await.expect("a ban lifted");
    assert_eq!(count(store, PeerStatus::Banned).await, 0);

    let mut later = peer(3);
    later.status = PeerStatus::Inaccessible;
    let twice = [banned(peer(3)), later.clone()];
    store.apply(&twice).await.expect("one record twice");
    assert_eq!(store.read(later.id).await.expect("read"), later);

    let usurper = Peer {
        id: peer(9).id,
        ..peer(3)
    };
    store.apply(slice::from_ref(&usurper)).await.expect("apply");
    assert_eq!(at(store, &usurper).await.as_ref(), Some(&usurper));
    not_found(store.read(peer(3).id).await, &peer(3));
    assert_eq!(
        all(store).await,
        sorted(vec![changed, peer(2), usurper.clone()])
    );

    // One moves to where the next one in the batch is.
    let moved = Peer {
        ip_address: peer(5).ip_address,
        ..usurper
    };
    let batch = [moved.clone(), peer(5)];
    store.apply(&batch).await.expect("apply");
    not_found(store.read(moved.id).await, &moved);
    assert_eq!(at(store, &peer(5)).await, Some(peer(5)));
    assert_eq!(at(store, &peer(3)).await, None);
}

pub(super) async fn forgets_batches(store: &dyn PeerStore) {
    store.forget(&[]).await.expect("an empty batch");
    let batch = [peer(1), banned(peer(2)), peer(3)];
    store.apply(&batch).await.expect("apply");
    let ids = [peer(2).id, peer(9).id, peer(3).id, peer(3).id];
    store.forget(&ids).await.expect("known and unknown ids");
    assert_eq!(all(store).await, [peer(1)]);
    assert_eq!(count(store, PeerStatus::Banned).await, 0);
    store.create(&peer(3)).await.expect("create once more");
    store.flush().await.expect("flush");
    store.flush().await.expect("flush once more");
    assert_eq!(all(store).await, sorted(vec![peer(1), peer(3)]));
}

async fn all(store: &dyn PeerStore) -> Vec<Peer> {
    sorted(store.list_all().await.expect("list_all"))
}

async fn at(store: &dyn PeerStore, peer: &Peer) -> Option<Peer> {
    let found = store.find_by_ip_port(peer.ip_address, peer.port).await;
    found.expect("find_by_ip_port")
}

async fn count(store: &dyn PeerStore, status: PeerStatus) -> usize {
    let count = store.count_by_status(status).await;
    count.expect("count_by_status")
}

fn not_found<T: std::fmt::Debug>(result: Result<T, StoreError>, peer: &Peer) {
    match result {
        Err(StoreError::PeerNotFound { id }) => assert_eq!(id, peer.id),
        other => panic!("instead of PeerNotFound: {other:?}"),
    }
}

fn duplicate<T: std::fmt::Debug>(result: Result<T, StoreError>, peer: &Peer) {
    match result {
        Err(StoreError::DuplicatePeer { existing }) => assert_eq!(existing, peer.id),
        other => panic!("instead of DuplicatePeer: {other:?}"),
    }
}
