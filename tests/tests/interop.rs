//! Our connections against other people's software, over real sockets on loopback.
//!
//! The peers have to be installed: `scripts/install-test-peers`.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test stops when it cannot go on, and waits for one thing among many"
)]

mod support {
    pub(crate) mod driver;
    pub(crate) mod foreign;
    pub(crate) mod responder;
}

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use p2p_proto::{
    Block, BlockLocator, CloseReason, Config, Hash256, Headers, Inventory, InventoryItem,
    InventoryKind, Mempool, Message, Network, Services, Side, Tx, UserAgent, Violation,
};
use serde_json::Value;

use p2p_sim::chain::Chain;
use support::driver::Driver;
use support::foreign::{Dialler, ForeignClient, ForeignNode, Listener};
use support::responder::{self, ADDRESSES, Served};

/// What a Bitcoin SV node of regtest says of itself.
const NODE: [&str; 6] = [
    "--magic",
    "dab5bffa",
    "--agent",
    "/Bitcoin SV:1.2.0/",
    "--version",
    "70016",
];

/// A chain long enough that five coinbases can be spent, those spends, and addresses.
const STOCKED: [&str; 6] = ["--blocks", "110", "--txs", "5", "--addrs", "20"];

fn config() -> Config {
    Config::new(Network::Regtest)
}

fn start(listener: Listener, options: &[&str]) -> ForeignNode {
    ForeignNode::start(listener, &[&NODE, options].concat())
}

fn dial(node: &ForeignNode) -> Driver {
    Driver::dial(node.port, config())
}

// ------------------------------------------------------------------ they listen, we dial

#[test]
fn bcash_serves_addresses_headers_blocks_and_transactions() {
    serves_all_that_a_node_has(Listener::Bcash);
}

#[test]
fn bcoin_serves_addresses_headers_blocks_and_transactions() {
    serves_all_that_a_node_has(Listener::Bcoin);
}

fn serves_all_that_a_node_has(listener: Listener) {
    let node = start(listener, &STOCKED);
    let mut driver = dial(&node);

    let ready = driver.handshake();
    assert_eq!(ready.version.user_agent.to_string(), "/Bitcoin SV:1.2.0/");
    assert_eq!(ready.version.version, 70016);
    assert_eq!(ready.version.start_height, 110);

    driver.send(&Message::GetAddr).unwrap();
    let addr = driver.wait_for("addr", |message| match message {
        Message::Addr(addr) => Some(addr),
        _ => None,
    });
    assert_eq!(addr.len(), 20);
    assert!(addr.iter().all(|entry| entry.address.ip.is_loopback()));

    let headers = headers_after(&mut driver, Chain::genesis().hash());
    assert_eq!(headers.len(), 110);
    let mut prev = Chain::genesis().hash();
    for header in headers.iter() {
        assert_eq!(header.prev, prev);
        prev = header.hash();
    }
    assert_eq!(prev.to_string(), node.ready["tip"]);

    let block = get_block(&mut driver, prev);
    assert_eq!(block.hash(), prev);
    assert!(block.txs().all(|tx| tx.is_ok()));
    let tree = block.merkle_tree().unwrap();
    assert!(tree.is_root(&block.header().merkle_root));

    driver.send(&Message::Mempool(Mempool::All)).unwrap();
    let offered = driver.wait_for("inv of the mempool", offered_txs);
    assert_eq!(offered.len(), 5);
    for txid in offered {
        assert_eq!(get_tx(&mut driver, txid).txid(), txid);
    }
}

#[test]
fn bcash_answers_our_pings_and_we_answer_its() {
    let mut node = start(Listener::Bcash, &[]);
    let config = Config {
        ping_interval: Duration::from_millis(50),
        ..config()
    };
    let mut driver = Driver::dial(node.port, config);
    driver.handshake();
    driver.wait_until("latency", |connection| connection.latency().is_some());

    node.wait_for("peer-open", |line| line["event"] == "peer-open");
    node.command("ping");
    // Its answers to our pings keep coming, so that this is looked at again and again.
    driver.wait_until("our pong at the peer", |_| {
        node.take(|line| line["cmd"] == "pong").is_some()
    });
    // Only a pong with the nonce of its ping is timed.
    node.command("peers");
    let peers = node.wait_for("peers", |line| line["event"] == "peers");
    assert!(
        peers["list"][0]["minPing"].as_i64().unwrap() >= 0,
        "{peers}"
    );
}

#[test]
fn bcash_announces_new_blocks_and_transactions() {
    let mut node = start(Listener::Bcash, &["--blocks", "101"]);
    let mut driver = dial(&node);
    driver.handshake();
    node.wait_for("peer-open", |line| line["event"] == "peer-open");

    node.command("tx 1");
    let made = node.wait_for("made-tx", |line| line["event"] == "made-tx");
    let txids = driver.wait_for("inv of the transaction", offered_txs);
    assert_eq!(txids.len(), 1);
    assert_eq!(txids[0].to_string(), made["txid"]);
    get_tx(&mut driver, txids[0]);

    node.command("mine 1");
    let mined = node.wait_for("mined", |line| line["event"] == "mined");
    let block = driver.wait_for("announcement of the block", announced_block);
    assert_eq!(block.to_string(), mined["tip"]);
    // The coinbase, and the transaction of before.
    assert_eq!(get_block(&mut driver, block).tx_count(), 2);
}

#[test]
fn fifty_connections_to_one_bcash_complete_their_handshakes() {
    let node = start(Listener::Bcash, &[]);
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| dial(&node).handshake());
        }
    });
}

#[test]
fn bitcore_sends_verack_before_version_and_is_ready_all_the_same() {
    let node = ForeignNode::start(Listener::Bitcore, &["--tolerant"]);
    let mut driver = dial(&node);
    let ready = driver.handshake();
    assert_eq!(ready.version.version, 70012);
    node.wait_for("peer-open", |line| line["event"] == "peer-open");

    let headers = headers_after(&mut driver, Chain::genesis().hash());
    assert_eq!(headers.iter().next(), Some(Chain::genesis()));
}

/// Every Bitcoin SV node sends one, and old software that cannot bear it cannot be served.
#[test]
fn bitcore_hangs_up_on_our_association_id() {
    let node = ForeignNode::start(Listener::Bitcore, &[]);
    let reason = dial(&node).wait_for_close();
    assert!(matches!(reason, CloseReason::Network(_)), "{reason:?}");
    let complaint = node.wait_for("parse-error", |line| line["event"] == "parse-error");
    assert_eq!(complaint["error"], "Data still available after parsing");
}

#[test]
fn python_bitcoinlib_listens_with_an_old_version() {
    let node = ForeignNode::start(Listener::PythonBitcoinlib, &["--version", "70001"]);
    let mut driver = dial(&node);
    let ready = driver.handshake();
    assert_eq!(ready.version.version, 70001);
    driver.send(&Message::GetAddr).unwrap();
    let addr = driver.wait_for("addr", |message| match message {
        Message::Addr(addr) => Some(addr),
        _ => None,
    });
    assert_eq!(addr.len(), 1);
    assert!(headers_after(&mut driver, Chain::genesis().hash()).is_empty());
}

#[test]
fn an_agent_of_another_chain_with_our_magic_is_refused() {
    let node = ForeignNode::start(Listener::Bcash, &["--magic", "dab5bffa"]);
    let reason = dial(&node).wait_for_close();
    refused_for_agent(&reason, "/bcash:1.1.1/");
}

#[test]
fn another_magic_is_another_network() {
    let node = ForeignNode::start(Listener::Bcash, &["--magic", "fabfb5da"]);
    let expected = CloseReason::Violation(Violation::NetworkMismatch {
        expected: Network::Regtest.magic_bytes(),
        received: [0xfa, 0xbf, 0xb5, 0xda],
    });
    assert_eq!(dial(&node).wait_for_close(), expected);
}

// ------------------------------------------------------------------ they dial, we listen

/// Runs a client against our responder, until it has all that it asked for.
fn exercised_by(dialler: Dialler, options: &[&str]) -> (Value, Served) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Config {
        services: Services::NETWORK,
        start_height: 12,
        ..config()
    };
    let agent = config.user_agent.to_string();
    let served = responder::serve(listener, config, Chain::new(12));
    let (done, status) = ForeignClient::spawn(dialler, port, options).finish();
    assert!(status.success(), "{done}");
    assert_eq!(done["remote"]["agent"], agent);
    assert_eq!(done["remote"]["version"], 70016);
    assert_eq!(done["remote"]["height"], 12);
    let served = served.join().unwrap();
    assert!(
        matches!(served.closed, CloseReason::Network(_)),
        "{:?}",
        served.closed
    );
    (done, served)
}

#[test]
fn the_bsv_p2p_client_gets_all_that_it_asks_for() {
    let (done, served) = exercised_by(Dialler::BsvP2p, &["--txs", "3"]);
    assert_eq!(served.user_agent, "/Bitcoin SV/");
    assert_eq!(served.version, 70016);
    let steps = &done["steps"];
    for step in [
        "handshake",
        "ping",
        "getaddr",
        "getheaders",
        "getdata-block",
        "mempool",
    ] {
        assert_eq!(steps[step]["ok"], true, "{step}: {done}");
    }
    assert_eq!(steps["getaddr"]["addrs"], ADDRESSES);
    assert_eq!(steps["getheaders"]["headers"], 12);
    assert_eq!(steps["getdata-block"]["txs"], 2);
    assert_eq!(done["txs"], 3);
}

#[test]
fn the_bcash_client_gets_all_that_it_asks_for() {
    fetches_all(Dialler::Bcash);
}

#[test]
fn the_bcoin_client_gets_all_that_it_asks_for() {
    fetches_all(Dialler::Bcoin);
}

fn fetches_all(dialler: Dialler) {
    let options = [&NODE[..], &["--txs", "3"]].concat();
    let (done, _) = exercised_by(dialler, &options);
    assert_eq!(done["addrs"], ADDRESSES);
    assert_eq!(done["headers"], 12);
    assert_eq!(done["blockTxs"], 2);
    assert_eq!(done["txs"], 3);
}

#[test]
fn the_python_bitcoinlib_client_gets_all_that_it_asks_for() {
    let (done, served) = exercised_by(Dialler::PythonBitcoinlib, &[]);
    assert_eq!(served.version, 70001);
    assert_eq!(done["pong"], true);
    assert_eq!(done["addrs"], ADDRESSES);
    assert_eq!(done["headers"], 12);
    assert_eq!(done["blockTxs"], 2);
}

#[test]
fn the_bitcore_client_gets_all_that_it_asks_for() {
    let (done, served) = exercised_by(Dialler::Bitcore, &["--tolerant"]);
    assert_eq!(served.version, 70012);
    assert_eq!(done["addrs"], ADDRESSES);
    assert_eq!(done["headers"], 12);
    assert_eq!(done["blockTxs"], 2);
}

#[test]
fn a_client_of_another_chain_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let refused = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        Driver::new(stream, Side::Inbound, config()).wait_for_close()
    });
    let options = ["--magic", "dab5bffa"];
    let (done, status) = ForeignClient::spawn(Dialler::Bcash, port, &options).finish();
    assert!(
        !status.success() && done["recv"]["verack"].is_null(),
        "{done}"
    );
    refused_for_agent(&refused.join().unwrap(), "/bcash:1.1.1/");
}

// ------------------------------------------------------------------ what tests ask for

#[track_caller]
fn refused_for_agent(reason: &CloseReason, agent: &'static str) {
    let user_agent = UserAgent::from_static(agent);
    let expected = CloseReason::Violation(Violation::OtherChain { user_agent });
    assert_eq!(*reason, expected);
}

fn headers_after(driver: &mut Driver, hash: Hash256) -> Headers {
    let locator = BlockLocator::new(70016, [hash], Hash256::ZERO);
    driver.send(&Message::GetHeaders(locator)).unwrap();
    driver.wait_for("headers", |message| match message {
        Message::Headers(headers) => Some(headers),
        _ => None,
    })
}

fn get_data(driver: &mut Driver, kind: InventoryKind, hash: Hash256) {
    let wanted = Inventory::new([InventoryItem { kind, hash }]);
    driver.send(&Message::GetData(wanted)).unwrap();
}

fn get_block(driver: &mut Driver, hash: Hash256) -> Block {
    get_data(driver, InventoryKind::Block, hash);
    driver.wait_for("block", |message| match message {
        Message::Block(block) => Some(block),
        _ => None,
    })
}

fn get_tx(driver: &mut Driver, txid: Hash256) -> Tx {
    get_data(driver, InventoryKind::Tx, txid);
    driver.wait_for("tx", |message| match message {
        Message::Tx(tx) => Some(tx),
        _ => None,
    })
}

/// The transactions that an `inv` offers.
fn offered_txs(message: Message) -> Option<Vec<Hash256>> {
    let Message::Inv(inventory) = message else {
        return None;
    };
    let txs = inventory
        .iter()
        .filter(|item| item.kind == InventoryKind::Tx);
    let txids: Vec<_> = txs.map(|item| item.hash).collect();
    (!txids.is_empty()).then_some(txids)
}

/// The block that an `inv` or a `headers` announces.
fn announced_block(message: Message) -> Option<Hash256> {
    match message {
        Message::Inv(inventory) => inventory
            .iter()
            .find(|item| item.kind == InventoryKind::Block)
            .map(|item| item.hash),
        Message::Headers(headers) => headers.iter().last().map(|header| header.hash()),
        _ => None,
    }
}
