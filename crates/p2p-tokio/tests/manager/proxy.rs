//! A line between two peers that breaks as a test says.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::loopback;

/// What the line does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Passes,
    /// Each piece arrives this much later.
    Delays(Duration),
    /// A byte at a time.
    Drips,
    /// Nothing arrives, and nobody is told: new connections are taken and lead nowhere.
    Swallows,
    /// Every connection is reset, and so is every further one.
    Resets,
}

/// A TCP proxy.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    line: watch::Sender<Line>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((loopback(1), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (line, of_line) = watch::channel(Line::Passes);
        let task = tokio::spawn(async move {
            // Ends all of them with itself.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(carry(stream, target, of_line.clone()));
            }
        });
        Self {
            address,
            line,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(crate) fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn carry(stream: TcpStream, target: SocketAddr, mut line: watch::Receiver<Line>) {
    // Linger of zero: dropping it resets it.
    stream.set_zero_linger().unwrap();
    if *line.borrow() == Line::Resets {
        return;
    }
    let other = TcpStream::connect(target).await.unwrap();
    other.set_zero_linger().unwrap();
    let (one_in, one_out) = stream.into_split();
    let (other_in, other_out) = other.into_split();
    let reset = async {
        let _ = line.clone().wait_for(|line| *line == Line::Resets).await;
    };
    tokio::select! {
        () = reset => {}
        () = pump(one_in, other_out, line.clone()) => {}
        () = pump(other_in, one_out, line.clone()) => {}
    }
    let _ = line.borrow_and_update();
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: watch::Receiver<Line>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(n) = from.read(&mut buffer).await else {
            return;
        };
        if n == 0 {
            return;
        }
        let piece = &buffer[..n];
        let now = *line.borrow();
        let written = match now {
            Line::Passes | Line::Resets => to.write_all(piece).await,
            Line::Delays(time) => {
                tokio::time::sleep(time).await;
                to.write_all(piece).await
            }
            Line::Drips => drip(&mut to, piece).await,
            // What is swallowed is lost for good.
            Line::Swallows => Ok(()),
        };
        if written.is_err() {
            return;
        }
    }
}

async fn drip(to: &mut OwnedWriteHalf, piece: &[u8]) -> std::io::Result<()> {
    for byte in piece {
        to.write_all(std::slice::from_ref(byte)).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
