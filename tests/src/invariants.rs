//! The rules that hold at every moment, and what is told when one does not.

use std::fmt;

use crate::network::HostId;
use crate::time::Time;

/// A rule of the simulator. `docs/simulator.md` names for each a bug that it caught.
///
/// ```
/// use p2p_sim::Rule;
///
/// assert_eq!(format!("{:?}", Rule::Slots), "Slots");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Slots taken, pending ones included, never exceed `max_connections`, of one IP
    /// `max_connections_per_ip`, and handshakes of others `max_pending_inbound`; handshakes beyond
    /// that never exceed `max_over_capacity`, nor two of one IP.
    Slots,
    /// Nobody whose ban was reported has a connection, is let in or is dialled; and that is so
    /// after a crash too.
    Bans,
    /// The manager's connections are those that the driver has.
    Tables,
    /// Nothing that is due is left after draining, and no moment takes for ever.
    Spin,
    /// No dial before its backoff, no restart beyond the limit, one probe at a time in an outage.
    Backoff,
    /// Where we met ourselves we do not dial again.
    Ourselves,
    /// A port that somebody dialled from is never dialled.
    SourcePort,
    /// With a fixed list nobody else is dialled.
    FixedList,
    /// The events of a connection come in order: accepted, handshake, established, messages, lost.
    EventOrder,
    /// A connection that ends is said to have ended, with a reason.
    Reason,
    /// There is one connection to an address.
    OneEach,
    /// Two nodes that dial each other end with one connection, if one of them told where it listens.
    Duplicate,
    /// Queues and buffers stay within their limits.
    Bounds,
    /// Connections that are only told "no room" are counted nowhere.
    OverCapacity,
    /// Messages of a connection arrive in the order in which they were sent, and whole.
    MessageOrder,
    /// A shutdown ends in time.
    Shutdown,
    /// Nothing panics.
    Panic,
    /// What should be reached once faults have stopped is reached in time.
    Liveness,
}

/// A rule that did not hold.
///
/// ```
/// use p2p_sim::{HostId, Rule, Time, Violation};
///
/// let violation = Violation {
///     time: Time::ZERO,
///     host: Some(HostId(3)),
///     rule: Rule::Bans,
///     what: "dials an IP that is banned".into(),
/// };
/// assert!(violation.to_string().contains("dials an IP that is banned"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When.
    pub time: Time,
    /// Where; `None` if it takes more than one host to see it.
    pub host: Option<HostId>,
    /// Which rule.
    pub rule: Rule,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            time, rule, what, ..
        } = self;
        match self.host {
            Some(host) => write!(f, "{time} {host} breaks {rule:?}: {what}"),
            None => write!(f, "{time} {rule:?} is broken: {what}"),
        }
    }
}

impl std::error::Error for Violation {}
