//! The task of one connection: drives a [`Connection`] over a socket, as its docs describe.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_core::{BitcoinMessageEvent, ConnId, Input};
use p2p_proto::{
    CloseReason, Config, Connection, EncodedMessage, Event, Initiator, Message, NetworkFailure,
    SendError,
};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tracing::{debug, trace};
use uuid::Uuid;

use super::link::TaskEnd;
use super::socket::Socket;
use crate::events::{Outbox, Publisher, Source, TURN};
use crate::manager::Report;
use crate::observe::{Log, Meter};

/// Who a connection is to, and whom it tells.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) conn: ConnId,
    pub(crate) peer_id: Uuid,
    pub(crate) address: SocketAddr,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) publisher: Publisher,
    pub(crate) meter: Meter,
    pub(crate) log: Arc<Log>,
}

impl Owner {
    /// Tells the manager. Once that has ended nobody needs to know.
    pub(crate) async fn report(&self, input: Input) {
        let _ = self.reports.send(Report::Input(input)).await;
    }

    fn source(&self) -> Source {
        Source {
            peer_id: self.peer_id,
            address: self.address,
        }
    }
}

/// Runs a connection to its end, and tells the manager of that last.
pub(crate) fn run(
    stream: TcpStream,
    connection: Connection,
    owner: Owner,
    task: TaskEnd,
) -> impl Future<Output = ()> + Send {
    // Pongs are small and must not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY not set");
    }
    // On the heap: a future holds what it waits with, and what it was made of, each at its size.
    let driver = Box::new(Driver {
        socket: Socket::new(stream),
        connection,
        owner,
        task,
        outbox: Outbox::default(),
        owes_read: false,
        unsent: None,
        config: None,
        latency: None,
    });
    driver.run()
}

struct Driver {
    socket: Socket,
    connection: Connection,
    owner: Owner,
    task: TaskEnd,
    /// What lossless subscribers are to get. While they have no room, no further event comes out.
    outbox: Outbox,
    /// Whether the socket has bytes that are read when there is room in the outbox.
    owes_read: bool,
    /// A message that the connection has no room for.
    unsent: Option<Arc<EncodedMessage>>,
    /// The settings in force, if they are not the first.
    config: Option<Arc<Config>>,
    /// The round-trip time that the manager was told.
    latency: Option<Duration>,
}

/// What the events of a connection come to for others than its subscribers.
enum News {
    ForManager(Input),
    End(CloseReason),
}

impl Driver {
    async fn run(mut self: Box<Self>) {
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        self.owner.meter.begin(now());
        let reason = loop {
            self.write();
            let held = self.socket.input.len();
            let had_events = match self.take_events().await {
                Ok(had_events) => had_events,
                Err(reason) => break reason,
            };
            // What the events led to goes out before anything is waited for.
            self.write();
            self.task.gauges.show(&self.connection);
            self.owner.meter.count(&mut self.connection);
            // A connection with too much to say leaves bytes behind, and there may be room now, for
            // some were taken or events were: what is left comes before what is still to be read,
            // which may be nothing.
            let left = self.socket.input.len();
            let goes_on = self.connection.wants_read() && left > 0 && (left < held || had_events);
            // Others have their turn first, or one that floods us would be all that is served.
            if goes_on || self.socket.is_turn_over() {
                self.socket.yield_now().await;
            }
            if goes_on {
                continue;
            }
            self.outbox.rest();
            self.socket.rest();
            self.wait(sleep.as_mut()).await;
        };
        // On the heap: what the end needs would count for as long as the connection lives.
        Box::pin(self.end(reason)).await;
    }

    /// Waits for the next thing to do, and does it.
    async fn wait(&mut self, mut sleep: Pin<&mut Sleep>) {
        let deadline = self.connection.poll_timeout().map(|(at, _)| at);
        set_sleep(sleep.as_mut(), deadline);
        let wants_read = self.connection.wants_read();
        let interest = self.socket.interest(wants_read);
        let takes_messages = self.unsent.is_none() && self.connection.is_connected();
        tokio::select! {
            ready = self.socket.ready(interest.unwrap_or(Interest::ERROR)), if interest.is_some() => {
                match ready {
                    Ok(ready) if ready.is_readable() || ready.is_read_closed() => self.read(),
                    Ok(_) => {}
                    Err(error) => self.fail(NetworkFailure::from(error.kind())),
                }
            }
            () = sleep, if deadline.is_some() => self.connection.handle_timeout(now()),
            message = self.task.messages.recv(), if takes_messages => {
                if let Some(message) = message {
                    self.send(message);
                }
                // All that wait leave in one write.
                while self.unsent.is_none()
                    && let Ok(message) = self.task.messages.try_recv()
                {
                    self.send(message);
                }
            }
            changed = self.task.control.changed() => self.obey(changed.is_ok()),
            () = self.outbox.wait(), if self.outbox.is_blocked() => {
                // The room is for what is to be read.
                if self.owes_read && !self.outbox.is_blocked() {
                    self.read();
                }
            }
        }
    }

    /// Reads, unless what comes is likely to find no room.
    fn read(&mut self) {
        self.owes_read = !self.outbox.has_room();
        if self.owes_read {
            return self.connection.hold(now());
        }
        match self.socket.read() {
            Ok(true) => {}
            Ok(false) => self.fail(NetworkFailure::Eof),
            Err(error) => self.fail(NetworkFailure::from(error.kind())),
        }
    }

    /// Does what the manager has decided. A manager that is gone wants everything to end.
    fn obey(&mut self, is_there: bool) {
        let now = now();
        let control = self.task.control.borrow_and_update().clone();
        if let Some(config) = control.config
            && !self
                .config
                .as_ref()
                .is_some_and(|old| Arc::ptr_eq(old, &config))
        {
            self.connection.configure(now, config.clone());
            self.config = Some(config);
        }
        if control.admitted && !self.connection.is_connected() {
            self.connection.admit(now);
            self.owner
                .publisher
                .established(self.owner.source(), &mut self.outbox);
            self.show_limits();
        }
        if let Some(reason) = control.close {
            self.connection.close(now, reason);
        }
        if !is_there {
            self.connection.close(now, CloseReason::Shutdown);
        }
    }

    fn send(&mut self, message: Arc<EncodedMessage>) {
        match self.connection.send_encoded(now(), &message) {
            Ok(()) => trace!(command = %message.command(), bytes = message.len(), "message sent"),
            Err(SendError::Full) => self.unsent = Some(message),
            // It was checked, and the peer has lowered its limit or hung up since.
            Err(error) => self.owner.log.not_sent(&message, error),
        }
    }

    fn write(&mut self) {
        let now = now();
        if let Err(error) = self.socket.write(&mut self.connection, now) {
            self.fail(NetworkFailure::from(error.kind()));
        }
        // There may be room now.
        if let Some(message) = self.unsent.take() {
            self.send(message);
        }
    }

    /// Takes what comes out of the bytes that were read, up to a [`TURN`]. Whether there were
    /// events.
    ///
    /// # Errors
    /// The reason when that was the end.
    async fn take_events(&mut self) -> Result<bool, CloseReason> {
        let mut events = 0;
        loop {
            let news = self.next_news(&mut events);
            // Before anything is waited for.
            self.outbox.flush();
            match news {
                None => return Ok(events > 0),
                Some(News::ForManager(input)) => self.owner.report(input).await,
                Some(News::End(reason)) => return Err(reason),
            }
        }
    }

    /// Tells the subscribers of events until there is one that the manager waits for, or a lossless
    /// subscriber has no room.
    ///
    /// Nothing is waited for in here: a task is as large as what it holds meanwhile.
    fn next_news(&mut self, events: &mut usize) -> Option<News> {
        let now = now();
        loop {
            // A connection that ends makes no more events than it has: they wait with the others.
            if self.outbox.is_blocked() && !self.connection.is_closing() {
                self.connection.hold(now);
                return None;
            }
            let event = match self.connection.poll_event() {
                Some(event) => event,
                None if *events >= TURN => return None,
                None => {
                    self.connection.receive(now, &mut self.socket.input);
                    self.connection.poll_event()?
                }
            };
            *events += 1;
            self.outbox.expect(self.socket.input.len());
            match event {
                Event::Closed(reason) => return Some(News::End(reason)),
                event => {
                    if let Some(input) = self.tell(event) {
                        return Some(News::ForManager(input));
                    }
                }
            }
        }
    }

    /// Tells the subscribers of an event; what the manager needs to know of it.
    fn tell(&mut self, event: Event) -> Option<Input> {
        let conn = self.owner.conn;
        match event {
            Event::Ready(ready) => {
                self.owner.meter.ready(now());
                return Some(Input::Ready { conn, ready });
            }
            Event::Message(message) => {
                trace!(command = %message.command(), bytes = message.payload_len(), "message received");
                let input = match &message {
                    Message::Pong(_) => self.latency(),
                    message => Input::from_message(conn, message),
                };
                if matches!(message, Message::Protoconf(_)) {
                    self.show_limits();
                }
                let Source { peer_id, address } = self.owner.source();
                let event = BitcoinMessageEvent::new(peer_id, address, message);
                self.owner.publisher.message(event, &mut self.outbox);
                return input;
            }
            Event::Payload(event) => {
                let source = self.owner.source();
                self.owner
                    .publisher
                    .payload(source, event, &mut self.outbox);
            }
            Event::Discarded(discarded) => self.owner.log.frame_dropped(&discarded),
            other => debug!(event = ?other, "event of a newer version"),
        }
        None
    }

    /// The round-trip time, if the manager does not know it: a peer may send as many pongs as it
    /// likes.
    fn latency(&mut self) -> Option<Input> {
        let latency = self.connection.latency();
        if self.latency == latency {
            return None;
        }
        self.latency = latency;
        let conn = self.owner.conn;
        latency.map(|latency| Input::Latency { conn, latency })
    }

    fn show_limits(&self) {
        let limits = self
            .connection
            .is_connected()
            .then(|| self.connection.peer_limits());
        self.task.limits.send_replace(limits);
    }

    fn fail(&mut self, failure: NetworkFailure) {
        self.connection.close(now(), failure.into());
    }

    async fn end(self: Box<Self>, reason: CloseReason) {
        let Self {
            socket,
            mut connection,
            mut owner,
            task,
            mut outbox,
            ..
        } = *self;
        // No message is taken any more.
        task.gauges.show(&connection);
        owner.meter.count(&mut connection);
        drop((connection, task));
        match reason.initiator() {
            Initiator::Local => socket.linger().await,
            Initiator::Remote => drop(socket),
        }
        owner.publisher.lost(owner.source(), &reason, &mut outbox);
        // The slot is taken until the subscribers know, so that no more than there are slots wait
        // for one that does not read.
        loop {
            outbox.flush();
            if !outbox.is_blocked() {
                break;
            }
            tokio::select! {
                () = outbox.wait() => {}
                () = owner.reports.closed() => break,
            }
        }
        let conn = owner.conn;
        owner.report(Input::Closed { conn, reason }).await;
    }
}

/// tokio's clock, so that its paused time is ours too.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Wakes at the deadline, if there is one.
pub(crate) fn set_sleep(sleep: Pin<&mut Sleep>, deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        let deadline = deadline.into();
        if sleep.deadline() != deadline {
            sleep.reset(deadline);
        }
    }
}
