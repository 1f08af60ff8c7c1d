//! Takes a place on the network and shows what happens there. On a terminal a live view:
//! connections, rates, the latest events. Elsewhere lines: every event as it comes, once a second
//! how many messages of which kind came. Both say why there are fewer peers than wanted.
//!
//! ```text
//! cargo run --release --example event_monitor                                # a peer of its own
//! cargo run --release --example event_monitor -- --network mainnet           # the live network
//! cargo run --release --example event_monitor -- --network mainnet --listen 0.0.0.0:8333 \
//!     --store peers.json --target-connections 16 --max-connections 125       # and be dialled
//! ```
//!
//! Two of them find each other:
//!
//! ```text
//! cargo run --example event_monitor -- --network regtest --listen 127.0.0.1:18444
//! cargo run --example event_monitor -- --network regtest --connect 127.0.0.1:18444
//! ```

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use examples::live::{Screen, Snapshot, View};
use examples::options::ManagerOptions;
use examples::peers::Peers;
use examples::report::{self, Reporter};
use examples::{Result, end_of_run, explain};
use jiff::Timestamp;
use p2p_proto::Command;
use p2p_tokio::{Event, Events, Manager, RecvError, logging};
use serde_json::json;
use tokio::time::{Instant, interval, interval_at};

/// Time between two looks of the live view.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Time between two lines of counts.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// When the first explanation comes: after the time that good luck takes.
const FIRST_EXPLANATION: Duration = Duration::from_secs(2);
/// Time between two explanations.
const EXPLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Messages of each kind.
type Counts = BTreeMap<Command, u64>;

/// Shows what happens on the network: on a terminal a live view of connections, rates and the
/// latest events, elsewhere lines; and why there are fewer peers than wanted.
///
/// Without --network and --connect it starts a regtest peer on loopback and watches that. With
/// --listen others can dial it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: ManagerOptions,

    /// Print lines on a terminal, too
    #[arg(long)]
    lines: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    examples::finish(run(Arguments::parse()).await)
}

async fn run(Arguments { options, lines }: Arguments) -> Result<()> {
    let plan = options.plan()?;
    let log = logging::init(plan.config.log_level)?;
    let reporter = Reporter::new(&options.common);

    let peers = Peers::of(&plan, &reporter).await?;
    let title = format!("event_monitor  {}", plan.config.network);
    let mut builder = Manager::builder(plan.config).log_handle(log);
    if let Some(addresses) = peers.fixed() {
        builder = builder.fixed_peers(addresses);
    }
    let end = pin!(end_of_run(plan.duration)?);
    let manager = builder.build()?;
    let events = manager.events();
    manager.start().await?;
    let screen = match reporter.is_for_people() && !lines {
        true => Screen::take()?,
        false => None,
    };
    match screen {
        Some(screen) => live(&manager, events, &screen, View::new(title), end).await?,
        None => print(&manager, events, &reporter, end).await?,
    }
    peers.stop().await;
    Ok(())
}

/// Shows the view until the end.
async fn live(
    manager: &Manager,
    mut events: Events,
    screen: &Screen,
    mut view: View,
    mut end: impl Future<Output = examples::End> + Unpin,
) -> Result<()> {
    let mut look = interval(LOOK_INTERVAL);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                // Messages are in the rates.
                Ok(Event::Message(_)) => {}
                Ok(event) => view.event(report::timed_line(&report::line(&event))),
                Err(RecvError::Lagged(missed)) => {
                    view.event(report::timed_line(&format!("missed {missed} events")));
                }
                Err(_) => break,
            },
            _ = look.tick() => {
                let snapshot = Snapshot {
                    stats: manager.stats(),
                    connections: manager.connections().await?,
                    explanation: manager.explain().await?,
                    since: last.elapsed(),
                    now: Timestamp::now(),
                };
                last = Instant::now();
                screen.show(&mut view, &snapshot)?;
            }
            _ = &mut end => break,
        }
    }
    manager.shutdown().await;
    Ok(())
}

/// Prints what happens until the end.
async fn print(
    manager: &Manager,
    mut events: Events,
    reporter: &Reporter,
    mut end: impl Future<Output = examples::End> + Unpin,
) -> Result<()> {
    let mut counts = Counts::new();
    let mut count = interval(COUNT_INTERVAL);
    let mut explain = interval_at(Instant::now() + FIRST_EXPLANATION, EXPLAIN_INTERVAL);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => take(event, reporter, &mut counts)?,
                Err(RecvError::Lagged(missed)) => reporter.lagged(missed)?,
                Err(_) => break,
            },
            _ = count.tick() => tell_counts(reporter, &mut counts)?,
            _ = explain.tick() => {
                let explanation = manager.explain().await?;
                if explanation.connected < explanation.target {
                    reporter.tell(
                        || explain::line(&explanation, Timestamp::now()),
                        || explain::object(&explanation),
                    )?;
                }
            }
            _ = &mut end => break,
        }
    }
    manager.shutdown().await;
    while let Ok(Some(event)) = events.try_recv() {
        take(event, reporter, &mut counts)?;
    }
    tell_counts(reporter, &mut counts)?;
    Ok(())
}

/// Counts a message; prints everything else.
fn take(event: Event, reporter: &Reporter, counts: &mut Counts) -> io::Result<()> {
    match event {
        Event::Message(event) => *counts.entry(event.message.command()).or_default() += 1,
        event => reporter.event(&event)?,
    }
    Ok(())
}

/// Prints what came since the last time, and begins to count anew.
fn tell_counts(reporter: &Reporter, counts: &mut Counts) -> io::Result<()> {
    let counts = std::mem::take(counts);
    if counts.is_empty() {
        return Ok(());
    }
    let text = || {
        let counts = counts.iter().map(|(command, n)| format!("{n} {command}"));
        format!("messages: {}", counts.collect::<Vec<_>>().join(", "))
    };
    let object = || {
        let counts = counts.iter().map(|(command, n)| (command.to_string(), n));
        json!({ "counts": counts.collect::<BTreeMap<_, _>>() })
    };
    reporter.tell(text, object)
}
