//! The protocol without tokio: `p2p_proto::Connection` driven by plain `std::net`, on one thread.
//! Shakes hands, waits for the answer to a ping, asks for headers, and hangs up.
//!
//! ```text
//! cargo run --release --example blocking_loop                            # a peer of its own
//! cargo run --release --example blocking_loop -- --network regtest --connect 127.0.0.1:18444
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use clap::Parser;
use examples::embedded::BackgroundPeer;
use examples::options::{Options, Source};
use examples::report::{PeerReporter, Reporter};
use examples::{Result, all_headers};
use p2p_proto::{
    Capacity, Clock, CloseReason, Config, Connection, Event, Message, NetworkFailure, Params, Side,
};

/// How long a connect, and a write, may take.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a read waits: a Ctrl-C may not wake it.
const LONGEST_READ: Duration = Duration::from_millis(200);

/// Talks to one peer with blocking sockets and no runtime: handshake, ping, headers.
///
/// Without --network and --connect it starts a regtest peer on loopback and talks to that; of
/// several given by --connect it talks to the first.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let options = Arguments::parse().options;
    examples::finish(run(&options))
}

fn run(options: &Options) -> Result<()> {
    let plan = options.plan()?;
    let reporter = Reporter::new(options);
    let interrupt = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, interrupt.clone())?;

    let embedded;
    let address = match &plan.source {
        Source::Embedded => {
            embedded = BackgroundPeer::start()?;
            reporter.note(&format!("embedded peer on {}", embedded.address()))?;
            embedded.address()
        }
        Source::Connect(peers) => look_up(&peers[0])?,
        Source::Network => return Err("one peer is enough here: add --connect ADDR".into()),
    };
    let stream = TcpStream::connect_timeout(&address, SOCKET_TIMEOUT);
    let stream = stream.map_err(|error| format!("{address}: {error}"))?;
    stream.set_write_timeout(Some(SOCKET_TIMEOUT))?;
    let config = plan.config.protocol(0);
    let peer = PeerReporter::new(reporter, config.network, address);
    let end = plan.duration.map(|duration| Instant::now() + duration);
    let is_over = |now| match end {
        _ if interrupt.load(Ordering::Relaxed) => Some(CloseReason::Shutdown),
        Some(end) if end <= now => Some(NetworkFailure::TimedOut.into()),
        _ => None,
    };
    match talk(stream, address, config, peer, is_over)? {
        CloseReason::Requested => Ok(()),
        CloseReason::Shutdown => Ok(reporter.note("shutting down")?),
        reason => Err(format!("{address}: {reason}").into()),
    }
}

fn look_up(peer: &str) -> Result<SocketAddr> {
    let found = peer.to_socket_addrs();
    let mut found = found.map_err(|error| format!("{peer}: {error}"))?;
    let address = found.next();
    Ok(address.ok_or_else(|| format!("{peer} has no address"))?)
}

/// The driving loop, as the docs of [`Connection`] tell it. Returns why the connection ended.
fn talk(
    mut stream: TcpStream,
    address: SocketAddr,
    config: Config,
    peer: PeerReporter,
    is_over: impl Fn(Instant) -> Option<CloseReason>,
) -> Result<CloseReason> {
    let now = Instant::now();
    let params = Params {
        remote: address,
        nonce: rand::random_range(1..=u64::MAX),
        seed: rand::random(),
        clock: Clock::new(now, SystemTime::now()),
        capacity: Capacity::Free,
    };
    let mut connection = Connection::new(Arc::new(config), Side::Outbound, params, now);
    let mut input = BytesMut::new();
    let (mut has_pong, mut has_headers) = (false, false);
    loop {
        let now = Instant::now();
        connection.handle_timeout(now);
        if let Some(reason) = is_over(now) {
            connection.close(now, reason);
        }
        if let Err(error) = write(&mut stream, &mut connection, now) {
            return Ok(NetworkFailure::from(error.kind()).into());
        }
        connection.receive(now, &mut input);
        let mut is_quiet = true;
        while let Some(event) = connection.poll_event() {
            is_quiet = false;
            match event {
                Event::Ready(ready) => {
                    peer.handshake(&ready.version)?;
                    // The first ping goes out by itself.
                    connection.admit(now);
                    connection.send(now, &all_headers())?;
                }
                Event::Message(message) => {
                    peer.message(&message)?;
                    has_pong |= matches!(message, Message::Pong(_));
                    has_headers |= matches!(message, Message::Headers(_));
                }
                Event::Closed(reason) => {
                    peer.lost(&reason)?;
                    return Ok(reason);
                }
                _ => {}
            }
        }
        if has_pong && has_headers {
            connection.close(now, CloseReason::Requested);
        } else if is_quiet && let Err(error) = read(&mut stream, &mut input, &connection, now) {
            connection.close(now, NetworkFailure::from(error.kind()).into());
        }
    }
}

fn write(stream: &mut TcpStream, connection: &mut Connection, now: Instant) -> io::Result<()> {
    while let Some(bytes) = connection.poll_transmit() {
        stream.write_all(&bytes)?;
        connection.handle_written(now, bytes.len());
    }
    Ok(())
}

/// Waits for bytes, but not beyond the connection's next deadline.
fn read(
    stream: &mut TcpStream,
    input: &mut BytesMut,
    connection: &Connection,
    now: Instant,
) -> io::Result<()> {
    let deadline = connection.poll_timeout().map(|(at, _)| at);
    let patience = deadline.map_or(LONGEST_READ, |at| at.saturating_duration_since(now));
    // No time at all would mean for ever.
    stream.set_read_timeout(Some(patience.clamp(Duration::from_millis(1), LONGEST_READ)))?;
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(n) => {
            input.extend_from_slice(&buffer[..n]);
            Ok(())
        }
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        },
    }
}
