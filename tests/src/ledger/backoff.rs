//! What follows for an address from what it did, by the rules that the manager promises: the
//! shortest time for which it must be left alone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_core::{CloseReason, ConnectionConfig, OperatingMode, Timestamp};
use p2p_proto::NetworkFailure;

/// Records count milliseconds, so what follows from them may be this much early.
pub(super) const TOLERANCE: Duration = Duration::from_millis(2);

/// What an address did before.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) failures: u32,
    pub(super) not_before: Option<Instant>,
    /// Given up, and not connected since.
    pub(super) written_off: bool,
    restarts: u32,
    window: Option<Instant>,
}

/// What a store knows of the restarts of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restarts {
    pub(crate) of: SocketAddr,
    pub(crate) count: u32,
    /// When the window began that they are counted in.
    pub(crate) since: Timestamp,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ended<'a> {
    Dial,
    /// We did not wait for the answer to a dial.
    GivenUp,
    Closed(&'a CloseReason),
}

/// What the rules depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) now: Instant,
    pub(crate) wall: Timestamp,
    pub(crate) mode: &'a OperatingMode,
    pub(crate) connection: &'a ConnectionConfig,
    pub(crate) inaccessible_retry: Duration,
}

impl History {
    /// The shortest pause that the next backoff may have.
    pub(super) fn fail(&mut self, terms: &Terms<'_>) -> Duration {
        let normal = *terms.mode == OperatingMode::Normal;
        if normal && (self.written_off || self.failures >= terms.connection.max_retries) {
            return terms.write_off(self);
        }
        let pause = terms.connection.backoff(self.failures) / 2;
        self.failures = self.failures.saturating_add(1);
        pause
    }

    pub(super) fn restarted_before(&mut self, terms: &Terms<'_>, restarts: Restarts) {
        let age = terms.wall.since(restarts.since);
        self.window = terms.now.checked_sub(age);
        self.restarts = restarts.count;
    }

    pub(super) fn restart(&mut self, terms: &Terms<'_>) -> bool {
        let window = terms.connection.restart_window;
        let within = |start: Instant| terms.now.duration_since(start) + TOLERANCE < window;
        if !self.window.is_some_and(within) {
            self.window = Some(terms.now);
            self.restarts = 0;
        }
        self.restarts += 1;
        self.restarts <= terms.connection.max_restarts
    }
}

impl Terms<'_> {
    /// The shortest time for which one that was written off is left alone.
    pub(super) fn write_off(&self, history: &mut History) -> Duration {
        match self.mode.fixed_peers() {
            None => {
                history.failures = 0;
                history.written_off = true;
                self.inaccessible_retry
            }
            Some(_) => {
                let pause = self.connection.backoff(history.failures) / 2;
                history.failures = history.failures.saturating_add(1);
                pause
            }
        }
    }
}

/// Whether a dial came to nothing, and it may be the line: of connections that were never admitted.
pub(super) fn is_failed_dial(ended: Ended<'_>, was_established: bool) -> bool {
    let by_the_line = |reason: &CloseReason| {
        matches!(
            reason,
            CloseReason::Network(_) | CloseReason::HandshakeTimeout
        )
    };
    match ended {
        Ended::Dial => true,
        Ended::GivenUp => false,
        Ended::Closed(reason) => !was_established && by_the_line(reason),
    }
}

pub(super) enum Consequence {
    Restart,
    Backoff,
    Inaccessible,
    Ourselves,
    Nothing,
}

/// For connections that we dialled.
pub(super) fn consequence(ended: Ended<'_>, was_established: bool) -> Consequence {
    let reason = match ended {
        Ended::Dial => return Consequence::Backoff,
        Ended::GivenUp => return Consequence::Nothing,
        Ended::Closed(reason) => reason,
    };
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "all others write the peer off"
    )]
    match reason {
        CloseReason::Network(_) | CloseReason::FramingLost(_) | CloseReason::Misbehavior(_)
            if was_established =>
        {
            Consequence::Restart
        }
        CloseReason::Network(NetworkFailure::Reset | NetworkFailure::TimedOut) => {
            Consequence::Backoff
        }
        CloseReason::SelfConnection => Consequence::Ourselves,
        CloseReason::Violation(_)
        | CloseReason::Duplicate
        | CloseReason::OverCapacity
        | CloseReason::Banned
        | CloseReason::Evicted
        | CloseReason::Requested
        | CloseReason::Shutdown => Consequence::Nothing,
        _ => Consequence::Inaccessible,
    }
}
