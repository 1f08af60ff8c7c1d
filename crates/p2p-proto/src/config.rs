//! What a connection is made with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::{PeerPolicy, StandardPolicy};
use crate::clock::Clock;
use crate::limits::Limits;
use crate::message::Services;
use crate::network::Network;
use crate::text::UserAgent;

/// The protocol version that this crate speaks: today's of every Bitcoin SV node.
pub const PROTOCOL_VERSION: i32 = 70016;

/// What all connections of a node have in common. Shared by `Arc`; a changed one reaches a live
/// connection through [`Connection::configure`](crate::Connection::configure).
///
/// A duration that no clock can count to, such as [`Duration::MAX`], means never.
///
/// ```
/// use p2p_proto::{Config, Network};
///
/// let mut config = Config::new(Network::Regtest);
/// config.start_height = 110;
/// assert_eq!(config.ping_interval.as_secs(), 60);
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// Whose magic frames carry. Fixed for the life of a connection.
    pub network: Network,
    /// How we name ourselves. Default `/bsv-p2p:<version>/`: honest, and free of the patterns
    /// that nodes ban.
    pub user_agent: UserAgent,
    /// What we offer. Default none: a client that serves no blocks must not claim to.
    pub services: Services,
    /// Our best block. Default 0.
    pub start_height: i32,
    /// Whether peers should announce transactions to us. Default true: `inv` is cheap to drop
    /// and impossible to miss.
    pub relay: bool,
    /// The port that we listen on, told in `addr_from` so that peers notice when both sides dial
    /// at once. Default 0: no listener.
    pub listen_port: u16,
    /// Who may stay. Default [`StandardPolicy`].
    pub policy: Arc<dyn PeerPolicy>,
    /// Peers that speak an older protocol are refused. Default 31800, the node's minimum.
    pub min_protocol_version: i32,
    /// How long the handshake may take from [`Connection::new`](crate::Connection::new) on.
    /// Default 60 s, as the node's.
    pub handshake_timeout: Duration,
    /// Time between our pings. Default 60 s: Teranode hangs up after 125 s of silence. A
    /// millisecond at least.
    pub ping_interval: Duration,
    /// How long a pong may take, and how long a peer may take none of our bytes. Default 2 min.
    pub ping_timeout: Duration,
    /// Payload bytes a second at which an incoming frame excuses an overdue pong. Default
    /// 1 KiB/s: slower than any line that could carry a block in a day.
    pub min_payload_rate: u64,
    /// Payloads above this many bytes come out in pieces. Default 4 MiB: more than any message but
    /// blocks and transactions, little enough for thousands of connections. Below 4096 it counts
    /// as that.
    pub stream_above: u64,
    /// The longest payloads taken. Default [`Limits::DEFAULT`]; `limits.message` is what our
    /// `protoconf` announces, so no less than 1 MiB.
    pub limits: Limits,
    /// Bytes that may wait to be sent before `send` says `Full`; an empty queue takes one message
    /// of any size. Default 8 MiB: several of the largest ordinary messages, and no more for a
    /// peer that does not read.
    pub send_queue_bytes: usize,
}

impl Config {
    /// The defaults, for a network.
    pub fn new(network: Network) -> Self {
        Self {
            network,
            user_agent: UserAgent::from_static(concat!(
                "/bsv-p2p:",
                env!("CARGO_PKG_VERSION"),
                "/"
            )),
            services: Services::NONE,
            start_height: 0,
            relay: true,
            listen_port: 0,
            policy: Arc::new(StandardPolicy::default()),
            min_protocol_version: 31800,
            handshake_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(120),
            min_payload_rate: 1024,
            stream_above: 4 << 20,
            limits: Limits::DEFAULT,
            send_queue_bytes: 8 << 20,
        }
    }
}

/// Who dialled.
///
/// ```
/// use std::net::SocketAddr;
/// use p2p_proto::Side;
///
/// // Where a peer dialled from is not where it listens.
/// fn may_be_dialled_again(side: Side, remote: SocketAddr) -> Option<SocketAddr> {
///     (side == Side::Outbound).then_some(remote)
/// }
/// let remote = "203.0.113.7:50123".parse()?;
/// assert_eq!(may_be_dialled_again(Side::Inbound, remote), None);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The peer did.
    Inbound,
    /// We did.
    Outbound,
}

/// What becomes of a connection whose handshake is complete.
///
/// ```
/// use p2p_proto::Capacity;
///
/// assert_eq!(Capacity::default(), Capacity::Free);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Capacity {
    /// The manager is asked, by [`Event::Ready`](crate::Event::Ready).
    #[default]
    Free,
    /// The peer is told `reject(version, 0x44, "connection limit")` and let go.
    Full,
}

/// What one connection is made with.
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Instant, SystemTime};
/// use p2p_proto::{Capacity, Clock, Config, Connection, Network, Params, Side};
///
/// let now = Instant::now();
/// let params = Params {
///     remote: "203.0.113.7:8333".parse().unwrap(),
///     nonce: 7, // random
///     seed: [7; 32], // random
///     clock: Clock::new(now, SystemTime::now()),
///     capacity: Capacity::Free,
/// };
/// let config = Arc::new(Config::new(Network::Mainnet));
/// let mut connection = Connection::new(config, Side::Outbound, params, now);
/// assert!(connection.poll_transmit().is_some(), "our version");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// The peer's address.
    pub remote: SocketAddr,
    /// The nonce of our `version`: random, not zero, and the manager's to compare.
    pub nonce: u64,
    /// Seeds the nonces of pings.
    pub seed: [u8; 32],
    /// For the time in our `version`.
    pub clock: Clock,
    /// Whether there is room for the peer.
    pub capacity: Capacity,
}
