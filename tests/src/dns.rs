//! The DNS seeds of a world.

use std::net::SocketAddr;
use std::time::Duration;

use crate::rng::Rng;

/// What the seeds know, and how well they work.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::{Dns, Rng};
///
/// let dns = Dns { known: vec!["20.0.0.7:8333".parse().unwrap()], ..Dns::default() };
/// let (took, named) = dns.resolve(&mut Rng::new(1), 1, 8333, Duration::from_secs(5));
/// assert_eq!(named, dns.known);
/// assert!(took < Duration::from_secs(1));
/// ```
#[derive(Debug, Clone)]
pub struct Dns {
    /// Nodes that a seed may name.
    pub known: Vec<SocketAddr>,
    /// The most that one seed names at a time. Default 25, as many as fit into an answer of DNS
    /// over UDP with room to spare.
    pub at_once: usize,
    /// How many of a thousand questions get no answer.
    pub failures: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            at_once: 25,
            failures: 0,
        }
    }
}

impl Dns {
    /// Asks these many seeds at once: what they named, and how long that took. One that fails
    /// takes its whole `timeout`.
    pub fn resolve(
        &self,
        rng: &mut Rng,
        seeds: usize,
        port: u16,
        timeout: Duration,
    ) -> (Duration, Vec<SocketAddr>) {
        let mut took = Duration::ZERO;
        let mut named = Vec::new();
        for _ in 0..seeds {
            if rng.chance(self.failures) {
                took = timeout;
                continue;
            }
            let answer = rng.duration(Duration::from_millis(5), Duration::from_millis(300));
            took = took.max(answer.min(timeout));
            for at in rng.sample(self.known.len(), self.at_once) {
                // A seed knows IPs; the port is the asker's guess.
                named.push(SocketAddr::new(self.known[at].ip(), port));
            }
        }
        (took, named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_some_of_what_it_knows_and_a_broken_one_nothing() {
        let known = |n: u8| SocketAddr::from(([20, 0, 0, n], 1));
        let mut dns = Dns {
            known: (0..100).map(known).collect(),
            ..Dns::default()
        };
        let mut rng = Rng::new(0);
        let timeout = Duration::from_secs(5);
        let (took, named) = dns.resolve(&mut rng, 2, 8333, timeout);
        assert!(took < timeout);
        assert_eq!(named.len(), 50);
        assert!(named.iter().all(|address| address.port() == 8333));
        dns.failures = 1000;
        assert_eq!(dns.resolve(&mut rng, 2, 8333, timeout), (timeout, vec![]));
    }
}
