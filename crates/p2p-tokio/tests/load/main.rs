//! Many peers at once, some of them hostile, for a long time. Scaled down here;
//! `scripts/soak load` runs them in full (`P2P_LOAD=full`).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops when it cannot go on, and tells its figures"
)]

mod chaos;
mod crowd;
mod cycles;
mod hostile;
#[allow(dead_code, reason = "shared with the other tests of the manager")]
#[path = "../manager/support.rs"]
mod support;

/// What to use in a quick run, and in a full one.
fn scaled<T>(quick: T, full: T) -> T {
    match std::env::var("P2P_LOAD").as_deref() {
        Ok("full") => full,
        _ => quick,
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Two ends of a connection need two files, and the rest some hundreds.
fn raise_file_limit() {
    rlimit::increase_nofile_limit(32_768).unwrap();
}
