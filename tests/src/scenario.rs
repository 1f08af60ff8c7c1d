//! Worlds to run: each a function of its seed alone, by name.

mod cast;
mod plots;

use std::fmt;
use std::time::{Duration, Instant};

use p2p_proto::Hash256;

use crate::invariants::Violation;
use crate::ledger::Tally;
use crate::time::Time;
use crate::world::World;

pub use cast::{config, diverse_node, node};
pub use plots::{city, grow, hostile, mix, outage, partition, restart, simultaneous};

/// What happens in a world.
pub type Plot = fn(&mut World) -> Result<(), Violation>;

/// Every scenario and its name.
pub const ALL: [(&str, Plot); 8] = [
    ("grow", plots::grow),
    ("simultaneous", plots::simultaneous),
    ("partition", plots::partition),
    ("city", plots::city),
    ("outage", plots::outage),
    ("restart", plots::restart),
    ("hostile", plots::hostile),
    ("mix", plots::mix),
];

/// How a run went.
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
}

/// How a run failed, and how to see it fail again.
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
            "  SIM_SCENARIO={scenario} SIM_SEED={seed} \
             cargo test -p p2p-sim --test simulation replay -- --nocapture"
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
pub fn run(scenario: &str, seed: u64) -> Result<Report, Box<Failure>> {
    let found = ALL.iter().find(|(name, _)| *name == scenario);
    let (_, plot) = found.unwrap_or_else(|| panic!("no scenario {scenario:?}"));
    let begin = Instant::now();
    let mut world = World::new(seed);
    let result = plot(&mut world);
    match result {
        Ok(()) => Ok(Report {
            hash: world.hash(),
            passed: world.net.now - Time::ZERO,
            took: begin.elapsed(),
            steps: world.steps(),
            tally: world.tally(),
        }),
        Err(violation) => Err(Box::new(Failure {
            scenario: scenario.into(),
            seed,
            violation,
            lines: world.net.trace.lines().map(Into::into).collect(),
        })),
    }
}
