//! A thread for each connection, on the codec of the `bitcoin` crate: the shortest peer that
//! there is.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bitcoin::consensus::Decodable;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use clap::Args;
use serde_json::json;

use crate::{Result, codec, ready, wait_for_end};

/// More threads than this, and the machine is measured rather than the loop.
const MOST: usize = 4000;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Answers to all that was read at once leave in one write, rather than each in its own.
    #[arg(long)]
    gather: bool,
}

/// Messages, and entries of inv, as a subscriber would count them.
#[derive(Debug, Default)]
struct Counts {
    messages: AtomicU64,
    inv_entries: AtomicU64,
}

pub(crate) fn serve(options: &Options) -> Result<()> {
    let gather = options.gather;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let counts = Arc::new(Counts::default());
    let counted = counts.clone();
    thread::spawn(move || {
        for stream in listener.incoming().take(MOST) {
            let counts = counted.clone();
            let connection = move || {
                // Whatever ends a connection ends it.
                let _ = stream.map(|stream| run(stream, gather, &counts));
            };
            if thread::Builder::new().spawn(connection).is_err() {
                return;
            }
        }
    });
    ready("thread per peer, bitcoin 0.32", port);
    wait_for_end();
    let messages = counts.messages.load(Ordering::Relaxed);
    let inv_entries = counts.inv_entries.load(Ordering::Relaxed);
    println!(
        "DONE {}",
        json!({ "messages": messages, "inv_entries": inv_entries })
    );
    Ok(())
}

fn run(mut stream: TcpStream, gather: bool, counts: &Counts) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = Vec::new();
    loop {
        let frame = RawNetworkMessage::consensus_decode_from_finite_reader(&mut reader)?;
        counts.messages.fetch_add(1, Ordering::Relaxed);
        if let NetworkMessage::Inv(entries) = frame.payload() {
            let entries = entries.len() as u64;
            counts.inv_entries.fetch_add(entries, Ordering::Relaxed);
        }
        codec::answer(frame.payload(), &mut out);
        if !out.is_empty() && (!gather || reader.buffer().is_empty()) {
            stream.write_all(&out)?;
            out.clear();
        }
    }
}
