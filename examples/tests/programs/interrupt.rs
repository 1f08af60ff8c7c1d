//! Ctrl-C, in programs that would go on: everything ends in good order, soon.

use crate::support::*;

#[test]
fn a_node_that_listens() {
    let arguments = [
        "--network",
        "regtest",
        "--listen",
        "127.0.0.1:0",
        "--duration",
        "60",
    ];
    let mut monitor = Running::start("event_monitor", &arguments);
    monitor.line_with("listening on ");
    assert_contains(&monitor.interrupt().join("\n"), &["shutting down"]);
}

#[test]
fn a_client_that_is_connected() {
    let mut client = Running::start("simple_p2p_client", &["--duration", "60"]);
    client.line_with("headers: 110");
    let rest = client.interrupt().join("\n");
    assert_contains(&rest, &[" shutting down", "lost: shutting down"]);
}

#[test]
fn fixed_peers_that_are_connected() {
    let mut program = Running::start("fixed_peer_connection", &["--duration", "60"]);
    program.line_with("is connected");
    let rest = program.interrupt().join("\n");
    assert_contains(&rest, &[" shutting down", "is lost: shutting down"]);
}

#[test]
fn those_who_wait_for_a_peer_that_says_nothing() {
    for name in [
        "simple_p2p_client",
        "network_crawler",
        "blocking_loop",
        "codec_only",
    ] {
        let (silent, address) = silent_peer();
        let arguments = [
            "--network",
            "regtest",
            "--connect",
            &address,
            "--duration",
            "60",
        ];
        let program = Running::start(name, &arguments);
        // It has dialled, so it knows Ctrl-C by now.
        let (_stream, _) = silent.accept().unwrap();
        assert_contains(&program.interrupt().join("\n"), &["shutting down"]);
    }
}
