//! What ties a connection's task to the rest: what it is told, and what can be seen of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use p2p_core::ConnId;
use p2p_proto::{CloseReason, Config, Connection, EncodedMessage, PeerLimits, SendError, Stats};
use tokio::sync::{mpsc, watch};

/// Messages that may wait for a connection's task, beside the connection's own queue.
const COMMANDS: usize = 16;

/// The manager's end.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    pub(crate) ip: IpAddr,
    control: watch::Sender<Control>,
    messages: mpsc::Sender<Arc<EncodedMessage>>,
    limits: watch::Receiver<Option<PeerLimits>>,
    /// Whether messages may wait for the task, although it may not know yet that it is admitted.
    is_open: AtomicBool,
    gauges: Arc<Gauges>,
}

/// The task's end.
#[derive(Debug)]
pub(crate) struct TaskEnd {
    pub(crate) control: watch::Receiver<Control>,
    pub(crate) messages: mpsc::Receiver<Arc<EncodedMessage>>,
    /// What the peer takes; `None` until it is admitted.
    pub(crate) limits: watch::Sender<Option<PeerLimits>>,
    pub(crate) gauges: Arc<Gauges>,
}

/// What the manager has decided about a connection. The latest counts: nothing can pile up.
#[derive(Debug, Default, Clone)]
pub(crate) struct Control {
    pub(crate) admitted: bool,
    pub(crate) close: Option<CloseReason>,
    pub(crate) config: Option<Arc<Config>>,
}

/// What others can see of a connection, as it was lately.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// In microseconds; 0 is "not known".
    latency: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    messages_received: AtomicU64,
    messages_sent: AtomicU64,
}

/// Two ends of a link.
pub(crate) fn link(conn: ConnId, ip: IpAddr) -> (Link, TaskEnd) {
    let (control, told) = watch::channel(Control::default());
    let (messages, queued) = mpsc::channel(COMMANDS);
    let (limits, told_limits) = watch::channel(None);
    let gauges = Arc::new(Gauges::default());
    let link = Link {
        conn,
        ip,
        control,
        messages,
        limits: told_limits,
        is_open: AtomicBool::new(false),
        gauges: gauges.clone(),
    };
    let task = TaskEnd {
        control: told,
        messages: queued,
        limits,
        gauges,
    };
    (link, task)
}

impl Link {
    /// Takes messages from now on; they leave once the connection is admitted. For whoever is
    /// told of the connection and answers at once.
    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    pub(crate) fn admit(&self) {
        self.control.send_modify(|control| control.admitted = true);
    }

    pub(crate) fn close(&self, reason: CloseReason) {
        self.control.send_modify(|control| {
            control.close.get_or_insert(reason);
        });
    }

    pub(crate) fn configure(&self, config: Arc<Config>) {
        self.control
            .send_modify(|control| control.config = Some(config));
    }

    /// Queues a message and waits for room.
    pub(crate) async fn send(&self, message: Arc<EncodedMessage>) -> Result<(), SendError> {
        self.check(&message)?;
        let sent = self.messages.send(message).await;
        sent.map_err(|_| SendError::Closed)
    }

    /// Queues a message if there is room.
    pub(crate) fn try_send(&self, message: Arc<EncodedMessage>) -> Result<(), SendError> {
        self.check(&message)?;
        self.messages
            .try_send(message)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::Closed,
            })
    }

    fn check(&self, message: &EncodedMessage) -> Result<(), SendError> {
        match *self.limits.borrow() {
            Some(limits) => limits.check(message.command(), message.payload_len() as u64),
            // Checked by the connection when its task takes it.
            None if self.is_open.load(Ordering::Acquire) => Ok(()),
            None => Err(SendError::NotReady),
        }
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }
}

impl Gauges {
    /// Shows how a connection is now.
    pub(crate) fn show(&self, connection: &Connection) {
        let Stats {
            bytes_received,
            bytes_sent,
            messages_received,
            messages_sent,
            ..
        } = connection.stats();
        self.bytes_received.store(bytes_received, Ordering::Relaxed);
        self.bytes_sent.store(bytes_sent, Ordering::Relaxed);
        self.messages_received
            .store(messages_received, Ordering::Relaxed);
        self.messages_sent.store(messages_sent, Ordering::Relaxed);
        let latency = connection.latency().map_or(0, |latency| {
            u64::try_from(latency.as_micros()).map_or(u64::MAX, |micros| micros.max(1))
        });
        self.latency.store(latency, Ordering::Relaxed);
    }

    pub(crate) fn latency(&self) -> Option<Duration> {
        match self.latency.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            messages_received: self.messages_received.load(Ordering::Relaxed),
            messages_sent: self.messages_sent.load(Ordering::Relaxed),
        }
    }
}

/// What went over a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes that came.
    pub bytes_received: u64,
    /// Bytes that the socket took.
    pub bytes_sent: u64,
    /// Messages that came.
    pub messages_received: u64,
    /// Messages that were queued.
    pub messages_sent: u64,
}
