//! Drives one `Connection` over one socket: the loop that its docs describe, and nothing else.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use p2p_proto::{CloseReason, Connection, Event, Initiator, NetworkFailure, SendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The first read of a connection, and the size it falls back to when idle: a few small
/// messages, so that thousands of idle connections cost little.
const MIN_READ: usize = 4 * 1024;
/// The largest read: more than this costs memory and saves nothing.
const MAX_READ: usize = 256 * 1024;
/// Buffers handed to the kernel in one write.
const MAX_SLICES: usize = 16;
/// How long a peer may take to hang up after we did.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection's owner may ask of its task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Queue a message; the answer says whether it was.
    Send(p2p_proto::Message, oneshot::Sender<Result<(), SendError>>),
    /// Hang up.
    Close(CloseReason),
}

/// Runs a connection to its end. `on_event` sees every event, the last being `Closed`, and may
/// answer `Ready` through the connection.
pub(crate) async fn drive(
    stream: TcpStream,
    mut connection: Connection,
    mut commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
    mut on_event: impl FnMut(&mut Connection, Instant, Event),
) {
    let mut socket = Socket {
        stream,
        input: BytesMut::new(),
        read_size: MIN_READ,
        output: VecDeque::new(),
    };
    let sleep = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(sleep);
    let mut commands_open = true;

    loop {
        let now = now();
        if let Err(error) = socket.write(&mut connection, now) {
            connection.close(now, NetworkFailure::from(error.kind()).into());
        }
        loop {
            connection.receive(now, &mut socket.input);
            let mut idle = true;
            while let Some(event) = connection.poll_event() {
                if let Event::Closed(reason) = &event {
                    if reason.initiator() == Initiator::Local {
                        linger(socket.stream).await;
                    }
                    on_event(&mut connection, self::now(), event);
                    return;
                }
                on_event(&mut connection, now, event);
                idle = false;
            }
            if idle {
                break;
            }
        }
        if socket.wants_write(&mut connection) {
            // What the events led to goes out before anything is waited for.
            if let Err(error) = socket.write(&mut connection, now) {
                connection.close(now, NetworkFailure::from(error.kind()).into());
                continue;
            }
        }

        let interest = socket.interest(&connection);
        let deadline = connection.poll_timeout().map(|(at, _)| at);
        set_sleep(sleep.as_mut(), deadline);
        tokio::select! {
            ready = socket.stream.ready(interest.unwrap_or(Interest::ERROR)), if interest.is_some() => {
                match ready.and_then(|ready| socket.read(ready.is_readable() || ready.is_read_closed())) {
                    Ok(true) => {}
                    Ok(false) => connection.close(self::now(), NetworkFailure::Eof.into()),
                    Err(error) => connection.close(self::now(), NetworkFailure::from(error.kind()).into()),
                }
            }
            () = &mut sleep, if deadline.is_some() => connection.handle_timeout(self::now()),
            command = commands.recv(), if commands_open => match command {
                Some(Command::Send(message, answer)) => {
                    // Nobody waits for the answer any more: then nobody needs it.
                    let _ = answer.send(connection.send(self::now(), &message));
                }
                Some(Command::Close(reason)) => connection.close(self::now(), reason),
                None => commands_open = false,
            },
            () = stop.cancelled(), if !connection.is_closing() => {
                connection.close(self::now(), CloseReason::Shutdown);
            }
        }
    }
}

/// Says goodbye and waits until the peer has too, for a moment. A socket that is closed while it
/// holds unread bytes is reset, and a reset can overtake our last message to the peer.
async fn linger(mut stream: TcpStream) {
    let goodbye = async {
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever comes of it, the socket is closed now.
    let _ = timeout(LINGER, goodbye).await;
}

/// The socket, and the bytes on their way through it.
struct Socket {
    stream: TcpStream,
    input: BytesMut,
    read_size: usize,
    output: VecDeque<Bytes>,
}

impl Socket {
    /// Reads once, as much as has come lately; false at the end of the stream.
    fn read(&mut self, readable: bool) -> io::Result<bool> {
        if !readable {
            return Ok(true);
        }
        self.input.reserve(self.read_size);
        let room = self.input.capacity() - self.input.len();
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => Ok(false),
            Ok(n) => {
                if n == room {
                    self.read_size = (self.read_size * 2).min(MAX_READ);
                } else if n < self.read_size / 4 {
                    self.read_size = (self.read_size / 2).max(MIN_READ);
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Writes until the socket takes no more or nothing is left.
    fn write(&mut self, connection: &mut Connection, now: Instant) -> io::Result<()> {
        while self.wants_write(connection) {
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

    /// Whether there is something to write; takes it from the connection.
    fn wants_write(&mut self, connection: &mut Connection) -> bool {
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

    fn interest(&self, connection: &Connection) -> Option<Interest> {
        let read = connection.wants_read().then_some(Interest::READABLE);
        let write = (!self.output.is_empty()).then_some(Interest::WRITABLE);
        match (read, write) {
            (Some(read), Some(write)) => Some(read | write),
            (read, write) => read.or(write),
        }
    }
}

/// tokio's clock, so that its paused time is ours too.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn set_sleep(sleep: Pin<&mut Sleep>, deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        let deadline = deadline.into();
        if sleep.deadline() != deadline {
            sleep.reset(deadline);
        }
    }
}
