//! How a store in PostgreSQL is set up.

use std::time::Duration;

use super::failure::refused;
use crate::error::StoreError;

/// PostgreSQL cuts names off at 63 bytes; the channel's is longer than the schema's.
const LONGEST_SCHEMA: usize = 48;

/// Whoever waits longer waits for good; and it leaves room to be doubled.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// How a [`PostgresPeerStore`](super::PostgresPeerStore) is set up.
///
/// ```
/// use p2p_store::PostgresOptions;
///
/// let mut options = PostgresOptions::default();
/// options.schema = "peers_of_testnet".into();
/// assert!(options.validate().is_ok());
/// options.schema = "peers of testnet".into();
/// assert!(options.validate().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The schema that everything is kept in, made if need be: lower-case letters, digits and
    /// underscores, at most 48. Fleets of different networks need different ones. Default
    /// `bsv_p2p`.
    pub schema: String,
    /// How long the server may take for an answer, or for the next part of a long one, and how
    /// long a call waits for a connection that was lost. Then the call fails and the connection is
    /// made anew. At most a day. Default 10 s: longer than a failover should take, shorter than
    /// anybody waits.
    pub timeout: Duration,
    /// The longest pause between two attempts to connect. At most a day. Default 5 s: bans that
    /// others make meanwhile are not heard of.
    pub max_backoff: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            schema: "bsv_p2p".into(),
            timeout: Duration::from_secs(10),
            max_backoff: Duration::from_secs(5),
        }
    }
}

impl PostgresOptions {
    /// Whether it can be used.
    ///
    /// # Errors
    /// [`StoreError::Backend`], naming the field and the rule.
    pub fn validate(&self) -> Result<(), StoreError> {
        let fits = (1..=LONGEST_SCHEMA).contains(&self.schema.len())
            && self
                .schema
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !fits {
            return Err(refused(format!(
                "schema {:?}: lower-case letters, digits and underscores are allowed, {LONGEST_SCHEMA} of them at most",
                self.schema
            )));
        }
        for (name, value) in [("timeout", self.timeout), ("max_backoff", self.max_backoff)] {
            if value.is_zero() {
                return Err(refused(format!("{name}: must not be zero")));
            }
            if value > LONGEST_WAIT {
                return Err(refused(format!("{name}: must not be longer than a day")));
            }
        }
        Ok(())
    }

    /// What notifications are sent on.
    pub(super) fn channel(&self) -> String {
        format!("{}_changes", self.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_waited_for_is_refused() {
        let fields: [fn(&mut PostgresOptions) -> &mut Duration; 2] = [
            |options| &mut options.timeout,
            |options| &mut options.max_backoff,
        ];
        for (field, name) in fields.into_iter().zip(["timeout", "max_backoff"]) {
            let mut options = PostgresOptions::default();
            *field(&mut options) = Duration::from_secs(86_400);
            options.validate().unwrap();
            for wrong in [Duration::ZERO, Duration::from_secs(86_401), Duration::MAX] {
                *field(&mut options) = wrong;
                let refused = options.validate().unwrap_err().to_string();
                assert!(refused.contains(name), "{refused}");
            }
        }
    }
}
