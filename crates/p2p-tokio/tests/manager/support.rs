//! Managers on loopback, and peers that do as a test says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use p2p_tokio::p2p_proto::{NetworkAddress, Nonce, Version, VersionFields};
use p2p_tokio::{
    ConnectionError, ControlEvent, Event, Events, InMemoryPeerStore, Manager, ManagerConfig,
    Message, MessageCodec, Network, RecvError, UserAgent,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::codec::Framed;
use uuid::Uuid;

/// How long a test waits for what must come; far above what it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn loopback(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, n))
}

/// A node that dials nobody unless told to.
pub(crate) fn config() -> ManagerConfig {
    let mut config = ManagerConfig::new(Network::Regtest);
    config.listener_address = loopback(1);
    config.listener_port = Some(0);
    config
}

pub(crate) fn listening() -> ManagerConfig {
    ManagerConfig {
        enable_listener: true,
        ..config()
    }
}

/// A manager, and everything that happened to it since it was made.
pub(crate) struct Node {
    pub(crate) manager: Manager,
    pub(crate) events: Events,
    /// Where it listens, once that was waited for.
    pub(crate) listens_at: Option<SocketAddr>,
}

impl Node {
    pub(crate) async fn start(config: ManagerConfig) -> Self {
        Self::of(Manager::new(config, Arc::new(InMemoryPeerStore::new())).unwrap()).await
    }

    pub(crate) async fn fixed(
        config: ManagerConfig,
        peers: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        let store = Arc::new(InMemoryPeerStore::new());
        Self::of(Manager::with_fixed_peers(config, store, peers).unwrap()).await
    }

    pub(crate) async fn of(manager: Manager) -> Self {
        let events = manager.events();
        manager.start().await.unwrap();
        Self {
            manager,
            events,
            listens_at: None,
        }
    }

    /// The first event from which `pick` takes something.
    pub(crate) async fn wait_for<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let search = async {
            loop {
                match self.events.recv().await {
                    Ok(event) => {
                        if let Some(found) = pick(&event) {
                            return found;
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        timeout(PATIENCE, search).await.expect("the event comes")
    }

    pub(crate) async fn control<T>(
        &mut self,
        mut pick: impl FnMut(&ControlEvent) -> Option<T>,
    ) -> T {
        self.wait_for(|event| match event {
            Event::Control(event) => pick(event),
            _ => None,
        })
        .await
    }

    /// Where it listens.
    pub(crate) async fn address(&mut self) -> SocketAddr {
        let address = self
            .control(|event| match event {
                ControlEvent::ListenerStarted { address } => Some(*address),
                _ => None,
            })
            .await;
        self.listens_at = Some(address);
        address
    }

    pub(crate) async fn established(&mut self) -> Uuid {
        self.control(|event| match event {
            ControlEvent::ConnectionEstablished { peer_id, .. } => Some(*peer_id),
            _ => None,
        })
        .await
    }

    pub(crate) async fn failed(&mut self) -> ConnectionError {
        self.control(|event| match event {
            ControlEvent::ConnectionFailed { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn lost(&mut self) -> ConnectionError {
        self.control(|event| match event {
            ControlEvent::ConnectionLost { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn message<T>(&mut self, mut pick: impl FnMut(&Message) -> Option<T>) -> T {
        self.wait_for(|event| match event {
            Event::Message(event) => pick(&event.message),
            _ => None,
        })
        .await
    }
}

/// Two managers with one connection between them: who listens, and who dialled.
pub(crate) async fn pair() -> (Node, Node) {
    let mut listener = Node::start(listening()).await;
    let address = listener.address().await;
    let dialler = Node::fixed(config(), [address]).await;
    dialler.manager.wait_for_peers(1, PATIENCE).await.unwrap();
    listener.manager.wait_for_peers(1, PATIENCE).await.unwrap();
    (listener, dialler)
}

/// A peer that does as a test says.
pub(crate) struct RemotePeer {
    pub(crate) frames: Framed<TcpStream, MessageCodec>,
}

impl RemotePeer {
    /// Dials, from 127.0.0.`from`.
    pub(crate) async fn dial(address: SocketAddr, from: u8) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((loopback(from), 0).into()).unwrap();
        Self::of(socket.connect(address).await.unwrap())
    }

    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let accepted = timeout(PATIENCE, listener.accept()).await;
        Self::of(accepted.expect("somebody dials").unwrap().0)
    }

    fn of(stream: TcpStream) -> Self {
        Self {
            frames: Framed::new(stream, MessageCodec::new(Network::Regtest)),
        }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.frames.send(message).await.unwrap();
    }

    /// Sends them in as few writes as there can be.
    pub(crate) async fn send_all(&mut self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.frames.feed(message).await.unwrap();
        }
        SinkExt::<Message>::flush(&mut self.frames).await.unwrap();
    }

    /// The next message; `None` at the end.
    pub(crate) async fn recv(&mut self) -> Option<Message> {
        self.next_within(PATIENCE).await
    }

    /// The same, from one that may be silent for long.
    pub(crate) async fn next_within(&mut self, patience: Duration) -> Option<Message> {
        let next = timeout(patience, self.frames.next()).await;
        match next.expect("something comes") {
            Some(Ok(message)) => Some(message.unwrap()),
            // A reset is an end, too.
            Some(Err(_)) | None => None,
        }
    }

    /// The first message from which `pick` takes something.
    pub(crate) async fn wait_for<T>(&mut self, mut pick: impl FnMut(&Message) -> Option<T>) -> T {
        loop {
            let message = self.recv().await.expect("it comes before the end");
            if let Some(found) = pick(&message) {
                return found;
            }
        }
    }

    /// Shakes hands, and reads until it is complete.
    pub(crate) async fn shake_hands(&mut self) {
        self.shake_hands_as("/Bitcoin SV:1.2.2/").await;
    }

    pub(crate) async fn shake_hands_as(&mut self, user_agent: &'static str) {
        self.send(version(user_agent)).await;
        self.send(Message::Verack).await;
        self.wait_for(|message| matches!(message, Message::Verack).then_some(()))
            .await;
    }

    /// As [`shake_hands`](Self::shake_hands); false if the other end does not want to.
    pub(crate) async fn try_shake_hands(&mut self) -> bool {
        for message in [version("/Bitcoin SV:1.2.2/"), Message::Verack] {
            if self.frames.send(message).await.is_err() {
                return false;
            }
        }
        loop {
            match self.recv().await {
                Some(Message::Verack) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// Waits until everything sent so far was read: by a ping, and its pong.
    pub(crate) async fn barrier(&mut self, nonce: u64) {
        self.send(Message::Ping(Nonce(nonce))).await;
        let pong = Message::Pong(Nonce(nonce));
        self.wait_for(|message| (*message == pong).then_some(()))
            .await;
    }

    /// Reads until the other end hangs up.
    pub(crate) async fn end(&mut self) {
        while self.recv().await.is_some() {}
    }
}

pub(crate) fn version(user_agent: &'static str) -> Message {
    // Every one of another peer.
    static NONCE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    Message::Version(Box::new(Version {
        nonce: NONCE.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        user_agent: UserAgent::from_static(user_agent),
        fields: VersionFields::AssociationId,
        ..Version::minimal(70016, 0, NetworkAddress::UNSPECIFIED)
    }))
}
