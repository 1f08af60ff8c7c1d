//! The settings of each connection.

use std::time::Duration;

use p2p_proto::{Limits, Network};
use serde::{Deserialize, Serialize};

use crate::backoff;

/// The settings of each connection. A changed one reaches live connections too.
///
/// In files, a duration is text (`"5s"`, `"1h30m"`) or a number of seconds, and a field that is
/// left out has its default.
///
/// ```
/// use std::time::Duration;
/// use p2p_core::ConnectionConfig;
///
/// let config = ConnectionConfig {
///     ping_interval: Duration::from_secs(30),
///     ..ConnectionConfig::default()
/// };
/// assert_eq!(config.validate(), Ok(()));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionConfig {
    /// How long a TCP connect may take. Default 5 s, as in the node: who needs longer is no use
    /// as a peer, and meanwhile holds a slot.
    #[serde(with = "super::text")]
    pub connect_timeout: Duration,
    /// How long the handshake may take, once the TCP connection is there. Default 60 s, as in
    /// the node, so that none of its slow peers is lost to us.
    #[serde(with = "super::text")]
    pub handshake_timeout: Duration,
    /// Time between our pings. Default 60 s: Teranode hangs up after 125 s of silence, and one
    /// ping may be late.
    #[serde(with = "super::text")]
    pub ping_interval: Duration,
    /// How long a pong may take, and how long a peer may take none of our bytes. Default 2 min:
    /// a node that connects a large block answers nobody for a while.
    #[serde(with = "super::text")]
    pub ping_timeout: Duration,
    /// Payload bytes a second at which an incoming frame excuses an overdue pong. Default
    /// 1 KiB/s: slower than any line that could carry a block in a day, and fast enough that a
    /// drip cannot hold a slot.
    pub min_payload_rate: u64,
    /// The pause before the first retry. Default 5 s: a peer that refuses now will hardly accept
    /// at once, and a process that was restarted is back by then.
    #[serde(with = "super::text")]
    pub initial_backoff: Duration,
    /// What each further pause is multiplied by; rounded to 1/1024. Default 2.0: the retries
    /// together cost as much as the last of them.
    pub backoff_multiplier: f64,
    /// The longest pause. Default 10 min: a peer that is back is found within it, and a dial in
    /// ten minutes bothers nobody.
    #[serde(with = "super::text")]
    pub max_backoff: Duration,
    /// Retries before a peer counts as inaccessible. Default 10: with the other defaults they
    /// span up to 40 minutes, longer than a host takes to reboot.
    pub max_retries: u32,
    /// How often a lost connection is made again at once, without a pause, within
    /// [`restart_window`](Self::restart_window). Default 3: enough for a line that flaps, too few
    /// for a peer that shakes hands and hangs up to keep us busy.
    pub max_restarts: u32,
    /// The time within which restarts are counted. Default 1 h.
    #[serde(with = "super::text")]
    pub restart_window: Duration,
    /// Peers that speak an older protocol are refused. Default 31800, the node's minimum.
    pub min_protocol_version: i32,
    /// The longest payload taken, in bytes, but for blocks and transactions, which have limits of
    /// their own; our `protoconf` announces it. Default 2 MiB, as the node's. Peers that are
    /// connected go by what was announced to them: one that is lowered cuts them off when they
    /// use it.
    pub max_message_bytes: u32,
    /// Payloads above this many bytes come out in pieces; it is also the most that one
    /// connection's queued events hold. Default 4 MiB: more than any message but blocks and
    /// transactions, little enough for thousands of connections.
    pub stream_above: u64,
    /// Bytes that may wait to be sent to one peer before sending says that it is full. Default
    /// 8 MiB: several of the largest ordinary messages, and no more for a peer that does not
    /// read.
    pub send_queue_bytes: usize,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        let protocol = p2p_proto::Config::new(Network::Mainnet);
        Self {
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: protocol.handshake_timeout,
            ping_interval: protocol.ping_interval,
            ping_timeout: protocol.ping_timeout,
            min_payload_rate: protocol.min_payload_rate,
            initial_backoff: Duration::from_secs(5),
            backoff_multiplier: 2.0,
            max_backoff: Duration::from_secs(10 * 60),
            max_retries: 10,
            max_restarts: 3,
            restart_window: Duration::from_secs(60 * 60),
            min_protocol_version: protocol.min_protocol_version,
            max_message_bytes: 2 << 20,
            stream_above: protocol.stream_above,
            send_queue_bytes: protocol.send_queue_bytes,
        }
    }
}

impl ConnectionConfig {
    /// The pause after a failure that `retry_count` retries went before, without jitter: the
    /// first is [`initial_backoff`](Self::initial_backoff). See [`backoff::exponential`].
    pub fn backoff(&self, retry_count: u32) -> Duration {
        backoff::exponential(
            self.initial_backoff,
            self.backoff_multiplier,
            self.max_backoff,
            retry_count,
        )
    }

    /// The same, or `None` when the retries are used up and the peer is inaccessible. Peers of a
    /// fixed list are retried for ever: for them, [`backoff`](Self::backoff) holds.
    pub fn retry_after(&self, retry_count: u32) -> Option<Duration> {
        (retry_count < self.max_retries).then(|| self.backoff(retry_count))
    }

    /// Writes these settings into those of the protocol.
    pub(super) fn apply(&self, protocol: &mut p2p_proto::Config) {
        protocol.min_protocol_version = self.min_protocol_version;
        protocol.handshake_timeout = self.handshake_timeout;
        protocol.ping_interval = self.ping_interval;
        protocol.ping_timeout = self.ping_timeout;
        protocol.min_payload_rate = self.min_payload_rate;
        protocol.stream_above = self.stream_above;
        protocol.limits = Limits {
            message: self.max_message_bytes.into(),
            ..Limits::DEFAULT
        };
        protocol.send_queue_bytes = self.send_queue_bytes;
    }
}
