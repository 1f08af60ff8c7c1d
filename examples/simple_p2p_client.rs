//! Connects to Bitcoin SV peers, shakes hands, asks for addresses and headers, and prints what
//! it sees.
//!
//! ```text
//! cargo run --release --example simple_p2p_client                        # a peer of its own
//! cargo run --release --example simple_p2p_client -- --network mainnet   # the live network
//! cargo run --release --example simple_p2p_client -- --network regtest --connect 127.0.0.1:18444
//! ```

use std::collections::BTreeSet;
use std::pin::pin;
use std::process::ExitCode;

use clap::Parser;
use examples::options::ManagerOptions;
use examples::peers::Peers;
use examples::report::Reporter;
use examples::{End, Result, all_headers, end_of_run};
use p2p_tokio::{ControlEvent, DiscoverySource, Event, Manager, Message, RecvError, logging};

/// Connects to Bitcoin SV peers and prints what they say.
///
/// Without --network and --connect it starts a regtest peer on loopback and talks to that.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: ManagerOptions,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Arguments::parse().options;
    examples::finish(run(options).await)
}

async fn run(options: ManagerOptions) -> Result<()> {
    let plan = options.plan()?;
    let log = logging::init(plan.config.log_level)?;
    let reporter = Reporter::new(&options.common);

    let peers = Peers::of(&plan, &reporter).await?;
    let fixed = peers.fixed();
    let network = plan.config.network;
    let listens = plan.config.enable_listener;
    let mut builder = Manager::builder(plan.config).log_handle(log);
    if let Some(addresses) = &fixed {
        builder = builder.fixed_peers(addresses.iter().copied());
    }
    let mut end = pin!(end_of_run(plan.duration)?);
    let manager = builder.build()?;
    let mut events = manager.events();
    manager.start().await?;

    let mut handshakes = 0;
    let mut failed = BTreeSet::new();
    let outcome: Result<()> = loop {
        let event = tokio::select! {
            event = events.recv() => event,
            end = &mut end => break match end {
                End::Duration if handshakes == 0 => {
                    Err("no handshake was completed in time".into())
                }
                End::Duration | End::Interrupt => Ok(()),
            },
        };
        let event = match event {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => {
                reporter.lagged(missed)?;
                continue;
            }
            Err(_) => break Ok(()),
        };
        reporter.event(&event)?;
        match event {
            Event::Control(ControlEvent::HandshakeComplete { .. }) => handshakes += 1,
            Event::Control(ControlEvent::ConnectionEstablished { peer_id, .. }) => {
                let mut questions = vec![all_headers()];
                // A manager that may dial whom it likes has asked for addresses already.
                if fixed.is_some() {
                    questions.push(Message::GetAddr);
                }
                for question in questions {
                    let command = question.command();
                    // The peer may have gone since: an event will say so.
                    if let Err(error) = manager.send_message(peer_id, question).await {
                        reporter.note(&format!("{command} not sent: {error}"))?;
                    }
                }
            }
            Event::Control(ControlEvent::ConnectionFailed {
                address, reason, ..
            }) => {
                failed.insert(address);
                // The manager would try them for ever. A user has mistyped an address.
                let all = fixed.as_ref().is_some_and(|all| failed.len() >= all.len());
                if all && handshakes == 0 && !listens {
                    let error = format!("no handshake was completed; {address}: {reason}");
                    break Err(error.into());
                }
            }
            Event::Control(ControlEvent::PeersDiscovered {
                source: DiscoverySource::Dns,
                count: 0,
            }) if !listens && manager.get_peers().await?.is_empty() => {
                break Err(format!("no DNS seed of {network} named a peer").into());
            }
            _ => {}
        }
    };
    manager.shutdown().await;
    while let Ok(Some(event)) = events.try_recv() {
        reporter.event(&event)?;
    }
    peers.stop().await;
    outcome
}
