//! Worlds to run: each a function of its seed alone, by name.

mod catalogue;
mod specs;

use std::fmt;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use p2p_proto::Hash256;

use crate::invariants::{Rule, Violation};
use crate::ledger::Tally;
use crate::time::Time;
use crate::world::World;

pub use catalogue::{
    bans, crowd, grow, hostile, mix, outage, partition, restart, simultaneous, thousand,
};
pub use specs::{config, diverse_node, node};

/// What happens in a world.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::scenario::{self, Script};
///
/// let quiet: Script = |world| {
///     world.add_node(scenario::node());
///     world.run_for(Duration::from_secs(60))
/// };
/// assert_eq!(quiet(&mut p2p_sim::World::new(1)), Ok(()));
/// ```
pub type Script = fn(&mut World) -> Result<(), Violation>;

/// Every scenario and its name.
pub const ALL: [(&str, Script); 10] = [
    ("grow", catalogue::grow),
    ("simultaneous", catalogue::simultaneous),
    ("partition", catalogue::partition),
    ("thousand", catalogue::thousand),
    ("outage", catalogue::outage),
    ("restart", catalogue::restart),
    ("bans", catalogue::bans),
    ("hostile", catalogue::hostile),
    ("crowd", catalogue::crowd),
    ("mix", catalogue::mix),
];

/// How a run went.
///
/// ```
/// use std::time::Duration;
/// use p2p_sim::scenario;
///
/// let report = scenario::run("grow", 2).unwrap_or_else(|failure| panic!("{failure}"));
/// assert!(report.passed >= Duration::from_secs(600));
/// assert!(report.tally.established > 0 && report.steps > 0);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The hash of its trace.
    pub hash: Hash256,
    /// Virtual time that passed.
    pub passed: Duration,
    /// Real time that it took. The only thing here that differs from run to run.
    pub took: Duration,
    /// Things that happened.
    pub steps: u64,
    /// What all nodes together did.
    pub tally: Tally,
    /// What the scenario measured.
    pub figures: Vec<String>,
}

/// How a run failed, and how to see it fail again.
///
/// ```
/// use p2p_sim::scenario::{self, Failure};
///
/// // What a program of one's own prints that runs scenarios.
/// if let Err(failure) = scenario::run("grow", 3) {
///     let Failure { scenario, seed, violation, .. } = *failure;
///     println!("{scenario} {seed}: {violation}");
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// Which scenario.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// The rule that did not hold.
    pub violation: Violation,
    /// The last that happened.
    pub lines: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        let Self {
            scenario,
            seed,
            violation,
            ..
        } = self;
        writeln!(
            f,
            "\n{violation}\n\nseed {seed} of scenario {scenario}; again:"
        )?;
        write!(
            f,
            "  cargo run --release -p p2p-sim --example simulate -- {scenario} {seed}"
        )
    }
}

impl std::error::Error for Failure {}

/// Runs one of [`ALL`] with a seed.
///
/// # Errors
/// The first rule that did not hold.
///
/// # Panics
/// There is no scenario of this name.
///
/// ```
/// use p2p_sim::scenario;
///
/// let report = scenario::run("grow", 1).unwrap_or_else(|failure| panic!("{failure}"));
/// // The same seed, the same run.
/// assert_eq!(scenario::run("grow", 1).unwrap().hash, report.hash);
/// ```
pub fn run(scenario: &str, seed: u64) -> Result<Report, Box<Failure>> {
    run_in(scenario, World::new(seed))
}

/// The same in a world that was made ready for it: whose [`Trace`](crate::Trace) keeps more, say.
///
/// # Errors
/// The first rule that did not hold.
///
/// # Panics
/// There is no scenario of this name.
pub fn run_in(scenario: &str, mut world: World) -> Result<Report, Box<Failure>> {
    let seed = world.seed();
    let found = ALL.iter().find(|(name, _)| *name == scenario);
    let (_, script) = found.unwrap_or_else(|| panic!("no scenario {scenario:?}"));
    let begin = Instant::now();
    // Of a world that panicked only the record is read.
    let result = catch_unwind(AssertUnwindSafe(|| script(&mut world)));
    let result = result.unwrap_or_else(|panic| {
        let texts = [
            panic.downcast_ref::<String>().map(String::as_str),
            panic.downcast_ref::<&str>().copied(),
        ];
        let text = texts.into_iter().flatten().next();
        Err(Violation {
            time: world.net.now,
            host: None,
            rule: Rule::Panic,
            what: text.unwrap_or("something that is no text").into(),
        })
    });
    match result {
        Ok(()) => Ok(Report {
            hash: world.hash(),
            passed: world.net.now - Time::ZERO,
            took: begin.elapsed(),
            steps: world.steps(),
            tally: world.tally(),
            figures: world.figures().to_vec(),
        }),
        Err(violation) => Err(Box::new(Failure {
            scenario: scenario.into(),
            seed,
            violation,
            lines: world.net.trace.lines().map(Into::into).collect(),
        })),
    }
}

/// Runs one of [`ALL`] with each of these seeds, on all processors; `each` is told how every run
/// went, in no order.
///
/// # Panics
/// There is no scenario of this name.
pub fn run_many(
    scenario: &str,
    seeds: Range<u64>,
    each: impl Fn(u64, Result<Report, Box<Failure>>) + Sync,
) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            each(seed, run(scenario, seed));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
}
