//! Listens where the manager wants it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_core::Input;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::manager::Report;
use crate::observe::Log;

/// Connections that the kernel holds until we accept them: a burst of thousands after a restart.
const BACKLOG: u32 = 4096;
/// How long accepting rests after the system refused, rather than ask again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener's task.
#[derive(Debug)]
pub(crate) struct Listener {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens, once the one before has let go of its socket.
    pub(crate) fn spawn(
        address: SocketAddr,
        before: Option<Self>,
        reports: mpsc::Sender<Report>,
        log: Arc<Log>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let stopped = stop.clone();
        let task = tasks.spawn(async move {
            if let Some(before) = before {
                before.stop.cancel();
                // One that panicked has let go, too.
                let _ = before.task.await;
            }
            stopped
                .run_until_cancelled(listen(address, &reports, &log))
                .await;
        });
        Self { stop, task }
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

async fn listen(address: SocketAddr, reports: &mpsc::Sender<Report>, log: &Log) {
    let listener = bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let input = match &listener {
        Ok((address, _)) => Input::Listening { address: *address },
        Err(error) => Input::ListenFailed {
            address,
            error: error.to_string(),
        },
    };
    if reports.send(Report::Input(input)).await.is_err() {
        return;
    }
    if let Ok((_, listener)) = listener {
        accept(listener, reports, log).await;
    }
}

async fn accept(listener: TcpListener, reports: &mpsc::Sender<Report>, log: &Log) {
    loop {
        let report = match listener.accept().await {
            Ok((stream, remote)) => Report::Accepted(stream, remote),
            Err(error) => {
                // Out of file descriptors, or the peer has gone: neither ends the listener, and
                // the first must not spin.
                log.not_accepted(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if reports.send(report).await.is_err() {
            return;
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Where connections of the last process linger, this one may listen.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
