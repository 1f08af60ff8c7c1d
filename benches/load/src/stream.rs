//! One payload of any size over one connection, and the same bytes without a protocol.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::crowd::{Crowd, Done, Target, connect};
use crate::wire::{self, Heard, Magic};

/// Written at once.
const CHUNK: usize = 256 * 1024;

/// Sends a `block` of `length` bytes as an extended frame, and waits for the pong of a ping
/// behind it. The peer may take none of it, or say nothing, for as long as `patience`.
pub(crate) fn block(
    crowd: &mut Crowd,
    magic: Magic,
    length: u64,
    patience: Duration,
) -> Result<Done, String> {
    let (mut socket, mut reader) = crowd.take()?;
    bound(&socket, patience)?;
    let begun = Instant::now();
    write(&mut socket, &wire::extended_header(magic, "block", length))?;
    fill(&mut socket, length)?;
    write(&mut socket, &wire::frame(magic, "ping", &[0x66; 8]))?;
    let mut buffer = vec![0; 4096];
    let mut answered = false;
    while !answered {
        let n = read(&mut socket, &mut buffer)?;
        if n == 0 {
            return Err("the peer has hung up in the middle of the block".into());
        }
        reader.read(&buffer[..n], |heard| answered |= heard == Heard::Pong)?;
    }
    Ok(Done {
        messages: 1,
        elapsed: begun.elapsed(),
    })
}

/// Sends `length` bytes to a peer that reads and drops them, and waits until it has hung up.
pub(crate) fn copy(target: &Target, length: u64) -> Result<Done, String> {
    let mut socket = connect(target.address, 0)?;
    let blocking = socket.set_nonblocking(false);
    blocking.map_err(|error| format!("a socket that blocks: {error}"))?;
    bound(&socket, target.patience)?;
    let begun = Instant::now();
    fill(&mut socket, length)?;
    let ended = socket.shutdown(Shutdown::Write);
    ended.map_err(|error| format!("cannot end the copy: {error}"))?;
    while read(&mut socket, &mut [0; 64])? > 0 {}
    Ok(Done {
        messages: 1,
        elapsed: begun.elapsed(),
    })
}

/// No read and no write waits for longer.
fn bound(socket: &TcpStream, patience: Duration) -> Result<(), String> {
    let bounded = socket
        .set_read_timeout(Some(patience))
        .and_then(|()| socket.set_write_timeout(Some(patience)));
    bounded.map_err(|error| format!("a socket that waits so long: {error}"))
}

fn fill(socket: &mut TcpStream, length: u64) -> Result<(), String> {
    let chunk = vec![0x5a; CHUNK];
    let mut left = length;
    while left > 0 {
        let n = left.min(CHUNK as u64);
        write(socket, &chunk[..n as usize])?;
        left -= n;
    }
    Ok(())
}

fn write(socket: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    let written = socket.write_all(bytes);
    written.map_err(|error| format!("cannot write to the peer: {error}"))
}

fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, String> {
    let read = socket.read(buffer);
    read.map_err(|error| format!("cannot read from the peer: {error}"))
}
