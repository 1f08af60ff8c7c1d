//! What the example programs share: options, output, and peers to talk to.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these are programs"
)]

pub mod crawl;
pub mod embedded;
pub mod explain;
pub mod json;
pub mod live;
pub mod options;
pub mod peers;
pub mod report;
pub mod village;

// The code of these pages is compiled, and run where it needs no network.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
#[cfg(doctest)]
#[doc = include_str!("../../crates/p2p-proto/README.md")]
mod readme_of_proto {}
#[cfg(doctest)]
#[doc = include_str!("../../crates/p2p-core/README.md")]
mod readme_of_core {}
#[cfg(doctest)]
#[doc = include_str!("../../crates/p2p-tokio/README.md")]
mod readme_of_tokio {}
#[cfg(all(doctest, feature = "guide"))]
#[doc = include_str!("../../crates/p2p-store/README.md")]
mod readme_of_store {}
#[cfg(all(doctest, feature = "guide"))]
#[doc = include_str!("../../docs/p2p_usage_guide.md")]
mod guide {}
#[cfg(doctest)]
#[doc = include_str!("../../docs/observability.md")]
mod observability {}

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use p2p_proto::{BlockLocator, Hash256, Message, PROTOCOL_VERSION};
use p2p_sim::chain::Chain;

/// What a program comes to.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The exit code of a run; one that failed says why, in a line.
pub fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough: `| head`.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Why a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has lasted as long as it was to last.
    Duration,
    /// Somebody pressed Ctrl-C.
    Interrupt,
}

/// The end of a run. From this call on a Ctrl-C does not kill the process, and none is missed.
///
/// # Errors
/// When the system takes no handler for it.
pub fn end_of_run(duration: Option<Duration>) -> io::Result<impl Future<Output = End>> {
    #[cfg(unix)]
    let mut interrupt = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::interrupt())?
    };
    #[cfg(windows)]
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    let time_is_over = async move {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    Ok(async move {
        tokio::select! {
            () = time_is_over => End::Duration,
            Some(()) = interrupt.recv() => End::Interrupt,
        }
    })
}

/// A request for headers from the start of the chain: of regtest if the peer is on it, else from
/// wherever the peer thinks best.
pub fn all_headers() -> Message {
    let genesis = Chain::genesis().hash();
    Message::GetHeaders(BlockLocator::new(
        PROTOCOL_VERSION as u32,
        [genesis],
        Hash256::ZERO,
    ))
}
