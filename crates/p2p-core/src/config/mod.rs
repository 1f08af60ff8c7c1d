//! The configuration of a manager.

mod connection;
mod error;
mod log_level;
mod text;
mod validate;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use p2p_proto::{ChainPolicy, Network, Services, StandardPolicy, UserAgent};
use serde::{Deserialize, Serialize};

pub use connection::ConnectionConfig;
pub use error::ConfigError;
pub use log_level::{LogLevel, ParseLogLevelError};

/// Connections per IP on a public network: several nodes behind one address are honest, more are
/// one owner who wants to be many.
const PUBLIC_CONNECTIONS_PER_IP: usize = 8;
/// Connections of our own making: see [`ManagerConfig::min_outbound`].
const MIN_OUTBOUND: usize = 4;

/// The configuration of a manager.
///
/// In files, a duration is text (`"5s"`, `"1h30m"`) or a number of seconds, and a field that is
/// left out has its default. Fields whose default depends on others are `None` for it, and a
/// method gives the value in force.
///
/// ```
/// use p2p_core::{ManagerConfig, Network};
///
/// let config: ManagerConfig = toml::from_str(
///     r#"
///     network = "testnet"
///     max_connections = 50
///     banned_user_agents = ["*crawler*"]
///
///     [connection]
///     connect_timeout = "3s"
///     "#,
/// )?;
/// assert_eq!(config.validate(), Ok(()));
/// assert_eq!(config.default_port(), 18333);
///
/// let the_same = ManagerConfig {
///     max_connections: 50,
///     banned_user_agents: vec!["*crawler*".into()],
///     connection: config.connection.clone(),
///     ..ManagerConfig::new(Network::Testnet)
/// };
/// assert_eq!(config, the_same);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManagerConfig {
    /// The network: `mainnet`, `testnet`, `stn`, `regtest`, or
    /// `custom:<magic, 8 hex digits>:<port>`. Default mainnet: the one with the peers. Fixed
    /// while the manager runs.
    pub network: Network,

    /// Connections to strive for, inbound and outbound together. Default 8, the node's number of
    /// outbound connections. 0 dials nobody.
    pub target_connections: usize,
    /// Connections never to exceed, those being made included. Default 20, as Teranode's own
    /// configuration: room for twelve peers that dial us.
    pub max_connections: usize,
    /// Connections of our own making to keep, even when inbound ones reach the target. Default 4,
    /// or the target if that is less: who dials us has chosen us, and an attacker can be all of
    /// them; peers that we chose are not his.
    pub min_outbound: Option<usize>,
    /// Inbound connections from one IP. Default 8 on mainnet, testnet and stn: several nodes
    /// behind one address are honest, more are one owner. No limit on regtest and custom
    /// networks, whose nodes share a host.
    pub max_connections_per_ip: Option<usize>,
    /// Inbound connections whose handshake is not complete. Default 64: takes the burst after a
    /// restart of ours whole, and bounds what strangers cost where `max_connections` is in the
    /// thousands. Below that, slots run out first.
    pub max_pending_inbound: usize,
    /// Inbound connections without a slot, whose handshake is completed to tell them so; beyond
    /// that they are dropped unread. Default 16: politeness must not cost more than the service.
    /// No more than 2 from one IP.
    pub max_over_capacity: usize,

    /// Names that resolve to addresses of peers. Default the node's seeds for the network, none
    /// for regtest and custom ones. An empty list turns DNS off.
    pub dns_seeds: Option<Vec<String>>,
    /// Time between two rounds of asking the seeds. Default 1 h: their answers change slowly, and
    /// they are other people's servers.
    #[serde(with = "text")]
    pub dns_interval: Duration,
    /// How long one seed may take. Default 5 s: a resolver that needs longer has given up, and
    /// the other seeds are asked meanwhile.
    #[serde(with = "text")]
    pub dns_timeout: Duration,
    /// Name servers to ask, with their ports. Default none: the system's, which know the names of
    /// a private network too.
    pub dns_servers: Vec<SocketAddr>,
    /// The port of addresses that DNS gives. Default the network's.
    pub default_port: Option<u16>,

    /// Where peers are kept, read by the in-memory store alone. Default none: nothing is written
    /// unless somebody said where. Fixed while the manager runs.
    pub peer_store_file_path: Option<PathBuf>,
    /// Time between two saves of the store. Default 5 min: what a crash may lose, bans apart, for
    /// those are saved at once.
    #[serde(with = "text")]
    pub store_save_interval: Duration,

    /// Whether peers can dial us. Default false: a wallet or a crawler need not be reachable, and
    /// an open port should be somebody's decision.
    pub enable_listener: bool,
    /// The address to listen on. Default 0.0.0.0: every interface.
    pub listener_address: IpAddr,
    /// The port to listen on; 0 lets the system choose. Default
    /// [`default_port`](Self::default_port): where peers look.
    pub listener_port: Option<u16>,
    /// Time between two attempts to listen, while they fail. Default 30 s: the process before us
    /// has ended by then.
    #[serde(with = "text")]
    pub listener_retry_interval: Duration,

    /// Agents whose peers are banned: wildcards `*` and `?`, matched against the whole agent,
    /// upper and lower case alike. Default none: which software is unwelcome is the operator's
    /// to say. Applies to handshakes from then on.
    pub banned_user_agents: Vec<String>,
    /// How agents of other chains are told: `default`, `strict` or `any`. Default `default`:
    /// refuses those that name another chain, so that unknown software of our own may stay.
    pub chain_policy: ChainPolicy,
    /// How long an automatic ban lasts; `None`, in files `"forever"`, until it is lifted. Default
    /// 24 h, as in the node: addresses change hands.
    #[serde(with = "text::or_forever")]
    pub ban_duration: Option<Duration>,
    /// When an inaccessible peer may be tried again, in turn with those that were never tried.
    /// Default 1 h: soon enough after an outage, too seldom to bother a host that is gone.
    #[serde(with = "text")]
    pub inaccessible_retry: Duration,

    /// Events that may wait for one subscriber; beyond that it misses some, and is told how many.
    /// Default 1000: some seconds of a busy node. Fixed while the manager runs.
    pub event_channel_capacity: usize,
    /// Bytes of messages that may wait for one subscriber. Default 64 MiB: sixteen of the largest
    /// messages that are not streamed. Fixed while the manager runs.
    pub event_channel_bytes: usize,

    /// The local address to dial from. Default none: the system chooses by its routes.
    pub dial_from: Option<IpAddr>,
    /// Whether peers and seeds may name addresses that are not routable on the Internet. Default
    /// only on regtest and custom networks: elsewhere they would make us probe our own network.
    pub allow_private_addresses: Option<bool>,

    /// How we name ourselves. Default `/bsv-p2p:<version>/`: honest, and free of the patterns
    /// that nodes ban.
    pub user_agent: String,
    /// What we offer, as the bits of the `version` message. Default 0: a client that serves no
    /// blocks must not claim to.
    pub services: Services,
    /// Our best block. Default 0: the manager keeps no chain.
    pub start_height: i32,
    /// Whether peers should announce transactions to us. Default true: an `inv` is cheap to drop,
    /// and what was not announced cannot be asked for.
    pub relay: bool,

    /// How much is logged. Default INFO: what comes and goes, not every message.
    pub log_level: LogLevel,
    /// Whether metrics and traces are exported. Default false: nothing leaves the host unasked.
    pub enable_telemetry: bool,
    /// Where they are exported to, a URL. Default none: the exporter's own, a collector on this
    /// host.
    pub telemetry_endpoint: Option<String>,
    /// How they name this service. Default `bsv-p2p-manager`.
    pub service_name: String,

    /// The settings of each connection.
    pub connection: ConnectionConfig,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self::new(Network::Mainnet)
    }
}

impl ManagerConfig {
    /// The defaults, for a network.
    pub fn new(network: Network) -> Self {
        let protocol = p2p_proto::Config::new(network);
        Self {
            network,
            target_connections: 8,
            max_connections: 20,
            min_outbound: None,
            max_connections_per_ip: None,
            max_pending_inbound: 64,
            max_over_capacity: 16,
            dns_seeds: None,
            dns_interval: Duration::from_secs(60 * 60),
            dns_timeout: Duration::from_secs(5),
            dns_servers: Vec::new(),
            default_port: None,
            peer_store_file_path: None,
            store_save_interval: Duration::from_secs(5 * 60),
            enable_listener: false,
            listener_address: Ipv4Addr::UNSPECIFIED.into(),
            listener_port: None,
            listener_retry_interval: Duration::from_secs(30),
            banned_user_agents: Vec::new(),
            chain_policy: ChainPolicy::Default,
            ban_duration: Some(Duration::from_secs(24 * 60 * 60)),
            inaccessible_retry: Duration::from_secs(60 * 60),
            event_channel_capacity: 1000,
            event_channel_bytes: 64 << 20,
            dial_from: None,
            allow_private_addresses: None,
            user_agent: protocol.user_agent.to_string(),
            services: protocol.services,
            start_height: protocol.start_height,
            relay: protocol.relay,
            log_level: LogLevel::Info,
            enable_telemetry: false,
            telemetry_endpoint: None,
            service_name: "bsv-p2p-manager".into(),
            connection: ConnectionConfig::default(),
        }
    }

    /// Connections of our own making to keep: never more than the target.
    pub fn min_outbound(&self) -> usize {
        self.min_outbound
            .unwrap_or(MIN_OUTBOUND)
            .min(self.target_connections)
    }

    /// Inbound connections that one IP may have; `usize::MAX` where there is no limit.
    pub fn max_connections_per_ip(&self) -> usize {
        let by_network = if self.is_public() {
            PUBLIC_CONNECTIONS_PER_IP
        } else {
            usize::MAX
        };
        self.max_connections_per_ip.unwrap_or(by_network)
    }

    /// The names to resolve.
    pub fn dns_seeds(&self) -> Vec<String> {
        let of_network = || self.network.dns_seeds().iter().map(|&seed| seed.into());
        self.dns_seeds
            .clone()
            .unwrap_or_else(|| of_network().collect())
    }

    /// Whether there are names to resolve.
    pub(crate) fn has_dns_seeds(&self) -> bool {
        match &self.dns_seeds {
            Some(seeds) => !seeds.is_empty(),
            None => !self.network.dns_seeds().is_empty(),
        }
    }

    /// The port of addresses that come without one.
    pub fn default_port(&self) -> u16 {
        self.default_port
            .unwrap_or_else(|| self.network.default_port())
    }

    /// The port to listen on; 0 lets the system choose.
    pub fn listener_port(&self) -> u16 {
        self.listener_port.unwrap_or_else(|| self.default_port())
    }

    /// Where to listen; `None` if we do not.
    pub fn listen_on(&self) -> Option<SocketAddr> {
        self.enable_listener
            .then(|| SocketAddr::new(self.listener_address, self.listener_port()))
    }

    /// Whether peers and seeds may name addresses that are not routable on the Internet.
    pub fn allows_private_addresses(&self) -> bool {
        self.allow_private_addresses
            .unwrap_or_else(|| !self.is_public())
    }

    /// What connections are made with. `listen_port` is the port that peers can dial, 0 if there
    /// is none: the listener knows, for the system may have chosen.
    ///
    /// The configuration is [valid](Self::validate); of one that is not, an agent that is too
    /// long is left out.
    pub fn protocol(&self, listen_port: u16) -> p2p_proto::Config {
        let banned = self.banned_user_agents.iter().map(String::as_str);
        let mut protocol = p2p_proto::Config {
            user_agent: UserAgent::new(self.user_agent.clone()).unwrap_or_default(),
            services: self.services,
            start_height: self.start_height,
            relay: self.relay,
            listen_port,
            policy: Arc::new(StandardPolicy::new(self.chain_policy, banned)),
            ..p2p_proto::Config::new(self.network)
        };
        self.connection.apply(&mut protocol);
        protocol
    }

    /// Whether strangers meet on this network.
    fn is_public(&self) -> bool {
        !matches!(self.network, Network::Regtest | Network::Custom { .. })
    }
}
