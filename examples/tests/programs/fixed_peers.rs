//! `fixed_peer_connection`.

use crate::support::*;

#[test]
fn a_peer_that_goes_away_is_connected_again() {
    let mut program = Running::start("fixed_peer_connection", &["--duration", "60"]);
    for part in [
        "/bsv-p2p-embedded:0.1.0/",
        "is connected",
        "the embedded peer goes away",
        "is lost: closed by the peer",
        "is dialled at once (restart 1)",
        "cannot be reached: ",
        "the embedded peer is back",
        "is connected",
    ] {
        program.line_with(part);
    }
    let failed = program.seen.iter().find(|line| line.contains("cannot be"));
    assert!(failed.unwrap().contains("; retry 1 is in "), "{failed:?}");
}

#[test]
fn programs_are_told_by_the_events() {
    let mut program = Running::start("fixed_peer_connection", &["--duration", "60", "--json"]);
    let mut event = |name: &str| object(&program.line_with(&format!("\"{name}\"")));
    let established = event("ConnectionEstablished");
    assert_eq!(event("ConnectionLost")["initiator"], "remote");
    assert_eq!(event("ConnectionRestarting")["attempt"], 1);
    event("ConnectionFailed");
    let again = event("ConnectionEstablished");
    for key in ["peer_id", "address"] {
        assert_eq!(established[key], again[key]);
    }
}

#[test]
fn it_asks_for_the_peers() {
    let arguments = ["--network", "mainnet"];
    assert_fails("fixed_peer_connection", &arguments, "Say --connect ADDR");
}
