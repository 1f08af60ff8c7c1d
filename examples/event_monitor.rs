//! Takes a place on the network and shows what happens there: every event as it comes, once a
//! second how many messages of which kind came, and why there are fewer peers than wanted.
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
use examples::options::ManagerOptions;
use examples::peers::Peers;
use examples::report::Reporter;
use examples::{Result, end_of_run};
use p2p_proto::Command;
use p2p_tokio::{Event, Explanation, Manager, RecvError};
use serde_json::json;
use tokio::time::{Instant, interval, interval_at};

/// Time between two lines of counts.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// When the first explanation comes: after the time that good luck takes.
const FIRST_EXPLANATION: Duration = Duration::from_secs(2);
/// Time between two explanations.
const EXPLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Messages of each kind.
type Counts = BTreeMap<Command, u64>;

/// Shows what happens on the network: events, messages by kind once a second, and why there are
/// fewer peers than wanted.
///
/// Without --network and --connect it starts a regtest peer on loopback and watches that. With
/// --listen others can dial it.
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
    let reporter = Reporter::new(&options.common);

    let peers = Peers::of(&plan, &reporter).await?;
    let mut wanted = plan.config.target_connections;
    let mut builder = Manager::builder(plan.config);
    if let Some(addresses) = peers.fixed() {
        wanted = addresses.len();
        builder = builder.fixed_peers(addresses);
    }
    let mut end = pin!(end_of_run(plan.duration)?);
    let manager = builder.build()?;
    let mut events = manager.events();
    manager.start().await?;

    let mut counts = Counts::new();
    let mut count = interval(COUNT_INTERVAL);
    let mut explain = interval_at(Instant::now() + FIRST_EXPLANATION, EXPLAIN_INTERVAL);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => take(event, &reporter, &mut counts)?,
                Err(RecvError::Lagged(missed)) => reporter.lagged(missed)?,
                Err(_) => break,
            },
            _ = count.tick() => tell_counts(&reporter, &mut counts)?,
            _ = explain.tick() => if manager.get_connection_count() < wanted {
                let explanation = manager.explain().await?;
                reporter.tell(
                    || explanation_line(&explanation, wanted),
                    || explanation_object(&explanation, wanted),
                )?;
            },
            _ = &mut end => break,
        }
    }
    manager.shutdown().await;
    while let Ok(Some(event)) = events.try_recv() {
        take(event, &reporter, &mut counts)?;
    }
    tell_counts(&reporter, &mut counts)?;
    peers.stop().await;
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

fn explanation_line(explanation: &Explanation, wanted: usize) -> String {
    let others = [
        (explanation.pending, "being dialled"),
        (explanation.ready, "to be dialled"),
        (explanation.waiting, "to wait for"),
        (explanation.inaccessible, "given up for now"),
        (explanation.banned, "banned"),
    ];
    let others = others.into_iter().filter(|&(n, _)| n > 0);
    let others: Vec<_> = others.map(|(n, what)| format!("{n} {what}")).collect();
    let others = match others.is_empty() {
        true => "no other is known".into(),
        false => others.join(", "),
    };
    let next = match explanation.next_in {
        Some(next) => format!("; the next can be dialled in {:.1} s", next.as_secs_f64()),
        None => String::new(),
    };
    let outage = match explanation.outage {
        true => "; nothing can be reached, so dialling has slowed down",
        false => "",
    };
    let connected = explanation.connected;
    format!("{connected} of {wanted} peers: {others}{next}{outage}")
}

fn explanation_object(explanation: &Explanation, wanted: usize) -> serde_json::Value {
    json!({ "explanation": {
        "wanted": wanted, "connected": explanation.connected, "pending": explanation.pending,
        "ready": explanation.ready, "waiting": explanation.waiting,
        "next_in": explanation.next_in.map(|next| next.as_secs_f64()),
        "inaccessible": explanation.inaccessible, "banned": explanation.banned,
        "outage": explanation.outage,
    }})
}
