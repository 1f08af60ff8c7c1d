//! What the serving process has used: its CPU time and its memory, as /proc tells.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

/// The state of a socket that listens, in /proc/net/tcp.
const LISTENING: &str = "0A";

/// The process that serves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: u32,
}

impl Process {
    /// The process that listens at this address.
    pub(crate) fn listening_at(address: SocketAddr) -> Option<Self> {
        let inode = listening_inode(address)?;
        let link = format!("socket:[{inode}]");
        let pids = fs::read_dir("/proc").ok()?.flatten();
        let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let pid = pids.find(|pid: &u32| {
            let files = fs::read_dir(format!("/proc/{pid}/fd"));
            files.into_iter().flatten().flatten().any(|file| {
                fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
            })
        })?;
        Some(Self { pid })
    }

    /// What its threads have used so far.
    pub(crate) fn cpu(self) -> Result<Cpu, String> {
        let path = format!("/proc/{}/task", self.pid);
        let threads = fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?;
        let threads = threads.flatten().filter_map(|thread| {
            let id = thread.file_name().to_str()?.parse().ok()?;
            // Its first number: nanoseconds on a processor, in user mode and in the kernel.
            let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let nanos = stat.split_whitespace().next()?.parse().ok()?;
            Some((id, nanos))
        });
        let cpu = Cpu(threads.collect());
        if cpu.0.is_empty() {
            return Err(format!(
                "{path} tells of no CPU time: no schedstat in this kernel?"
            ));
        }
        Ok(cpu)
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(self) -> Result<u64, String> {
        // Exact; the counters of statm are brought up to date in batches.
        let rollup = self.read("smaps_rollup")?;
        self.kib(&rollup, "Rss:")
    }

    /// The most resident memory that it ever had, in bytes.
    pub(crate) fn peak(self) -> Result<u64, String> {
        let status = self.read("status")?;
        self.kib(&status, "VmHWM:")
    }

    fn read(self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }

    fn kib(self, text: &str, name: &str) -> Result<u64, String> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        let kib = kib.ok_or_else(|| format!("process {} has no {name}", self.pid))?;
        Ok(kib * 1024)
    }
}

/// Nanoseconds that each thread has used.
#[derive(Debug)]
pub(crate) struct Cpu(HashMap<u32, u64>);

impl Cpu {
    /// What was used since then. What a thread used last that has ended meanwhile is not known.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let used = self
            .0
            .iter()
            .map(|(id, nanos)| nanos.saturating_sub(before.0.get(id).copied().unwrap_or(0)));
        Duration::from_nanos(used.sum())
    }
}

/// The inode of the socket that listens at this address or at all.
fn listening_inode(address: SocketAddr) -> Option<u64> {
    let port = format!(":{:04X}", address.port());
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let mut tables = tables
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok());
    tables.find_map(|table| {
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTENING;
            listens.then(|| fields.get(9)?.parse().ok()).flatten()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_where_it_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let process = Process::listening_at(listener.local_addr().unwrap()).unwrap();
        assert_eq!(process.pid, std::process::id());
        assert!(process.resident().unwrap() > 100_000);
        assert!(process.peak().unwrap() > 100_000);
        let before = process.cpu().unwrap();
        while process.cpu().unwrap().since(&before) < Duration::from_millis(20) {}
    }
}
