//! A dial, and the connection that comes of it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use p2p_core::{DialFailure, Input, Setup};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::connection::{self, Owner, now};
use super::link::TaskEnd;

/// What a dial is made with.
pub(crate) struct Dial {
    pub(crate) setup: Setup,
    pub(crate) timeout: Duration,
    /// The local address to dial from.
    pub(crate) from: Option<IpAddr>,
}

/// Dials, and runs the connection to its end.
pub(crate) async fn run(dial: Dial, owner: Owner, mut task: TaskEnd) {
    let conn = owner.conn;
    let given_up = async {
        // A manager that is gone gives everything up.
        let _ = task
            .control
            .wait_for(|control| control.close.is_some())
            .await;
    };
    let connected = tokio::select! {
        connected = timeout(dial.timeout, connect(owner.address, dial.from)) => connected,
        () = given_up => Ok(Err(ErrorKind::Interrupted.into())),
    };
    let failure = match connected {
        Ok(Ok(stream)) => {
            owner.report(Input::Connected { conn }).await;
            let connection = dial.setup.connection(now());
            // What was told meanwhile is still to be obeyed.
            task.control.mark_changed();
            return connection::run(stream, connection, owner, task).await;
        }
        Ok(Err(error)) => DialFailure::from(error.kind()),
        Err(_) => DialFailure::TimedOut,
    };
    owner.report(Input::DialFailed { conn, failure }).await;
}

async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(from) = from else {
        return TcpStream::connect(to).await;
    };
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}
