//! Foreign peers: other people's software, run as child processes on loopback.
//!
//! The scripts are in `tests/peers`; `scripts/install-test-peers` installs what they run on.
//! It is looked for in `$P2P_TEST_PEERS`; where that is not set, in `test-peers` under cargo's
//! target directory, then in `target/test-peers` of the workspace. A test whose peer is not
//! there fails: an interop test that skips itself proves nothing.
//!
//! A process ends when its value here is dropped, and, as the scripts end with their stdin, when
//! the test process dies in whatever way.

use std::collections::VecDeque;
use std::env;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take: far more than it does, even on a machine with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of a peer's output that are kept until somebody waits for them.
const MAX_LINES: usize = 4096;

/// Lines of a peer's stderr that are worth showing.
const MAX_STDERR: usize = 20;

/// Software that listens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listener {
    /// A full node that mines its own chain (`bnode-peer.js`).
    Bcash,
    /// The node that bcash was made from.
    Bcoin,
    /// Sends verack before version (`bitcore-peer.js`).
    Bitcore,
    /// A classic peer without extensions (`pybitcoinlib-peer.py`).
    PythonBitcoinlib,
}

/// Software that dials.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dialler {
    /// A full node's peer class (`bnode-client.js`).
    Bcash,
    /// The one that it was made from.
    Bcoin,
    /// A Bitcoin SV client library (`bsvp2p-client.js`).
    BsvP2p,
    /// Hangs up on every command that it does not know (`bitcore-peer.js`).
    Bitcore,
    /// A classic peer without extensions (`pybitcoinlib-peer.py`).
    PythonBitcoinlib,
}

impl Listener {
    #[track_caller]
    fn command(self) -> Command {
        match self {
            Self::Bcash => node("bnode-peer.js", "bcash", "node_modules/bcash"),
            Self::Bcoin => node("bnode-peer.js", "bcoin", "node_modules/bcoin"),
            Self::Bitcore => {
                let mut command = node("bitcore-peer.js", "bitcore", "node_modules");
                command.arg("--listen");
                command
            }
            Self::PythonBitcoinlib => {
                let mut command = python("pybitcoinlib-peer.py", "python-bitcoinlib");
                command.arg("listen");
                command
            }
        }
    }
}

impl Dialler {
    #[track_caller]
    fn command(self, port: u16) -> Command {
        let (mut command, option) = match self {
            Self::Bcash => (
                node("bnode-client.js", "bcash", "node_modules/bcash"),
                "--port",
            ),
            Self::Bcoin => (
                node("bnode-client.js", "bcoin", "node_modules/bcoin"),
                "--port",
            ),
            Self::BsvP2p => (
                node("bsvp2p-client.js", "bsv-p2p", "node_modules/bsv-p2p"),
                "--port",
            ),
            Self::Bitcore => (
                node("bitcore-peer.js", "bitcore", "node_modules"),
                "--connect",
            ),
            Self::PythonBitcoinlib => (
                python("pybitcoinlib-peer.py", "python-bitcoinlib"),
                "connect",
            ),
        };
        command.args([option, &port.to_string()]);
        command
    }
}

/// A foreign peer that listens.
#[derive(Debug)]
pub(crate) struct ForeignNode {
    /// The port, on 127.0.0.1.
    pub port: u16,
    /// What it said of itself when it was ready: `impl`, `agent`, `height`, `tip`, ...
    pub ready: Value,
    process: Process,
}

impl ForeignNode {
    /// Starts it, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(listener: Listener, options: &[&str]) -> Self {
        let mut command = listener.command();
        command.args(options);
        let process = Process::spawn(format!("{listener:?}"), command);
        let ready = process.wait_for("READY", |line| line["event"] == "READY");
        let port = ready["port"].as_u64().and_then(|port| port.try_into().ok());
        let port = port.unwrap_or_else(|| process.fail("READY without a port"));
        Self {
            port,
            ready,
            process,
        }
    }

    /// Writes a command to its stdin.
    #[track_caller]
    pub(crate) fn command(&mut self, line: &str) {
        let written = match &mut self.process.stdin {
            Some(stdin) => writeln!(stdin, "{line}"),
            None => Ok(()),
        };
        if let Err(error) = written {
            self.process.fail(&format!("{line:?} not written: {error}"));
        }
    }

    /// The first line of its output that matches and that nobody was given before.
    ///
    /// `what` says in the panic message what did not come.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        self.process.wait_for(what, matches)
    }

    /// The same without waiting: `None` where there is no such line yet.
    pub(crate) fn take(&self, matches: impl Fn(&Value) -> bool) -> Option<Value> {
        self.process.output.lock().take(&matches)
    }
}

/// A foreign peer that dials us.
#[derive(Debug)]
pub(crate) struct ForeignClient {
    process: Process,
}

impl ForeignClient {
    /// Starts it; it dials 127.0.0.1 at `port`.
    #[track_caller]
    pub(crate) fn spawn(dialler: Dialler, port: u16, options: &[&str]) -> Self {
        let mut command = dialler.command(port);
        command.args(options);
        Self {
            process: Process::spawn(format!("{dialler:?}"), command),
        }
    }

    /// What it has done, once it has ended by itself, and how it ended.
    #[track_caller]
    pub(crate) fn finish(mut self) -> (Value, ExitStatus) {
        let done = self
            .process
            .wait_for("DONE", |line| line["event"] == "DONE");
        // The scripts exit right after that line.
        match self.process.child.wait() {
            Ok(status) => (done, status),
            Err(error) => self.process.fail(&format!("no exit status: {error}")),
        }
    }
}

/// A child process, its output collected by two threads.
#[derive(Debug)]
struct Process {
    name: String,
    command_line: String,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Output {
    collected: Mutex<Collected>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Collected {
    lines: VecDeque<Value>,
    stderr: VecDeque<String>,
    /// Of stdout and stderr, how many have ended: both when the process has.
    ended: usize,
}

impl Collected {
    fn take(&mut self, matches: impl Fn(&Value) -> bool) -> Option<Value> {
        let at = self.lines.iter().position(matches)?;
        self.lines.remove(at)
    }
}

impl Process {
    #[track_caller]
    fn spawn(name: String, mut command: Command) -> Self {
        let command_line = format!("{command:?}");
        let spawned = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => panic!(
                "{name} could not be started ({error}): run scripts/install-test-peers\n  {command_line}"
            ),
        };
        let output = Arc::new(Output::default());
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let output = Arc::clone(&output);
            readers.push(thread::spawn(move || output.collect_stdout(stdout)));
        }
        if let Some(stderr) = child.stderr.take() {
            let output = Arc::clone(&output);
            readers.push(thread::spawn(move || output.collect_stderr(stderr)));
        }
        Self {
            name,
            command_line,
            stdin: child.stdin.take(),
            child,
            output,
            readers,
        }
    }

    #[track_caller]
    fn wait_for(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut collected = self.output.lock();
        loop {
            if let Some(line) = collected.take(&matches) {
                return line;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = collected.ended == self.readers.len();
            if ended || left.is_zero() {
                let why = if ended { "it ended" } else { "too late" };
                drop(collected);
                self.fail(&format!("no {what}: {why}"));
            }
            let waited = self.output.changed.wait_timeout(collected, left);
            collected = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// Panics with all that is known about the process.
    #[track_caller]
    fn fail(&self, problem: &str) -> ! {
        let mut report = format!("{}: {problem}\n  {}", self.name, self.command_line);
        let collected = self.output.lock();
        let from = collected.lines.len().saturating_sub(MAX_STDERR);
        for line in collected.lines.iter().skip(from) {
            let _ = write!(report, "\n  stdout: {line}");
        }
        for line in &collected.stderr {
            let _ = write!(report, "\n  stderr: {line}");
        }
        drop(collected);
        panic!("{report}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        // Nothing is left half-done under this lock.
        self.collected
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn collect_stdout(&self, stdout: impl Read) {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let mut collected = self.lock();
            if collected.lines.len() == MAX_LINES {
                collected.lines.pop_front();
            }
            collected.lines.push_back(parse_line(&line));
            self.changed.notify_all();
        }
        self.end_one();
    }

    fn collect_stderr(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut collected = self.lock();
            if collected.stderr.len() == MAX_STDERR {
                collected.stderr.pop_front();
            }
            collected.stderr.push_back(line);
        }
        self.end_one();
    }

    fn end_one(&self) {
        self.lock().ended += 1;
        self.changed.notify_all();
    }
}

/// `READY {..}` and `DONE {..}` become events of that name; other lines are events already.
fn parse_line(line: &str) -> Value {
    for word in ["READY", "DONE"] {
        let Some(json) = line.strip_prefix(word) else {
            continue;
        };
        if let Ok(mut about @ Value::Object(_)) = serde_json::from_str(json) {
            about["event"] = word.into();
            return about;
        }
    }
    serde_json::from_str(line).unwrap_or_else(|_| line.into())
}

#[track_caller]
fn node(script: &str, peer: &str, root: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(scripts().join(script));
    command.arg("--root").arg(installed(peer).join(root));
    command
}

#[track_caller]
fn python(script: &str, peer: &str) -> Command {
    let mut command = Command::new(installed(peer).join("venv/bin/python"));
    command.arg(scripts().join(script));
    command
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// The directory that a peer is installed in.
#[track_caller]
fn installed(peer: &str) -> PathBuf {
    let places = match env::var_os("P2P_TEST_PEERS") {
        Some(place) => vec![PathBuf::from(place)],
        None => vec![
            Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-peers"),
            Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/test-peers"),
        ],
    };
    // The file that the installation writes last.
    let complete = places
        .iter()
        .find(|place| place.join(peer).join("installed").is_file());
    match complete {
        Some(place) => place.join(peer),
        None => panic!(
            "the test peer {peer} is not installed: run scripts/install-test-peers (looked in {places:?})"
        ),
    }
}
