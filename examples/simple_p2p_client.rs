//! Connects to Bitcoin SV peers, shakes hands, asks for addresses and headers, and prints what
//! it sees.
//!
//! ```text
//! cargo run --release --example simple_p2p_client                        # a peer of its own
//! cargo run --release --example simple_p2p_client -- --network mainnet   # the live network
//! cargo run --release --example simple_p2p_client -- --network regtest --connect 127.0.0.1:18444
//! ```
#![allow(clippy::print_stderr, reason = "this is a program")]

use std::process::ExitCode;

use clap::Parser;
use examples::embedded::Embedded;
use examples::options::{Options, Plan, Source};
use examples::report::Reporter;
use p2p_proto::{BlockLocator, Hash256, Message, PROTOCOL_VERSION};
use p2p_sim::chain::Chain;
use p2p_tokio::{ControlEvent, Node, NodeEvent};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

/// Connections to make from the addresses that DNS seeds name.
const SEED_PEERS: usize = 8;

/// Connects to Bitcoin SV peers and prints what they say.
///
/// Without --network and --connect it starts a regtest peer on loopback and talks to that.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Arguments::parse().options;
    let reporter = Reporter::new(&options);
    match options.plan() {
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        Ok(plan) => match run(plan, reporter).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

async fn run(plan: Plan, reporter: Reporter) -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::new(plan.config);
    let mut events = node.subscribe();

    let mut embedded = None;
    let addresses = match plan.source {
        Source::Embedded => {
            let peer = embedded.insert(Embedded::start().await?);
            reporter.note(&format!("embedded peer on {}", peer.address()))?;
            vec![peer.address()]
        }
        Source::Connect(peers) => {
            let mut addresses = Vec::new();
            for peer in peers {
                let found = tokio::net::lookup_host(&peer).await;
                let found = found.map_err(|error| format!("{peer}: {error}"))?;
                addresses.extend(found);
            }
            addresses
        }
        Source::Seeds => node.discover().await,
    };
    if addresses.is_empty() {
        return Err(format!("no DNS seed of {} named a peer", plan.network).into());
    }
    let mut open = 0;
    for &address in addresses.iter().take(SEED_PEERS) {
        node.dial(address);
        open += 1;
    }

    let end = plan.duration.map(|duration| Instant::now() + duration);
    let mut handshakes = 0;
    let mut last_failure = None;
    while open > 0 {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => break,
            _ = tokio::signal::ctrl_c() => break,
        };
        let event = match event {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => {
                reporter.lagged(missed)?;
                continue;
            }
            Err(RecvError::Closed) => break,
        };
        reporter.event(&event)?;
        let NodeEvent::Control(event) = event else {
            continue;
        };
        match event {
            ControlEvent::HandshakeComplete { .. } => handshakes += 1,
            ControlEvent::ConnectionEstablished { peer_id, .. } => {
                // The peer may have gone since: an event will say so.
                let _ = node.send(peer_id, Message::GetAddr).await;
                let _ = node.send(peer_id, all_headers()).await;
            }
            ControlEvent::ConnectionFailed {
                address, reason, ..
            } => {
                last_failure = Some(format!("{address}: {reason}"));
                open -= 1;
            }
            ControlEvent::ConnectionLost { .. } => open -= 1,
            _ => {}
        }
    }
    node.shutdown().await;
    while let Ok(event) = events.try_recv() {
        reporter.event(&event)?;
    }
    match (handshakes, last_failure) {
        (0, Some(failure)) => Err(format!("no handshake was completed; {failure}").into()),
        (0, None) => Err("no handshake was completed in time".into()),
        _ => Ok(()),
    }
}

/// A request for headers from the start of the chain: of regtest if the peer is on it, else
/// from wherever the peer thinks best.
fn all_headers() -> Message {
    let genesis = Chain::genesis().hash();
    Message::GetHeaders(BlockLocator::new(
        PROTOCOL_VERSION as u32,
        [genesis],
        Hash256::ZERO,
    ))
}
