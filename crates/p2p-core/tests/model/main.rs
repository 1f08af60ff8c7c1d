//! The manager against a small model, under inputs that no driver would dare to send.
//!
//! A million inputs in a normal run: late, doubled and invented answers, bans, configurations,
//! and time that jumps. `PROPTEST_CASES` scales the number.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod inputs;
mod reference;
mod run;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use run::Run;

/// Sequences for each case that is asked for: short ones shrink, and meet more beginnings.
const SEQUENCES_PER_CASE: u32 = 32;

#[test]
fn whatever_happens_the_manager_keeps_its_rules() {
    let default = ProptestConfig::default();
    let config = ProptestConfig {
        cases: default.cases * SEQUENCES_PER_CASE,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..default
    };
    let inputs = AtomicUsize::new(0);
    let outcome = TestRunner::new(config).run(&inputs::scenario(), |scenario| {
        let mut run = Run::new(&scenario);
        for step in &scenario.steps {
            run.take(step);
        }
        run.end();
        inputs.fetch_add(run.inputs, Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    report(inputs.into_inner());
}

#[expect(
    clippy::print_stdout,
    reason = "how much was tried is part of the result"
)]
fn report(inputs: usize) {
    println!("{inputs} inputs");
}
