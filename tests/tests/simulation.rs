//! Whole networks in virtual time. `docs/simulator.md` tells what is checked, and how to replay.

#![allow(clippy::print_stdout, reason = "figures that are worth reading")]

use p2p_sim::scenario::{self, Report};

/// How many seeds, in hundredths of the usual: `SIM_SEEDS=1000` runs ten times as many.
fn seeds(usual: u64) -> u64 {
    let percent = std::env::var("SIM_SEEDS").map_or(100, |n| n.parse().expect("a number"));
    (usual * percent / 100).max(1)
}

fn run(name: &str, seed: u64) -> Report {
    scenario::run(name, seed).unwrap_or_else(|failure| panic!("\n{failure}"))
}

fn run_all(name: &str, usual: u64) {
    for seed in 0..seeds(usual) {
        let report = run(name, seed);
        println!("{name} {seed}: {report:?}");
    }
}

#[test]
fn ten_nodes_reach_their_target_from_dns() {
    run_all("grow", 10);
}

#[test]
fn two_nodes_that_dial_each_other_at_once_end_with_one_connection() {
    run_all("simultaneous", 200);
}

#[test]
fn a_partition_heals() {
    run_all("partition", 3);
}

#[test]
fn an_outage_strands_nobody() {
    run_all("outage", 1);
}

#[test]
fn all_nodes_come_back_from_their_stores() {
    run_all("restart", 3);
}

#[test]
fn hostile_programs_starve_nobody() {
    run_all("hostile", 2);
}

#[test]
fn everything_at_once() {
    run_all("mix", 5);
}

/// A hash that changes with every change of the state machines or the simulator: write the new
/// one down then. It must be the same in debug and release.
const HASH: &str = "2db9c37ea31c6d6971cb7740b41a7264e3b7283b63619c6be7506e17ea1fde3e";

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let [first, second] = [0, 1].map(|_| run("restart", 1).hash.to_string());
    assert_eq!(first, second);
    assert_eq!(first, HASH);
    assert_ne!(first, run("restart", 2).hash.to_string());
}

#[test]
fn replay() {
    let Ok(seed) = std::env::var("SIM_SEED") else {
        return;
    };
    let seed = seed.parse().expect("a number");
    let name = std::env::var("SIM_SCENARIO").unwrap_or_else(|_| "mix".into());
    let report = run(&name, seed);
    let speed = report.passed.as_secs_f64() / report.took.as_secs_f64();
    println!("{report:#?}\n{speed:.0} times as fast as real time");
}
