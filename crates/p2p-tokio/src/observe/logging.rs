//! A log for programs, whose level follows the configuration.
//!
//! ```no_run
//! use p2p_tokio::{Manager, ManagerConfig, Network, logging};
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ManagerConfig::new(Network::Mainnet);
//! let log = logging::init(config.log_level)?;
//! let manager = Manager::builder(config).log_handle(log).build()?;
//! # Ok(())
//! # }
//! ```

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

use crate::{LogHandle, LogLevel};

/// Whose lines the level is about.
const TARGET: &str = "p2p_tokio";
/// What is logged of everything else.
const OTHERS: &str = "warn";

/// Writes the log to standard error from now on, for the whole process. Of p2p-tokio, lines of
/// this level and above; of everything else, warnings. `RUST_LOG` has the last word about what it
/// names.
///
/// # Errors
/// When the process has a subscriber already.
pub fn init(level: LogLevel) -> Result<LogHandle, TryInitError> {
    let (filter, handle) = filter(level);
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?;
    Ok(handle)
}

/// The same as a filter, for a subscriber of the program's own, and the handle that changes it.
pub fn filter<S>(level: LogLevel) -> (reload::Layer<EnvFilter, S>, LogHandle)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let (filter, handle) = reload::Layer::new(directives(level));
    let handle = LogHandle::new(move |level| {
        // A subscriber that is gone needs no level.
        let _ = handle.reload(directives(level));
    });
    (filter, handle)
}

fn directives(level: LogLevel) -> EnvFilter {
    let named = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    // Of two directives for one target the later wins.
    let all = format!("{OTHERS},{TARGET}={},{named}", tracing_level(level));
    EnvFilter::builder().parse_lossy(all)
}

/// The same level, as `tracing` calls it.
fn tracing_level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
