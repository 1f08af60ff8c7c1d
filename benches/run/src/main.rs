//! Measures the library beside its alternatives, on the same work in the same run, and writes the
//! generated parts of docs/performance.md and its plots. `scripts/bench` builds and runs it.

mod aims;
mod bulk;
mod grid;
mod inside;
mod instructions;
mod machine;
mod page;
mod plot;
mod programs;
mod progress;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use grid::{Grid, LIBRARY};
use page::Page;
use programs::Programs;
use progress::Progress;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures everything, prints its progress, and writes docs/performance.md and its plots.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Options {
    /// Smaller and shorter: a few minutes, figures that sway more.
    #[arg(long)]
    quick: bool,
    /// The page whose generated parts are written; its plots go beside it.
    #[arg(long, default_value = "docs/performance.md")]
    page: PathBuf,
    /// Where scripts/install-test-peers has put the foreign peers.
    #[arg(long, default_value = "target/test-peers")]
    test_peers: PathBuf,
    /// The folder `benches`, with the script that runs them.
    #[arg(long, default_value = "benches")]
    benches: PathBuf,
}

/// How much is done.
pub(crate) struct Plan {
    /// How long each kind of work lasts.
    pub(crate) seconds: u64,
    /// How long connections are watched that do nothing.
    pub(crate) idle_seconds: u64,
    pub(crate) connections: &'static [u32],
    /// Threads are bounded by the system before they are by anything else.
    pub(crate) threads: &'static [u32],
    pub(crate) foreign: &'static [u32],
    /// Connections that a transaction is broadcast to.
    pub(crate) broadcast: u32,
    pub(crate) blocks: u32,
    pub(crate) stream_mib: u64,
    /// Runs of each contender, in turn; the median counts.
    pub(crate) repeats: usize,
    pub(crate) known_peers: &'static [u32],
}

const FULL: Plan = Plan {
    seconds: 3,
    idle_seconds: 5,
    connections: &[1, 10, 100, 1_000, 5_000],
    threads: &[1, 10, 100, 1_000, 2_000],
    foreign: &[10, 100, 500],
    broadcast: 1_000,
    blocks: 2_048,
    stream_mib: 6 * 1024,
    repeats: 3,
    known_peers: &[1_000, 10_000, 100_000, 1_000_000],
};

const QUICK: Plan = Plan {
    seconds: 1,
    idle_seconds: 2,
    connections: &[1, 100, 5_000],
    threads: &[1, 100, 2_000],
    foreign: &[10],
    broadcast: 1_000,
    blocks: 256,
    stream_mib: 1024,
    repeats: 3,
    known_peers: &[1_000, 10_000, 100_000, 1_000_000],
};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let plan = if options.quick { QUICK } else { FULL };
    // Before anything is measured: a page that cannot be written is no use.
    let mut page = Page::open(&options.page)?;
    let programs = Programs::beside_this(&options.benches, &options.test_peers)?;
    let progress = Progress::begin();

    let machine = machine::describe(options.quick)?;
    let limits = inside::limits(&programs, &progress)?;
    let decisions = inside::decisions(&programs, &plan, &progress)?;
    let counts = instructions::count(&programs, &progress)?;
    let bulk = bulk::measure(&programs, &plan, &progress)?;
    let grid = Grid::measure(&programs, &plan, &progress)?;

    page.replace("machine", &machine::finish(machine)?)?;
    page.replace("aims", &aims::table(&grid, &bulk, &limits))?;
    page.replace("connections", &grid.table())?;
    page.replace("bulk", &bulk.table())?;
    page.replace("limits", &limits.table())?;
    page.replace("instructions", &counts.table())?;
    page.replace("decisions", &decisions.table())?;
    grid.plots(&page)?;
    decisions.plot(&page)?;
    page.write()?;
    progress.end(&options.page);
    // The page is worth having all the same, and says so too.
    match grid.failures(&LIBRARY) {
        0 => Ok(()),
        failed => Err(format!("{failed} runs of the library failed").into()),
    }
}
