//! Programs that run, and what they say.

use std::io::{BufRead, BufReader, Lines, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program, built by the same `cargo test` that runs this.
pub(crate) fn program(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let mut command = Command::new(path.join("examples").join(name));
    command.env_remove("RUST_LOG");
    command
}

/// Runs a program to its end.
pub(crate) fn run(name: &str, arguments: &[&str]) -> Output {
    program(name).args(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What a program that went well has said; nothing went to standard error.
pub(crate) fn success(output: &Output) -> &str {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(err, "");
    out
}

/// The objects that a program has printed, one a line.
pub(crate) fn objects(output: &Output) -> Vec<Value> {
    success(output).lines().map(object).collect()
}

pub(crate) fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
}

/// The first of the objects whose `key` is `name`.
pub(crate) fn find<'a>(objects: &'a [Value], key: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object[key] == name);
    found.unwrap_or_else(|| panic!("no {key} {name} in {objects:?}"))
}

pub(crate) fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

/// A program that failed has said why in one line, and nothing else.
pub(crate) fn assert_fails(name: &str, arguments: &[&str], part: &str) {
    let output = run(name, arguments);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{name} {arguments:?}: {err}");
    assert_eq!(text(&output.stdout), "", "{name} {arguments:?}");
    assert_eq!(err.lines().count(), 1, "{name} {arguments:?}: {err}");
    assert!(
        err.starts_with("error: ") && err.contains(part),
        "{name} {arguments:?}: {err}"
    );
}

/// The path of a file of this run's own; there is none yet.
pub(crate) fn fresh_file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.join(std::process::id().to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    // A process that had the same id may have left one.
    let _ = std::fs::remove_file(&path);
    path
}

/// A listener that says nothing to whoever connects, and its address.
pub(crate) fn silent_peer() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A program that runs. It is to end by itself, by its `--duration`, should a test wait for
/// something that does not come.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What was read so far.
    pub(crate) seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = program(name);
        command.args(arguments).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
            seen: Vec::new(),
        }
    }

    /// Reads up to a line that holds this.
    pub(crate) fn line_with(&mut self, part: &str) -> String {
        for line in &mut self.lines {
            let line = line.unwrap();
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
        panic!("{part:?} did not come:\n{}", self.seen.join("\n"));
    }

    /// Reads until each of these was in a line, in any order.
    pub(crate) fn lines_with(&mut self, parts: &[&str]) {
        for part in parts {
            if !self.seen.iter().any(|line| line.contains(part)) {
                self.line_with(part);
            }
        }
    }

    /// Presses Ctrl-C, and waits for the end: in good order, and soon. Tells what was printed.
    pub(crate) fn interrupt(mut self) -> Vec<String> {
        let start = Instant::now();
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(sent.success());
        let mut lines = std::mem::take(&mut self.seen);
        lines.extend(self.lines.by_ref().map(|line| line.unwrap()));
        let code = self.child.wait().unwrap().code();
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        assert_eq!((code, &errors[..]), (Some(0), ""), "{}", lines.join("\n"));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{}", lines.join("\n"));
        lines
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
