//! What the library is held to, and whether it is there.

use crate::bulk::Bulk;
use crate::grid::{Grid, OURS, THREADS};
use crate::inside::Limits;
use crate::page::{self, number};
use crate::programs::Row;

/// Growth of memory while a block passes by.
const GROWTH: u64 = 32 << 20;

pub(crate) fn table(grid: &Grid, bulk: &Bulk, limits: &Limits) -> String {
    let pings = cpu(grid, OURS, "ping");
    let (least, most) = bounds(&pings);
    let (_, inv) = bounds(&cpu(grid, OURS, "inv"));
    let handshakes = grid.rows(OURS, "handshakes");
    let (crowd, up) = last(&handshakes, |row| row.seconds);
    let (_, handshake) = last(&handshakes, |row| row.cpu_us);
    let (_, idle) = last(&grid.rows(OURS, "idle"), |row| row.resident_each / 1024.0);
    let threads = |mode: &str| {
        let (_, most) = bounds(&cpu(grid, THREADS, mode));
        format!("{} µs", number(most))
    };
    let (delivery, encoding) = (
        bulk.large_broadcast_us(),
        limits.hash_us(bulk.large_bytes()),
    );
    let megabytes = |rate: f64| format!("{} MB/s", number(rate / 1e6));
    let rows = [
        aim(
            "CPU of a ping answered, 64 deep, at any number of connections",
            "under 2 µs",
            format!("{} µs", number(most)),
            threads("ping"),
            most < 2.0,
        ),
        aim(
            "the most of it beside the least, by connections",
            "within 1.5 times",
            format!("{:.2} times", most / least),
            String::new(),
            most / least <= 1.5,
        ),
        aim(
            "CPU of an inv of 8 entries, delivered to a subscriber, at any number",
            "under 1.2 µs",
            format!("{} µs", number(inv)),
            threads("inv"),
            inv < 1.2,
        ),
        aim(
            &format!("CPU of a handshake, of {crowd}"),
            "under 80 µs",
            format!("{} µs", number(handshake)),
            threads("handshakes"),
            handshake < 80.0,
        ),
        aim(
            &format!("{crowd} connections up"),
            "within 3 s",
            format!("{} s", number(up)),
            String::new(),
            up <= 3.0 && crowd >= 5000,
        ),
        aim(
            &format!("resident memory of an idle connection, of {crowd}"),
            "under 8 KiB",
            format!("{} KiB", number(idle)),
            format!(
                "{} KiB",
                number(
                    last(&grid.rows(THREADS, "idle"), |row| row.resident_each
                        / 1024.0)
                    .1
                )
            ),
            idle < 8.0,
        ),
        aim(
            "blocks of 1 MiB, manager to manager, of a bare loop",
            "at least 85 %",
            format!("{:.0} %", bulk.managers / bulk.bare * 100.0),
            megabytes(bulk.bare),
            bulk.managers / bulk.bare >= 0.85,
        ),
        aim(
            &format!(
                "a block of {} MiB in pieces, of a raw copy",
                bulk.stream_mib
            ),
            "at least 80 %",
            format!("{:.0} %", bulk.stream / bulk.copy * 100.0),
            megabytes(bulk.copy),
            bulk.stream / bulk.copy >= 0.8,
        ),
        aim(
            "memory that grows meanwhile",
            "under 32 MiB",
            format!("{:.1} MiB", bulk.growth as f64 / f64::from(1 << 20)),
            String::new(),
            bulk.growth < GROWTH,
        ),
        aim(
            &format!(
                "CPU of a delivery of {} KiB broadcast to {}: encoded and hashed once",
                bulk.large_bytes() >> 10,
                bulk.broadcast_to
            ),
            "under its hash alone",
            format!("{} µs", number(delivery)),
            format!("{} µs to hash it", number(encoding)),
            delivery < encoding,
        ),
    ];
    let head = ["what", "aim", "measured", "beside it", "reached"];
    let mut out = page::table(head, &rows);
    let failures = grid.failures(&[OURS]);
    if failures > 0 {
        out.push_str(&format!(
            "\n**{failures} runs of the library failed**: the figures are those of the others.\n"
        ));
    }
    out
}

fn aim(what: &str, aim: &str, measured: String, beside: String, is_reached: bool) -> [String; 5] {
    let reached = if is_reached { "yes" } else { "**no**" };
    [what.into(), aim.into(), measured, beside, reached.into()]
}

/// CPU of each message, in microseconds, by the number of connections.
fn cpu(grid: &Grid, peer: &str, mode: &str) -> Vec<f64> {
    let rows = grid.rows(peer, mode).into_iter();
    rows.map(|(_, row)| row.cpu_us).collect()
}

/// The least and the most; nothing is in no bounds.
fn bounds(figures: &[f64]) -> (f64, f64) {
    let fold = |pick: fn(f64, f64) -> f64| figures.iter().copied().reduce(pick).unwrap_or(f64::NAN);
    (fold(f64::min), fold(f64::max))
}

/// A figure at the most connections.
fn last(rows: &[(u32, &Row)], value: impl Fn(&Row) -> f64) -> (u32, f64) {
    rows.last().map_or((0, f64::NAN), |(connections, row)| {
        (*connections, value(row))
    })
}
