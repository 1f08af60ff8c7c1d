//! A process that writes until it is killed, and what it said by then.
//!
//! It is this test program itself, started once more for its test `child`, which does nothing
//! unless it is told what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use p2p_core::Peer;
use p2p_store::{InMemoryPeerStore, PeerStore, RedbPeerStore};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{banned, peer};

const TASK: &str = "P2P_STORE_CHILD";
/// Peers that a child writes, shared out among its writers.
pub(crate) const PEERS: u32 = 64;
/// Peers beside them, of whom nothing is promised: they fill the disk.
pub(crate) const OTHERS: u32 = 4096;
const WRITERS: u32 = 4;
/// A writer that was refused this often has seen enough.
const ENOUGH: usize = 5;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Redb,
}

impl Kind {
    pub(crate) fn open(self, path: &Path) -> Arc<dyn PeerStore> {
        match self {
            Self::Json => Arc::new(InMemoryPeerStore::open(path).unwrap()),
            Self::Redb => Arc::new(RedbPeerStore::open(path).unwrap()),
        }
    }
}

/// A writer in a process of its own.
#[derive(Debug)]
pub(crate) struct Writer {
    child: Child,
    output: JoinHandle<Said>,
    /// What each line that was heard is about.
    heard: mpsc::Receiver<String>,
}

/// What a writer has said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// The version of each peer that was reported as stored: odd ones are bans.
    pub(crate) stored: BTreeMap<u32, u32>,
    /// The version that was under way.
    pub(crate) begun: BTreeMap<u32, u32>,
    /// Other peers that were stored, and those of them that were stored before a flush that is
    /// done, or under way.
    others: BTreeSet<u32>,
    flushing: BTreeMap<u32, BTreeSet<u32>>,
    pub(crate) flushed: BTreeSet<u32>,
    /// Errors that it was given.
    pub(crate) errors: Vec<String>,
    /// Those that it was given when there was room again.
    pub(crate) late_errors: Vec<String>,
    pub(crate) is_done: bool,
}

impl Writer {
    /// Starts one. `limit` is how long a file may get, in KiB: beyond it the disk is full.
    pub(crate) fn start(kind: Kind, path: &Path, seed: u64, limit: Option<u32>) -> Self {
        let program = std::env::current_exe().unwrap();
        let script = match limit {
            // In units of 512 bytes. The signal that comes with it would kill.
            Some(limit) => format!("trap '' XFSZ; ulimit -S -f {}; exec \"$@\"", limit * 2),
            None => "exec \"$@\"".into(),
        };
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(program)
            .args(["child", "--exact", "--nocapture", "--quiet"])
            .env(TASK, format!("{kind:?} {seed} {}", path.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (hears, heard) = mpsc::channel();
        let output = thread::spawn(move || {
            let mut said = Said::default();
            // What is not a whole line was cut off.
            for line in output.lines().map_while(Result::ok) {
                said.hear(&line);
                let about = line.split(' ').next().unwrap_or_default();
                // Nobody may wait for it.
                let _ = hears.send(about.to_owned());
            }
            said
        });
        Self {
            child,
            output,
            heard,
        }
    }

    /// Waits until it has said this so many times, or has ended.
    pub(crate) fn wait_for(&self, count: usize, about: &str) {
        let said = self.heard.iter().filter(|heard| heard == about);
        said.take(count).for_each(drop);
    }

    pub(crate) fn kill(mut self) -> Said {
        self.child.kill().unwrap();
        self.wait()
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> Said {
        self.child.wait().unwrap();
        self.output.join().unwrap()
    }
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let number = |n: usize| words[n].parse().unwrap();
        match words[0] {
            "begun" if words.len() == 4 => drop(self.begun.insert(number(1), number(2))),
            "stored" if words.len() == 4 => drop(self.stored.insert(number(1), number(2))),
            "other" if words.len() == 3 => drop(self.others.insert(number(1))),
            "flushing" if words.len() == 3 => {
                self.flushing.insert(number(1), self.others.clone());
            }
            "flushed" if words.len() == 3 => {
                self.flushed
                    .extend(self.flushing.remove(&number(1)).unwrap());
            }
            "error" => self.errors.push(words[1..].join(" ")),
            "late" => self.late_errors.push(words[1..].join(" ")),
            "done" => self.is_done = true,
            _ => {}
        }
    }
}

/// The record of a peer at this version: everything in it follows from both.
pub(crate) fn version(n: u32, version: u32) -> Peer {
    let mut peer = match version % 2 {
        1 => banned(n),
        _ => peer(n),
    };
    peer.restart_count = version;
    peer.user_agent = Some(format!("/{n}:{version}/").repeat(1 + version as usize % 100));
    peer
}

/// What a child does.
pub(crate) fn work() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let mut words = task.splitn(3, ' ');
    let kind = match words.next() {
        Some("Redb") => Kind::Redb,
        _ => Kind::Json,
    };
    let seed: u64 = words.next().unwrap().parse().unwrap();
    let store = kind.open(Path::new(words.next().unwrap()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), seed, writer)));
        let mut refused = false;
        for writer in writers.collect::<Vec<_>>() {
            refused |= writer.await.unwrap();
        }
        if refused {
            make_room();
            go_on(&*store).await;
        }
    });
    drop(store);
    println!("done");
}

/// Lifts the limit of our files.
fn make_room() {
    let pid = std::process::id().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    assert!(lifted.unwrap().success());
}

/// The same store, after a full disk: every call succeeds.
async fn go_on(store: &dyn PeerStore) {
    for n in 0..PEERS {
        let known = store.read(peer(n).id).await;
        let next = known.map_or(0, |peer| peer.restart_count) + 1;
        println!("begun {n} {next} .");
        match store.apply(&[version(n, next)]).await {
            Ok(()) => println!("stored {n} {next} ."),
            Err(error) => println!("late {error}"),
        }
    }
    println!("flushing {WRITERS} .");
    match store.flush().await {
        Ok(()) => println!("flushed {WRITERS} ."),
        Err(error) => println!("late {error}"),
    }
}

/// Writes; whether it was refused too often to go on.
async fn write(store: Arc<dyn PeerStore>, seed: u64, writer: u32) -> bool {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(writer) << 32);
    let mut refused = 0;
    for _ in 0..1_000 {
        let n = rng.random_range(0..PEERS / WRITERS) * WRITERS + writer;
        let known = match store.read(peer(n).id).await {
            Ok(peer) => peer.restart_count,
            Err(_) => 0,
        };
        let other = PEERS + rng.random_range(0..OTHERS);
        let mut batch = vec![version(other, 2 * rng.random_range(0..50))];
        // Alone, nothing but a flush makes the other durable.
        let is_promise = rng.random_range(0..2) == 0;
        if is_promise {
            println!("begun {n} {} .", known + 1);
            batch.push(version(n, known + 1));
        }
        match store.apply(&batch).await {
            Ok(()) if is_promise => println!("stored {n} {} .\nother {other} .", known + 1),
            Ok(()) => println!("other {other} ."),
            Err(error) => {
                println!("error {error}");
                refused += 1;
            }
        }
        if rng.random_range(0..10) == 0 {
            println!("flushing {writer} .");
            match store.flush().await {
                Ok(()) => println!("flushed {writer} ."),
                Err(error) => {
                    println!("error {error}");
                    refused += 1;
                }
            }
        }
        if refused == ENOUGH {
            return true;
        }
    }
    false
}
