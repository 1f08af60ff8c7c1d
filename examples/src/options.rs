//! The options that all examples have in common.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use p2p_proto::{Network, UserAgent, banned_by_nodes};
use p2p_tokio::{LogLevel, ManagerConfig};

/// How long a run against peers of our own takes unless told otherwise: long enough to see pings
/// and new blocks.
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

    /// Stop after this many seconds [default: 10 with peers of our own, else until Ctrl-C]
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

/// Options of every example that has a manager.
#[derive(Debug, Clone, Args)]
#[cfg_attr(test, derive(Default))]
pub struct ManagerOptions {
    /// Those of every example.
    #[command(flatten)]
    pub common: Options,

    /// Listen for peers on this address
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Keep what is known about peers in this file
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,

    /// Dial until there are this many connections; with --connect, all of those [default: 8]
    #[arg(long, value_name = "N")]
    pub target_connections: Option<usize>,

    /// Never have more connections than this [default: 20]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<usize>,

    /// Log to standard error from this level on: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    pub log_level: LogLevel,
}

/// Where peers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Peers of our own, on loopback.
    Embedded,
    /// These, each with a port.
    Connect(Vec<String>),
    /// The network: its DNS seeds, what is stored, and whoever dials us.
    Network,
}

/// What the options add up to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where peers come from.
    pub source: Source,
    /// How long to run; `None` until Ctrl-C.
    pub duration: Option<Duration>,
    /// What a manager is made of; [`ManagerConfig::protocol`] gives what a connection is.
    pub config: ManagerConfig,
}

impl Options {
    /// Adds the options up.
    ///
    /// # Errors
    /// A line that says which option is wrong, and what to do instead.
    pub fn plan(&self) -> Result<Plan, String> {
        let plan = self.plan_of_any_network()?;
        if plan.source == Source::Network {
            has_seeds(plan.config.network)?;
        }
        valid(plan)
    }

    /// Whether a network has DNS seeds is not asked: there may be other ways to find peers.
    fn plan_of_any_network(&self) -> Result<Plan, String> {
        let (source, network) = match (&self.connect[..], self.network) {
            ([], None) => (Source::Embedded, Network::Regtest),
            ([], Some(network)) => (Source::Network, network),
            (peers, network) => {
                let network = network.unwrap_or(Network::Mainnet);
                let port = network.default_port();
                let peers = peers.iter().map(|peer| with_port(peer, port)).collect();
                (Source::Connect(peers), network)
            }
        };
        let mut config = ManagerConfig::new(network);
        if let Some(agent) = &self.user_agent {
            config.user_agent = user_agent(agent)?;
        }
        let duration = match self.duration {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => (source == Source::Embedded).then_some(EMBEDDED_DURATION),
        };
        Ok(Plan {
            source,
            duration,
            config,
        })
    }
}

impl ManagerOptions {
    /// Adds the options up.
    ///
    /// # Errors
    /// A line that says which option is wrong, and what to do instead.
    pub fn plan(&self) -> Result<Plan, String> {
        let mut plan = self.common.plan_of_any_network()?;
        let config = &mut plan.config;
        if plan.source == Source::Network && self.listen.is_none() && self.store.is_none() {
            has_seeds(config.network)?;
        }
        if let Some(address) = self.listen {
            config.enable_listener = true;
            config.listener_address = address.ip();
            config.listener_port = Some(address.port());
        }
        config.peer_store_file_path = self.store.clone();
        config.log_level = self.log_level;
        let (target, max) = (config.target_connections, config.max_connections);
        // Whoever says one of the two need not know the other.
        (config.target_connections, config.max_connections) =
            match (self.target_connections, self.max_connections) {
                (None, None) => (target, max),
                (Some(target), None) => (target, max.max(target)),
                (None, Some(max)) => (target.min(max), max),
                (Some(target), Some(max)) => (target, max),
            };
        valid(plan)
    }
}

fn valid(plan: Plan) -> Result<Plan, String> {
    match plan.config.validate() {
        Ok(()) => Ok(plan),
        Err(error) => Err(error.to_string()),
    }
}

fn has_seeds(network: Network) -> Result<(), String> {
    match network.dns_seeds() {
        [] => Err(format!(
            "{network} has no DNS seeds: add --connect ADDR, for instance --connect 127.0.0.1:{}",
            network.default_port()
        )),
        _ => Ok(()),
    }
}

fn user_agent(text: &str) -> Result<String, String> {
    let agent = UserAgent::new(text.as_bytes().to_vec())
        .ok_or_else(|| format!("--user-agent is {} bytes long, at most 256 fit", text.len()))?;
    match banned_by_nodes(&agent) {
        Some(pattern) => Err(format!(
            "--user-agent {text:?} contains {pattern:?}: Bitcoin SV nodes ban such agents"
        )),
        None => Ok(text.to_owned()),
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

    fn plan(set: impl FnOnce(&mut ManagerOptions)) -> Result<Plan, String> {
        let mut options = ManagerOptions {
            log_level: LogLevel::Error,
            ..ManagerOptions::default()
        };
        set(&mut options);
        options.plan()
    }

    #[test]
    fn nothing_given_means_a_peer_of_our_own_for_ten_seconds() {
        let plan = plan(|_| {}).unwrap();
        assert_eq!(plan.source, Source::Embedded);
        let config = ManagerConfig {
            log_level: LogLevel::Error,
            ..ManagerConfig::new(Network::Regtest)
        };
        assert_eq!(plan.config, config);
        assert_eq!(plan.duration, Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_network_means_its_seeds_until_ctrl_c() {
        let plan = plan(|o| o.common.network = Some(Network::Testnet)).unwrap();
        assert_eq!(plan.source, Source::Network);
        assert_eq!(plan.config.network, Network::Testnet);
        assert_eq!(plan.duration, None);
    }

    #[test]
    fn a_network_without_seeds_says_what_to_add() {
        let options = Options {
            network: Some(Network::Regtest),
            ..Options::default()
        };
        let error = options.plan().unwrap_err();
        assert!(error.contains("--connect 127.0.0.1:18444"), "{error}");
        assert_eq!(plan(|o| o.common = options.clone()).unwrap_err(), error);
        // There peers may come from elsewhere.
        type Set = fn(&mut ManagerOptions);
        let sets: [Set; 2] = [
            |o| o.listen = Some(([127, 0, 0, 1], 0).into()),
            |o| o.store = Some("peers.json".into()),
        ];
        for set in sets {
            let plan = plan(|o| {
                o.common = options.clone();
                set(o);
            });
            assert_eq!(plan.unwrap().source, Source::Network);
        }
    }

    #[test]
    fn peers_get_the_port_of_the_network_if_they_have_none() {
        let peers = ["host", "host:1", "1.2.3.4", "::1", "[::1]", "[::1]:2"];
        let plan = plan(|o| o.common.connect = peers.map(String::from).to_vec()).unwrap();
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
    fn options_of_the_manager_reach_its_configuration() {
        let config = plan(|o| {
            o.listen = Some(([127, 0, 0, 2], 0).into());
            o.store = Some("peers.json".into());
            o.target_connections = Some(3);
            o.max_connections = Some(4);
            o.common.user_agent = Some("/mine:1/".into());
        })
        .unwrap()
        .config;
        assert_eq!(config.listen_on(), Some(([127, 0, 0, 2], 0).into()));
        assert_eq!(config.peer_store_file_path, Some("peers.json".into()));
        assert_eq!((config.target_connections, config.max_connections), (3, 4));
        assert_eq!(config.user_agent, "/mine:1/");
    }

    #[test]
    fn one_limit_of_connections_makes_the_other_fit() {
        let limits = |target, max| {
            let plan = plan(|o| (o.target_connections, o.max_connections) = (target, max));
            plan.map(|plan| (plan.config.target_connections, plan.config.max_connections))
        };
        assert_eq!(limits(Some(50), None), Ok((50, 50)));
        assert_eq!(limits(None, Some(5)), Ok((5, 5)));
        assert!(limits(Some(5), Some(4)).is_err());
    }

    #[test]
    fn an_agent_that_nodes_ban_is_refused() {
        let error = plan(|o| o.common.user_agent = Some("/cashew:1/".into())).unwrap_err();
        assert!(error.contains("\"cash\""), "{error}");
    }
}
