//! Peers that listen on loopback, each in a process of its own: the library's manager, and what
//! it is measured beside.
//!
//! A peer prints `READY {"impl":..,"port":..}` when it can be dialled, and ends with its stdin:
//! then it prints `DONE {..}` with what it has counted.

mod blocks;
mod codec;
mod copy;
mod manager;
mod threads;
mod tokio_loop;

use std::io::Read;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Listens on a free port of 127.0.0.1, as the peer of your choice, until stdin ends.
#[derive(Debug, Parser)]
#[command(name = "serve", version)]
struct Options {
    #[command(subcommand)]
    peer: Peer,
}

#[derive(Debug, Subcommand)]
enum Peer {
    /// The library's manager, with a subscriber that counts.
    Manager(manager::Options),
    /// A thread for each connection, on the codec of the `bitcoin` crate.
    Threads(threads::Options),
    /// A tokio task for each connection, on the codec of the `bitcoin` crate.
    Tokio,
    /// Reads and drops, without any protocol.
    Copy,
    /// Not a peer: blocks of 1 MiB from one end to the other, both in this process.
    Blocks(blocks::Options),
}

/// The program, whatever its allocator is.
pub fn main() -> ExitCode {
    match run(Options::parse().peer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serve: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(peer: Peer) -> Result<()> {
    // As many as the system allows: who dials decides how many there are.
    rlimit::increase_nofile_limit(rlimit::INFINITY)?;
    match peer {
        Peer::Manager(options) => runtime()?.block_on(manager::serve(&options)),
        Peer::Threads(options) => threads::serve(&options),
        Peer::Tokio => runtime()?.block_on(tokio_loop::serve()),
        Peer::Copy => copy::serve(),
        Peer::Blocks(options) => blocks::run(&options),
    }
}

/// Says where the peer listens.
pub(crate) fn ready(name: &str, port: u16) {
    println!(
        "READY {}",
        serde_json::json!({ "impl": name, "port": port })
    );
}

/// Waits for the end of stdin.
pub(crate) fn wait_for_end() {
    // However it ends, it has ended.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}
