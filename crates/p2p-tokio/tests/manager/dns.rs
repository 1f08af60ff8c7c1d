//! Seeds: what a resolver of the test's own says, and real name servers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::rdata::{A, AAAA, SOA};
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use p2p_tokio::{
    ControlEvent, DiscoverySource, InMemoryPeerStore, Manager, ManagerConfig, Peer, PeerSource,
    PeerStatus, PeerStore, ResolveError, Resolver,
};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use crate::support::*;

/// Says what it is told to, and counts how often it was asked.
#[derive(Debug, Default, Clone)]
struct Said {
    answers: BTreeMap<String, Vec<IpAddr>>,
    asked: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Resolver for Said {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.answers.get(name) {
            Some(answer) => Ok(answer.clone()),
            None => Err(ResolveError::new("no such name")),
        }
    }
}

fn said(answers: &[(&str, &[IpAddr])]) -> Said {
    let answers = answers
        .iter()
        .map(|(name, ips)| ((*name).to_owned(), ips.to_vec()));
    Said {
        answers: answers.collect(),
        asked: Arc::default(),
    }
}

/// Asks these seeds, and dials nobody.
fn seeded(seeds: &[&str]) -> ManagerConfig {
    let mut config = config();
    (config.target_connections, config.min_outbound) = (0, Some(0));
    config.dns_seeds = Some(seeds.iter().map(|seed| (*seed).to_owned()).collect());
    config
}

async fn discovered(node: &mut Node) -> usize {
    node.control(|event| match event {
        ControlEvent::PeersDiscovered {
            source: DiscoverySource::Dns,
            count,
        } => Some(*count),
        _ => None,
    })
    .await
}

async fn addresses(node: &Node) -> Vec<SocketAddr> {
    let peers = node.manager.get_peers().await.unwrap();
    peers.iter().map(Peer::address).collect()
}

async fn node(config: ManagerConfig, resolver: Said) -> Node {
    let manager = Manager::builder(config).resolver(resolver);
    Node::of(manager.build().unwrap()).await
}

#[tokio::test]
async fn test_dns_discovery_adds_unknown_peers() {
    let resolver = said(&[
        ("a.test", &[loopback(2), loopback(3)]),
        ("b.test", &[loopback(4)]),
    ]);
    let mut node = node(seeded(&["a.test", "b.test"]), resolver).await;
    assert_eq!(discovered(&mut node).await, 3);
    for peer in node.manager.get_peers().await.unwrap() {
        assert_eq!(
            (peer.status, peer.source),
            (PeerStatus::Unknown, PeerSource::Dns)
        );
    }
}

#[tokio::test]
async fn test_dns_discovery_skips_banned_ips() {
    let store = Arc::new(InMemoryPeerStore::new());
    let manager = Manager::new(seeded(&[]), store.clone()).unwrap();
    manager.start().await.unwrap();
    manager.ban_ip(loopback(2)).await.unwrap();
    manager.shutdown().await;
    let resolver = said(&[("a.test", &[loopback(2), loopback(3)])]);
    let manager = Manager::builder(seeded(&["a.test"]))
        .store(store)
        .resolver(resolver);
    let mut node = Node::of(manager.build().unwrap()).await;
    assert_eq!(discovered(&mut node).await, 1);
    assert_eq!(
        addresses(&node).await,
        [SocketAddr::new(loopback(3), 18444)]
    );
}

#[tokio::test]
async fn test_dns_discovery_handles_resolution_failure() {
    let resolver = said(&[("good.test", &[loopback(2)])]);
    let mut node = node(
        seeded(&["gone.test", "good.test", "gone.too.test"]),
        resolver,
    )
    .await;
    assert_eq!(discovered(&mut node).await, 1);
}

#[tokio::test]
async fn test_dns_discovery_skipped_in_fixed_mode() {
    let resolver = said(&[("a.test", &[loopback(2)])]);
    let asked = resolver.asked.clone();
    let listener = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let manager = Manager::builder(seeded(&["a.test"]))
        .resolver(resolver)
        .fixed_peers([listener.local_addr().unwrap()]);
    let mut node = Node::of(manager.build().unwrap()).await;
    let mut peer = RemotePeer::accept(&listener).await;
    peer.shake_hands().await;
    node.established().await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn test_dns_discovery_skips_duplicates() {
    let mapped = IpAddr::V6(std::net::Ipv4Addr::new(127, 0, 0, 2).to_ipv6_mapped());
    let resolver = said(&[
        ("a.test", &[loopback(2), loopback(3), loopback(2)]),
        ("b.test", &[loopback(3), mapped]),
    ]);
    let mut config = seeded(&["a.test", "b.test"]);
    config.dns_interval = Duration::from_millis(20);
    let mut node = node(config, resolver).await;
    assert_eq!(discovered(&mut node).await, 2);
    assert_eq!(discovered(&mut node).await, 0, "asked again, nobody is new");
}

#[tokio::test]
async fn test_dns_discovery_uses_default_port() {
    for (default_port, port) in [(None, 18444), (Some(4321), 4321)] {
        let resolver = said(&[("a.test", &[loopback(2)])]);
        let mut config = seeded(&["a.test"]);
        config.default_port = default_port;
        let mut node = node(config, resolver).await;
        assert_eq!(discovered(&mut node).await, 1);
        assert_eq!(addresses(&node).await, [SocketAddr::new(loopback(2), port)]);
    }
}

/// A name server of these names, on UDP and TCP.
struct NameServer {
    address: SocketAddr,
    _server: Server<Catalog>,
}

impl NameServer {
    async fn start(records: &[(&str, IpAddr)]) -> Self {
        let zone: Name = "test.".parse().unwrap();
        let policy = AxfrPolicy::Deny;
        let store = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
            zone.clone(),
            ZoneType::Primary,
            policy,
        );
        let soa = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 3600, 1);
        store
            .upsert(Record::from_rdata(zone.clone(), 1, RData::SOA(soa)), 1)
            .await;
        for (name, ip) in records {
            let data = match ip {
                IpAddr::V4(ip) => RData::A(A(*ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(*ip)),
            };
            let record = Record::from_rdata(name.parse().unwrap(), 1, data);
            assert!(store.upsert(record, 1).await);
        }
        let mut catalog = Catalog::new();
        catalog.upsert(zone.into(), vec![Arc::new(store)]);
        let mut server = Server::new(catalog);
        // A port that is free for both.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((loopback(1), 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 32);
        Self {
            address,
            _server: server,
        }
    }
}

#[tokio::test]
async fn test_discover_peers_from_real_dns_seeds() {
    let server = NameServer::start(&[
        ("one.test.", loopback(2)),
        ("one.test.", loopback(3)),
        ("one.test.", Ipv6Addr::LOCALHOST.into()),
        ("two.test.", loopback(4)),
    ])
    .await;
    let mut config = seeded(&["one.test", "two.test.", "none.test"]);
    config.dns_servers = vec![server.address];
    let mut node = Node::start(config).await;
    assert_eq!(discovered(&mut node).await, 4);
    let ips = addresses(&node)
        .await
        .into_iter()
        .map(|address| address.ip());
    let expected = [
        loopback(2),
        loopback(3),
        loopback(4),
        Ipv6Addr::LOCALHOST.into(),
    ];
    assert!(ips.eq(expected));
}

#[tokio::test]
async fn other_name_servers_are_asked_from_the_update_on() {
    let before = NameServer::start(&[("a.test.", loopback(2))]).await;
    let after = NameServer::start(&[("a.test.", loopback(3))]).await;
    let mut config = seeded(&["a.test"]);
    config.dns_interval = Duration::from_millis(20);
    config.dns_servers = vec![before.address];
    let mut node = Node::start(config.clone()).await;
    assert_eq!(discovered(&mut node).await, 1);
    config.dns_servers = vec![after.address];
    node.manager.update_config(config).await.unwrap();
    let found = async { while discovered(&mut node).await == 0 {} };
    let found = timeout(PATIENCE, found).await;
    found.expect("the other one is asked");
    let ips = addresses(&node).await.into_iter();
    let ips: Vec<_> = ips.map(|address| address.ip()).collect();
    assert_eq!(ips, [loopback(2), loopback(3)]);
}

#[tokio::test]
async fn a_resolver_of_the_applications_own_stays() {
    let server = NameServer::start(&[("a.test.", loopback(2))]).await;
    let resolver = said(&[("a.test", &[loopback(3)])]);
    let asked = resolver.asked.clone();
    let mut config = seeded(&["a.test"]);
    config.dns_interval = Duration::from_millis(20);
    let mut node = node(config.clone(), resolver).await;
    assert_eq!(discovered(&mut node).await, 1);
    config.dns_servers = vec![server.address];
    node.manager.update_config(config).await.unwrap();
    let before = asked.load(Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(
            discovered(&mut node).await,
            0,
            "the server would name one more"
        );
    }
    assert!(asked.load(Ordering::Relaxed) > before);
}

#[tokio::test]
async fn more_addresses_than_a_datagram_holds_come_over_tcp() {
    let many: Vec<_> = (1..=200).map(|n| ("many.test.", loopback(n))).collect();
    let server = NameServer::start(&many).await;
    let mut config = seeded(&["many.test"]);
    config.dns_servers = vec![server.address];
    let mut node = Node::start(config).await;
    assert_eq!(discovered(&mut node).await, 200);
}

#[tokio::test]
async fn dead_and_slow_name_servers_hold_up_nobody_but_themselves() {
    let server = NameServer::start(&[("a.test.", loopback(2))]).await;
    // Takes every question and answers none; and nobody at all.
    let silent = UdpSocket::bind((loopback(1), 0)).await.unwrap();
    let dead = {
        let socket = UdpSocket::bind((loopback(1), 0)).await.unwrap();
        socket.local_addr().unwrap()
    };
    let mut config = seeded(&["a.test"]);
    config.dns_servers = vec![silent.local_addr().unwrap(), dead, server.address];
    let mut node = Node::start(config.clone()).await;
    assert_eq!(discovered(&mut node).await, 1);

    // With none that answers it goes on after `dns_timeout`.
    config.dns_servers = vec![silent.local_addr().unwrap(), dead];
    config.dns_timeout = Duration::from_millis(50);
    let mut alone = Node::start(config).await;
    assert_eq!(discovered(&mut alone).await, 0);
    // The look-up has ended, too: nothing holds up the end.
    alone.manager.shutdown().await;
}

#[tokio::test]
async fn test_dns_discovery_integration() {
    // Three peers behind one name, all on one port, found and connected to.
    let first = TcpListener::bind((loopback(1), 0)).await.unwrap();
    let port = first.local_addr().unwrap().port();
    drop(first);
    let mut peers = Vec::new();
    for n in 11..14 {
        let mut config = listening();
        config.listener_address = loopback(n);
        config.listener_port = Some(port);
        let mut peer = Node::start(config).await;
        peer.address().await;
        peers.push(peer);
    }
    let records: Vec<_> = (11..14).map(|n| ("seed.test.", loopback(n))).collect();
    let server = NameServer::start(&records).await;
    let mut config = seeded(&["seed.test"]);
    (config.target_connections, config.min_outbound) = (3, None);
    config.default_port = Some(port);
    config.dns_servers = vec![server.address];
    let store = Arc::new(InMemoryPeerStore::new());
    let manager = Manager::new(config, store.clone()).unwrap();
    manager.start().await.unwrap();
    manager.wait_for_peers(3, PATIENCE).await.unwrap();
    manager.shutdown().await;
    assert_eq!(store.count_by_status(PeerStatus::Valid).await.unwrap(), 3);
}
