//! Instructions of the hot paths, counted by callgrind: the same on a busy machine as on a quiet
//! one. valgrind knows no SHA instructions, so the hash is left out.

use std::collections::BTreeMap;
use std::process::Command;

use crate::Result;
use crate::page::{number, table};
use crate::programs::{Programs, output};
use crate::progress::Progress;

/// Messages that the program `inside hot` takes while it is counted.
const MESSAGES: f64 = 1000.0;
/// What each path is called, there and here.
const PATHS: [(&str, &str); 4] = [
    ("ping", "a ping received, its pong on its way"),
    ("inv", "an `inv` of 8 entries received"),
    ("tx", "a `tx` of 300 bytes received"),
    ("send", "an encoded message sent"),
];

/// For each path, instructions a message with and without the hash; none without valgrind.
#[derive(Debug)]
pub(crate) struct Counts(Option<Vec<(&'static str, f64, f64)>>);

pub(crate) fn count(programs: &Programs, progress: &Progress) -> Result<Counts> {
    if output(Command::new("valgrind").arg("--version")).is_err() {
        progress.next("no valgrind: instructions are not counted");
        return Ok(Counts(None));
    }
    let folder = std::env::temp_dir();
    let file = folder.join(format!("p2p-bench-callgrind-{}", std::process::id()));
    let mut counts = Vec::new();
    for (path, name) in PATHS {
        progress.next(&format!("instructions of {path}"));
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--toggle-collect=*counted_*"])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(programs.path("inside"))
            .args(["hot", path]);
        output(&mut command)?;
        let by_function = by_function(&std::fs::read_to_string(&file)?);
        let total: u64 = by_function.values().sum();
        let hash = by_function.iter().filter(|(name, _)| is_hash(name));
        let hash: u64 = hash.map(|(_, count)| count).sum();
        let rest = total - hash;
        counts.push((name, total as f64 / MESSAGES, rest as f64 / MESSAGES));
    }
    // Nobody else needs it; the system clears its folder.
    let _ = std::fs::remove_file(&file);
    Ok(Counts(Some(counts)))
}

impl Counts {
    pub(crate) fn table(&self) -> String {
        let Some(counts) = &self.0 else {
            return "Not counted: there was no valgrind.".into();
        };
        let rows: Vec<_> = counts
            .iter()
            .map(|(name, total, rest)| [(*name).to_owned(), number(*rest), number(*total - *rest)])
            .collect();
        table(
            [
                "path",
                "instructions, hash apart",
                "of the hash, in software",
            ],
            &rows,
        )
    }
}

fn is_hash(function: &str) -> bool {
    function.contains("sha2::") || function.contains("compress256")
}

/// Instructions of each function itself, in callgrind's format: lines of a position and a cost
/// after the function's name, which is written out once and then only numbered.
fn by_function(text: &str) -> BTreeMap<String, u64> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    let mut function = "";
    let mut is_call = false;
    for line in text.lines() {
        if let Some(rest) = line
            .strip_prefix("fn=")
            .or_else(|| line.strip_prefix("cfn="))
        {
            let (id, name) = rest.split_once(' ').unwrap_or((rest, ""));
            if !name.is_empty() {
                names.insert(id, name);
            }
            if line.starts_with("fn=") {
                function = names.get(id).copied().unwrap_or(id);
            }
        } else if line.starts_with("calls=") {
            // The next line is what the called one costs.
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line
                .split_whitespace()
                .nth(1)
                .and_then(|cost| cost.parse().ok());
            if !std::mem::take(&mut is_call) {
                *counts.entry(function.to_owned()).or_insert(0) += cost.unwrap_or(0);
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_of_the_called_are_theirs() {
        let text = "fn=(1) receive\n10 5\n+1 7\ncfn=(2) sha2::compress\ncalls=1 3\n* 100\n+1 1\n\n\
                    fn=(2)\n3 100\nfn=(1)\n1 2\n";
        let counts = by_function(text);
        assert_eq!(counts["receive"], 15);
        assert_eq!(counts["sha2::compress"], 100);
        assert!(is_hash("sha2::compress") && !is_hash("receive"));
    }
}
