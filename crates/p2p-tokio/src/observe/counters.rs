//! Where everything is counted.
//!
//! What comes with every message is counted in *shards*, one for each thread that runs
//! connections: a thread counts in memory that no other writes to, without a lock, and whoever
//! asks adds the shards up. A connection keeps no counters of its own beside its totals, so an
//! idle one costs nothing. What is rare is counted in one place.

use std::cell::Cell;
use std::collections::BTreeMap;
#[cfg(feature = "telemetry")]
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use p2p_core::{
    BanReason, ConnectionError, ConnectionState, ControlEvent, DialFailure, DiscoverySource,
    InboundRefusal, PeerStatus,
};
use p2p_proto::{CloseReason, Command, Flow, Initiator, Side, Tally};

use super::histogram::Histogram;
use super::{MessageCounts, Stats};

/// Shards, at most: machines with more threads share some.
const MAX_SHARDS: usize = 64;
/// Commands that are counted by name, and the others together.
const COMMANDS: usize = Command::KNOWN.len() + 1;
/// How those are called that have no name of their own.
const OTHER: &str = "other";
const STATES: usize = ConnectionState::ALL.len();
const STATUSES: usize = PeerStatus::ALL.len();

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Counters {
    shards: Box<[Shard]>,
    connections: [[AtomicU64; STATES]; 2],
    peers: [AtomicU64; STATUSES],
    banned_ips: AtomicU64,
    dials: AtomicU64,
    accepted: AtomicU64,
    refused: Named<{ InboundRefusal::NAMES.len() }>,
    rejected: AtomicU64,
    admitted: AtomicU64,
    failed: Ends,
    lost: Ends,
    restarts: AtomicU64,
    misbehaved: AtomicU64,
    bans: Named<{ BanReason::NAMES.len() }>,
    unbans: AtomicU64,
    handshakes: [Histogram; 2],
    /// Whoever wants to hear of each handshake.
    #[cfg(feature = "telemetry")]
    handshake_export: std::sync::RwLock<Option<HandshakeExport>>,
    discovered: Named<{ DiscoverySource::NAMES.len() }>,
    listener_failures: AtomicU64,
    store_failures: AtomicU64,
    left_out: AtomicU64,
}

/// Takes a handshake's side and duration.
#[cfg(feature = "telemetry")]
pub(super) type ExportHandshake = Box<dyn Fn(Side, Duration) + Send + Sync>;

#[cfg(feature = "telemetry")]
struct HandshakeExport(ExportHandshake);

#[cfg(feature = "telemetry")]
impl std::fmt::Debug for HandshakeExport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandshakeExport")
    }
}

/// What one thread counts. On cache lines of its own: 128 bytes, for processors fetch them in
/// pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    messages: [[AtomicU64; COMMANDS]; 2],
    bytes: [[AtomicU64; COMMANDS]; 2],
    wire: [AtomicU64; 2],
    dropped: AtomicU64,
    lagged: AtomicU64,
    skipped: AtomicU64,
}

impl Default for Shard {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            messages: [zeros(), zeros()],
            bytes: [zeros(), zeros()],
            wire: Default::default(),
            dropped: AtomicU64::new(0),
            lagged: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }
}

/// Counts by a name of a closed set.
#[derive(Debug)]
struct Named<const N: usize> {
    names: &'static [&'static str],
    counts: [AtomicU64; N],
}

impl<const N: usize> Named<N> {
    fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn add(&self, name: &str, n: u64) {
        let at = self.names.iter().position(|&other| other == name);
        if let Some(count) = at.and_then(|at| self.counts.get(at)) {
            add(count, n);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.names.iter().zip(&self.counts);
        counts.filter_map(|(&name, count)| Some((name, nonzero(count)?)))
    }
}

/// Counts of ends by reason, those of each initiator apart.
#[derive(Debug)]
struct Ends(
    [(
        Named<{ CloseReason::NAMES.len() }>,
        Named<{ DialFailure::NAMES.len() }>,
    ); 2],
);

impl Ends {
    fn new() -> Self {
        Self(std::array::from_fn(|_| {
            (
                Named::new(CloseReason::NAMES),
                Named::new(DialFailure::NAMES),
            )
        }))
    }

    fn add(&self, error: &ConnectionError) {
        let (closed, dial) = &self.0[error.initiator() as usize];
        match error {
            ConnectionError::Dial(failure) => dial.add(failure.name(), 1),
            error => closed.add(error.name(), 1),
        }
    }

    fn shown(&self) -> BTreeMap<(&'static str, Initiator), u64> {
        let initiators = [Initiator::Local, Initiator::Remote];
        let of = |initiator: Initiator| {
            let (closed, dial) = &self.0[initiator as usize];
            let counts = closed.iter().chain(dial.iter());
            counts.map(move |(name, count)| ((name, initiator), count))
        };
        initiators.into_iter().flat_map(of).collect()
    }
}

impl Default for Counters {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = threads.min(MAX_SHARDS);
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            connections: [zeros(), zeros()],
            peers: std::array::from_fn(|_| AtomicU64::new(0)),
            banned_ips: AtomicU64::new(0),
            dials: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: Named::new(InboundRefusal::NAMES),
            rejected: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            failed: Ends::new(),
            lost: Ends::new(),
            restarts: AtomicU64::new(0),
            misbehaved: AtomicU64::new(0),
            bans: Named::new(BanReason::NAMES),
            unbans: AtomicU64::new(0),
            handshakes: Default::default(),
            #[cfg(feature = "telemetry")]
            handshake_export: Default::default(),
            discovered: Named::new(DiscoverySource::NAMES),
            listener_failures: AtomicU64::new(0),
            store_failures: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }
}

impl Counters {
    // by connections' tasks

    pub(super) fn messages(&self, tally: Tally) {
        let known = |command| Command::KNOWN.iter().position(|&other| other == command);
        let command = tally.command.and_then(known).unwrap_or(COMMANDS - 1);
        let (shard, flow) = (self.shard(), tally.flow as usize);
        add(&shard.messages[flow][command], tally.messages.into());
        add(&shard.bytes[flow][command], tally.bytes);
    }

    pub(super) fn wire(&self, flow: Flow, bytes: u64) {
        add(&self.shard().wire[flow as usize], bytes);
    }

    pub(super) fn dropped(&self, frames: u64) {
        add(&self.shard().dropped, frames);
    }

    pub(super) fn handshake(&self, side: Side, took: Duration) {
        self.handshakes[side as usize].record(took);
        #[cfg(feature = "telemetry")]
        if let Some(HandshakeExport(export)) = &*self
            .handshake_export
            .read()
            .unwrap_or_else(PoisonError::into_inner)
        {
            export(side, took);
        }
    }

    /// A subscriber has missed an event.
    pub(crate) fn lagged(&self) {
        add(&self.shard().lagged, 1);
    }

    /// A subscriber was told of a message instead of getting it.
    pub(crate) fn skipped(&self) {
        add(&self.shard().skipped, 1);
    }

    // by the manager's task

    pub(crate) fn dialled(&self) {
        add(&self.dials, 1);
    }

    pub(crate) fn control_event(&self, event: &ControlEvent) {
        match event {
            ControlEvent::ConnectionEstablished { .. } => add(&self.admitted, 1),
            ControlEvent::ConnectionFailed { reason, .. } => self.failed.add(reason),
            ControlEvent::ConnectionLost { reason, .. } => self.lost.add(reason),
            ControlEvent::ConnectionRestarting { .. } => add(&self.restarts, 1),
            ControlEvent::PeerMisbehavior { .. } => add(&self.misbehaved, 1),
            ControlEvent::PeerBanned { reason, .. } => self.bans.add(reason.name(), 1),
            ControlEvent::PeerUnbanned { .. } => add(&self.unbans, 1),
            ControlEvent::InboundConnectionAccepted { .. } => add(&self.accepted, 1),
            ControlEvent::InboundConnectionRejected { reason, .. } => {
                self.refused.add(reason.name(), 1);
            }
            ControlEvent::ConnectionRejectedCapacity { .. } => add(&self.rejected, 1),
            ControlEvent::ListenerBindFailed { .. } => add(&self.listener_failures, 1),
            ControlEvent::PeersDiscovered { source, count } => {
                self.discovered.add(source.name(), *count as u64);
            }
            ControlEvent::StoreFailed { .. } => add(&self.store_failures, 1),
            _ => {}
        }
    }

    /// How things are now.
    pub(crate) fn show(&self, manager: &p2p_core::Manager) {
        let set = |gauge: &AtomicU64, n: usize| gauge.store(n as u64, Ordering::Relaxed);
        for (side, state) in sides_and_states() {
            let gauge = &self.connections[side as usize][state as usize];
            set(gauge, manager.connections_in(side, state));
        }
        for (gauge, status) in self.peers.iter().zip(PeerStatus::ALL) {
            set(gauge, manager.peer_count(status));
        }
        set(&self.banned_ips, manager.ban_count());
    }

    /// Nobody is connected any more.
    pub(crate) fn show_end(&self) {
        for gauge in self.connections.iter().flatten() {
            gauge.store(0, Ordering::Relaxed);
        }
    }

    // by telemetry

    /// Tells of each handshake from now on, or does not any more.
    #[cfg(feature = "telemetry")]
    pub(super) fn export_handshakes(&self, export: Option<ExportHandshake>) {
        let mut exporter = self
            .handshake_export
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *exporter = export.map(HandshakeExport);
    }

    // by the log

    pub(super) fn left_out(&self) {
        add(&self.left_out, 1);
    }

    // getters

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats {
            banned_ips: load(&self.banned_ips),
            dials: load(&self.dials),
            accepted: load(&self.accepted),
            refused: self.refused.iter().collect(),
            rejected_over_capacity: load(&self.rejected),
            admitted: load(&self.admitted),
            failed: self.failed.shown(),
            lost: self.lost.shown(),
            restarts: load(&self.restarts),
            misbehaved: load(&self.misbehaved),
            bans: self.bans.iter().collect(),
            unbans: load(&self.unbans),
            inbound_handshakes: self.handshakes[Side::Inbound as usize].times(),
            outbound_handshakes: self.handshakes[Side::Outbound as usize].times(),
            discovered: self.discovered.iter().collect(),
            listener_failures: load(&self.listener_failures),
            store_failures: load(&self.store_failures),
            log_lines_left_out: load(&self.left_out),
            ..Stats::default()
        };
        for (side, state) in sides_and_states() {
            if let Some(count) = nonzero(&self.connections[side as usize][state as usize]) {
                stats.connections.insert((side, state), count);
            }
        }
        for (gauge, status) in self.peers.iter().zip(PeerStatus::ALL) {
            if let Some(count) = nonzero(gauge) {
                stats.peers_by_status.insert(status, count);
            }
        }
        self.shards
            .iter()
            .for_each(|shard| shard.add_to(&mut stats));
        stats
    }

    /// The shard of this thread.
    fn shard(&self) -> &Shard {
        thread_local! {
            static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        let thread = THREAD.with(|thread| {
            if thread.get() == usize::MAX {
                thread.set(THREADS.fetch_add(1, Ordering::Relaxed));
            }
            thread.get()
        });
        // There is at least one.
        &self.shards[thread % self.shards.len()]
    }
}

impl Shard {
    fn add_to(&self, stats: &mut Stats) {
        for (flow, counts) in [
            (Flow::Received, &mut stats.messages_received),
            (Flow::Sent, &mut stats.messages_sent),
        ] {
            let (messages, bytes) = (&self.messages[flow as usize], &self.bytes[flow as usize]);
            let names = Command::KNOWN.iter().map(Command::as_str);
            for (at, name) in names.chain([OTHER]).enumerate() {
                if let Some(n) = nonzero(&messages[at]) {
                    let count: &mut MessageCounts = counts.entry(name).or_default();
                    count.messages += n;
                    count.bytes += load(&bytes[at]);
                }
            }
        }
        stats.bytes_received += load(&self.wire[Flow::Received as usize]);
        stats.bytes_sent += load(&self.wire[Flow::Sent as usize]);
        stats.frames_dropped += load(&self.dropped);
        stats.events_lagged += load(&self.lagged);
        stats.events_skipped += load(&self.skipped);
    }
}

fn sides_and_states() -> impl Iterator<Item = (Side, ConnectionState)> {
    let sides = [Side::Inbound, Side::Outbound].into_iter();
    sides.flat_map(|side| ConnectionState::ALL.map(|state| (side, state)))
}

fn add(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Ordering::Relaxed);
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn nonzero(count: &AtomicU64) -> Option<u64> {
    Some(load(count)).filter(|&count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_adds_up() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        counters.wire(Flow::Sent, 3);
                        counters.lagged();
                    }
                });
            }
        });
        let stats = counters.stats();
        assert_eq!((stats.bytes_sent, stats.events_lagged), (240_000, 80_000));
    }

    #[test]
    fn every_reason_of_the_closed_sets_is_counted() {
        let counters = Counters::default();
        for initiator in [0, 1] {
            let (closed, dial) = &counters.lost.0[initiator];
            CloseReason::NAMES
                .iter()
                .for_each(|name| closed.add(name, 1));
            DialFailure::NAMES.iter().for_each(|name| dial.add(name, 1));
        }
        let names = CloseReason::NAMES.len() + DialFailure::NAMES.len();
        assert_eq!(counters.stats().lost.len(), 2 * names);
    }
}
