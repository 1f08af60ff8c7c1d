//! Minor offences: what a peer may do wrong now and then, and not all the time.

use std::time::{Duration, Instant};

use crate::command::{BadCommand, Command};
use crate::error::DecodeError;

/// Something wrong that a peer is kept in spite of, as long as it stays rare.
///
/// ```
/// use p2p_proto::{Command, Offence};
///
/// assert_eq!(Offence::BadChecksum(Command::TX).to_string(), "bad checksum in tx");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Offence {
    /// A payload did not have its checksum; dropped.
    #[error("bad checksum in {0}")]
    BadChecksum(Command),
    /// A header named no command; dropped.
    #[error("{0}")]
    BadCommand(BadCommand),
    /// A payload did not hold what its command says; answered with `reject` 0x01.
    #[error("malformed {command}: {error}")]
    Malformed {
        /// The command.
        command: Command,
        /// What was wrong.
        error: DecodeError,
    },
    /// A second `version`, answered with `reject` 0x12; a second `verack` or `protoconf`, dropped.
    #[error("second {0}")]
    Repeated(Command),
    /// A message before the handshake was complete; dropped.
    #[error("{0} before the handshake was complete")]
    Early(Command),
    /// A frame too large for this point of the connection; skipped.
    #[error("{length} bytes of {command} before the handshake was complete")]
    TooLargeYet {
        /// The command.
        command: Command,
        /// Its payload in bytes.
        length: u64,
    },
}

impl Offence {
    /// What it takes from the budget of [`BUDGET`]. Parsing costs us more than counting does,
    /// and no honest software sends what cannot be parsed.
    const fn cost(&self) -> u32 {
        match self {
            Self::Malformed { .. } => 10,
            Self::BadChecksum(_)
            | Self::BadCommand(_)
            | Self::Repeated(_)
            | Self::Early(_)
            | Self::TooLargeYet { .. } => 1,
        }
    }
}

/// What a connection may waste: the node's ban threshold.
const BUDGET: u32 = 100;

/// One point comes back in this time: a peer that errs six times a minute stays.
const REFILL: Duration = Duration::from_secs(10);

/// A token bucket of offences.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u32,
    refilled: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: BUDGET,
            refilled: now,
        }
    }

    /// Charges an offence; false when the budget is used up.
    #[must_use]
    pub(crate) fn charge(&mut self, now: Instant, offence: &Offence) -> bool {
        let since = now.saturating_duration_since(self.refilled);
        let points = since.as_millis() / REFILL.as_millis();
        let points = u32::try_from(points).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(points).min(BUDGET);
        // What is left of a started interval counts for the next point.
        self.refilled = if self.left == BUDGET {
            now
        } else {
            self.refilled + REFILL * points
        };
        let cost = offence.cost();
        let enough = self.left > cost;
        self.left = self.left.saturating_sub(cost);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINOR: Offence = Offence::Early(Command::INV);

    #[test]
    fn the_hundredth_offence_at_once_ends_it() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..99 {
            assert!(budget.charge(now, &MINOR));
        }
        assert!(!budget.charge(now, &MINOR));
    }

    #[test]
    fn six_offences_a_minute_are_borne_for_ever() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for i in 0..10_000 {
            assert!(budget.charge(start + REFILL * i, &MINOR));
        }
    }

    #[test]
    fn rest_does_not_save_up_more_than_the_budget() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let later = start + Duration::from_secs(1_000_000);
        for _ in 0..99 {
            assert!(budget.charge(later, &MINOR));
        }
        assert!(!budget.charge(later, &MINOR));
    }
}
