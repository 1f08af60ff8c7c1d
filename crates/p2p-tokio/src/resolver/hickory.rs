//! A resolver of our own process: no thread is blocked, and a look-up that nobody waits for ends.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::{ResolveError, Resolver};

/// How long one name server may take before the question is repeated.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Asks name servers itself, for A and AAAA at once.
#[derive(Debug, Clone)]
pub struct HickoryResolver(TokioResolver);

impl HickoryResolver {
    /// Asks the system's name servers.
    ///
    /// # Errors
    /// What is wrong with the system's settings.
    pub fn from_system() -> Result<Self, ResolveError> {
        let builder = TokioResolver::builder_tokio().map_err(ResolveError::new)?;
        Self::build(builder)
    }

    /// Asks these name servers.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        let servers = servers.iter().map(|server| {
            let on_port = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            NameServerConfig::new(server.ip(), true, connections.map(on_port).to_vec())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let provider = TokioRuntimeProvider::default();
        Self::build(TokioResolver::builder_with_config(config, provider))
    }

    fn build(
        mut builder: hickory_resolver::ResolverBuilder<TokioRuntimeProvider>,
    ) -> Result<Self, ResolveError> {
        let options: &mut ResolverOpts = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = ATTEMPT;
        // The manager asks when it needs an answer, and wants what is true then.
        options.cache_size = 0;
        Ok(Self(builder.build().map_err(ResolveError::new)?))
    }
}

#[async_trait]
impl Resolver for HickoryResolver {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        // A full name: not to be sought below the system's search domains.
        let name = match name.ends_with('.') {
            true => name.to_owned(),
            false => format!("{name}."),
        };
        let found = self.0.lookup_ip(name).await.map_err(ResolveError::new)?;
        Ok(found.iter().collect())
    }
}
