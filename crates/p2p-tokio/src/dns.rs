//! Addresses from names, by the system's look-up.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

/// How long one seed may take; the others do not wait for it.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);

/// All addresses that the seeds name, each asked at once with a time of its own. A seed that
/// fails is a warning.
pub(crate) async fn resolve_seeds(seeds: &[&'static str], port: u16) -> BTreeSet<SocketAddr> {
    let mut queries = JoinSet::new();
    for &seed in seeds {
        queries.spawn(async move { (seed, timeout(DNS_TIMEOUT, lookup_host((seed, port))).await) });
    }
    let mut found = BTreeSet::new();
    while let Some(answer) = queries.join_next().await {
        match answer {
            Ok((_, Ok(Ok(addresses)))) => found.extend(addresses),
            Ok((seed, Ok(Err(error)))) => warn!(seed, %error, "seed not resolved"),
            Ok((seed, Err(_))) => warn!(seed, timeout = ?DNS_TIMEOUT, "seed did not answer"),
            Err(error) => warn!(%error, "look-up failed"),
        }
    }
    found
}
