//! Messages and events: what a manager hears, and what it sends.

use std::sync::Arc;

use p2p_proto::{EncodedMessage, Message};
use uuid::Uuid;

use super::{Manager, SendMessageError};
use crate::events::{BitcoinMessages, ControlEvents, Events, Filter, LosslessEvents};

/// Payload bytes that take long to hash, some 40 µs: others have their turn after that.
const LARGE: usize = 64 << 10;

impl Manager {
    /// A view of what happens to connections, peers, the listener and the node, from now on.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// let mut events = manager.subscribe_control_events();
    /// manager.shutdown().await;
    /// assert_eq!(events.recv().await, Ok(p2p_tokio::ControlEvent::ShuttingDown));
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe_control_events(&self) -> ControlEvents {
        self.shared.registry.control_events()
    }

    /// A view of the messages of all peers, from now on.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut messages = manager.subscribe_bitcoin_messages();
    /// let event = messages.recv().await?;
    /// println!("{} sent {}", event.address, event.message.command());
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe_bitcoin_messages(&self) -> BitcoinMessages {
        self.shared.registry.bitcoin_messages()
    }

    /// A view of both, in the order in which they were published.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager) -> Result<(), Box<dyn std::error::Error>> {
    /// use p2p_tokio::{Event, RecvError};
    ///
    /// let mut events = manager.events();
    /// loop {
    ///     match events.recv().await {
    ///         Ok(Event::Control(event)) => println!("{event:?}"),
    ///         Ok(Event::Message(event)) => println!("{}", event.message.command()),
    ///         Ok(_) => {}
    ///         Err(RecvError::Closed) => break,
    ///         Err(gap) => println!("{gap}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        self.shared.registry.events()
    }

    /// Messages for those who must miss nothing: when `capacity` events wait, or the bytes of
    /// `event_channel_bytes`, the peer whose message is next is not read from until there is
    /// room. Its pings and its end go on; other peers are not held up until they have something
    /// for the same subscriber.
    ///
    /// Payloads above `stream_above`, as big blocks, come in pieces if the filter says so, and to
    /// no other kind of subscriber.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager) -> Result<(), Box<dyn std::error::Error>> {
    /// use p2p_tokio::{Command, Filter, PeerEvent};
    ///
    /// let mut blocks = manager.subscribe_lossless(Filter::commands([Command::BLOCK]).with_payloads(), 64);
    /// while let Some(event) = blocks.recv().await {
    ///     if let PeerEvent::Payload { address, event, .. } = event {
    ///         println!("{address}: {event:?}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe_lossless(&self, filter: Filter, capacity: usize) -> LosslessEvents {
        self.shared.registry.subscribe_lossless(filter, capacity)
    }

    /// Queues a message for a peer, and waits for room in its queue. `Ok` means queued: the
    /// protocol has no receipt.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager) -> Result<(), Box<dyn std::error::Error>> {
    /// use p2p_tokio::Message;
    ///
    /// for connection in manager.connections().await? {
    ///     manager.send_message(connection.peer_id, Message::GetAddr).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SendMessageError`]: there is no such connection, or it does not take the message.
    pub async fn send_message(
        &self,
        peer_id: Uuid,
        message: Message,
    ) -> Result<(), SendMessageError> {
        let link = self.shared.links.pin().get(&peer_id).cloned();
        let link = link.ok_or(SendMessageError::UnknownPeer(peer_id))?;
        let message = Arc::new(EncodedMessage::new(self.shared.network, &message));
        let is_large = message.payload_len() >= LARGE;
        link.send(message).await?;
        if is_large {
            // The connection's task may be behind this one, on the same processor.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Queues a message for a peer if there is room.
    ///
    /// ```no_run
    /// # async fn example(manager: &p2p_tokio::Manager, peer_id: uuid::Uuid) -> Result<(), Box<dyn std::error::Error>> {
    /// use p2p_tokio::{Message, SendError, SendMessageError};
    ///
    /// match manager.try_send_message(peer_id, &Message::GetAddr) {
    ///     Err(SendMessageError::Refused(SendError::Full)) => println!("later"),
    ///     done => done?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`send_message`](Self::send_message), and
    /// [`SendError::Full`](p2p_proto::SendError::Full).
    pub fn try_send_message(
        &self,
        peer_id: Uuid,
        message: &Message,
    ) -> Result<(), SendMessageError> {
        let link = self.shared.links.pin().get(&peer_id).cloned();
        let link = link.ok_or(SendMessageError::UnknownPeer(peer_id))?;
        Ok(link.try_send(Arc::new(EncodedMessage::new(self.shared.network, message)))?)
    }

    /// Queues a message for every peer that has room, encoded and hashed once. Returns for how
    /// many.
    ///
    /// ```
    /// # use p2p_tokio::{Manager, ManagerConfig, Network};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), p2p_tokio::ManagerError> {
    /// let manager = Manager::builder(ManagerConfig::new(Network::Regtest)).build()?;
    /// manager.start().await?;
    /// // Nobody is connected.
    /// assert_eq!(manager.broadcast(&p2p_tokio::Message::GetAddr), 0);
    /// # manager.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn broadcast(&self, message: &Message) -> usize {
        let message = Arc::new(EncodedMessage::new(self.shared.network, message));
        let links = self.shared.links.pin();
        let sent = links
            .values()
            .filter(|link| link.try_send(message.clone()).is_ok());
        sent.count()
    }
}
