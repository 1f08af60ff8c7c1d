//! `network_crawler`.

use std::fs;
use std::time::Duration;

use examples::village::{EMPTY_HOUSES, NODES};
use futures_util::{SinkExt, StreamExt};
use p2p_proto::{Addr, NetworkAddress, Services, TimedAddress, UserAgent, Version, VersionFields};
use p2p_tokio::{Message, MessageCodec, Network};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::codec::Framed;

use crate::support::*;

#[test]
fn every_node_of_the_network_is_found_once() {
    let (json, table) = (fresh_file("nodes.json"), fresh_file("nodes.csv"));
    let output = run(
        "network_crawler",
        &[
            "--duration",
            "60",
            "--output",
            json.to_str().unwrap(),
            "--output",
            table.to_str().unwrap(),
        ],
    );
    let visited = NODES + EMPTY_HOUSES;
    let text = success(&output);
    assert_contains(
        text,
        &[
            &format!("addresses visited: {visited}, nodes reached: {NODES}"),
            "      32  /village-node:1.2.1/\n      24  /village-node:1.2.0/\n       8  /village-light:0.3/",
            "       2  connection refused",
            "height   median 110, from 0 to 110",
            "latency  median ",
        ],
    );

    let nodes: Vec<Value> = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(nodes.len(), visited);
    let mut addresses: Vec<_> = nodes
        .iter()
        .map(|node| node["address"].to_string())
        .collect();
    addresses.dedup();
    assert_eq!(addresses.len(), visited, "in order, each once");
    let (gone, there): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node["error"].is_string());
    assert_eq!(gone.len(), EMPTY_HOUSES);
    for node in there {
        assert_eq!(node["version"], 70016);
        assert!(node["latency_ms"].as_f64().unwrap() > 0.0);
        // 23 % of what it knows.
        assert_eq!(node["addresses"], 16);
    }

    let table = fs::read_to_string(table).unwrap();
    assert_eq!(table.lines().count(), 1 + visited);
    assert!(table.starts_with("address,user_agent,version,services,height,latency_ms,"));
}

#[test]
fn it_stops_at_the_most_that_it_may_visit() {
    let arguments = [
        "--max-nodes",
        "5",
        "--concurrency",
        "2",
        "--json",
        "--duration",
        "60",
    ];
    let lines = objects(&run("network_crawler", &arguments));
    let nodes = lines.iter().filter(|line| line["node"].is_object());
    assert_eq!(nodes.count(), 5);
    assert_eq!(lines.last().unwrap()["summary"]["visited"], 5);
}

#[test]
fn a_node_is_asked_once_and_left_and_steers_no_terminal() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let node = runtime.spawn(hostile_node(listener));
    let table = fresh_file("hostile.csv");
    let output = run(
        "network_crawler",
        &[
            "--network",
            "regtest",
            "--connect",
            &address,
            "--max-nodes",
            "1",
            "--output",
            table.to_str().unwrap(),
        ],
    );
    assert_contains(
        success(&output),
        &[r"  =a\x1b[2J\n, version 70016", ", knows 2\n"],
    );
    let table = fs::read_to_string(table).unwrap();
    assert_contains(&table, &[r",'=a\x1b[2J\n,"]);
    assert_eq!(
        runtime.block_on(node).unwrap(),
        1,
        "one connection, one question"
    );
}

/// Takes one connection, and counts what it is asked for. Its agent is not nice.
async fn hostile_node(listener: TcpListener) -> usize {
    let (stream, remote) = listener.accept().await.unwrap();
    let mut frames = Framed::new(stream, MessageCodec::new(Network::Regtest));
    let us = NetworkAddress::new(Services::NONE, remote);
    let mut questions = 0;
    while let Some(Ok(Ok(message))) = frames.next().await {
        let answer = match message {
            Message::Version(_) => {
                let version = Message::Version(Box::new(Version {
                    user_agent: UserAgent::from_static("=a\x1b[2J\n"),
                    fields: VersionFields::AssociationId,
                    ..Version::minimal(70016, 0, us)
                }));
                frames.send(version).await.unwrap();
                Message::Verack
            }
            Message::Ping(nonce) => Message::Pong(nonce),
            Message::GetAddr => {
                questions += 1;
                let entry = TimedAddress {
                    time: 0,
                    address: us,
                };
                Message::Addr(Addr::new([entry, entry]).unwrap())
            }
            _ => continue,
        };
        // It may have left.
        let _ = frames.send(answer).await;
    }
    // Nobody else has knocked meanwhile.
    let again = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    questions + usize::from(again.is_ok())
}

#[test]
fn without_a_node_it_fails_and_says_why_in_one_line() {
    let quiet = [
        "--network",
        "regtest",
        "--connect",
        "127.0.0.1:1",
        "--quiet",
    ];
    assert_fails("network_crawler", &quiet, "no node was reached");
    let nowhere = ["--output", "/nowhere/nodes.csv"];
    assert_fails("network_crawler", &nowhere, "/nowhere/nodes.csv: ");
}
