//! The end, whoever hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_tokio::Manager;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hanging::Hanging;
use crate::support::*;

/// Tasks of this test's runtime.
fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

#[tokio::test]
async fn test_graceful_shutdown_with_active_connections() {
    let before = tasks();
    let mut config = listening();
    (config.target_connections, config.max_connections) = (0, 600);
    (config.max_pending_inbound, config.min_outbound) = (600, Some(0));
    let mut node = Node::start(config).await;
    let address = node.address().await;
    let mut peers = Vec::new();
    for n in 0..400_u32 {
        let mut peer = RemotePeer::dial(address, 2 + (n / 100) as u8).await;
        peer.shake_hands().await;
        peers.push(peer);
    }
    // A hundred that say nothing, and hang on.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    node.manager.wait_for_peers(400, PATIENCE).await.unwrap();
    let begun = Instant::now();
    node.manager.shutdown().await;
    let took = begun.elapsed();
    // None of them has hung up: each costs the second that it may take, all at the same time.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(tasks(), before, "no task is left");
}

#[tokio::test]
async fn a_store_that_hangs_does_not_hold_up_the_end_for_long() {
    let before = tasks();
    let store = Arc::new(Hanging::default());
    let manager = Manager::new(config(), store).unwrap();
    manager.start().await.unwrap();
    let address = "127.0.0.1:1".parse().unwrap();
    manager.add_peer(address).await.unwrap();
    let begun = Instant::now();
    manager.shutdown().await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(tasks(), before, "no task is left");
}

#[tokio::test]
async fn a_shutdown_while_others_call_answers_everybody() {
    let (listener, dialler) = pair().await;
    let mut callers = Vec::new();
    for n in 0..20_u8 {
        let manager = dialler.manager.clone();
        callers.push(tokio::spawn(async move {
            let mut calls = 0;
            while manager.ban_ip(loopback(100 + n)).await.is_ok() {
                calls += 1;
                // Whatever it says, it says something.
                let _ = manager.connections().await;
                let _ = manager.update_config(config()).await;
            }
            calls
        }));
    }
    let ends = [dialler.manager.clone(), dialler.manager.clone()];
    let ends = ends.map(|manager| tokio::spawn(async move { manager.shutdown().await }));
    let everybody = async {
        for end in ends {
            end.await.unwrap();
        }
        for caller in callers {
            caller.await.unwrap();
        }
        listener.manager.shutdown().await;
    };
    let answered = timeout(PATIENCE, everybody).await;
    answered.expect("everybody is answered");
}
