//! Who is dialled.

use std::net::SocketAddr;

use crate::Result;
use crate::embedded::Embedded;
use crate::options::{Plan, Source};
use crate::report::Reporter;

/// The peers that a plan names.
#[derive(Debug)]
pub enum Peers {
    /// One of our own; it runs as long as this lives.
    Embedded(Embedded),
    /// These.
    Fixed(Vec<SocketAddr>),
    /// The manager is to find them.
    Any,
}

impl Peers {
    /// Looks up the names in the plan, or starts the embedded peer.
    ///
    /// # Errors
    /// When a name has no address, or the embedded peer cannot listen.
    pub async fn of(plan: &Plan, reporter: &Reporter) -> Result<Self> {
        Ok(match &plan.source {
            Source::Embedded => {
                let embedded = Embedded::start().await?;
                reporter.note(&format!("embedded peer on {}", embedded.address()))?;
                Self::Embedded(embedded)
            }
            Source::Connect(names) => Self::Fixed(look_up(names).await?),
            Source::Network => Self::Any,
        })
    }

    /// The only ones to dial; `None` if the manager is to find them.
    pub fn fixed(&self) -> Option<Vec<SocketAddr>> {
        match self {
            Self::Embedded(embedded) => Some(vec![embedded.address()]),
            Self::Fixed(addresses) => Some(addresses.clone()),
            Self::Any => None,
        }
    }

    /// Ends the embedded peer, if there is one.
    pub async fn stop(self) {
        if let Self::Embedded(embedded) = self {
            embedded.stop().await;
        }
    }
}

/// All addresses of these names, each with a port, as the manager writes them.
///
/// # Errors
/// Which name has none, and why.
pub async fn look_up(names: &[String]) -> Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for name in names {
        let found = tokio::net::lookup_host(name).await;
        for address in found.map_err(|error| format!("{name}: {error}"))? {
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Ok(addresses)
}
