//! No peer can fill a disk.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use p2p_tokio::p2p_proto::Nonce;
use p2p_tokio::{Message, MessageCodec, Network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::Encoder;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use crate::capture::Lines;
use crate::support::*;

/// As many as a peer may send before it is shown the door.
const A_CONNECTION: usize = 100;

/// Shakes hands, sends bad frames, and reads until the other end hangs up.
async fn misbehave(address: SocketAddr) {
    let mut codec = MessageCodec::new(Network::Regtest);
    let mut bytes = BytesMut::new();
    codec.encode(version("/x/"), &mut bytes).unwrap();
    codec.encode(Message::Verack, &mut bytes).unwrap();
    for nonce in 1..=A_CONNECTION as u64 {
        let at = bytes.len();
        codec
            .encode(Message::Ping(Nonce(nonce)), &mut bytes)
            .unwrap();
        // The checksum is behind magic, command and length.
        bytes[at + 20] ^= 1;
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_flood_of_100_000_bad_frames_writes_a_bounded_log() {
    let (lines, _guard) = Lines::capture(LevelFilter::DEBUG);
    let mut config = listening();
    config.event_channel_capacity = 100_000;
    let mut node = Node::start(config).await;
    let address = node.address().await;
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        misbehave(address).await;
        node.lost().await;
    }
    let took = start.elapsed();
    node.manager.shutdown().await;
    let stats = node.manager.stats();
    assert_eq!(stats.frames_dropped, 100_000);
    assert_eq!(stats.ended("misbehavior"), 1000);

    let written = lines.of("frame dropped").len() as u64;
    // A burst, and one a second.
    let bound = 300 + took.as_secs() + 1;
    assert!(
        (300..=bound).contains(&written),
        "{written} lines in {took:?}"
    );
    let kinds = 8;
    let all = lines.all().len() as u64;
    assert!(
        all <= kinds * bound + kinds * (took.as_secs() / 10 + 2),
        "{all} lines"
    );

    // Nothing is lost sight of: what was written and what was left out is what there was. The
    // last of each connection is its end, and not dropped.
    let told = |what: &str| -> u64 {
        let told = lines.all().into_iter().filter(|line| {
            line.message == "more lines like this were left out" && line.field("line") == what
        });
        told.map(|line| line.field("count").parse::<u64>().unwrap())
            .sum()
    };
    assert_eq!(written + told("frame dropped"), 100_000);
    let left_out: u64 = [
        "frame dropped",
        "connection accepted",
        "handshake complete",
        "connection established",
        "peer misbehaved; connection closed, no ban",
        "connection lost",
    ]
    .map(told)
    .iter()
    .sum();
    assert_eq!(left_out, stats.log_lines_left_out);
}

#[tokio::test(start_paused = true)]
async fn what_was_left_out_is_told_when_the_flood_is_over() {
    let (lines, _guard) = Lines::capture(LevelFilter::DEBUG);
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    for _ in 0..10 {
        misbehave(address).await;
        node.lost().await;
    }
    assert!(!lines.of("frame dropped").is_empty());
    tokio::time::sleep(Duration::from_secs(11)).await;
    let told = lines.of("more lines like this were left out");
    let line = told
        .iter()
        .find(|line| line.field("line") == "frame dropped")
        .unwrap();
    assert_eq!(line.level, Level::DEBUG);
    let written = lines.of("frame dropped").len() as u64;
    assert_eq!(written + line.field("count").parse::<u64>().unwrap(), 1000);
}

/// A subscriber that does not get what it was asked about would miss what comes next.
#[tokio::test]
async fn a_log_of_less_misses_nothing_while_a_log_of_more_is_flooded() {
    let (less, more) = (Lines::default(), Lines::default());
    let subscriber = Registry::default()
        .with(less.clone().with_filter(LevelFilter::INFO))
        .with(more.clone().with_filter(LevelFilter::DEBUG));
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut node = Node::start(listening()).await;
    let address = node.address().await;
    // The program has something to say, too, whenever it has its turn.
    let program = tokio::spawn(async {
        loop {
            tracing::info!("of the program");
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..10 {
        misbehave(address).await;
        node.lost().await;
    }
    program.abort();
    node.manager.shutdown().await;
    for message in [
        "connection established",
        "connection lost",
        "of the program",
        "shutting down",
    ] {
        assert_eq!(less.of(message).len(), more.of(message).len(), "{message}");
    }
    assert_eq!(less.of("connection lost").len(), 10);
    assert!(node.manager.stats().log_lines_left_out > 0);
    let told = |lines: &Lines| lines.of("more lines like this were left out").len();
    assert_eq!((told(&less), told(&more)), (0, 1));
}
