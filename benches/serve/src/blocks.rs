//! Blocks of 1 MiB from one end to the other, both in this process: two managers, or two threads
//! that hash and copy and do nothing else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use p2p_proto::{Block, Command, checksum};
use p2p_tokio::{Filter, InMemoryPeerStore, Manager, ManagerConfig, Message, Network, PeerEvent};
use serde_json::json;

use crate::{Result, manager, runtime};

/// Bytes of a block.
const BLOCK: usize = 1 << 20;
/// How long two managers may take to find each other.
const PATIENCE: Duration = Duration::from_secs(10);
/// Blocks that may wait for the subscriber.
const QUEUE: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Between whom.
    #[arg(value_enum)]
    ends: Ends,
    /// How many.
    #[arg(long, default_value_t = 1024)]
    count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ends {
    /// Two managers, a subscriber behind the second.
    Managers,
    /// Two threads: one hashes and writes, the other reads and hashes.
    Bare,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let count = options.count;
    let elapsed = match options.ends {
        Ends::Managers => runtime()?.block_on(managers(count))?,
        Ends::Bare => bare(count)?,
    };
    let seconds = elapsed.as_secs_f64();
    let per_second = f64::from(count) * BLOCK as f64 / seconds;
    println!(
        "DONE {}",
        json!({ "blocks": count, "seconds": seconds, "bytes_per_second": per_second })
    );
    Ok(())
}

/// A header, one transaction that is not looked at, and not all zeros.
fn block() -> Vec<u8> {
    let mut block: Vec<u8> = (0..BLOCK).map(|n| (n % 251) as u8).collect();
    block[80] = 1;
    block
}

async fn managers(count: u32) -> Result<Duration> {
    let store = || Arc::new(InMemoryPeerStore::new());
    let listener = Manager::new(manager::config(), store())?;
    let mut events = listener.subscribe_lossless(Filter::commands([Command::BLOCK]), QUEUE);
    listener.start().await?;
    let address = loop {
        match listener.listen_address().await? {
            Some(address) => break address,
            // It binds at once, or never.
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let dialler =
        Manager::with_fixed_peers(ManagerConfig::new(Network::Regtest), store(), [address])?;
    dialler.start().await?;
    dialler.wait_for_peers(1, PATIENCE).await?;
    listener.wait_for_peers(1, PATIENCE).await?;
    let connections = dialler.connections().await?;
    let peer = connections.first().ok_or("there is no connection")?.peer_id;

    let block = Block::parse(Bytes::from(block()))?;
    let begun = Instant::now();
    let sender = tokio::spawn(async move {
        for _ in 0..count {
            let message = Message::Block(block.clone());
            dialler.send_message(peer, message).await?;
        }
        Ok::<_, p2p_tokio::SendMessageError>(dialler)
    });
    let mut received = 0;
    while received < count {
        match events.recv().await {
            Some(PeerEvent::Message(event)) => {
                if event.message.payload_len() != BLOCK {
                    return Err("a block of another length came".into());
                }
                received += 1;
            }
            Some(PeerEvent::Lost { reason, .. }) => {
                return Err(format!("the connection is lost: {reason}").into());
            }
            Some(_) => {}
            None => return Err("the manager has ended".into()),
        }
    }
    let elapsed = begun.elapsed();
    sender.await??.shutdown().await;
    listener.shutdown().await;
    Ok(elapsed)
}

fn bare(count: u32) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let block = block();
    let begun = Instant::now();
    let sending = thread::spawn(move || {
        for _ in 0..count {
            sender.write_all(&checksum(&block))?;
            sender.write_all(&block)?;
        }
        std::io::Result::Ok(())
    });
    let mut buffer = vec![0; BLOCK];
    for _ in 0..count {
        let mut announced = [0; 4];
        receiver.read_exact(&mut announced)?;
        receiver.read_exact(&mut buffer)?;
        if checksum(&buffer) != announced {
            return Err("a block came with another hash".into());
        }
    }
    let elapsed = begun.elapsed();
    sending.join().map_err(|_| "the sender panicked")??;
    Ok(elapsed)
}
