//! What was measured, as a table or as JSON.

use serde::Serialize;

/// A run against one peer.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) address: String,
    pub(crate) pid: u32,
    pub(crate) connections: usize,
    pub(crate) rows: Vec<Row>,
}

/// One kind of work. CPU and memory are those of the serving process, its kernel time included;
/// memory that the kernel keeps for its sockets is not.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) mode: &'static str,
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// CPU of each message, in microseconds; of an idle connection each second.
    pub(crate) cpu_us: f64,
    /// CPU of the serving process: of how many cores.
    pub(crate) cores: f64,
    /// Payload bytes a second, where they are what counts.
    pub(crate) bytes_per_second: Option<f64>,
    /// Resident bytes of each connection at the end, beyond those before the first.
    pub(crate) resident_each: f64,
    /// How much the peak of resident memory has grown, in bytes.
    pub(crate) peak_growth: u64,
}

impl Report {
    pub(crate) fn print_table(&self) {
        println!(
            "{} (process {}), {} connections",
            self.address, self.pid, self.connections
        );
        println!(
            "{:<10} {:>12} {:>8} {:>12} {:>10} {:>6} {:>8} {:>16} {:>12}",
            "mode",
            "messages",
            "seconds",
            "a second",
            "CPU us",
            "cores",
            "MB/s",
            "KiB a connection",
            "peak growth"
        );
        for row in &self.rows {
            let megabytes = row
                .bytes_per_second
                .map_or_else(String::new, |bytes| format!("{:.0}", bytes / 1e6));
            println!(
                "{:<10} {:>12} {:>8.2} {:>12.0} {:>10.3} {:>6.2} {:>8} {:>16.1} {:>8.1} MiB",
                row.mode,
                row.messages,
                row.seconds,
                row.per_second,
                row.cpu_us,
                row.cores,
                megabytes,
                row.resident_each / 1024.0,
                row.peak_growth as f64 / f64::from(1 << 20),
            );
        }
    }
}
