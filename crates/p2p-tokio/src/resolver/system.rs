//! The system's look-up.

use std::net::IpAddr;

use async_trait::async_trait;

use super::{ResolveError, Resolver};

/// Asks as the system does (`getaddrinfo`): knows `/etc/hosts` and names of private networks.
///
/// A look-up blocks a thread of tokio's blocking pool until the system gives up, also when nobody
/// waits any more. The resolver that is used without the feature `hickory`.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SystemResolver;

impl SystemResolver {
    /// The system's look-up.
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found = tokio::net::lookup_host((name, 0)).await;
        let found = found.map_err(ResolveError::new)?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
