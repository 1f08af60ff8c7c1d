//! The same work against every peer, by the number of connections.

use crate::page::{Page, number, table};
use crate::plot::{Plot, Series};
use crate::programs::{Peer, Programs, Report, Row};
use crate::progress::Progress;
use crate::{Plan, Result};

/// The library, as its users have it who must miss nothing of what peers announce and send: what
/// the aims are held to.
pub(crate) const OURS: &str = "**p2p-tokio**, lossless subscriber to inv, tx, block";
const EVERYTHING: &str = "p2p-tokio, lossless subscriber to everything";
const LOSSY: &str = "p2p-tokio, ordinary subscriber to everything, which may miss some";
const MIMALLOC: &str = "p2p-tokio, lossless subscriber to inv, tx, block; mimalloc";
/// The library, with whatever subscriber and allocator.
pub(crate) const LIBRARY: [&str; 4] = [OURS, EVERYTHING, LOSSY, MIMALLOC];
/// What the aims are beside.
pub(crate) const THREADS: &str = "thread per peer on `bitcoin`'s codec";

/// A stronger one.
const GATHERED: &str = "thread per peer on `bitcoin`'s codec, answers gathered";

/// Bitcoin SV node 1.2.2 (C++), measured elsewhere with a load program of the same idea: 64 pings
/// deep, inv of 8 entries behind a ping barrier, 2 cores.
const NODE: [[&str; 9]; 3] = [
    ["10", "35,000", "31", "50,000", "20", "2,000", "", "", ""],
    [
        "100", "6,000", "234", "7,900", "129", "1,000", "", "488", "",
    ],
    [
        "500", "1,100", "1,106", "1,700", "601", "1,280", "", "565", "",
    ],
];

/// How long a peer may leave something unanswered, in seconds: a slow one with 500 connections
/// has 64,000 messages before it.
const PATIENCE: u64 = 100;

#[derive(Debug)]
pub(crate) struct Grid(Vec<Line>);

/// One peer with so many connections.
#[derive(Debug)]
struct Line {
    peer: &'static str,
    connections: u32,
    /// What came of it, or why nothing did.
    report: std::result::Result<Report, String>,
    /// Of the messages that came, what the subscriber has missed.
    missed: f64,
}

impl Grid {
    pub(crate) fn measure(programs: &Programs, plan: &Plan, progress: &Progress) -> Result<Self> {
        let mut grid = Self(Vec::new());
        let ours: &[&str] = &["manager"];
        let everything: &[&str] = &["manager", "--everything"];
        let lossy: &[&str] = &["manager", "--subscriber", "lossy"];
        let threads: &[&str] = &["threads"];
        let serve = "serve";
        let gathered: &[&str] = &["threads", "--gather"];
        for (name, program, arguments, connections) in [
            (OURS, serve, ours, plan.connections),
            (EVERYTHING, serve, everything, plan.connections),
            (LOSSY, serve, lossy, plan.connections),
            (MIMALLOC, "serve-mimalloc", ours, plan.connections),
            (THREADS, serve, threads, plan.threads),
            (GATHERED, serve, gathered, plan.threads),
            (
                "tokio task per peer on `bitcoin`'s codec, answers gathered",
                serve,
                &["tokio"],
                plan.connections,
            ),
        ] {
            for &count in connections {
                grid.add(name, count, plan, programs, progress, || {
                    programs.start(program, arguments)
                });
            }
        }
        for (name, package) in [("bcash 1.1.1 (JS)", "bcash"), ("bcoin 1.0.2 (JS)", "bcoin")] {
            for &count in plan.foreign {
                grid.add(name, count, plan, programs, progress, || {
                    programs.foreign(package)
                });
            }
        }
        match grid.0.iter().any(|line| line.report.is_ok()) {
            true => Ok(grid),
            false => Err("not one peer could be measured".into()),
        }
    }

    /// Measures a peer. One that fails is named in the table: the others are measured all the same.
    fn add(
        &mut self,
        peer: &'static str,
        connections: u32,
        plan: &Plan,
        programs: &Programs,
        progress: &Progress,
        start: impl FnOnce() -> Result<Peer>,
    ) {
        progress.next(&format!("{peer}, {connections} connections"));
        let measured = start().and_then(|process| {
            let (seconds, idle) = (plan.seconds.to_string(), plan.idle_seconds.to_string());
            let count = connections.to_string();
            let patience = PATIENCE.to_string();
            let arguments = [
                "--connections",
                &count,
                "--seconds",
                &seconds,
                "--patience",
                &patience,
            ];
            // The other end's memory is that of connections which have done nothing yet.
            let modes = ["--idle-seconds", &idle, "idle", "ping", "inv"];
            let report = programs.load(&process, &[&arguments[..], &modes].concat())?;
            // Foreign peers count nothing.
            let done = process.end().unwrap_or_default();
            let count = |what: &str| done[what].as_u64().unwrap_or(0) as f64;
            let missed = count("missed") / (count("messages") + count("missed")).max(1.0);
            Ok((report, missed))
        });
        let (report, missed) = match measured {
            Ok((report, missed)) => (Ok(report), missed),
            Err(error) => {
                progress.next(&format!("FAILED: {error}"));
                (Err(error.to_string()), 0.0)
            }
        };
        self.0.push(Line {
            peer,
            connections,
            report,
            missed,
        });
    }

    /// What was measured of a peer in one kind of work, the fewest connections first.
    pub(crate) fn rows(&self, peer: &str, mode: &str) -> Vec<(u32, &Row)> {
        let lines = self.0.iter().filter(|line| line.peer == peer);
        lines
            .filter_map(|line| Some((line.connections, line.report.as_ref().ok()?.row(mode)?)))
            .collect()
    }

    /// How many of these peers' runs failed.
    pub(crate) fn failures(&self, peers: &[&str]) -> usize {
        let lines = self.0.iter().filter(|line| peers.contains(&line.peer));
        lines.filter(|line| line.report.is_err()).count()
    }

    pub(crate) fn table(&self) -> String {
        let mut rows: Vec<_> = self.0.iter().map(Line::cells).collect();
        rows.extend(NODE.map(|cells| {
            let [connections, rest @ ..] = cells.map(str::to_owned);
            let [a, b, c, d, e, f, g, h] = rest;
            let peer = "Bitcoin SV node 1.2.2 (C++), measured elsewhere".to_owned();
            [peer, connections, a, b, c, d, e, f, g, h]
        }));
        let mut out = table(
            [
                "peer",
                "connections",
                "pings/s",
                "CPU a ping, µs",
                "inv/s",
                "CPU an inv, µs",
                "CPU a handshake, µs",
                "all up within, s",
                "idle, KiB each",
                "missed",
            ],
            &rows,
        );
        for line in &self.0 {
            if let Err(error) = &line.report {
                let (peer, connections) = (line.peer, line.connections);
                out.push_str(&format!(
                    "\n- **failed**: {peer}, {connections} connections: {error}\n"
                ));
            }
        }
        out
    }

    pub(crate) fn plots(&self, page: &Page) -> Result<()> {
        for (file, title, mode, value) in [
            (
                "performance-ping.svg",
                "CPU of a ping answered",
                "ping",
                cpu as fn(&Row) -> f64,
            ),
            (
                "performance-inv.svg",
                "CPU of an inv of 8 entries",
                "inv",
                cpu,
            ),
            (
                "performance-idle.svg",
                "Resident memory of an idle connection",
                "idle",
                kib,
            ),
        ] {
            let y = if mode == "idle" { "KiB" } else { "µs" };
            let svg = Plot {
                title,
                x: "connections",
                y,
                series: self.series(mode, value),
            }
            .svg();
            page.write_beside(file, &svg)?;
        }
        Ok(())
    }

    fn series(&self, mode: &str, value: fn(&Row) -> f64) -> Vec<Series> {
        let mut names: Vec<&str> = self.0.iter().map(|line| line.peer).collect();
        names.dedup();
        let series = names.into_iter().map(|name| Series {
            name: short(name),
            points: self
                .rows(name, mode)
                .into_iter()
                .map(|(connections, row)| (f64::from(connections), value(row)))
                .filter(|(_, value)| *value > 0.0)
                .collect(),
        });
        series.filter(|series| !series.points.is_empty()).collect()
    }
}

impl Line {
    fn cells(&self) -> [String; 10] {
        let row = |mode: &str| {
            self.report
                .as_ref()
                .ok()
                .and_then(|report| report.row(mode))
        };
        let cell = |mode: &str, value: fn(&Row) -> f64| {
            row(mode).map_or_else(|| "failed".into(), |row| number(value(row)))
        };
        let missed = match self.missed > 0.0 {
            true => format!("{:.0} %", self.missed * 100.0),
            false => String::new(),
        };
        [
            self.peer.to_owned(),
            number(f64::from(self.connections))
                .trim_end_matches(".00")
                .trim_end_matches(".0")
                .to_owned(),
            cell("ping", |row| row.per_second),
            cell("ping", cpu),
            cell("inv", |row| row.per_second),
            cell("inv", cpu),
            cell("handshakes", cpu),
            cell("handshakes", |row| row.seconds),
            cell("idle", kib),
            missed,
        ]
    }
}

fn cpu(row: &Row) -> f64 {
    row.cpu_us
}

fn kib(row: &Row) -> f64 {
    row.resident_each / 1024.0
}

/// For the margin of a plot.
fn short(name: &str) -> String {
    let name = name.replace(['*', '`'], "");
    let name = name
        .split_once(", which")
        .map_or(name.as_str(), |(name, _)| name);
    match name.split_once(" on ") {
        Some((name, rest)) if rest.contains("gathered") => format!("{name}, gathered"),
        Some((name, _)) => name.to_owned(),
        None => name.replace(" subscriber to", ":"),
    }
}
