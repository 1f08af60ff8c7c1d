//! Runs a scenario of the simulator with one seed, or with many on all processors.
//!
//! ```text
//! cargo run --release -p p2p-sim --example simulate -- mix 7
//! cargo run --release -p p2p-sim --example simulate -- mix 7 5000
//! cargo run --release -p p2p-sim --example simulate -- mix 0..10000
//! ```
//!
//! One seed prints what was measured, or if a rule is broken the last lines of the trace: 400, or
//! as many as the third argument says; many print a line for every hundred of them. The
//! others go on after one that failed, and the program ends with a failure.

#![allow(clippy::print_stdout, reason = "the program's output")]

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use p2p_sim::World;
use p2p_sim::scenario::{self, Report};

/// Seeds between two lines about how far it is.
const STRETCH: u64 = 100;
/// Lines of the trace of a run that failed: some seconds of a busy world.
const LINES: usize = 400;

#[derive(Default)]
struct Progress {
    done: u64,
    failed: Vec<u64>,
    passed: Duration,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &str| scenario::ALL.iter().any(|(known, _)| *known == name);
    match arguments.as_slice() {
        [name, seed, lines] if known(name) => match (seed.parse(), lines.parse()) {
            (Ok(seed), Ok(lines)) => run_one(name, seed, lines),
            _ => usage(),
        },
        [name, seeds] if known(name) => match seeds_of(seeds) {
            Some(seeds) if seeds.clone().count() == 1 => run_one(name, seeds.start, LINES),
            Some(seeds) => run_all(name, seeds),
            None => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    let names = scenario::ALL.map(|(name, _)| name).join(", ");
    println!("simulate SCENARIO SEED [LINES] | SCENARIO FIRST..END\nscenarios: {names}");
    ExitCode::from(2)
}

/// `7`, or `0..100`, whose end is not among them.
fn seeds_of(text: &str) -> Option<Range<u64>> {
    match text.split_once("..") {
        Some((first, end)) => {
            let seeds: Range<u64> = first.parse().ok()?..end.parse().ok()?;
            // To run nothing would look like success.
            (!seeds.is_empty()).then_some(seeds)
        }
        None => {
            let seed: u64 = text.parse().ok()?;
            Some(seed..seed.checked_add(1)?)
        }
    }
}

fn run_one(name: &str, seed: u64, lines: usize) -> ExitCode {
    let mut world = World::new(seed);
    world.net.trace.keep(lines);
    match scenario::run_in(name, world) {
        Ok(report) => {
            let Report { passed, took, .. } = report;
            let speed = passed.as_secs_f64() / took.as_secs_f64();
            println!("{report:#?}\n{speed:.0} times as fast as real time");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(name: &str, seeds: Range<u64>) -> ExitCode {
    let begin = Instant::now();
    let progress = Mutex::new(Progress::default());
    scenario::run_many(name, seeds.clone(), |seed, result| {
        let Ok(mut progress) = progress.lock() else {
            return;
        };
        progress.done += 1;
        match result {
            Ok(report) => progress.passed += report.passed,
            Err(failure) => {
                println!("{failure}");
                progress.failed.push(seed);
            }
        }
        let all = seeds.end - seeds.start;
        if progress.done.is_multiple_of(STRETCH) || progress.done == all {
            let (done, failed) = (progress.done, &progress.failed);
            let (hours, took) = (progress.passed.as_secs() / 3600, begin.elapsed().as_secs());
            println!("{name}: {done} of {all} seeds, {hours} h in {took} s, failed: {failed:?}");
        }
    });
    match progress.into_inner() {
        Ok(progress) if progress.failed.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
