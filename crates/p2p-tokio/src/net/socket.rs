//! A socket, and the bytes on their way through it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use p2p_proto::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, Ready};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The first read of a connection, and the size it falls back to when idle: a few small
/// messages, so that thousands of idle connections cost little.
const MIN_READ: usize = 4 * 1024;
/// The largest read: more than this costs memory and saves nothing.
const MAX_READ: usize = 64 * 1024;
/// Bytes that are read before others have their turn, if more come all the while: who takes what
/// was read may be behind us on the same processor. Not after each read, for a turn has its price:
/// the runtime asks the system for news meanwhile.
const TURN: usize = 4 * MAX_READ;
/// Buffers handed to the kernel in one write.
const MAX_SLICES: usize = 16;
/// How long a peer may take to hang up after we did.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Socket {
    stream: TcpStream,
    pub(super) input: BytesMut,
    read_size: usize,
    /// Whether the last read has left nothing.
    is_drained: bool,
    /// Bytes that were read since others had their turn.
    in_a_row: usize,
    output: VecDeque<Bytes>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            read_size: MIN_READ,
            is_drained: true,
            in_a_row: 0,
            output: VecDeque::new(),
        }
    }

    /// Waits until the socket can do what is wanted.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.stream.ready(interest).await
    }

    /// Reads once, as much as has come lately; false at the end of the stream.
    ///
    /// By tokio's own read and not `try_read`: that one knows that what left room has emptied the
    /// socket, so that nobody has to ask again and be told so.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        // What is left of a buffer serves the next read too: messages and pieces that somebody
        // keeps hold all of the buffer that they came in.
        if self.room() < self.read_size / 2 {
            self.make_room();
        }
        let room = self.room();
        match self.stream.read_buf(&mut self.input).now_or_never() {
            Some(Ok(0)) => Ok(false),
            Some(Ok(n)) => {
                self.is_drained = n < room;
                self.in_a_row += n;
                if n == room {
                    self.read_size = (self.read_size * 2).min(MAX_READ);
                } else if n < self.read_size / 4 {
                    self.read_size = (self.read_size / 2).max(MIN_READ);
                }
                Ok(true)
            }
            Some(Err(error)) => Err(error),
            None => {
                self.is_drained = true;
                Ok(true)
            }
        }
    }

    /// Whether so much was read in a row that others should have their turn.
    pub(super) fn is_turn_over(&self) -> bool {
        self.in_a_row >= TURN
    }

    /// Lets others have their turn.
    pub(super) async fn yield_now(&mut self) {
        self.in_a_row = 0;
        tokio::task::yield_now().await;
    }

    /// Writes until the socket takes no more or nothing is left.
    pub(super) fn write(&mut self, connection: &mut Connection, now: Instant) -> io::Result<()> {
        while self.take_output(connection) {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            for (slice, bytes) in slices.iter_mut().zip(&self.output) {
                *slice = IoSlice::new(bytes);
            }
            let filled = self.output.len().min(MAX_SLICES);
            match self.stream.try_write_vectored(&slices[..filled]) {
                Ok(n) => {
                    self.written(n);
                    connection.handle_written(now, n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What there is to wait for.
    pub(super) fn interest(&self, wants_read: bool) -> Option<Interest> {
        let read = wants_read.then_some(Interest::READABLE);
        let write = (!self.output.is_empty()).then_some(Interest::WRITABLE);
        match (read, write) {
            (Some(read), Some(write)) => Some(read | write),
            (read, write) => read.or(write),
        }
    }

    /// Says goodbye and waits until the peer has too, for a moment. A socket that is closed while
    /// it holds unread bytes is reset, and a reset can overtake our last message to the peer.
    pub(super) async fn linger(mut self) {
        let goodbye = async {
            self.stream.shutdown().await?;
            // Nobody reads it: what was read before makes room.
            let mut rest = BytesMut::with_capacity(MIN_READ);
            while self.stream.read_buf(&mut rest).await? > 0 {
                rest.clear();
            }
            io::Result::Ok(())
        };
        // Whatever comes of it, the socket is closed now.
        let _ = timeout(LINGER, goodbye).await;
    }

    /// Gives the memory back that an idle connection does not need.
    pub(super) fn rest(&mut self) {
        if self.input.is_empty() && self.is_drained {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() {
            self.output = VecDeque::new();
        }
    }

    fn make_room(&mut self) {
        let len = self.input.len();
        if len >= self.read_size / 2 {
            // A payload gathers.
            self.input.reserve(self.read_size);
        } else if !self.input.try_reclaim(self.read_size - len) {
            // To reserve would keep the place of all that was taken out of the front.
            let mut next = BytesMut::with_capacity(self.read_size);
            next.extend_from_slice(&self.input);
            self.input = next;
        }
    }

    fn room(&self) -> usize {
        self.input.capacity() - self.input.len()
    }

    /// Takes what the connection has to write; whether there is anything.
    fn take_output(&mut self, connection: &mut Connection) -> bool {
        while self.output.len() < MAX_SLICES {
            let Some(bytes) = connection.poll_transmit() else {
                break;
            };
            self.output.push_back(bytes);
        }
        !self.output.is_empty()
    }

    fn written(&mut self, mut n: usize) {
        while let Some(front) = self.output.front_mut() {
            if front.len() > n {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.output.pop_front();
        }
    }
}
