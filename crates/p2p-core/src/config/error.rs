//! What is wrong with a configuration.

use thiserror::Error;

/// What is wrong with a configuration: which field, and which rule it breaks.
///
/// ```
/// use p2p_core::ManagerConfig;
///
/// let config = ManagerConfig { max_pending_inbound: 0, ..ManagerConfig::default() };
/// assert_eq!(
///     config.validate().unwrap_err().to_string(),
///     "max_pending_inbound is 0, but must be at least 1",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// More connections are wanted than allowed.
    #[error("target_connections is {target}, more than max_connections, {max}")]
    InvalidConnectionLimits {
        /// `target_connections`.
        target: usize,
        /// `max_connections`.
        max: usize,
    },
    /// A field has a value that it must not have.
    #[error("{field} is {value}, but must be {rule}")]
    InvalidField {
        /// The field, as in a file: `connection.ping_timeout`.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
        /// What it is.
        value: String,
    },
    /// Nodes would refuse or ban us for our user agent, or take us for software of another chain.
    #[error(
        "user_agent is {user_agent:?}: it would be taken for another chain's, for it holds {pattern:?}"
    )]
    BannedOwnUserAgent {
        /// `user_agent`.
        user_agent: String,
        /// The part that they take for another chain's, upper and lower case alike.
        pattern: &'static str,
    },
    /// A field differs that only a restart can change.
    #[error("{field} cannot be changed while the manager runs")]
    ImmutableField {
        /// The field.
        field: &'static str,
    },
}

impl ConfigError {
    /// Whether the same call may work later: never, somebody has to change the configuration.
    pub fn is_retryable(&self) -> bool {
        false
    }

    /// Whether a peer is to be banned for it: never, the configuration is ours.
    pub fn is_ban_worthy(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_configuration_stays_wrong_and_is_no_peers_fault() {
        let errors = [
            ConfigError::InvalidConnectionLimits { target: 2, max: 1 },
            ConfigError::ImmutableField { field: "network" },
        ];
        for error in errors {
            assert!(!error.is_retryable() && !error.is_ban_worthy(), "{error}");
        }
    }
}
