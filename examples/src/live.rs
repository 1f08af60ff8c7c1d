//! A view of a manager that stays in its place on a terminal: connections, rates, what happened
//! last, and why there are not more peers.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::Duration;

use console::{Term, style, truncate_str};
use indicatif::HumanBytes;
use jiff::Timestamp;
use p2p_tokio::{ConnectionInfo, ConnectionState, Explanation, MessageCounts, Stats};

use crate::explain;

/// Events that are kept: more than any screen shows.
const EVENTS: usize = 200;
/// Commands whose rates are shown, the most frequent ones.
const COMMANDS: usize = 6;
/// The column of addresses, at least: one of version 4.
const NARROWEST: usize = 15;
/// Lines that are always there: title, explanation, rates and headings.
const FIXED_LINES: usize = 10;

/// The terminal, as long as the view is on it. When this is dropped, what was there before is
/// back.
#[derive(Debug)]
pub struct Screen {
    terminal: Term,
}

/// What is shown.
#[derive(Debug)]
pub struct View {
    title: String,
    events: VecDeque<String>,
    before: Option<Stats>,
}

/// How things are now.
#[derive(Debug)]
pub struct Snapshot {
    /// Everything that is counted.
    pub stats: Stats,
    /// All connections.
    pub connections: Vec<ConnectionInfo>,
    /// Why there are no more.
    pub explanation: Explanation,
    /// How long it is since the last one.
    pub since: Duration,
    /// When.
    pub now: Timestamp,
}

impl Screen {
    /// Takes the terminal; `None` if standard output is none, or one that can do nothing.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn take() -> io::Result<Option<Self>> {
        let terminal = Term::stdout();
        if !terminal.is_term() || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return Ok(None);
        }
        // The alternate screen, without a cursor.
        (&terminal).write_all(b"\x1b[?1049h\x1b[?25l")?;
        Ok(Some(Self { terminal }))
    }

    /// Shows lines, in place of those before, without flicker.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn show(&self, view: &mut View, snapshot: &Snapshot) -> io::Result<()> {
        let (height, width) = self.terminal.size();
        let mut text = String::from("\x1b[H");
        let lines = view.lines(snapshot, height.into());
        for line in &lines {
            text.push_str(&truncate_str(line, width.into(), "…"));
            // The rest of what was in this line.
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        (&self.terminal).write_all(text.as_bytes())?;
        self.terminal.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = (&self.terminal).write_all(b"\x1b[?25h\x1b[?1049l");
    }
}

impl View {
    /// A view under this title, with nothing in it.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            events: VecDeque::new(),
            before: None,
        }
    }

    /// Something has happened.
    pub fn event(&mut self, line: String) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(line);
    }

    /// The lines of a screen of this size, no more than fit.
    pub fn lines(&mut self, snapshot: &Snapshot, height: usize) -> Vec<String> {
        let Snapshot { stats, now, .. } = snapshot;
        let mut lines = vec![
            format!(
                "{}  {}",
                style(&self.title).bold(),
                now.strftime("%H:%M:%S UTC")
            ),
            explain::line(&snapshot.explanation, *now),
            String::new(),
        ];
        lines.extend(self.rates(snapshot));
        lines.push(ends(stats));
        lines.push(String::new());
        // One line stays free: what ends in the last one would scroll.
        let room = height.saturating_sub(FIXED_LINES + 1);
        lines.extend(connections(&snapshot.connections, room / 2));
        lines.push(String::new());
        lines.push(heading("LATEST EVENTS"));
        let room = height.saturating_sub(lines.len() + 1);
        let first = self.events.len().saturating_sub(room);
        lines.extend(self.events.iter().skip(first).cloned());
        lines.truncate(height.saturating_sub(1));
        self.before = Some(stats.clone());
        lines
    }

    /// What flows, and how much did.
    fn rates(&self, snapshot: &Snapshot) -> [String; 2] {
        let stats = &snapshot.stats;
        // What came before the first look came at no rate.
        let before = self.before.as_ref().unwrap_or(stats);
        let per_second = |n: u64, before: u64| {
            // A view that is late shows the average.
            let seconds = snapshot.since.as_secs_f64().max(0.001);
            (n.saturating_sub(before) as f64 / seconds).round() as u64
        };
        let line = |what: &str, bytes: [u64; 2], counts: [&Counts; 2]| {
            let [now, then] = bytes;
            let rate = HumanBytes(per_second(now, then)).to_string();
            let total = HumanBytes(now).to_string();
            let mut commands: Vec<_> = counts[0]
                .iter()
                .map(|(command, count)| {
                    let before = counts[1].get(command).copied().unwrap_or_default();
                    (
                        per_second(count.messages, before.messages),
                        count.messages,
                        *command,
                    )
                })
                .collect();
            commands.sort_by(|a, b| b.cmp(a));
            let commands =
                commands
                    .iter()
                    .take(COMMANDS)
                    .map(|(rate, total, command)| match rate {
                        0 => format!("{command} {total}"),
                        rate => format!("{command} {total} ({rate}/s)"),
                    });
            let commands = commands.collect::<Vec<_>>().join("  ");
            format!("{what:<9}{total:>11}{rate:>12}/s   {commands}")
        };
        [
            line(
                "received",
                [stats.bytes_received, before.bytes_received],
                [&stats.messages_received, &before.messages_received],
            ),
            line(
                "sent",
                [stats.bytes_sent, before.bytes_sent],
                [&stats.messages_sent, &before.messages_sent],
            ),
        ]
    }
}

type Counts = BTreeMap<&'static str, MessageCounts>;

/// Why connections ended, the most frequent reasons first.
fn ends(stats: &Stats) -> String {
    let mut reasons: BTreeMap<_, u64> = BTreeMap::new();
    for ((reason, _), count) in stats.failed.iter().chain(&stats.lost) {
        *reasons.entry(*reason).or_default() += count;
    }
    let total: u64 = reasons.values().sum();
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|&(reason, count)| (std::cmp::Reverse(count), reason));
    let reasons = reasons.iter().take(COMMANDS);
    let reasons: Vec<_> = reasons
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    format!(
        "{:<9}{total:>11}{:>14}   {}",
        "ended",
        "",
        reasons.join("  ")
    )
}

/// A line each, those that are admitted first, and how many more there are.
fn connections(connections: &[ConnectionInfo], room: usize) -> Vec<String> {
    let mut connections: Vec<_> = connections.iter().collect();
    let is_admitted = |info: &ConnectionInfo| info.state == ConnectionState::Connected;
    connections.sort_by_key(|info| (!is_admitted(info), std::cmp::Reverse(info.age)));
    let room = room.max(1);
    let shown = match connections.len() > room {
        true => room - 1,
        false => connections.len(),
    };
    let addresses = connections[..shown]
        .iter()
        .map(|info| info.address.to_string());
    let addresses: Vec<_> = addresses.collect();
    let column = addresses.iter().map(String::len).max().unwrap_or_default();
    let column = column.max(NARROWEST);
    let mut lines = vec![heading(&format!(
        "{:<column$} {:<4} {:<10} {:>6} {:>9} {:>10} {:>10}  {}",
        "PEER", "DIR", "STATE", "AGE", "PING", "RECEIVED", "SENT", "AGENT"
    ))];
    for (info, address) in connections.iter().zip(addresses) {
        let direction = if info.is_inbound { "in" } else { "out" };
        let ping = match info.latency {
            Some(latency) => format!("{:.1} ms", latency.as_secs_f64() * 1e3),
            None => "-".into(),
        };
        let agent = info.peer.as_ref().map_or(String::new(), |peer| {
            format!("{}  height {}", peer.user_agent, peer.height)
        });
        lines.push(format!(
            "{address:<column$} {:<4} {:<10} {:>6} {:>9} {:>10} {:>10}  {}",
            direction,
            state(info.state),
            age(info.age),
            ping,
            HumanBytes(info.traffic.bytes_received).to_string(),
            HumanBytes(info.traffic.bytes_sent).to_string(),
            agent
        ));
    }
    match connections.len() - shown {
        0 => {}
        more => lines.push(format!("and {more} more")),
    }
    lines
}

/// In a word.
fn state(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::AwaitingHandshake => "handshake",
        ConnectionState::Failed => "closing",
        other => other.name(),
    }
}

fn heading(text: &str) -> String {
    style(text).dim().to_string()
}

/// In the largest unit that it has two of.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
