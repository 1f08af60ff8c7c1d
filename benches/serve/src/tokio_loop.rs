//! A tokio task for each connection, on the codec of the `bitcoin` crate. Answers to all that was
//! read at once leave in one write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bitcoin::consensus::deserialize_partial;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bytes::{Buf, BytesMut};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Result, codec, ready, wait_for_end};

/// Bytes of a frame's header, and where in it the length of the payload is.
const HEADER: usize = 24;
const LENGTH: usize = 16;

/// Read at once.
const READ: usize = 8 * 1024;

#[derive(Debug, Default)]
struct Counts {
    messages: AtomicU64,
    inv_entries: AtomicU64,
}

pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let counts = Arc::new(Counts::default());
    let counted = counts.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counts = counted.clone();
            tokio::spawn(async move {
                // Whatever ends a connection ends it.
                let _ = run(stream, &counts).await;
            });
        }
    });
    ready("tokio, bitcoin 0.32", port);
    tokio::task::spawn_blocking(wait_for_end).await?;
    let messages = counts.messages.load(Ordering::Relaxed);
    let inv_entries = counts.inv_entries.load(Ordering::Relaxed);
    println!(
        "DONE {}",
        json!({ "messages": messages, "inv_entries": inv_entries })
    );
    Ok(())
}

async fn run(mut stream: TcpStream, counts: &Counts) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(READ);
    let mut out = Vec::new();
    loop {
        input.reserve(READ);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while is_whole(&input) {
            let (frame, length) = deserialize_partial::<RawNetworkMessage>(&input)?;
            input.advance(length);
            counts.messages.fetch_add(1, Ordering::Relaxed);
            if let NetworkMessage::Inv(entries) = frame.payload() {
                let entries = entries.len() as u64;
                counts.inv_entries.fetch_add(entries, Ordering::Relaxed);
            }
            codec::answer(frame.payload(), &mut out);
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
            out.clear();
        }
    }
}

fn is_whole(input: &[u8]) -> bool {
    input.get(LENGTH..LENGTH + 4).is_some_and(|length| {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        input.len() - HEADER.min(input.len()) >= length as usize && input.len() >= HEADER
    })
}
