//! Whole networks in virtual time. `docs/simulator.md` tells what is checked, and how to replay.

#![allow(clippy::print_stdout, reason = "figures that are worth reading")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use p2p_sim::scenario::{self, Report};

/// Runs a scenario with the seeds from 0 on: all of them, and then fails for the first that broke
/// a rule.
fn run_seeds(name: &str, many: u64) -> Vec<Report> {
    let results = Mutex::new(Vec::new());
    scenario::run_many(name, 0..many, |seed, result| {
        results
            .lock()
            .expect("a run does not panic")
            .push((seed, result));
    });
    let mut results = results.into_inner().expect("a run does not panic");
    results.sort_by_key(|(seed, _)| *seed);
    let failed = results.iter().filter(|(_, result)| result.is_err());
    let failed: Vec<u64> = failed.map(|(seed, _)| *seed).collect();
    let report = |(_, result)| match result {
        Ok(report) => report,
        Err(failure) => panic!("\n{failure}\n\nall seeds that failed: {failed:?}"),
    };
    results.into_iter().map(report).collect()
}

fn print(name: &str, reports: &[Report]) {
    let total = |of: fn(&Report) -> f64| reports.iter().map(of).sum::<f64>();
    let passed = total(|report| report.passed.as_secs_f64());
    let took = total(|report| report.took.as_secs_f64());
    println!(
        "{name}: {} seeds, {:.0} h in {took:.1} s, one run after the other, {:.0} times real time",
        reports.len(),
        passed / 3600.0,
        passed / took,
    );
    let mut figures = BTreeMap::<_, usize>::new();
    for figure in reports.iter().flat_map(|report| &report.figures) {
        *figures.entry(figure).or_default() += 1;
    }
    for (figure, times) in figures {
        println!("  {times} x {figure}");
    }
}

#[test]
fn everything_at_once() {
    let reports = run_seeds("mix", 200);
    print("mix", &reports);
}

#[test]
fn a_thousand_nodes_survive_a_partition() {
    let reports = run_seeds("thousand", 1);
    // How much faster than real time that was depends on the machine and on what else it does.
    print("thousand", &reports);
}

#[test]
fn two_nodes_that_dial_each_other_at_once_end_with_one_connection() {
    let reports = run_seeds("simultaneous", 1000);
    print("simultaneous", &reports);
    let dialled = reports
        .iter()
        .filter(|report| report.tally.dials > 1)
        .count();
    println!("  two dials in {dialled}");
    assert!(dialled > 500, "too few of the draws test anything");
}

#[test]
fn ten_nodes_reach_their_target_from_dns() {
    print("grow", &run_seeds("grow", 10));
}

#[test]
fn a_partition_heals() {
    print("partition", &run_seeds("partition", 3));
}

#[test]
fn an_outage_strands_nobody() {
    print("outage", &run_seeds("outage", 2));
}

#[test]
fn all_nodes_come_back_from_their_stores() {
    print("restart", &run_seeds("restart", 3));
}

#[test]
fn a_ban_that_was_reported_survives_a_crash() {
    print("bans", &run_seeds("bans", 20));
}

#[test]
fn hostile_programs_starve_nobody() {
    print("hostile", &run_seeds("hostile", 2));
}

#[test]
fn a_crowd_gets_no_more_room_than_there_is() {
    print("crowd", &run_seeds("crowd", 20));
}

/// The trace of [`TRACED`]. It changes with every change of what the state machines do, and is the
/// same in debug and release.
const TRACE: &str = "9de524739a87c38685599e722abdd69b46001ddf0c26e25384bd0049b1fbda71";
const TRACED: (&str, u64) = ("mix", 1);

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let (name, seed) = TRACED;
    let hash = |seed| match scenario::run(name, seed) {
        Ok(report) => report.hash.to_string(),
        Err(failure) => panic!("\n{failure}"),
    };
    let (first, second) = (hash(seed), hash(seed));
    assert_eq!(first, second, "the same seed gave two traces");
    assert_ne!(first, hash(seed + 1), "another seed gave the same trace");
    assert_eq!(
        first, TRACE,
        "another trace than before: right if p2p-core, p2p-proto or the simulator changed. Then:\n  \
         sed -i 's/{TRACE}/{first}/' tests/tests/simulation.rs\n"
    );
}
