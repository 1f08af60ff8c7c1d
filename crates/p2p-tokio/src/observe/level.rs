//! How the configuration's `log_level` reaches whoever keeps the log.

use std::fmt;
use std::sync::Arc;

use crate::LogLevel;

/// Tells the program's log which level is wanted: at the start, and whenever `update_config`
/// changes it. The library installs no subscriber, so somebody must.
///
/// With the feature `logging`, [`logging::init`](crate::logging::init) makes one. Programs that
/// have a subscriber of their own do with the level what they like, for instance reload a filter:
///
/// ```
/// use p2p_tokio::{LogHandle, Manager, ManagerConfig, Network};
/// use tracing_subscriber::filter::LevelFilter;
/// use tracing_subscriber::{Registry, reload};
///
/// # fn example() -> Result<(), p2p_tokio::ManagerError> {
/// let (filter, handle) = reload::Layer::<_, Registry>::new(LevelFilter::INFO);
/// // ... `filter` becomes part of the program's subscriber ...
/// # let _ = filter;
/// let log = LogHandle::new(move |level| {
///     // The names are the same. A subscriber that is gone needs no level.
///     if let Ok(filter) = level.to_string().parse::<LevelFilter>() {
///         let _ = handle.reload(filter);
///     }
/// });
/// let config = ManagerConfig::new(Network::Regtest);
/// let manager = Manager::builder(config).log_handle(log).build()?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone)]
pub struct LogHandle(Arc<dyn Fn(LogLevel) + Send + Sync>);

impl LogHandle {
    /// A handle that calls this with each level that is wanted. It is called by the manager's
    /// task, and must not block.
    pub fn new(set: impl Fn(LogLevel) + Send + Sync + 'static) -> Self {
        Self(Arc::new(set))
    }

    /// Wants another level.
    pub fn set(&self, level: LogLevel) {
        (self.0)(level);
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").finish_non_exhaustive()
    }
}
