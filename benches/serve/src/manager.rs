//! The library's manager, with a subscriber that counts.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use p2p_tokio::{
    BitcoinMessages, Command, Filter, InMemoryPeerStore, LosslessEvents, Manager, ManagerConfig,
    Message, Network, PayloadEvent, PeerEvent, RecvError,
};
use serde_json::json;

use crate::{Result, ready, wait_for_end};

/// Events that may wait for the subscriber.
const QUEUE: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How the messages are listened to.
    #[arg(long, value_enum, default_value_t = Subscriber::Lossless)]
    subscriber: Subscriber,
    /// A lossless subscriber wants pings and pongs, too, and all else, rather than what peers
    /// announce and send: inv, transactions, blocks.
    #[arg(long)]
    everything: bool,
    /// Send every transaction that comes to all connections, its sender too.
    #[arg(long)]
    relay: bool,
    /// Bytes of messages that may wait for the subscriber; the library's default if not given.
    #[arg(long)]
    queue_bytes: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subscriber {
    /// Every message that is wanted arrives, and the pieces of large ones: peers wait for this subscriber.
    Lossless,
    /// What the subscriber is too slow for is missed.
    Lossy,
    /// There is none.
    None,
}

/// What has come.
#[derive(Debug, Default)]
struct Counts {
    messages: AtomicU64,
    missed: AtomicU64,
    inv_entries: AtomicU64,
    payload_bytes: AtomicU64,
}

pub(crate) async fn serve(options: &Options) -> Result<()> {
    let mut config = config();
    if let Some(bytes) = options.queue_bytes {
        config.event_channel_bytes = bytes;
    }
    let manager = Manager::new(config, Arc::new(InMemoryPeerStore::new()))?;
    let counts = Arc::new(Counts::default());
    let relay = options.relay.then(|| manager.clone());
    match options.subscriber {
        Subscriber::Lossless => {
            let filter = match options.everything {
                true => Filter::all(),
                false => Filter::commands([Command::INV, Command::TX, Command::BLOCK]),
            };
            let events = manager.subscribe_lossless(filter.with_payloads(), QUEUE);
            tokio::spawn(count_lossless(events, counts.clone(), relay));
        }
        Subscriber::Lossy => {
            let messages = manager.subscribe_bitcoin_messages();
            tokio::spawn(count(messages, counts.clone(), relay));
        }
        Subscriber::None => {}
    }
    manager.start().await?;
    let address = loop {
        match manager.listen_address().await? {
            Some(address) => break address,
            // It binds at once, or never.
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    ready("p2p-tokio", address.port());
    tokio::task::spawn_blocking(wait_for_end).await?;
    let all = [
        &counts.messages,
        &counts.missed,
        &counts.inv_entries,
        &counts.payload_bytes,
    ];
    let [messages, missed, inv_entries, payload_bytes] =
        all.map(|count| count.load(Ordering::Relaxed));
    println!(
        "DONE {}",
        json!({
            "messages": messages,
            "missed": missed,
            "inv_entries": inv_entries,
            "payload_bytes": payload_bytes,
            "connections": manager.get_connection_count(),
        })
    );
    Ok(())
}

/// Listens, dials nobody, and has room for all who come.
pub(crate) fn config() -> ManagerConfig {
    ManagerConfig {
        enable_listener: true,
        listener_address: Ipv4Addr::LOCALHOST.into(),
        listener_port: Some(0),
        target_connections: 0,
        max_connections: 20_000,
        max_pending_inbound: 20_000,
        min_outbound: Some(0),
        ..ManagerConfig::new(Network::Regtest)
    }
}

async fn count_lossless(mut events: LosslessEvents, counts: Arc<Counts>, relay: Option<Manager>) {
    while let Some(event) = events.recv().await {
        match event {
            PeerEvent::Message(event) => counts.take(&event.message, relay.as_ref()),
            PeerEvent::Payload {
                event: PayloadEvent::Chunk(bytes),
                ..
            } => {
                let length = bytes.len() as u64;
                counts.payload_bytes.fetch_add(length, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

async fn count(mut messages: BitcoinMessages, counts: Arc<Counts>, relay: Option<Manager>) {
    loop {
        match messages.recv().await {
            Ok(event) => counts.take(&event.message, relay.as_ref()),
            Err(RecvError::Lagged(missed)) => {
                counts.missed.fetch_add(missed, Ordering::Relaxed);
            }
            Err(RecvError::Closed) => return,
            Err(_) => {}
        }
    }
}

impl Counts {
    fn take(&self, message: &Message, relay: Option<&Manager>) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        match (message, relay) {
            (Message::Inv(inventory), _) => {
                let entries = inventory.len() as u64;
                self.inv_entries.fetch_add(entries, Ordering::Relaxed);
            }
            (Message::Tx(_), Some(manager)) => {
                manager.broadcast(message);
            }
            _ => {}
        }
    }
}
