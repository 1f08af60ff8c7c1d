//! What can be measured without a peer: the limits below everything, decisions with many known
//! peers, and the hot paths, to be run under an instruction counter. Each prints one JSON object.

mod decisions;
mod hot;
mod limits;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures what needs no peer, and prints JSON.
#[derive(Debug, Parser)]
#[command(name = "inside", version)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Double SHA-256 alone, a round trip over TCP, a connect.
    Limits,
    /// What the manager takes to choose whom to dial, with this many known peers.
    Decisions {
        /// Known peers.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        known: u32,
    },
    /// Takes one message many times, for an instruction counter.
    Hot {
        #[arg(value_enum)]
        path: hot::Path,
    },
}

/// CPU time of this thread: what else the machine does is not in it.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() -> ExitCode {
    let json = match Options::parse().what {
        What::Limits => limits::measure(),
        What::Decisions { known } => decisions::measure(known),
        What::Hot { path } => hot::run(path),
    };
    match json {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("inside: {error}");
            ExitCode::FAILURE
        }
    }
}
