//! The programs that are measured, and those that measure.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::Result;

/// How long a peer may take to listen, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    folder: PathBuf,
    benches: PathBuf,
    test_peers: PathBuf,
}

/// What the load program tells.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Report {
    pub(crate) connections: u32,
    rows: Vec<Row>,
}

/// One kind of work.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    mode: String,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) bytes_per_second: Option<f64>,
    pub(crate) resident_each: f64,
    pub(crate) peak_growth: u64,
}

impl Report {
    pub(crate) fn row(&self, mode: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.mode == mode)
    }
}

impl Programs {
    /// Those that were built with this one.
    pub(crate) fn beside_this(benches: &Path, test_peers: &Path) -> Result<Self> {
        let this = std::env::current_exe()?;
        let folder = this.parent().ok_or("this program is nowhere")?.to_owned();
        for program in ["load", "serve", "serve-mimalloc", "inside"] {
            if !folder.join(program).is_file() {
                return Err(format!(
                    "{program} is not in {}: build the whole workspace, as scripts/bench does",
                    folder.display()
                )
                .into());
            }
        }
        Ok(Self {
            folder,
            benches: benches.to_owned(),
            test_peers: test_peers.to_owned(),
        })
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        Command::new(self.folder.join(program))
    }

    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// A peer of ours.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Result<Peer> {
        self.start("serve", arguments)
    }

    /// The same, by another program than `serve`.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Result<Peer> {
        let mut command = self.command(program);
        command.args(arguments);
        Peer::start(command)
    }

    /// A foreign peer, by the name of its package.
    pub(crate) fn foreign(&self, package: &str) -> Result<Peer> {
        let root = self.test_peers.join(package).join("node_modules");
        if !root.join(package).is_dir() {
            return Err(format!(
                "{package} is not in {}: run scripts/install-test-peers",
                self.test_peers.display()
            )
            .into());
        }
        let mut command = Command::new("node");
        command
            .arg(self.benches.join("peers/bnode-serve.js"))
            .args(["--magic", "dab5bffa", "--root"])
            .arg(root.join(package));
        Peer::start(command)
    }

    /// Runs the load program against a peer.
    pub(crate) fn load(&self, peer: &Peer, arguments: &[&str]) -> Result<Report> {
        let mut command = self.command("load");
        command
            .arg(format!("127.0.0.1:{}", peer.port))
            .args(["--pid", &peer.child.id().to_string(), "--json"])
            .args(arguments);
        Ok(serde_json::from_str(&output(&mut command)?)?)
    }
}

/// What a program prints on the way to its good end.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?} did not start: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(why.trim().to_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A peer that listens. It ends with this value, or with this process.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    lines: Receiver<String>,
    port: u64,
}

impl Peer {
    fn start(mut command: Command) -> Result<Self> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("{command:?} did not start: {error}"))?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout)
                .lines()
                .map_while(std::io::Result::ok)
            {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self {
            child,
            lines,
            port: 0,
        };
        let ready = peer.wait_for("READY ")?;
        peer.port = ready["port"].as_u64().ok_or("READY without a port")?;
        Ok(peer)
    }

    /// Ends it, and tells what it has counted.
    pub(crate) fn end(mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        self.wait_for("DONE ")
    }

    fn wait_for(&self, what: &str) -> Result<Value> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.map_err(|_| format!("a peer has not said {what}"))?;
            if let Some(json) = line.strip_prefix(what) {
                return Ok(serde_json::from_str(json)?);
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
