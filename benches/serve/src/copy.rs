//! Reads and drops: what TCP on loopback can do.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::{Result, ready, wait_for_end};

/// Bytes of one read.
const READ: usize = 256 * 1024;

pub(crate) fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drain(stream);
        }
    });
    ready("copy", port);
    wait_for_end();
    Ok(())
}

fn drain(mut stream: TcpStream) {
    let mut buffer = vec![0; READ];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}
