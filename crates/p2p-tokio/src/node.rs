//! A node: dials, listens, and tells what happens.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use p2p_core::{
    BitcoinMessageEvent, ConnectionError, ControlEvent, DialFailure, DiscoverySource, Peer,
};
use p2p_proto::{
    Capacity, Clock, CloseReason, Command, Config, Connection, Event, Message, Params,
    PayloadEvent, SendError, Side,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info, info_span, warn};
use uuid::Uuid;

use crate::dns;
use crate::driver::{self, now};

/// Events that a slow subscriber may lag behind before it is told how many it missed.
const EVENT_CAPACITY: usize = 1000;
/// Commands that may wait for one connection's task.
const COMMAND_CAPACITY: usize = 16;
/// How long a TCP connect may take, as in the node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long accepting rests after the system refused, rather than ask again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What happens on a node, in the order in which it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// Something happened to a connection or the listener.
    Control(ControlEvent),
    /// A message came.
    Message(BitcoinMessageEvent),
    /// A payload above [`Config::stream_above`] is passing by in pieces, which nobody asked for.
    Skipped {
        /// From whom.
        peer_id: Uuid,
        /// Where the peer is.
        address: SocketAddr,
        /// What it belongs to.
        command: Command,
        /// Its length in bytes.
        length: u64,
    },
}

/// A message that could not be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendFailure {
    /// There is no connection to this peer.
    UnknownPeer,
    /// The connection refused it.
    Connection(SendError),
}

impl std::fmt::Display for SendFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownPeer => f.write_str("no connection to this peer"),
            Self::Connection(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendFailure {}

/// A node on a Bitcoin SV network: every peer that it dials, or that dials it, is admitted.
///
/// Cloning gives another handle. Dropping the last one stops every task.
#[derive(Debug, Clone)]
pub struct Node {
    shared: Arc<Shared>,
    _stop_on_drop: Arc<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    config: Arc<Config>,
    events: broadcast::Sender<NodeEvent>,
    connections: Mutex<BTreeMap<Uuid, mpsc::Sender<driver::Command>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Node {
    /// A node that does nothing yet.
    pub fn new(config: Config) -> Self {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        Self {
            shared: Arc::new(Shared {
                config: Arc::new(config),
                events: broadcast::channel(EVENT_CAPACITY).0,
                connections: Mutex::default(),
                tasks: TaskTracker::new(),
                stop,
            }),
            _stop_on_drop: Arc::new(guard),
        }
    }

    /// A view of what happens from now on. Who reads too slowly is told how much was missed.
    pub fn subscribe(&self) -> broadcast::Receiver<NodeEvent> {
        self.shared.events.subscribe()
    }

    /// Asks the DNS seeds of the network for addresses. Needs some seconds at most.
    pub async fn discover(&self) -> Vec<SocketAddr> {
        let network = self.shared.config.network;
        let found = dns::resolve_seeds(network.dns_seeds(), network.default_port()).await;
        self.shared.control(ControlEvent::PeersDiscovered {
            source: DiscoverySource::Dns,
            count: found.len(),
        });
        found.into_iter().collect()
    }

    /// Dials a peer, in the background; events tell what becomes of it.
    pub fn dial(&self, address: SocketAddr) -> Uuid {
        let peer_id = Peer::id_of(self.shared.config.network, address);
        let shared = self.shared.clone();
        let span = info_span!(
            "connection",
            %peer_id,
            peer_address = %address,
            connection_type = "outbound",
            network = %shared.config.network,
        );
        let stop = shared.stop.clone();
        self.shared.tasks.spawn(
            async move {
                debug!("connecting");
                let connected = stop
                    .run_until_cancelled(timeout(CONNECT_TIMEOUT, TcpStream::connect(address)))
                    .await;
                let failure = match connected {
                    None => return,
                    Some(Ok(Ok(stream))) => {
                        return shared.run(stream, address, Side::Outbound).await;
                    }
                    Some(Ok(Err(error))) => DialFailure::from(error.kind()),
                    Some(Err(_)) => DialFailure::TimedOut,
                };
                warn!(error = %failure, "connection failed");
                shared.control(ControlEvent::ConnectionFailed {
                    peer_id,
                    address,
                    reason: ConnectionError::Dial(failure),
                });
            }
            .instrument(span),
        );
        peer_id
    }

    /// Listens for peers. Port 0 lets the system choose one.
    ///
    /// # Errors
    /// What the system says, in an event too; the node goes on without a listener.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let local = listener.local_addr()?;
            Ok((listener, local))
        };
        let (listener, local) = match bound.await {
            Ok(bound) => bound,
            Err(error) => {
                let error: io::Error = error;
                tracing::error!(%address, %error, "cannot listen");
                self.shared.control(ControlEvent::ListenerBindFailed {
                    address,
                    error: error.to_string(),
                });
                return Err(error);
            }
        };
        info!(address = %local, "listening");
        self.shared
            .control(ControlEvent::ListenerStarted { address: local });
        let shared = self.shared.clone();
        self.shared
            .tasks
            .spawn(async move { shared.accept(listener).await });
        Ok(local)
    }

    /// Queues a message for a peer.
    ///
    /// # Errors
    /// [`SendFailure`]: when there is no such peer, or its connection refuses the message.
    pub async fn send(&self, peer_id: Uuid, message: Message) -> Result<(), SendFailure> {
        let commands = self
            .shared
            .connections()
            .get(&peer_id)
            .cloned()
            .ok_or(SendFailure::UnknownPeer)?;
        let (answer, answered) = oneshot::channel();
        let gone = SendFailure::Connection(SendError::Closed);
        commands
            .send(driver::Command::Send(message, answer))
            .await
            .map_err(|_| gone)?;
        answered
            .await
            .map_err(|_| gone)?
            .map_err(SendFailure::Connection)
    }

    /// Hangs up on a peer; nothing if there is no connection to it.
    pub async fn disconnect(&self, peer_id: Uuid) {
        let commands = self.shared.connections().get(&peer_id).cloned();
        if let Some(commands) = commands {
            // The task has ended already: that is what was wanted.
            let _ = commands
                .send(driver::Command::Close(CloseReason::Requested))
                .await;
        }
    }

    /// Closes every connection and waits until all tasks have ended: little more than a second,
    /// however many peers hang.
    pub async fn shutdown(self) {
        self.shared.control(ControlEvent::ShuttingDown);
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, BTreeMap<Uuid, mpsc::Sender<driver::Command>>> {
        // No code that can panic runs under this lock.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, event: NodeEvent) {
        // Nobody listens: then nobody misses it.
        let _ = self.events.send(event);
    }

    fn control(&self, event: ControlEvent) {
        self.publish(NodeEvent::Control(event));
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or the peer has gone: neither ends the listener,
                    // and the first must not spin.
                    warn!(%error, "cannot accept");
                    let pause = tokio::time::sleep(ACCEPT_PAUSE);
                    self.stop.run_until_cancelled(pause).await;
                    continue;
                }
            };
            let peer_id = Peer::id_of(self.config.network, address);
            self.control(ControlEvent::InboundConnectionAccepted { peer_id, address });
            let span = info_span!(
                "connection",
                %peer_id,
                peer_address = %address,
                connection_type = "inbound",
                network = %self.config.network,
            );
            let shared = self.clone();
            self.tasks.spawn(
                async move { shared.run(stream, address, Side::Inbound).await }.instrument(span),
            );
        }
    }

    /// One connection, from its socket to its last event.
    async fn run(self: Arc<Self>, stream: TcpStream, address: SocketAddr, side: Side) {
        // Pongs are small and must not wait for more.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY not set");
        }
        let peer_id = Peer::id_of(self.config.network, address);
        let (sender, commands) = mpsc::channel(COMMAND_CAPACITY);
        self.connections().insert(peer_id, sender.clone());

        let now = now();
        let params = Params {
            remote: address,
            nonce: rand::random_range(1..=u64::MAX),
            seed: rand::random(),
            clock: Clock::new(now, SystemTime::now()),
            capacity: Capacity::Free,
        };
        let connection = Connection::new(self.config.clone(), side, params, now);
        let mut narrator = Narrator {
            shared: &self,
            peer_id,
            address,
            side,
            established: false,
        };
        driver::drive(
            stream,
            connection,
            commands,
            self.stop.clone(),
            |connection, now, event| narrator.tell(connection, now, event),
        )
        .await;
        let mut connections = self.connections();
        // A second connection to the same peer has taken the place.
        if connections
            .get(&peer_id)
            .is_some_and(|other| other.same_channel(&sender))
        {
            connections.remove(&peer_id);
        }
    }
}

/// Turns the events of one connection into those of the node.
struct Narrator<'a> {
    shared: &'a Shared,
    peer_id: Uuid,
    address: SocketAddr,
    side: Side,
    established: bool,
}

impl Narrator<'_> {
    fn tell(&mut self, connection: &mut Connection, now: std::time::Instant, event: Event) {
        let (peer_id, address) = (self.peer_id, self.address);
        match event {
            Event::Ready(ready) => {
                let version = &ready.version;
                info!(
                    user_agent = %version.user_agent,
                    version = version.version,
                    height = version.start_height,
                    "handshake complete"
                );
                self.shared.control(ControlEvent::HandshakeComplete {
                    peer_id,
                    address,
                    user_agent: version.user_agent.clone(),
                    version: version.version,
                    services: version.services,
                    height: version.start_height,
                });
                connection.admit(now);
                self.established = true;
                self.shared.control(ControlEvent::ConnectionEstablished {
                    peer_id,
                    address,
                    is_inbound: self.side == Side::Inbound,
                });
            }
            Event::Message(message) => {
                let event = BitcoinMessageEvent::new(peer_id, address, message);
                self.shared.publish(NodeEvent::Message(event));
            }
            Event::Payload(PayloadEvent::Begin { command, length }) => {
                self.shared.publish(NodeEvent::Skipped {
                    peer_id,
                    address,
                    command,
                    length,
                });
            }
            Event::Payload(_) => {}
            Event::Discarded(discarded) => {
                debug!(command = ?discarded.command, why = %discarded.why, "frame dropped");
            }
            Event::Closed(reason) => self.closed(reason),
            other => debug!(event = ?other, "unknown event"),
        }
    }

    fn closed(&self, reason: CloseReason) {
        let (peer_id, address) = (self.peer_id, self.address);
        let initiator = reason.initiator();
        if self.established {
            info!(reason = %reason, ?initiator, "connection lost");
        } else {
            warn!(error = %reason, ?initiator, "connection failed");
        }
        let reason = ConnectionError::Closed(reason);
        self.shared.control(if self.established {
            ControlEvent::ConnectionLost {
                peer_id,
                address,
                reason,
                initiator,
            }
        } else {
            ControlEvent::ConnectionFailed {
                peer_id,
                address,
                reason,
            }
        });
    }
}
