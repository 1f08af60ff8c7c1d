//! The rules that a configuration obeys.

use std::fmt::{Debug, Display};
use std::time::Duration;

use p2p_proto::{
    HANDSHAKE_PAYLOAD, MAX_USER_AGENT, MIN_ANNOUNCED_PAYLOAD, PROTOCOL_VERSION, UserAgent,
    other_chain,
};

use super::{ConfigError, ConnectionConfig, ManagerConfig};

/// The longest duration, a hundred years: any time that this is added to can be represented.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
const DURATION_RULE: &str = "more than 0 and at most 100 years";
/// The longest event channel. Its slots are reserved when it is made.
const MAX_EVENT_CHANNEL: usize = 1 << 20;
/// The longest host name (RFC 1035).
const MAX_HOST_NAME: usize = 253;

impl ManagerConfig {
    /// Whether every field obeys its rule, `connection` included.
    ///
    /// ```
    /// use p2p_core::{ConfigError, ManagerConfig};
    ///
    /// let config = ManagerConfig { max_connections: 3, ..ManagerConfig::default() };
    /// let error = config.validate().unwrap_err();
    /// assert_eq!(error, ConfigError::InvalidConnectionLimits { target: 8, max: 3 });
    /// ```
    ///
    /// # Errors
    /// The first field that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_limits()?;
        self.validate_discovery()?;
        self.validate_times()?;
        self.validate_identity()?;
        self.validate_outlets()?;
        self.connection.validate()
    }

    /// Whether a manager that runs with `self` can go on with `new`: `new` is valid, and differs
    /// in no field that only a restart can change.
    ///
    /// ```
    /// use p2p_core::{ConfigError, ManagerConfig, Network};
    ///
    /// let running = ManagerConfig::default();
    /// let new = ManagerConfig { target_connections: 12, ..running.clone() };
    /// assert_eq!(running.check_update(&new), Ok(()));
    /// let new = ManagerConfig { network: Network::Testnet, ..running.clone() };
    /// assert_eq!(
    ///     running.check_update(&new),
    ///     Err(ConfigError::ImmutableField { field: "network" }),
    /// );
    /// ```
    ///
    /// # Errors
    /// As [`validate`](Self::validate), or [`ConfigError::ImmutableField`].
    pub fn check_update(&self, new: &Self) -> Result<(), ConfigError> {
        new.validate()?;
        for (field, same) in [
            ("network", self.network == new.network),
            (
                "peer_store_file_path",
                self.peer_store_file_path == new.peer_store_file_path,
            ),
            (
                "event_channel_capacity",
                self.event_channel_capacity == new.event_channel_capacity,
            ),
            (
                "event_channel_bytes",
                self.event_channel_bytes == new.event_channel_bytes,
            ),
        ] {
            if !same {
                return Err(ConfigError::ImmutableField { field });
            }
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<(), ConfigError> {
        let (target, max) = (self.target_connections, self.max_connections);
        if target > max {
            return Err(ConfigError::InvalidConnectionLimits { target, max });
        }
        at_least_one("max_connections", max)?;
        if let Some(outbound) = self.min_outbound {
            rule(
                "min_outbound",
                outbound <= max,
                "at most max_connections",
                outbound,
            )?;
        }
        if let Some(per_ip) = self.max_connections_per_ip {
            at_least_one("max_connections_per_ip", per_ip)?;
        }
        at_least_one("max_pending_inbound", self.max_pending_inbound)
    }

    fn validate_discovery(&self) -> Result<(), ConfigError> {
        match self.default_port {
            Some(port) => rule("default_port", port != 0, "above 0", port),
            None => rule(
                "network",
                self.default_port() != 0,
                "one with a port above 0",
                self.network,
            ),
        }?;
        for seed in self.dns_seeds.iter().flatten() {
            rule(
                "dns_seeds",
                is_host_name(seed),
                "host names: letters, digits, '-', '_' and '.', at most 253 bytes, no port",
                quoted(seed),
            )?;
        }
        for server in &self.dns_servers {
            rule(
                "dns_servers",
                server.port() != 0,
                "addresses with a port above 0",
                server,
            )?;
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        let ban_duration = self.ban_duration.unwrap_or(LONGEST);
        for (field, value) in [
            ("dns_interval", self.dns_interval),
            ("dns_timeout", self.dns_timeout),
            ("store_save_interval", self.store_save_interval),
            ("listener_retry_interval", self.listener_retry_interval),
            ("ban_duration", ban_duration),
            ("inaccessible_retry", self.inaccessible_retry),
        ] {
            duration(field, value)?;
        }
        Ok(())
    }

    fn validate_identity(&self) -> Result<(), ConfigError> {
        let text = &self.user_agent;
        rule(
            "user_agent",
            text.len() <= MAX_USER_AGENT,
            "at most 256 bytes",
            quoted(text),
        )?;
        rule(
            "user_agent",
            text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "printable ASCII",
            quoted(text),
        )?;
        let agent = UserAgent::new(text.clone()).unwrap_or_default();
        if let Some(pattern) = other_chain(&agent) {
            return Err(ConfigError::BannedOwnUserAgent {
                user_agent: text.clone(),
                pattern,
            });
        }
        rule(
            "start_height",
            self.start_height >= 0,
            "at least 0",
            self.start_height,
        )
    }

    fn validate_outlets(&self) -> Result<(), ConfigError> {
        let capacity = self.event_channel_capacity;
        rule(
            "event_channel_capacity",
            (1..=MAX_EVENT_CHANNEL).contains(&capacity),
            "at least 1 and at most 1048576",
            capacity,
        )?;
        // Or messages that are not streamed would always be skipped.
        rule(
            "event_channel_bytes",
            self.event_channel_bytes as u64 >= self.connection.stream_above,
            "at least connection.stream_above",
            self.event_channel_bytes,
        )?;
        rule(
            "service_name",
            !self.service_name.is_empty(),
            "not empty",
            quoted(&self.service_name),
        )?;
        if let Some(endpoint) = &self.telemetry_endpoint {
            rule(
                "telemetry_endpoint",
                is_http_url(endpoint),
                "an http:// address",
                quoted(endpoint),
            )?;
        }
        Ok(())
    }
}

impl ConnectionConfig {
    /// Whether every field obeys its rule.
    ///
    /// # Errors
    /// The first field that does not, under its full name, `connection.` before it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (field, value) in [
            ("connection.connect_timeout", self.connect_timeout),
            ("connection.handshake_timeout", self.handshake_timeout),
            ("connection.ping_interval", self.ping_interval),
            ("connection.ping_timeout", self.ping_timeout),
            ("connection.initial_backoff", self.initial_backoff),
            ("connection.max_backoff", self.max_backoff),
        ] {
            duration(field, value)?;
        }
        self.validate_retries()?;
        self.validate_protocol()
    }

    fn validate_retries(&self) -> Result<(), ConfigError> {
        rule(
            "connection.initial_backoff",
            self.initial_backoff <= self.max_backoff,
            "at most connection.max_backoff",
            humantime::format_duration(self.initial_backoff),
        )?;
        rule(
            "connection.backoff_multiplier",
            self.backoff_multiplier.is_finite() && self.backoff_multiplier >= 1.0,
            "a finite number of at least 1",
            self.backoff_multiplier,
        )?;
        let window = self.restart_window;
        rule(
            "connection.restart_window",
            window <= LONGEST && (self.max_restarts == 0 || !window.is_zero()),
            "more than 0, unless connection.max_restarts is 0, and at most 100 years",
            humantime::format_duration(window),
        )
    }

    fn validate_protocol(&self) -> Result<(), ConfigError> {
        // At 0 a frame that stands still would excuse a dead peer for ever.
        rule(
            "connection.min_payload_rate",
            self.min_payload_rate >= 1,
            "at least 1",
            self.min_payload_rate,
        )?;
        rule(
            "connection.min_protocol_version",
            (0..=PROTOCOL_VERSION).contains(&self.min_protocol_version),
            "at least 0 and at most our own version, 70016",
            self.min_protocol_version,
        )?;
        rule(
            "connection.max_message_bytes",
            self.max_message_bytes >= MIN_ANNOUNCED_PAYLOAD,
            "at least 1048576, the protocol's minimum",
            self.max_message_bytes,
        )?;
        rule(
            "connection.stream_above",
            self.stream_above >= HANDSHAKE_PAYLOAD,
            "at least 4096, so that no message of the handshake is streamed",
            self.stream_above,
        )?;
        at_least_one("connection.send_queue_bytes", self.send_queue_bytes)
    }
}

fn rule(
    field: &'static str,
    holds: bool,
    rule: &'static str,
    value: impl Display,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::InvalidField {
        field,
        rule,
        value: value.to_string(),
    })
}

fn at_least_one(field: &'static str, value: usize) -> Result<(), ConfigError> {
    rule(field, value >= 1, "at least 1", value)
}

fn duration(field: &'static str, value: Duration) -> Result<(), ConfigError> {
    rule(
        field,
        !value.is_zero() && value <= LONGEST,
        DURATION_RULE,
        humantime::format_duration(value),
    )
}

/// Text that may hold anything, safe to print.
fn quoted(text: impl Debug) -> String {
    format!("{text:?}")
}

fn is_host_name(text: &str) -> bool {
    (1..=MAX_HOST_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn is_http_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://");
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_graphic()) && !rest.is_empty())
}
