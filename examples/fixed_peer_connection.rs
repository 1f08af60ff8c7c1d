//! Stays connected to peers of your choice, and to no others: what happens when one goes away, and
//! how it is connected again, in plain words.
//!
//! ```text
//! cargo run --release --example fixed_peer_connection         # a peer of its own, which goes away
//! cargo run --release --example fixed_peer_connection -- \
//!     --network mainnet --connect 192.0.2.7 --connect node.example.com:8333
//! ```

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use examples::embedded::Embedded;
use examples::json;
use examples::options::ManagerOptions;
use examples::peers::Peers;
use examples::report::{Reporter, control_line};
use examples::{Result, end_of_run};
use p2p_tokio::{ControlEvent, Event, Manager, RecvError, logging};
use tokio::time::{Instant, sleep_until};

/// The first pause before a peer that could not be reached is dialled again; it doubles from try
/// to try. The default, five seconds, is for peers that strangers dial, too.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// How long the embedded peer is there before it goes away: time to read.
const BEFORE_THE_OUTAGE: Duration = Duration::from_secs(2);

/// Stays connected to the peers given by --connect, and tells what happens in plain words.
///
/// Without --connect it starts a regtest peer on loopback, connects to it, stops it, and starts it
/// again.
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
    let Some(addresses) = peers.fixed() else {
        return Err("which peers? Say --connect ADDR, once for each".into());
    };
    let mut config = plan.config;
    config.connection.initial_backoff = INITIAL_BACKOFF;
    let mut end = pin!(end_of_run(plan.duration)?);
    let builder = Manager::builder(config).log_handle(log);
    let manager = builder.fixed_peers(addresses).build()?;
    let mut events = manager.subscribe_control_events();
    manager.start().await?;

    // The embedded peer goes away once, and comes back when it was missed.
    let mut embedded = match peers {
        Peers::Embedded(embedded) => Some(embedded),
        Peers::Fixed(_) | Peers::Any => None,
    };
    let mut has_been_away = embedded.is_none();
    let mut goes_at = None;
    let mut missed_at = None;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep_until(goes_at.unwrap_or_else(Instant::now)), if goes_at.is_some() => {
                goes_at = None;
                if let Some(embedded) = embedded.take() {
                    reporter.note("the embedded peer goes away")?;
                    missed_at = Some(embedded.address());
                    embedded.stop().await;
                }
                continue;
            }
            _ = &mut end => break,
        };
        let event = match event {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => {
                reporter.lagged(missed)?;
                continue;
            }
            Err(_) => break,
        };
        tell(&reporter, &manager, &event).await?;
        match event {
            ControlEvent::ConnectionEstablished { .. } if !has_been_away => {
                has_been_away = true;
                goes_at = Some(Instant::now() + BEFORE_THE_OUTAGE);
            }
            ControlEvent::ConnectionFailed { .. } => {
                if let Some(address) = missed_at.take() {
                    embedded = Some(Embedded::start_at(address).await?);
                    reporter.note("the embedded peer is back")?;
                }
            }
            _ => {}
        }
    }
    manager.shutdown().await;
    while let Ok(Some(event)) = events.try_recv() {
        tell(&reporter, &manager, &event).await?;
    }
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    Ok(())
}

/// Prints what happened, and what will happen next.
async fn tell(reporter: &Reporter, manager: &Manager, event: &ControlEvent) -> io::Result<()> {
    let words = match event {
        ControlEvent::HandshakeComplete {
            address,
            user_agent,
            height,
            ..
        } => format!("{address} is {user_agent}, its best block {height}"),
        ControlEvent::ConnectionEstablished { address, .. } => format!("{address} is connected"),
        ControlEvent::ConnectionLost {
            address, reason, ..
        } => format!("{address} is lost: {reason}"),
        ControlEvent::ConnectionRestarting {
            address, attempt, ..
        } => {
            format!("{address} was there a moment ago, and is dialled at once (restart {attempt})")
        }
        ControlEvent::ConnectionFailed {
            address, reason, ..
        } => format!(
            "{address} cannot be reached: {reason}{}",
            next_attempt(manager, *address).await
        ),
        other => control_line(other),
    };
    reporter.tell(|| words, || json::event(&Event::Control(event.clone())))
}

/// When a peer is dialled next, and the how many-th time that is in a row.
async fn next_attempt(manager: &Manager, address: SocketAddr) -> String {
    // A manager that is shutting down dials nobody.
    let Ok(Some(known)) = manager.explain_peer(address).await else {
        return String::new();
    };
    match known.next_attempt {
        Some(at) => {
            let pause = at.saturating_duration_since(std::time::Instant::now());
            let (seconds, retry) = (pause.as_secs_f64(), known.retries);
            format!("; retry {retry} is in {seconds:.1} s")
        }
        None => "; it is dialled again".into(),
    }
}
