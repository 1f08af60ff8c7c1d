//! The examples, run as programs.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// The program, built by the same `cargo test` that runs this.
fn program(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let mut command = Command::new(path.join("examples").join(name));
    command.env_remove("RUST_LOG");
    command
}

fn run(name: &str, arguments: &[&str]) -> Output {
    program(name).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_client_talks_to_its_embedded_peer() {
    let output = run("simple_p2p_client", &["--duration", "2"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    for part in [
        "handshake complete: /bsv-p2p-embedded:0.1.0/, version 70016",
        "established, outbound",
        "addr: 10 addresses",
        "headers: 110",
        "pong ",
        "lost: shutting down",
    ] {
        assert!(out.contains(part), "{part:?} is not in\n{out}");
    }
    assert_eq!(err, "");
}

#[test]
fn with_json_standard_output_holds_an_object_a_line() {
    let output = run("simple_p2p_client", &["--duration", "2", "--json"]);
    assert!(output.status.success());
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        let time = line["time"].as_str().unwrap();
        assert_eq!(time.len(), "2026-11-22T15:19:50.733Z".len(), "{time}");
        assert!(time.ends_with('Z'));
        assert!(
            line["event"].is_string() != line["message"].is_string(),
            "{line}"
        );
    }
    let find = |key: &str, name: &str| {
        let found = lines.iter().find(|line| line[key] == name);
        found.unwrap_or_else(|| panic!("no {key} {name} in {lines:?}"))
    };
    let handshake = find("event", "HandshakeComplete");
    assert_eq!(handshake["user_agent"], "/bsv-p2p-embedded:0.1.0/");
    assert_eq!(handshake["height"], 110);
    let headers = find("message", "headers");
    assert_eq!(headers["count"], 110);
    assert_eq!(headers["hashes"].as_array().unwrap().len(), 110);
    assert_eq!(headers["peer_id"], handshake["peer_id"]);
    assert_eq!(headers["address"], handshake["address"]);
    let pong = find("message", "pong")["nonce"].as_str().unwrap();
    assert!(pong.len() == 16 && pong.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(find("message", "addr")["addresses"][0]["ip"], "127.0.1.1");
    assert_eq!(find("event", "ConnectionLost")["initiator"], "local");
}

#[test]
fn without_a_handshake_it_fails_and_says_why_in_one_line() {
    // Bound and not listened on by anybody who answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for (arguments, part) in [
        (
            &["--connect", "127.0.0.1:1", "--quiet"][..],
            "connection refused",
        ),
        (
            &["--connect", &address, "--duration", "1", "--quiet"],
            "in time",
        ),
        (&["--network", "regtest"], "--connect"),
        (&["--listen", "127.0.0.1:0"], "--listen"),
        (&["--store", "peers.json"], "--store"),
        (&["--target-connections", "3"], "--target-connections"),
        (&["--max-connections", "3"], "--max-connections"),
        (&["--user-agent", "/bch:1/"], "bch"),
    ] {
        let output = run("simple_p2p_client", arguments);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {err}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert_eq!(err.lines().count(), 1, "{arguments:?}: {err}");
        assert!(
            err.starts_with("error: ") && err.contains(part),
            "{arguments:?}: {err}"
        );
    }
}
