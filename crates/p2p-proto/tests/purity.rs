//! The two state machines must not be able to wait: their dependency trees hold no runtime, no
//! socket and no async machinery.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

use std::process::Command;

/// Crates that would let a state machine do more than compute.
const IMPURE: [&str; 6] = [
    "tokio",
    "mio",
    "socket2",
    "async-trait",
    "async-std",
    "futures-util",
];

fn dependencies(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal,build"])
        .args(["--all-features", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree failed: {errors}");
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(String::from)
        .collect()
}

#[test]
fn the_state_machines_depend_on_no_runtime() {
    for package in ["p2p-proto", "p2p-core"] {
        let found = dependencies(package);
        assert_eq!(found.first().map(String::as_str), Some(package));
        for impure in IMPURE {
            assert!(
                !found.iter().any(|name| name == impure),
                "{package} depends on {impure}"
            );
        }
    }
}

#[test]
fn the_check_sees_a_runtime_where_there_is_one() {
    assert!(dependencies("p2p-tokio").iter().any(|name| name == "tokio"));
}
