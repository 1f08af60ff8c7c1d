//! The options that all examples have in common.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use p2p_proto::{Network, UserAgent, banned_by_nodes};
use p2p_tokio::Config;

/// How long a run against the embedded peer takes unless told otherwise: long enough to see
/// pings and new blocks.
const EMBEDDED_DURATION: Duration = Duration::from_secs(10);

/// Options of every example.
#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// mainnet, testnet, stn, regtest or custom:MAGIC:PORT. Without --connect, peers come
    /// from the network's DNS seeds
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<Network>,

    /// Dial this peer: host or IP, with or without a port. May be given more than once
    #[arg(long, value_name = "ADDR")]
    pub connect: Vec<String>,

    /// Listen for peers on this address
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Keep what is known about peers in this file
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,

    /// Dial until there are this many connections
    #[arg(long, value_name = "N")]
    pub target_connections: Option<usize>,

    /// Never have more connections than this
    #[arg(long, value_name = "N")]
    pub max_connections: Option<usize>,

    /// Stop after this many seconds [default: 10 with the embedded peer, else until Ctrl-C]
    #[arg(long, value_name = "SECS")]
    pub duration: Option<u64>,

    /// Call ourselves this in the version message
    #[arg(long, value_name = "S")]
    pub user_agent: Option<String>,

    /// Print nothing but errors
    #[arg(long)]
    pub quiet: bool,

    /// Print one JSON object a line on standard output, and nothing else there
    #[arg(long)]
    pub json: bool,
}

/// Where peers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A peer of our own, on loopback.
    Embedded,
    /// These, each with a port.
    Connect(Vec<String>),
    /// The network's DNS seeds.
    Seeds,
}

/// What the options add up to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The network.
    pub network: Network,
    /// Where peers come from.
    pub source: Source,
    /// How long to run; `None` until Ctrl-C.
    pub duration: Option<Duration>,
    /// What connections are made with.
    pub config: Config,
}

impl Options {
    /// Adds the options up.
    ///
    /// # Errors
    /// A line that says which option is wrong, and what to do instead.
    pub fn plan(&self) -> Result<Plan, String> {
        for (given, name) in [
            (self.listen.is_some(), "--listen"),
            (self.store.is_some(), "--store"),
            (self.target_connections.is_some(), "--target-connections"),
            (self.max_connections.is_some(), "--max-connections"),
        ] {
            if given {
                return Err(format!(
                    "{name} does nothing in this version: it dials the peers it is given, once, and keeps no store"
                ));
            }
        }
        let source = match (&self.connect[..], self.network) {
            ([], None) => Source::Embedded,
            ([], Some(network)) if network.dns_seeds().is_empty() => {
                return Err(format!(
                    "{network} has no DNS seeds: add --connect ADDR, for instance --connect 127.0.0.1:{}",
                    network.default_port()
                ));
            }
            ([], Some(_)) => Source::Seeds,
            (peers, network) => {
                let port = network.unwrap_or(Network::Mainnet).default_port();
                Source::Connect(peers.iter().map(|peer| with_port(peer, port)).collect())
            }
        };
        let embedded = source == Source::Embedded;
        let network = self.network.unwrap_or(match embedded {
            true => Network::Regtest,
            false => Network::Mainnet,
        });
        let mut config = Config::new(network);
        if let Some(agent) = &self.user_agent {
            config.user_agent = user_agent(agent)?;
        }
        Ok(Plan {
            network,
            source,
            duration: match self.duration {
                Some(seconds) => Some(Duration::from_secs(seconds)),
                None => embedded.then_some(EMBEDDED_DURATION),
            },
            config,
        })
    }
}

fn user_agent(text: &str) -> Result<UserAgent, String> {
    let agent = UserAgent::new(text.as_bytes().to_vec())
        .ok_or_else(|| format!("--user-agent is {} bytes long, at most 256 fit", text.len()))?;
    match banned_by_nodes(&agent) {
        Some(pattern) => Err(format!(
            "--user-agent {text:?} contains {pattern:?}: Bitcoin SV nodes ban such agents"
        )),
        None => Ok(agent),
    }
}

/// Adds the port where there is none: `host`, `1.2.3.4`, `::1` and `[::1]` have none.
fn with_port(peer: &str, port: u16) -> String {
    let bare_v6 = peer.parse::<std::net::Ipv6Addr>().is_ok();
    match peer.rsplit_once(':') {
        _ if bare_v6 => format!("[{peer}]:{port}"),
        Some((_, tail)) if !tail.ends_with(']') => peer.to_owned(),
        _ => format!("{peer}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(set: impl FnOnce(&mut Options)) -> Result<Plan, String> {
        let mut options = Options::default();
        set(&mut options);
        options.plan()
    }

    #[test]
    fn nothing_given_means_the_embedded_peer_for_ten_seconds() {
        let plan = plan(|_| {}).unwrap();
        assert_eq!(plan.source, Source::Embedded);
        assert_eq!(plan.network, Network::Regtest);
        assert_eq!(plan.duration, Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_network_means_its_seeds_until_ctrl_c() {
        let plan = plan(|o| o.network = Some(Network::Testnet)).unwrap();
        assert_eq!(plan.source, Source::Seeds);
        assert_eq!(plan.duration, None);
    }

    #[test]
    fn a_network_without_seeds_says_what_to_add() {
        let error = plan(|o| o.network = Some(Network::Regtest)).unwrap_err();
        assert!(error.contains("--connect 127.0.0.1:18444"), "{error}");
    }

    #[test]
    fn peers_get_the_port_of_the_network_if_they_have_none() {
        let peers = ["host", "host:1", "1.2.3.4", "::1", "[::1]", "[::1]:2"];
        let plan = plan(|o| o.connect = peers.map(String::from).to_vec()).unwrap();
        let expected = [
            "host:8333",
            "host:1",
            "1.2.3.4:8333",
            "[::1]:8333",
            "[::1]:8333",
            "[::1]:2",
        ];
        assert_eq!(
            plan.source,
            Source::Connect(expected.map(String::from).to_vec())
        );
    }

    #[test]
    fn options_without_effect_are_refused() {
        type Set = fn(&mut Options);
        let sets: [(Set, &str); 4] = [
            (|o| o.listen = Some(([127, 0, 0, 1], 1).into()), "--listen"),
            (|o| o.store = Some("peers.json".into()), "--store"),
            (|o| o.target_connections = Some(1), "--target-connections"),
            (|o| o.max_connections = Some(1), "--max-connections"),
        ];
        for (set, name) in sets {
            assert!(plan(set).unwrap_err().starts_with(name));
        }
    }

    #[test]
    fn an_agent_that_nodes_ban_is_refused() {
        let error = plan(|o| o.user_agent = Some("/cashew:1/".into())).unwrap_err();
        assert!(error.contains("\"cash\""), "{error}");
    }
}
