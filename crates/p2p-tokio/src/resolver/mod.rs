//! DNS: who is asked for the addresses of seeds.

#[cfg(feature = "hickory")]
mod hickory;
mod system;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use p2p_core::{Input, ManagerConfig};
use p2p_proto::Network;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

#[cfg(feature = "hickory")]
pub use hickory::HickoryResolver;
pub use system::SystemResolver;

use crate::manager::Report;

/// Addresses that are taken of one seed: a UDP answer holds some dozens.
const MAX_ADDRESSES: usize = 1000;

/// Turns the name of a seed into addresses.
///
/// ```
/// use std::net::IpAddr;
/// use p2p_tokio::{ResolveError, Resolver};
///
/// /// Knows one name.
/// #[derive(Debug)]
/// struct Fixed;
///
/// #[async_trait::async_trait]
/// impl Resolver for Fixed {
///     async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
///         match name {
///             "seed.test" => Ok(vec!["203.0.113.7".parse().unwrap()]),
///             _ => Err(ResolveError::new("no such name")),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync {
    /// All addresses of a name, of both families. Takes as long as it takes: the manager waits no
    /// longer than `dns_timeout`, and drops the future then.
    ///
    /// # Errors
    /// Why there are none.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError>;
}

/// Why a name could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ResolveError(String);

impl ResolveError {
    /// With this explanation.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }

    /// Whether asking again later may help: always, names come and go.
    pub fn is_retryable(&self) -> bool {
        true
    }

    /// Whether somebody is to be banned for it: never.
    pub fn is_ban_worthy(&self) -> bool {
        false
    }
}

/// The resolver in force.
#[derive(Debug, Clone)]
pub(crate) enum InForce {
    /// Given by the application, which sets it as it likes.
    OfApplication(Arc<dyn Resolver>),
    /// Made as the configuration says, and made anew when that says something else.
    OfConfig(Arc<dyn Resolver>),
}

impl InForce {
    /// What another configuration wants, made but not in force: `None` if it stays as it is.
    pub(crate) fn prepare(
        &self,
        before: &ManagerConfig,
        config: &ManagerConfig,
    ) -> Result<Option<Self>, ResolveError> {
        match self {
            Self::OfConfig(_) if config.dns_servers != before.dns_servers => {
                Ok(Some(Self::OfConfig(of_config(config)?)))
            }
            Self::OfConfig(_) | Self::OfApplication(_) => Ok(None),
        }
    }

    /// For one round of questions.
    pub(crate) fn resolver(&self) -> Arc<dyn Resolver> {
        let (Self::OfApplication(resolver) | Self::OfConfig(resolver)) = self;
        resolver.clone()
    }
}

/// The resolver of a configuration: of our own, if that can be had.
#[cfg(feature = "hickory")]
pub(crate) fn of_config(config: &ManagerConfig) -> Result<Arc<dyn Resolver>, ResolveError> {
    if !config.dns_servers.is_empty() {
        return Ok(Arc::new(HickoryResolver::with_servers(
            &config.dns_servers,
        )?));
    }
    Ok(match HickoryResolver::from_system() {
        Ok(resolver) => Arc::new(resolver),
        Err(error) => {
            let network = config.network;
            warn!(
                target: "p2p_tokio", %network, %error,
                "no name servers found; DNS seeds are looked up by the system"
            );
            Arc::new(SystemResolver::new())
        }
    })
}

/// The resolver of a configuration: the system's.
#[cfg(not(feature = "hickory"))]
pub(crate) fn of_config(config: &ManagerConfig) -> Result<Arc<dyn Resolver>, ResolveError> {
    match config.dns_servers.is_empty() {
        true => Ok(Arc::new(SystemResolver::new())),
        false => Err(ResolveError::new("dns_servers needs the feature `hickory`")),
    }
}

/// What the manager wants to be asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) network: Network,
    pub(crate) seeds: Vec<String>,
    pub(crate) port: u16,
    pub(crate) timeout: Duration,
}

/// Asks all seeds at once, and tells the manager what they named.
pub(crate) async fn ask(
    resolver: Arc<dyn Resolver>,
    question: Question,
    reports: mpsc::Sender<Report>,
) {
    let Question {
        network,
        seeds,
        port,
        timeout: patience,
    } = question;
    let mut asked = JoinSet::new();
    for seed in seeds {
        let resolver = resolver.clone();
        asked.spawn(async move {
            let answer = timeout(patience, resolver.resolve(&seed)).await;
            (seed, answer)
        });
    }
    let mut addresses = Vec::new();
    // One that panicked has named nobody.
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok((seed, Ok(Ok(found)))) => {
                let count = found.len();
                debug!(target: "p2p_tokio", %network, seed, count, "seed resolved");
                let found = found.into_iter().take(MAX_ADDRESSES);
                addresses.extend(found.map(|ip| SocketAddr::new(ip, port)));
            }
            Ok((seed, Ok(Err(error)))) => warn!(
                target: "p2p_tokio", %network, seed, %error, "seed not resolved; asked again later"
            ),
            Ok((seed, Err(_))) => warn!(
                target: "p2p_tokio", %network, seed, "seed not resolved in time; asked again later"
            ),
            Err(error) => warn!(
                target: "p2p_tokio", %network, %error, "seed not resolved; asked again later"
            ),
        }
    }
    // Once the manager has ended nobody needs to know.
    let _ = reports
        .send(Report::Input(Input::Resolved { addresses }))
        .await;
}

#[cfg(all(test, not(feature = "hickory")))]
mod tests {
    use super::*;

    #[test]
    fn without_hickory_an_update_of_name_servers_is_refused_as_at_the_start() {
        let before = ManagerConfig::default();
        let after = ManagerConfig {
            dns_servers: vec![([127, 0, 0, 1], 53).into()],
            ..before.clone()
        };
        let in_force = InForce::OfConfig(of_config(&before).unwrap());
        let refused = in_force.prepare(&before, &after).unwrap_err();
        assert_eq!(refused, of_config(&after).unwrap_err());
        assert!(in_force.prepare(&before, &before).unwrap().is_none());
    }
}
