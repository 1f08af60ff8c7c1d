//! Everything at once, drawn from a seed: no panic, no deadlock, no slot lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_tokio::{InMemoryPeerStore, Manager, ManagerConfig, Message};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::scaled;
use crate::support::*;

const NODES: usize = 8;

fn config_of(rng: &mut impl Rng) -> ManagerConfig {
    let mut config = listening();
    config.target_connections = rng.random_range(0..=6);
    config.max_connections = rng.random_range(config.target_connections.max(1)..=10);
    config.connection.ping_interval = Duration::from_millis(rng.random_range(20..200));
    config.connection.initial_backoff = Duration::from_millis(rng.random_range(1..50));
    config.connection.max_backoff = Duration::from_millis(100);
    config.inaccessible_retry = Duration::from_millis(200);
    config.ban_duration = Some(Duration::from_millis(300));
    config.listener_retry_interval = Duration::from_millis(50);
    config
}

async fn new_node(rng: &mut impl Rng) -> Node {
    let manager = Manager::new(config_of(rng), Arc::new(InMemoryPeerStore::new())).unwrap();
    let mut node = Node::of(manager).await;
    node.address().await;
    node
}

#[test]
fn chaos() {
    let seed =
        std::env::var("CHAOS_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("CHAOS_SEED={seed}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(rage(seed, Duration::from_secs(scaled(30, 300))));
}

async fn rage(seed: u64, time: Duration) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(new_node(&mut rng).await);
    }
    let end = Instant::now() + time;
    let mut calls = JoinSet::new();
    let mut made = 0_u64;
    let mut shutdowns = 0;
    while Instant::now() < end {
        let at = rng.random_range(0..NODES);
        let other = rng.random_range(0..NODES);
        let manager = nodes[at].manager.clone();
        let address = nodes[other].listens_at.unwrap();
        let draw = rng.random_range(0..1000);
        let config = config_of(&mut rng);
        made += 1;
        // Whatever a call says, it comes back.
        match draw {
            0..200 => drop(calls.spawn(async move { drop(manager.add_peer(address).await) })),
            200..700 => {
                let payload = vec![1; rng.random_range(0..50_000)].into();
                let command = p2p_tokio::Command::new("chaos").unwrap();
                manager.broadcast(&Message::Unknown { command, payload });
            }
            700..800 => drop(calls.spawn(async move {
                for connection in manager.connections().await.unwrap_or_default() {
                    let _ = manager.disconnect_peer(connection.peer_id).await;
                }
            })),
            800..850 => drop(calls.spawn(async move { drop(manager.update_config(config).await) })),
            850..870 => drop(calls.spawn(async move { drop(manager.ban_ip(loopback(1)).await) })),
            870..930 => drop(calls.spawn(async move { drop(manager.unban_ip(loopback(1)).await) })),
            930..990 => drop(calls.spawn(async move {
                if let Ok(explained) = manager.explain().await {
                    assert!(
                        explained.connected + explained.pending <= 30,
                        "{explained:?}"
                    );
                }
            })),
            _ => {
                // One goes, another comes, while others still call the first.
                let node = std::mem::replace(&mut nodes[at], new_node(&mut rng).await);
                calls.spawn(async move { node.manager.shutdown().await });
                shutdowns += 1;
            }
        }
        if calls.len() > 50 {
            calls.join_next().await.unwrap().unwrap();
        }
        tokio::task::yield_now().await;
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    for node in &nodes {
        node.manager.shutdown().await;
        assert_eq!(node.manager.get_connection_count(), 0);
    }
    println!("{made} calls, {shutdowns} shutdowns and restarts in {time:?}");
}
