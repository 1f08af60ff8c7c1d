//! Thousands of connections between two processes.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use p2p_tokio::{ControlEvent, ManagerConfig, Message};

use crate::support::*;
use crate::{raise_file_limit, resident, scaled};

/// The environment variable that makes this test the other process.
const SERVER: &str = "P2P_CROWD_SERVER";

fn crowd() -> usize {
    scaled(500, 5_000)
}

fn crowded(mut config: ManagerConfig) -> ManagerConfig {
    let count = crowd();
    (config.target_connections, config.max_connections) = (0, count + 10);
    (config.max_pending_inbound, config.min_outbound) = (count + 10, Some(0));
    config.connection.ping_interval = Duration::from_secs(scaled(5, 30));
    config.event_channel_capacity = 50_000;
    config
}

#[test]
fn a_crowd_connects_stays_and_leaves() {
    raise_file_limit();
    if std::env::var_os(SERVER).is_some() {
        return serve();
    }
    // This test again, in a process of its own.
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crowd::a_crowd_connects_stays_and_leaves",
            "--nocapture",
        ])
        .env(SERVER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut line_with = move |what: &str| loop {
        let line = lines.next().expect("the server says more").unwrap();
        if let Some((_, rest)) = line.split_once(what) {
            println!("{what}{rest}");
            return rest.to_owned();
        }
    };
    let address: SocketAddr = line_with("listening ").parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let count = crowd();
        let mut config = crowded(config());
        config.target_connections = count;
        let mut nodes = Vec::new();
        // A manager dials an address once, so the crowd is one of scripted peers and of managers.
        for n in 0..10 {
            let mut config = config.clone();
            config.dial_from = Some(loopback(100 + n));
            nodes.push(Node::fixed(config, [address]).await);
        }
        let begun = Instant::now();
        let mut peers = tokio::task::JoinSet::new();
        for n in 0..count - 10 {
            peers.spawn(async move {
                let mut peer = RemotePeer::dial(address, 2 + (n % 90) as u8).await;
                peer.shake_hands().await;
                peer
            });
        }
        let peers = peers.join_all().await;
        println!("{count} connections after {:?}", begun.elapsed());
        // They answer pings, for as long as it takes.
        let mut answering = tokio::task::JoinSet::new();
        for mut peer in peers {
            answering.spawn(async move {
                let mut pings = 0_u64;
                loop {
                    match peer.next_within(Duration::from_secs(400)).await {
                        Some(Message::Ping(nonce)) => {
                            pings += 1;
                            peer.send(Message::Pong(nonce)).await;
                        }
                        Some(_) => {}
                        None => return pings,
                    }
                }
            });
        }
        server.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let stayed = tokio::task::spawn_blocking(move || {
            line_with("stayed ");
            line_with("closed ");
            line_with("test result: ")
        });
        let pings: u64 = answering.join_all().await.iter().sum();
        println!("{pings} pings answered");
        stayed.await.unwrap();
        for node in nodes {
            node.manager.shutdown().await;
        }
    });
    assert!(server.wait().unwrap().success());
}

/// The other process: listens, and tells what it sees.
fn serve() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut node = Node::start(crowded(listening())).await;
        let address = node.address().await;
        println!("listening {address}");
        let before = resident();
        node.manager
            .wait_for_peers(crowd(), Duration::from_secs(120))
            .await
            .unwrap();
        let mut go = String::new();
        std::io::stdin().read_line(&mut go).unwrap();
        let each = resident().saturating_sub(before) / crowd() as u64;
        println!("memory {each} bytes a connection");
        tokio::time::sleep(Duration::from_secs(scaled(15, 300))).await;
        let count = node.manager.get_connection_count();
        let idle = resident().saturating_sub(before) / crowd() as u64;
        assert_eq!(count, crowd(), "all have stayed");
        println!("stayed {count}, {idle} bytes a connection");
        // Without the messages, so that none is missed.
        let mut events = node.manager.subscribe_control_events();
        let begun = Instant::now();
        node.manager.shutdown().await;
        let mut lost = 0;
        while let Ok(event) = events.recv().await {
            lost += usize::from(matches!(event, ControlEvent::ConnectionLost { .. }));
        }
        println!("closed {lost} in {:?}", begun.elapsed());
        assert_eq!(lost, crowd(), "every one was closed");
    });
}
