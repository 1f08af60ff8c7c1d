//! Goes through a network: asks every node for the nodes that it knows, asks those, and tells who
//! is there. Polite: each node is asked once, for one answer, and left.
//!
//! ```text
//! cargo run --release --example network_crawler                           # a network of its own
//! cargo run --release --example network_crawler -- --network mainnet \
//!     --output nodes.json --output nodes.csv                              # the live one
//! cargo run --release --example network_crawler -- --network mainnet \
//!     --connect 192.0.2.7 --max-nodes 100 --concurrency 8                 # from one node on
//! ```

use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use examples::crawl::{Crawl, Node, Output, Settings, Survey};
use examples::options::{Options, Plan, Source};
use examples::peers::look_up;
use examples::report::Reporter;
use examples::village::{NODES, Village};
use examples::{End, Result, end_of_run};
use indicatif::{ProgressBar, ProgressStyle};
use p2p_tokio::{Resolver, SystemResolver};
use serde_json::json;

/// Who asks, so that operators know.
const USER_AGENT: &str = concat!("/bsv-p2p-crawler:", env!("CARGO_PKG_VERSION"), "/");
/// How long a handshake may take: less than for a peer that is to stay.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Goes from node to node, asks each once whom it knows, and tells who is there.
///
/// Without --network and --connect it starts a little regtest network on loopback and crawls that.
/// --connect names nodes to begin with. Ctrl-C ends the crawl, and what was found is kept.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    /// Write all nodes to this file, .json or .csv. May be given more than once
    #[arg(long, value_name = "FILE")]
    output: Vec<Output>,

    /// Visit at most this many addresses
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_nodes: usize,

    /// Visit this many at the same time
    #[arg(long, value_name = "N", default_value_t = 64)]
    concurrency: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    examples::finish(run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> Result<()> {
    let options = &arguments.options;
    let mut plan = options.plan()?;
    let reporter = Reporter::new(options);
    for output in &arguments.output {
        output.create()?;
    }

    if options.user_agent.is_none() {
        plan.config.user_agent = USER_AGENT.into();
    }
    // Whoever leaves at once need not be told of transactions.
    plan.config.relay = false;
    plan.config.connection.handshake_timeout = HANDSHAKE_TIMEOUT;
    let settings = Settings {
        protocol: Arc::new(plan.config.protocol(0)),
        allow_private_addresses: plan.config.allows_private_addresses(),
        concurrency: arguments.concurrency,
        max_nodes: arguments.max_nodes,
    };
    let (start, village) = start(&plan, &reporter).await?;
    let mut end = pin!(end_of_run(plan.duration)?);
    let mut crawl = Crawl::new(settings, start);

    let bar = progress_bar(options);
    let mut nodes = Vec::new();
    let mut reached = 0;
    let mut is_interrupted = false;
    loop {
        let node = tokio::select! {
            node = crawl.next() => node,
            end = &mut end => {
                if end == End::Interrupt {
                    is_interrupted = true;
                    bar.suspend(|| reporter.note("shutting down"))?;
                }
                break;
            }
        };
        let Some(node) = node else { break };
        reached += usize::from(node.is_reached());
        bar.suspend(|| match node.is_reached() || options.json {
            true => reporter.tell(|| line(&node), || json!({ "node": node })),
            false => Ok(()),
        })?;
        nodes.push(node);
        bar.set_length(crawl.seen() as u64);
        bar.set_position(nodes.len() as u64);
        bar.set_message(format!("{reached} reached"));
    }
    bar.finish_and_clear();
    // Those who were being visited are left, too.
    drop(crawl);
    if let Some(village) = village {
        village.stop().await;
    }

    nodes.sort_by_key(|node| node.address);
    let survey = Survey::of(&nodes);
    reporter.tell(
        || format!("done: {survey}"),
        || json!({ "summary": survey }),
    )?;
    for output in &arguments.output {
        output.write(&nodes)?;
        reporter.note(&format!("written to {}", output.path().display()))?;
    }
    match reached {
        0 if !is_interrupted => Err("no node was reached".into()),
        _ => Ok(()),
    }
}

/// The addresses to begin with, and the network that they are of if it is our own.
async fn start(plan: &Plan, reporter: &Reporter) -> Result<(Vec<SocketAddr>, Option<Village>)> {
    let network = plan.config.network;
    match &plan.source {
        Source::Embedded => {
            let village = Village::start().await?;
            let gate = village.gate();
            reporter.note(&format!(
                "a network of our own, {NODES} nodes; the first is {gate}"
            ))?;
            Ok((vec![gate], Some(village)))
        }
        Source::Connect(names) => Ok((look_up(names).await?, None)),
        Source::Network => {
            let mut addresses = Vec::new();
            for seed in network.dns_seeds() {
                match SystemResolver::new().resolve(seed).await {
                    Ok(found) => {
                        let at_port = |ip| SocketAddr::new(ip, network.default_port());
                        addresses.extend(found.into_iter().map(at_port));
                    }
                    Err(error) => reporter.note(&format!("{seed}: {error}"))?,
                }
            }
            match addresses.is_empty() {
                true => Err(format!("no DNS seed of {network} named a node").into()),
                false => Ok((addresses, None)),
            }
        }
    }
}

/// On standard error, and only if that is a terminal.
fn progress_bar(options: &Options) -> ProgressBar {
    if options.quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} visited, {msg}, {elapsed}");
    let bar = ProgressBar::new(0);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn line(node: &Node) -> String {
    let latency = match node.latency_ms {
        Some(latency) => format!("{latency:.1} ms"),
        None => "no pong".into(),
    };
    format!(
        "{}  {}, version {}, services {:#x}, height {}, {latency}, knows {}",
        node.address,
        node.user_agent.as_deref().unwrap_or_default(),
        node.version.unwrap_or_default(),
        node.services.unwrap_or_default(),
        node.height.unwrap_or_default(),
        node.addresses,
    )
}
