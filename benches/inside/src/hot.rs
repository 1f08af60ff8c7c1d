//! The hot paths: what a message costs between the socket and the application.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use clap::ValueEnum;
use p2p_proto::{
    Capacity, Clock, Config, Connection, EncodedMessage, Event, Hash256, Inventory, InventoryItem,
    InventoryKind, Message, Network, NetworkAddress, Nonce, OutPoint, Params, Side, Tx, TxInput,
    TxOutput, Version, VersionFields, encode_frame,
};
use serde_json::{Value, json};

use crate::Result;

/// Messages in a row: as many as a read brings, and again.
const MESSAGES: u32 = 1000;
const NETWORK: Network = Network::Regtest;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Path {
    /// A ping comes, and its pong leaves.
    Ping,
    /// An inv of 8 entries comes.
    Inv,
    /// A transaction of 300 bytes comes.
    Tx,
    /// A message that is encoded already is queued, and leaves.
    Send,
}

pub(crate) fn run(path: Path) -> Result<Value> {
    let now = Instant::now();
    let mut connection = connected(now)?;
    let message = match path {
        Path::Ping => Message::Ping(Nonce(7)),
        Path::Inv => inventory(),
        Path::Tx | Path::Send => transaction()?,
    };
    let mut frame = BytesMut::new();
    encode_frame(NETWORK, &message, &mut frame);
    let encoded = EncodedMessage::new(NETWORK, &message);
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    // The first time queues reach their size; the second time is counted.
    for measured in [false, true] {
        for _ in 0..MESSAGES {
            match (path, measured) {
                (Path::Send, false) => send(&mut connection, now, &encoded)?,
                (Path::Send, true) => counted_send(&mut connection, now, &encoded)?,
                (_, false) => receive(&mut connection, now, &frame, &mut buffer),
                (_, true) => counted_receive(&mut connection, now, &frame, &mut buffer),
            }
        }
    }
    Ok(json!({ "messages": MESSAGES }))
}

/// What the instruction counter looks for.
#[inline(never)]
fn counted_receive(connection: &mut Connection, now: Instant, frame: &[u8], buffer: &mut BytesMut) {
    receive(connection, now, frame, buffer);
}

/// What the instruction counter looks for.
#[inline(never)]
fn counted_send(connection: &mut Connection, now: Instant, message: &EncodedMessage) -> Result<()> {
    send(connection, now, message)
}

#[inline(always)]
fn receive(connection: &mut Connection, now: Instant, frame: &[u8], buffer: &mut BytesMut) {
    buffer.extend_from_slice(frame);
    connection.receive(now, buffer);
    transmit(connection, now);
    while let Some(event) = connection.poll_event() {
        black_box(event);
    }
}

#[inline(always)]
fn send(connection: &mut Connection, now: Instant, message: &EncodedMessage) -> Result<()> {
    connection.send_encoded(now, message)?;
    transmit(connection, now);
    Ok(())
}

fn transmit(connection: &mut Connection, now: Instant) {
    while let Some(bytes) = connection.poll_transmit() {
        connection.handle_written(now, bytes.len());
        black_box(bytes);
    }
}

/// A connection whose handshake is over.
fn connected(now: Instant) -> Result<Connection> {
    let params = Params {
        remote: "127.0.0.1:18444".parse()?,
        nonce: 1,
        seed: [1; 32],
        clock: Clock::new(now, SystemTime::now()),
        capacity: Capacity::Free,
    };
    let config = Arc::new(Config::new(NETWORK));
    let mut connection = Connection::new(config, Side::Inbound, params, now);
    let version = Version {
        nonce: 2,
        fields: VersionFields::AssociationId,
        ..Version::minimal(70016, 1_700_000_000, NetworkAddress::UNSPECIFIED)
    };
    let mut buffer = BytesMut::new();
    for message in [Message::Version(Box::new(version)), Message::Verack] {
        encode_frame(NETWORK, &message, &mut buffer);
        connection.receive(now, &mut buffer);
        transmit(&mut connection, now);
        while let Some(event) = connection.poll_event() {
            if let Event::Ready(_) = event {
                connection.admit(now);
            }
        }
        transmit(&mut connection, now);
    }
    match connection.is_connected() {
        true => Ok(connection),
        false => Err("the handshake did not end".into()),
    }
}

fn inventory() -> Message {
    Message::Inv(Inventory::new((0..8_u32).map(|n| InventoryItem {
        kind: InventoryKind::Tx,
        hash: Hash256::of(&n.to_le_bytes()),
    })))
}

/// 300 bytes: the shape of most payments.
pub(crate) fn transaction() -> Result<Message> {
    let input = TxInput {
        previous: OutPoint {
            txid: Hash256::of(&[7]),
            index: 1,
        },
        script: &[0x51; 181],
        sequence: u32::MAX,
    };
    let output = TxOutput {
        value: 5_000,
        script: &[0x51; 25],
    };
    Ok(Message::Tx(Tx::new(1, &[input], &[output; 2], 0)?))
}
