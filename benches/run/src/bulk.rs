//! Large payloads, and one message to many.

use std::process::Command;

use serde_json::Value;

use crate::page::{number, table};
use crate::programs::{Programs, Row, output};
use crate::progress::Progress;
use crate::{Plan, Result};

/// Bytes that may wait for the subscriber of a streamed block: its memory is part of what is
/// measured.
const QUEUE_BYTES: &str = "8388608";
/// Bytes of an ordinary transaction.
const SMALL_TX: u32 = 300;
/// Bytes of a transaction that is dear to hash: what a delivery costs whatever its size is little
/// beside it, and to encode for each connection would cost more than to write to it.
const LARGE_TX: u32 = 256 << 10;

/// Medians of runs in turn, so that what else the machine does hits all alike.
#[derive(Debug)]
pub(crate) struct Bulk {
    /// Blocks of 1 MiB, bytes a second.
    pub(crate) managers: f64,
    pub(crate) bare: f64,
    /// One large block, bytes a second, and how much the peak of memory grew.
    pub(crate) stream: f64,
    pub(crate) copy: f64,
    pub(crate) growth: u64,
    pub(crate) stream_mib: u64,
    /// What a transaction costs for each connection that it is sent to.
    broadcast: Row,
    pub(crate) broadcast_to: u32,
    /// The same with one that is dear to hash.
    large_broadcast: Row,
}

pub(crate) fn measure(programs: &Programs, plan: &Plan, progress: &Progress) -> Result<Bulk> {
    let (mut managers, mut bare) = (Vec::new(), Vec::new());
    let (mut stream, mut copy, mut growth) = (Vec::new(), Vec::new(), 0);
    for run in 1..=plan.repeats {
        progress.next(&format!("{} blocks of 1 MiB, run {run}", plan.blocks));
        managers.push(blocks(programs, "managers", plan.blocks)?);
        bare.push(blocks(programs, "bare", plan.blocks)?);
    }
    for run in 1..=plan.repeats {
        progress.next(&format!("a block of {} MiB, run {run}", plan.stream_mib));
        let row = pass(
            programs,
            &["manager", "--queue-bytes", QUEUE_BYTES],
            "stream",
            plan,
        )?;
        growth = growth.max(row.peak_growth);
        stream.push(row.bytes_per_second.ok_or("no rate")?);
        let row = pass(programs, &["copy"], "copy", plan)?;
        copy.push(row.bytes_per_second.ok_or("no rate")?);
    }
    progress.next(&format!("broadcast to {} connections", plan.broadcast));
    let (broadcast, broadcast_to) = relayed(programs, plan, SMALL_TX)?;
    progress.next("the same with a large transaction");
    let (large_broadcast, _) = relayed(programs, plan, LARGE_TX)?;
    Ok(Bulk {
        managers: median(managers),
        bare: median(bare),
        stream: median(stream),
        copy: median(copy),
        growth,
        stream_mib: plan.stream_mib,
        broadcast,
        broadcast_to,
        large_broadcast,
    })
}

/// One transaction after the other, relayed to all; what a delivery cost, and to how many.
fn relayed(programs: &Programs, plan: &Plan, bytes: u32) -> Result<(Row, u32)> {
    let peer = programs.serve(&["manager", "--relay"])?;
    let [count, seconds, bytes] =
        [u64::from(plan.broadcast), plan.seconds, bytes.into()].map(|number| number.to_string());
    let arguments = [
        "-n",
        &count,
        "-s",
        &seconds,
        "--tx-bytes",
        &bytes,
        "broadcast",
    ];
    let report = programs.load(&peer, &arguments)?;
    let row = report.row("broadcast").ok_or("no broadcast")?.clone();
    Ok((row, report.connections))
}

impl Bulk {
    /// CPU of each delivery of a large transaction, in microseconds.
    pub(crate) fn large_broadcast_us(&self) -> f64 {
        self.large_broadcast.cpu_us
    }

    pub(crate) fn large_bytes(&self) -> u32 {
        LARGE_TX
    }

    pub(crate) fn table(&self) -> String {
        let megabytes = |rate: f64| format!("{} MB/s", number(rate / 1e6));
        let percent = |part: f64, whole: f64| format!("{:.0} %", part / whole * 100.0);
        let row = |cells: [&str; 1], rest: [String; 3]| {
            let [a, b, c] = rest;
            [cells[0].to_owned(), a, b, c]
        };
        let transfers = table(
            ["what", "the library", "beside it", "ratio"],
            &[
                row(
                    [
                        "blocks of 1 MiB, manager to manager; a loop that hashes at both ends and copies over TCP",
                    ],
                    [
                        megabytes(self.managers),
                        megabytes(self.bare),
                        percent(self.managers, self.bare),
                    ],
                ),
                row(
                    [&format!(
                        "one block of {} MiB, in pieces to a subscriber; the same bytes read and dropped",
                        self.stream_mib
                    )],
                    [
                        megabytes(self.stream),
                        megabytes(self.copy),
                        percent(self.stream, self.copy),
                    ],
                ),
            ],
        );
        format!(
            "{transfers}\nThe peak of memory of the process that received the large block grew by \
             {:.1} MiB.\n\nA transaction of {SMALL_TX} bytes broadcast to {} connections: {} deliveries a \
             second, {} µs of CPU each, writing to the socket included.\n",
            self.growth as f64 / f64::from(1 << 20),
            number(f64::from(self.broadcast_to)),
            number(self.broadcast.per_second),
            number(self.broadcast.cpu_us),
        )
    }
}

fn blocks(programs: &Programs, ends: &str, count: u32) -> Result<f64> {
    let mut command: Command = programs.command("serve");
    command.args(["blocks", ends, "--count", &count.to_string()]);
    let line = output(&mut command)?;
    let json: Value = serde_json::from_str(line.trim_start_matches("DONE "))?;
    Ok(json["bytes_per_second"].as_f64().ok_or("no rate")?)
}

/// One large transfer to a fresh peer.
fn pass(programs: &Programs, peer: &[&str], mode: &str, plan: &Plan) -> Result<Row> {
    let peer = programs.serve(peer)?;
    let mib = plan.stream_mib.to_string();
    let report = programs.load(&peer, &["--mib", &mib, mode])?;
    Ok(report.row(mode).ok_or("nothing was measured")?.clone())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
