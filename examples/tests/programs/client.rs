//! `simple_p2p_client`.

use std::fs;

use crate::support::*;

#[test]
fn the_client_talks_to_its_embedded_peer() {
    let mut client = Running::start("simple_p2p_client", &["--duration", "60"]);
    client.lines_with(&[
        "handshake complete: /bsv-p2p-embedded:0.1.0/, version 70016",
        "established, outbound",
        "addr: 10 addresses",
        "headers: 110",
        "pong ",
        "inv: Block ",
    ]);
    assert_contains(&client.interrupt().join("\n"), &["lost: shutting down"]);
}

#[test]
fn with_json_standard_output_holds_an_object_a_line() {
    let mut client = Running::start("simple_p2p_client", &["--duration", "60", "--json"]);
    client.lines_with(&["\"addr\"", "\"headers\"", "\"pong\""]);
    let lines: Vec<_> = client.interrupt().iter().map(|line| object(line)).collect();
    for line in &lines {
        let time = line["time"].as_str().unwrap();
        assert_eq!(time.len(), "2026-11-22T15:19:50.733Z".len(), "{time}");
        assert!(time.ends_with('Z'));
        assert!(
            line["event"].is_string() != line["message"].is_string(),
            "{line}"
        );
    }
    let handshake = find(&lines, "event", "HandshakeComplete");
    assert_eq!(handshake["user_agent"], "/bsv-p2p-embedded:0.1.0/");
    assert_eq!(handshake["height"], 110);
    let headers = find(&lines, "message", "headers");
    assert_eq!(headers["count"], 110);
    assert_eq!(headers["hashes"].as_array().unwrap().len(), 110);
    assert_eq!(headers["peer_id"], handshake["peer_id"]);
    assert_eq!(headers["address"], handshake["address"]);
    let pong = find(&lines, "message", "pong")["nonce"].as_str().unwrap();
    assert!(pong.len() == 16 && pong.bytes().all(|b| b.is_ascii_hexdigit()));
    let address = &find(&lines, "message", "addr")["addresses"][0];
    assert!(address["ip"].as_str().unwrap().starts_with("127.0.1."));
    let lost = find(&lines, "event", "ConnectionLost");
    assert_eq!(lost["initiator"], "local");
}

#[test]
fn what_is_known_about_peers_is_kept_in_the_store() {
    let store = fresh_file("store.json");
    let arguments = ["--duration", "60", "--store", store.to_str().unwrap()];
    let mut client = Running::start("simple_p2p_client", &arguments);
    client.line_with("established");
    client.interrupt();
    let stored = fs::read_to_string(&store).unwrap();
    assert_contains(&stored, &["/bsv-p2p-embedded:0.1.0/", "\"Valid\""]);
}

#[test]
fn without_a_handshake_it_fails_and_says_why_in_one_line() {
    let (_silent, address) = silent_peer();
    for (arguments, part) in [
        (
            &["--connect", "127.0.0.1:1", "--quiet", "--duration", "60"][..],
            "connection refused",
        ),
        (
            &["--connect", &address, "--duration", "1", "--quiet"],
            "in time",
        ),
        (&["--network", "regtest"], "--connect"),
        (
            &["--target-connections", "4", "--max-connections", "3"],
            "target_connections is 4",
        ),
        (&["--user-agent", "/bch:1/"], "bch"),
    ] {
        assert_fails("simple_p2p_client", arguments, part);
    }
}

#[test]
fn one_peer_of_several_is_enough() {
    let mut monitor = Running::start(
        "event_monitor",
        &[
            "--network",
            "regtest",
            "--listen",
            "127.0.0.1:0",
            "--duration",
            "60",
        ],
    );
    let line = monitor.line_with("listening on ");
    let address = line.rsplit(' ').next().unwrap();
    let arguments = [
        "--network",
        "regtest",
        "--connect",
        "127.0.0.1:1",
        "--connect",
        address,
        "--duration",
        "60",
    ];
    let mut client = Running::start("simple_p2p_client", &arguments);
    client.lines_with(&[
        "127.0.0.1:1  failed: connection refused",
        "established, outbound",
    ]);
    client.interrupt();
}
