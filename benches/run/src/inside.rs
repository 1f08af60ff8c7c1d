//! What needs no peer: the limits below everything, and decisions with many known peers.

use serde::Deserialize;

use crate::page::{Page, number, table};
use crate::plot::{Plot, Series};
use crate::programs::{Programs, output};
use crate::progress::Progress;
use crate::{Plan, Result};

/// What no library can be faster than.
#[derive(Debug, Deserialize)]
pub(crate) struct Limits {
    hash_8_ns: f64,
    hash_300_ns: f64,
    hash_mib_bytes_per_second: f64,
    tcp_round_trip_us: f64,
    connects_per_second: f64,
}

#[derive(Debug, Deserialize)]
struct Decision {
    known: u32,
    decision_ns: f64,
    fill_each_ns: f64,
}

/// What a decision costs, by how many peers are known.
#[derive(Debug)]
pub(crate) struct Decisions(Vec<Decision>);

pub(crate) fn limits(programs: &Programs, progress: &Progress) -> Result<Limits> {
    progress.next("hash alone, round trip, connects");
    let json = output(programs.command("inside").arg("limits"))?;
    Ok(serde_json::from_str(&json)?)
}

pub(crate) fn decisions(
    programs: &Programs,
    plan: &Plan,
    progress: &Progress,
) -> Result<Decisions> {
    let mut all = Vec::new();
    for known in plan.known_peers {
        progress.next(&format!("decisions with {known} known peers"));
        let json = output(
            programs
                .command("inside")
                .args(["decisions", &known.to_string()]),
        )?;
        all.push(serde_json::from_str(&json)?);
    }
    Ok(Decisions(all))
}

impl Limits {
    /// CPU to hash a payload as long as that, in microseconds.
    pub(crate) fn hash_us(&self, bytes: u32) -> f64 {
        f64::from(bytes) / self.hash_mib_bytes_per_second * 1e6
    }

    pub(crate) fn table(&self) -> String {
        let row = |what: &str, value: String| [what.to_owned(), value];
        table(
            ["what", "measured"],
            &[
                row(
                    "double SHA-256 of 8 bytes",
                    format!("{} ns", number(self.hash_8_ns)),
                ),
                row("of 300 bytes", format!("{} ns", number(self.hash_300_ns))),
                row(
                    "of 1 MiB",
                    format!("{} MB/s", number(self.hash_mib_bytes_per_second / 1e6)),
                ),
                row(
                    "a byte there and back over TCP, two threads",
                    format!("{} µs", number(self.tcp_round_trip_us)),
                ),
                row(
                    "connects to a listener, one after the other",
                    format!("{} a second", number(self.connects_per_second)),
                ),
            ],
        )
    }
}

impl Decisions {
    pub(crate) fn table(&self) -> String {
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|decision| {
                [
                    number(f64::from(decision.known)),
                    format!("{} ns", number(decision.decision_ns)),
                    format!("{} ns", number(decision.fill_each_ns)),
                ]
            })
            .collect();
        table(["known peers", "a decision", "start, a peer"], &rows)
    }

    pub(crate) fn plot(&self, page: &Page) -> Result<()> {
        let points = self.0.iter();
        let points = points.map(|each| (f64::from(each.known), each.decision_ns / 1000.0));
        let plot = Plot {
            title: "CPU of a decision by known peers",
            x: "known peers",
            y: "µs",
            series: vec![Series {
                name: "a dial fails, the next is chosen".into(),
                points: points.collect(),
            }],
        };
        page.write_beside("performance-decisions.svg", &plot.svg())
    }
}
