//! Drives a Bitcoin peer on loopback, and tells what that cost its process.
//!
//! One thread, frames that are encoded beforehand, and a reader that looks at headers only: what
//! it costs itself is little beside any peer. Everything is bounded, and ends.

mod crowd;
mod peer;
mod process;
mod report;
mod stream;
mod wire;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crowd::{Crowd, Done, Target};
use peer::Work;
use process::Process;
use report::{Report, Row};

/// Pings that each connection has under way.
const PINGS: u64 = 64;
/// Invs before each ping.
const INVS: u64 = 63;
/// Entries of each inv.
const ENTRIES: u8 = 8;
/// Bytes of a block in the mode `blocks`.
const BLOCK: usize = 1 << 20;
/// Files beside the connections.
const OTHER_FILES: u64 = 64;

/// Drives pings, inv, blocks and idle connections against a Bitcoin peer on loopback, and prints
/// CPU per message and memory per connection of the process that serves.
///
/// Handshakes are always measured; the modes that follow use the same connections, one after the
/// other.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
struct Options {
    /// Where the peer listens; an address of loopback.
    address: SocketAddr,
    /// What to do, in this order.
    modes: Vec<Mode>,
    /// Connections.
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// How long each mode lasts, in seconds; then whatever is under way is waited for.
    #[arg(short, long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How long the mode `idle` lasts, in seconds; as the others if it is not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    idle_seconds: Option<u64>,
    /// How long the peer may leave something unanswered, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    /// The magic of the peer's network, 8 hex digits; regtest's by default.
    #[arg(long, default_value = "dab5bffa", value_parser = magic)]
    magic: wire::Magic,
    /// How the connections name themselves.
    #[arg(long, default_value = "/Bitcoin SV:1.2.2/")]
    agent: String,
    /// The process that serves; found by the address if it is not given.
    #[arg(long)]
    pid: Option<u32>,
    /// Bytes of `stream` and `copy`, in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=16_384))]
    mib: u64,
    /// Bytes of the transaction of `broadcast`.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(100..=1 << 20))]
    tx_bytes: u32,
    /// JSON rather than a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Nothing beyond the handshakes.
    Handshakes,
    /// 64 pings in a write, and the next 64 when all are answered.
    Ping,
    /// 63 inv of 8 transactions and a ping, twice; the next when the ping is answered.
    Inv,
    /// A block of 1 MiB and a ping, four times; the next when the ping is answered.
    Blocks,
    /// Silence, but for the other end's pings.
    Idle,
    /// A transaction of `--tx-bytes`, which the peer relays to all connections, its sender too.
    Broadcast,
    /// One block of `--mib`, in an extended frame, on the last connection.
    Stream,
    /// The same bytes to a peer that reads them and hangs up: no handshakes, no protocol.
    Copy,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Handshakes => "handshakes",
            Self::Ping => "ping",
            Self::Inv => "inv",
            Self::Blocks => "blocks",
            Self::Idle => "idle",
            Self::Broadcast => "broadcast",
            Self::Stream => "stream",
            Self::Copy => "copy",
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if !options.address.ip().is_loopback() {
        return Err(format!(
            "{} is not an address of loopback: this program is not for other people's machines",
            options.address
        ));
    }
    let files = u64::from(options.connections) + OTHER_FILES;
    let raised = rlimit::increase_nofile_limit(files).unwrap_or(0);
    if raised < files {
        return Err(format!(
            "{} connections need {files} files, and the limit is {raised}: raise it by ulimit -Hn",
            options.connections
        ));
    }
    let process = match options.pid {
        Some(pid) => Process { pid },
        None => Process::listening_at(options.address)
            .ok_or("the process that listens there is not known: give its --pid")?,
    };
    let report = Run::new(options, process)?.report()?;
    if options.json {
        let json = serde_json::to_string(&report);
        println!("{}", json.map_err(|error| error.to_string())?);
    } else {
        report.print_table();
    }
    Ok(())
}

struct Run<'a> {
    options: &'a Options,
    process: Process,
    target: Target,
    /// Resident bytes, and their peak, before the first connection.
    before: (u64, u64),
    rows: Vec<Row>,
}

impl<'a> Run<'a> {
    fn new(options: &'a Options, process: Process) -> Result<Self, String> {
        Ok(Self {
            options,
            process,
            target: Target {
                address: options.address,
                magic: options.magic,
                agent: options.agent.clone(),
                patience: Duration::from_secs(options.patience),
            },
            before: (process.resident()?, process.peak()?),
            rows: Vec::new(),
        })
    }

    fn report(mut self) -> Result<Report, String> {
        let modes = &self.options.modes;
        if modes.contains(&Mode::Copy) {
            let (length, target) = (self.options.mib << 20, self.target.clone());
            self.measure(Mode::Copy, length, || stream::copy(&target, length))?;
        } else {
            let mut crowd = Crowd::new(self.target.clone())?;
            let count = self.options.connections as usize;
            self.measure(Mode::Handshakes, 0, || crowd.open(count))?;
            for mode in modes.iter().filter(|&&mode| mode != Mode::Handshakes) {
                self.run(*mode, &mut crowd)?;
            }
        }
        Ok(Report {
            address: self.options.address.to_string(),
            pid: self.process.pid,
            connections: self.options.connections as usize,
            rows: self.rows,
        })
    }

    fn run(&mut self, mode: Mode, crowd: &mut Crowd) -> Result<(), String> {
        let time = Duration::from_secs(self.options.seconds);
        let (magic, patience) = (self.options.magic, self.target.patience);
        match mode {
            Mode::Ping | Mode::Inv | Mode::Blocks => {
                let work = work(mode, magic);
                // Queues and buffers reach their size before anything is measured.
                crowd.work(&work, Duration::ZERO)?;
                let bytes = if mode == Mode::Blocks {
                    BLOCK as u64
                } else {
                    0
                };
                self.measure(mode, bytes, || crowd.work(&work, time))
            }
            Mode::Idle => {
                let time = self.options.idle_seconds.map_or(time, Duration::from_secs);
                self.measure(mode, 0, || crowd.idle(time))
            }
            Mode::Broadcast => {
                let length = self.options.tx_bytes as usize;
                crowd.wait_until_relayed(length)?;
                self.measure(mode, 0, || crowd.relay(length, time))
            }
            Mode::Stream => {
                let length = self.options.mib << 20;
                self.measure(mode, length, || {
                    stream::block(crowd, magic, length, patience)
                })
            }
            // Done already.
            Mode::Handshakes | Mode::Copy => Ok(()),
        }
    }

    /// A row of what the process has used for what `act` did; `bytes` is a message's payload
    /// where it is what counts.
    fn measure(
        &mut self,
        mode: Mode,
        bytes: u64,
        act: impl FnOnce() -> Result<Done, String>,
    ) -> Result<(), String> {
        let cpu = self.process.cpu()?;
        let Done { messages, elapsed } = act()?;
        let cpu = self.process.cpu()?.since(&cpu).as_secs_f64();
        let seconds = elapsed.as_secs_f64();
        // Of an idle connection, what it costs in a second.
        let of = messages as f64 * if mode == Mode::Idle { seconds } else { 1.0 };
        let resident = self.process.resident()?.saturating_sub(self.before.0);
        self.rows.push(Row {
            mode: mode.name(),
            messages,
            seconds,
            per_second: messages as f64 / seconds,
            cpu_us: cpu / of * 1e6,
            cores: cpu / seconds,
            bytes_per_second: (bytes > 0).then(|| (bytes * messages) as f64 / seconds),
            resident_each: resident as f64 / f64::from(self.options.connections),
            peak_growth: self.process.peak()?.saturating_sub(self.before.1),
        });
        Ok(())
    }
}

fn work(mode: Mode, magic: wire::Magic) -> Work {
    let ping = |nonce: u64| wire::frame(magic, "ping", &nonce.to_le_bytes());
    match mode {
        Mode::Inv => {
            let invs = (0..INVS).flat_map(|number| wire::inv(magic, number, ENTRIES));
            Work {
                batch: invs.chain(ping(0)).collect(),
                messages: INVS,
                answers: 1,
                depth: 2,
            }
        }
        Mode::Blocks => {
            let mut batch = wire::frame(magic, "block", &wire::block(BLOCK));
            batch.extend(ping(0));
            Work {
                batch,
                messages: 1,
                answers: 1,
                depth: 4,
            }
        }
        _ => Work {
            batch: (0..PINGS).flat_map(ping).collect(),
            messages: PINGS,
            answers: PINGS as u32,
            depth: 1,
        },
    }
}

fn magic(text: &str) -> Result<wire::Magic, String> {
    let number = u32::from_str_radix(text, 16);
    match number {
        Ok(number) if text.len() == 8 => Ok(number.to_be_bytes()),
        _ => Err("8 hex digits, as dab5bffa".into()),
    }
}
