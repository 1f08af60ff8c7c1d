//! A PostgreSQL server of the test's own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use super::Folder;

/// A server with an empty database, on a port and in a folder of its own, with fsync, as every
/// real one. It is stopped and removed when its owner goes, however that happens.
#[derive(Debug)]
pub(crate) struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    settings: &'static str,
    /// Waits for the end of its input, which comes with ours, and cleans up.
    warden: Child,
}

impl Server {
    /// One that all tests of a program share: each has a schema of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(""))
    }

    /// One with these settings beside the usual ones (`-c name=value …`).
    pub(crate) fn start(settings: &'static str) -> Self {
        let server = Self::stopped(settings);
        server.up();
        server
    }

    /// One that takes connections with TLS only; its certificate is for its IP, and from a root of
    /// its own, whose certificate (PEM) comes with it.
    pub(crate) fn secured() -> (Self, PathBuf) {
        let server = Self::stopped("-c ssl=on");
        let rules = Path::new(&server.data()).join("pg_hba.conf");
        fs::write(rules, "hostssl all all 127.0.0.1/32 trust\n").unwrap();
        let root = ["-keyout", "root.key", "-out", "root.crt"];
        server.certify("/CN=root", &root, "basicConstraints=critical,CA:TRUE");
        // Where the server looks by itself. It starts only if nobody else can read the key.
        let own = ["-keyout", "data/server.key", "-out", "data/server.crt"];
        let signed = [own, ["-CA", "root.crt", "-CAkey", "root.key"]].concat();
        server.certify("/CN=server", &signed, "subjectAltName=IP:127.0.0.1");
        let root = server.folder.join("root.crt");
        server.up();
        (server, root)
    }

    fn certify(&self, subject: &str, files: &[&str], extension: &str) {
        let request = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 \
                       -config request.conf";
        // The system's own settings add extensions that contradict ours.
        let settings = self.folder.join("request.conf");
        fs::write(settings, "[req]\ndistinguished_name = name\n[name]\n").unwrap();
        let mut arguments: Vec<_> = request.split_whitespace().collect();
        arguments.extend(["-subj", subject, "-addext", extension]);
        arguments.extend(files);
        self.run_program(Path::new("openssl"), &arguments);
    }

    fn stopped(settings: &'static str) -> Self {
        let programs = programs();
        let folder = Folder::new().keep();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        if is_root() {
            let owner = owner_of_server();
            chown(&folder, Some(owner), None).unwrap();
        }
        let warden = warden(&programs, &folder);
        let server = Self {
            programs,
            folder,
            port,
            settings,
            warden,
        };
        let data = server.data();
        server.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "p2p",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
            ],
        );
        server
    }

    /// How to reach it.
    pub(crate) fn config(&self) -> String {
        let port = self.port;
        format!("host=127.0.0.1 port={port} user=p2p dbname=postgres")
    }

    /// Stops it, as after the loss of power: nothing is written, no connection closed in order.
    pub(crate) fn crash(&self) {
        self.run(
            "pg_ctl",
            &["-D", &self.data(), "-m", "immediate", "-w", "stop"],
        );
    }

    pub(crate) fn up(&self) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c max_connections=200 {}",
            self.port,
            self.folder.display(),
            self.settings
        );
        let log = self.folder.join("log");
        let log = log.to_str().unwrap();
        self.run(
            "pg_ctl",
            &["-D", &self.data(), "-l", log, "-o", &options, "-w", "start"],
        );
    }

    fn data(&self) -> String {
        self.folder.join("data").to_str().unwrap().into()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        self.run_program(&self.programs.join(program), arguments);
    }

    fn run_program(&self, program: &Path, arguments: &[&str]) {
        let mut command = as_owner(program);
        // What it starts must not hold our output open.
        let Output { status, .. } = command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        if !status.success() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            panic!("{} {arguments:?}: {status}\n{log}", program.display());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        let _ = self.warden.wait();
    }
}

/// Debian keeps the server's programs apart from the path, by version.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<_> = versions
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort();
    found
        .pop()
        .expect("PostgreSQL is not installed: run scripts/install-test-postgres")
}

/// The server refuses to be root's.
fn as_owner(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn owner_of_server() -> u32 {
    let id = Command::new("id")
        .args(["-u", "postgres"])
        .output()
        .unwrap();
    let text = String::from_utf8(id.stdout).unwrap();
    text.trim()
        .parse()
        .expect("there is no user postgres: run scripts/install-test-postgres")
}

fn warden(programs: &Path, folder: &Path) -> Child {
    let stop = as_owner(&programs.join("pg_ctl"));
    let stop: Vec<_> = std::iter::once(stop.get_program())
        .chain(stop.get_args())
        .map(|part| part.to_str().unwrap())
        .collect();
    let folder = folder.display();
    let script = format!(
        "read -r _; cd /; {} -D {folder}/data -m immediate -w stop; rm -rf {folder}",
        stop.join(" ")
    );
    Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Who interrupts the tests must not interrupt this.
        .process_group(0)
        .spawn()
        .unwrap()
}
