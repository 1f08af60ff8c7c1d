//! A crawl of a network: from one node to those that it knows, and on, each asked once.

mod files;
mod survey;
mod visit;

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use p2p_core::netgroup::is_routable;
use p2p_proto::Config;
use tokio::task::JoinSet;

pub use files::Output;
pub use survey::{Count, Spread, Survey};
pub use visit::Node;

/// A crawl under way.
///
/// Every address is visited once at most, and `max_nodes` bounds them all: what waits, what is
/// remembered, and what is found.
#[derive(Debug)]
pub struct Crawl {
    settings: Settings,
    seen: HashSet<SocketAddr>,
    waiting: VecDeque<SocketAddr>,
    visits: JoinSet<(Node, Vec<SocketAddr>)>,
}

/// How a network is crawled.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What connections are made with.
    pub protocol: Arc<Config>,
    /// Whether addresses may be visited that are not routable on the Internet.
    pub allow_private_addresses: bool,
    /// Visits at the same time.
    pub concurrency: usize,
    /// Addresses visited at most.
    pub max_nodes: usize,
}

impl Crawl {
    /// A crawl that begins with these addresses.
    pub fn new(settings: Settings, start: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut crawl = Self {
            settings,
            seen: HashSet::new(),
            waiting: VecDeque::new(),
            visits: JoinSet::new(),
        };
        // Whoever crawls may begin at home.
        for address in start {
            crawl.add(address);
        }
        crawl
    }

    /// The next node that was visited, in no order; `None` when there is none left. Nothing is
    /// lost if this is dropped before it is done.
    pub async fn next(&mut self) -> Option<Node> {
        self.begin_visits();
        let (node, named) = match self.visits.join_next().await? {
            Ok(visited) => visited,
            // Visits are not cancelled while the crawl lives.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.learn(named);
        Some(node)
    }

    /// Addresses seen so far, visited or not.
    pub fn seen(&self) -> usize {
        self.seen.len()
    }

    fn begin_visits(&mut self) {
        while self.visits.len() < self.settings.concurrency.max(1)
            && let Some(address) = self.waiting.pop_front()
        {
            let protocol = self.settings.protocol.clone();
            self.visits.spawn(visit::visit(address, protocol));
        }
    }

    fn learn(&mut self, named: Vec<SocketAddr>) {
        for address in named {
            if self.is_dialable(address) {
                self.add(address);
            }
        }
    }

    fn add(&mut self, address: SocketAddr) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.seen.len() < self.settings.max_nodes && self.seen.insert(address) {
            self.waiting.push_back(address);
        }
    }

    /// Whether there can be a node at all, and not one of our own network on the live one.
    fn is_dialable(&self, address: SocketAddr) -> bool {
        let is_dialable = |ip: IpAddr| match self.settings.allow_private_addresses {
            true => !ip.is_unspecified() && !ip.is_multicast(),
            false => is_routable(ip),
        };
        address.port() != 0 && is_dialable(address.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_proto::Network;

    fn crawl(allow_private_addresses: bool, start: &[&str]) -> Crawl {
        let settings = Settings {
            protocol: Arc::new(Config::new(Network::Mainnet)),
            allow_private_addresses,
            concurrency: 1,
            max_nodes: 4,
        };
        Crawl::new(settings, addresses(start))
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_is_visited_once_however_it_is_written() {
        let mut crawl = crawl(false, &["8.8.8.8:8333"]);
        crawl.learn(addresses(&["8.8.8.8:8333", "[::ffff:8.8.8.8]:8333"]));
        assert_eq!((crawl.seen(), crawl.waiting.len()), (1, 1));
        crawl.learn(addresses(&["8.8.8.8:8334"]));
        assert_eq!((crawl.seen(), crawl.waiting.len()), (2, 2));
    }

    #[test]
    fn no_more_are_remembered_than_may_be_visited() {
        let mut crawl = crawl(false, &[]);
        crawl.learn((1..=9).map(|n| ([8, 8, 8, n], 8333).into()).collect());
        assert_eq!((crawl.seen(), crawl.waiting.len()), (4, 4));
    }

    #[test]
    fn on_the_live_network_nobody_makes_us_probe_our_own() {
        let private = addresses(&["127.0.0.1:8333", "10.0.0.1:8333", "[::1]:8333"]);
        let mut live = crawl(false, &["192.168.0.7:8333"]);
        assert_eq!(live.seen(), 1, "the user may");
        live.learn(private.clone());
        assert_eq!(live.seen(), 1);
        let mut own = crawl(true, &[]);
        own.learn(private);
        own.learn(addresses(&["127.0.0.1:0", "0.0.0.0:8333"]));
        assert_eq!(own.seen(), 3);
    }
}
