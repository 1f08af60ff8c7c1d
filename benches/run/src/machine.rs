//! On what it was measured, with what, and beside what.

use std::fs;
use std::process::Command;

use crate::Result;
use crate::programs::output;

/// What is known before the run.
#[derive(Debug)]
pub(crate) struct Machine {
    lines: Vec<String>,
    load_before: String,
}

pub(crate) fn describe(quick: bool) -> Result<Machine> {
    let line = |program: &str, arguments: &[&str]| {
        let text = output(Command::new(program).args(arguments));
        text.map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let sha = match cpu("flags").split_whitespace().any(|flag| flag == "sha_ni") {
        true => "with SHA instructions",
        false => "without SHA instructions, as far as is known",
    };
    let mode = match quick {
        true => "quick (`scripts/bench --quick`): short runs, which sway",
        false => "full (`scripts/bench`)",
    };
    let versions = include_str!("../../Cargo.lock");
    let packages = ["bitcoin", "sha2", "tokio", "bytes"];
    let packages = packages.map(|name| format!("{name} {}", locked(versions, name)));
    let lines = vec![
        format!("mode: {mode}"),
        format!(
            "machine: {}, {cores} cores, {sha}, Linux {}, {} MiB of memory",
            cpu("model name"),
            line("uname", &["-r"]),
            memory_mib(),
        ),
        format!(
            "compiler: {}, profile `release`",
            line("rustc", &["--version"])
        ),
        format!(
            "crates: {}; Node {}",
            packages.join(", "),
            line("node", &["--version"])
        ),
        format!("date: {}", line("date", &["-u", "+%F %H:%M UTC"])),
    ];
    Ok(Machine {
        lines,
        load_before: load(),
    })
}

/// What is known after it, too.
pub(crate) fn finish(machine: Machine) -> Result<String> {
    let mut out = String::new();
    for line in machine.lines {
        out.push_str(&format!("- {line}\n"));
    }
    out.push_str(&format!(
        "- load average (1, 5, 15 minutes): {} before the run, {} at its end, which includes the run itself\n",
        machine.load_before,
        load()
    ));
    Ok(out)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A fact of the processor, where the system tells it.
fn cpu(name: &str) -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(|| "unknown".into(), |(_, value)| value.trim().to_owned())
}

fn memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, name: &str) -> &'a str {
    let package = format!("name = \"{name}\"\nversion = \"");
    let version = lock.split_once(&package).map(|(_, rest)| rest);
    version
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("?")
}
