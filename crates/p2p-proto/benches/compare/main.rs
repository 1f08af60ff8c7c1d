//! Decoding and encoding beside the double SHA-256 that neither can do without, and beside the
//! `bitcoin` crate, in one run.
//!
//! The contenders of a row run for two milliseconds each in turn, a hundred times; a ratio is
//! the median, over the rounds, of the ratio within a round. Filling the buffer that is decoded
//! is not timed, and is the same for all; letting go of what was decoded is timed.
//!
//! Prints Markdown; `scripts/bench-table` adds what the machine is.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark reads the clock, prints what it measured, and ends when something fails"
)]

#[path = "../messages/mod.rs"]
mod messages;
mod pair;
mod rounds;

use std::hint::black_box;
use std::time::Instant;

use bitcoin::consensus::{Decodable, Encodable};
use bitcoin::p2p::Magic;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bytes::BytesMut;
use p2p_proto::{
    Connection, Decoded, Event, FrameDecoder, HEADER_LEN, Hash256, Limits, Message, encode_frame,
};
use sha2::{Digest, Sha256};

use messages::{Case, NETWORK, cases};
use rounds::{Contender, Effort, Row, time};

/// From this payload on the aim is 1.1 times the hash, below it 1.5 times.
const LARGE: usize = 1024;

fn main() {
    // Without `--bench` this is a test run of cargo's.
    let effort = match std::env::args().any(|arg| arg == "--bench") {
        true => Effort::Full,
        false => Effort::Once,
    };
    let cases = cases();
    // As with criterion, an argument picks the messages whose name contains it.
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = || {
        let named = |case: &&Case| only.as_ref().is_none_or(|only| case.name.contains(only));
        cases.iter().filter(named)
    };
    let mut aims = Vec::new();

    println!("### Decode: bytes in a read buffer to a typed message\n");
    heading(&[
        "message",
        "payload",
        "decode",
        "decode, every item read",
        "hash alone",
        "`bitcoin`",
        "decode / hash",
        "`bitcoin` / decode",
    ]);
    for case in wanted() {
        let row = decode(case, effort);
        line(case, &row, 4, &[(0, 2), (3, 0)]);
        aims.push(aim("decode", case, &row, 0));
    }

    println!("\n### Encode: a typed message to bytes for the socket\n");
    heading(&[
        "message",
        "payload",
        "`Connection::send`",
        "`encode_frame`",
        "hash alone",
        "`bitcoin`",
        "`send` / hash",
        "`encode_frame` / hash",
        "`bitcoin` / `send`",
    ]);
    for case in wanted() {
        let row = encode(case, effort);
        line(case, &row, 4, &[(0, 2), (1, 2), (3, 0)]);
        aims.push(aim("encode", case, &row, 0));
    }

    println!("\n### A ping answered: its frame into `Connection::receive`, the pong's frame out\n");
    heading(&[
        "message",
        "payload",
        "`Connection`",
        "the two hashes alone",
        "`bitcoin`, decode and encode",
        "`Connection` / hashes",
        "`bitcoin` / `Connection`",
    ]);
    line(
        &cases[0],
        &ping_pong(&cases[0], effort),
        3,
        &[(0, 1), (2, 0)],
    );

    println!("\n### Aims\n");
    for aim in aims {
        println!("- {aim}");
    }
}

fn heading(columns: &[&str]) {
    println!("| {} |", columns.join(" | "));
    println!("|---{}|", "|---:".repeat(columns.len() - 1));
}

fn line(case: &Case, row: &Row, contenders: usize, ratios: &[(usize, usize)]) {
    print!("| {} | {} B", case.name, payload(case).len());
    for contender in 0..contenders {
        print!(" | {}", row.time(contender));
    }
    for &(of, to) in ratios {
        print!(" | {}", row.ratio(of, to));
    }
    println!(" |");
}

/// Whether a row is within its aim: so much of the hash (contender 2), and ahead of the
/// `bitcoin` crate (contender 3).
fn aim(what: &str, case: &Case, row: &Row, ours: usize) -> String {
    let most = if payload(case).len() < LARGE {
        1.5
    } else {
        1.1
    };
    let hash = row.ratio(ours, 2).median;
    let lead = row.ratio(3, ours).median;
    let verdict = match hash <= most && lead > 1.0 {
        true => "holds",
        false => "MISSED",
    };
    format!(
        "{what} {}: {hash:.2} of the hash, {most} wanted; {lead:.2} times as fast as `bitcoin`: {verdict}",
        case.name
    )
}

fn decode(case: &Case, effort: Effort) -> Row {
    let mut decoder = FrameDecoder::new(NETWORK, Limits::DEFAULT);
    let mut again = FrameDecoder::new(NETWORK, Limits::DEFAULT);
    Row::measure(
        effort,
        vec![
            Contender::new(case.in_a_row, || {
                let mut buffer = case.read_buffer();
                time(|| {
                    decode_all(&mut decoder, &mut buffer, |message| {
                        black_box(message);
                    });
                })
            }),
            Contender::new(case.in_a_row, || {
                let mut buffer = case.read_buffer();
                time(|| decode_all(&mut again, &mut buffer, |message| read_items(&message)))
            }),
            Contender::new(case.in_a_row, || {
                let buffer = case.read_buffer();
                time(|| {
                    for frame in buffer.chunks_exact(case.frame.len()) {
                        black_box(sha256d(&frame[HEADER_LEN..]));
                    }
                })
            }),
            Contender::new(case.in_a_row, || {
                let buffer = case.read_buffer();
                time(|| {
                    let mut bytes = &buffer[..];
                    while !bytes.is_empty() {
                        black_box(bitcoin_decode(&mut bytes));
                    }
                })
            }),
        ],
    )
}

fn decode_all(decoder: &mut FrameDecoder, buffer: &mut BytesMut, mut take: impl FnMut(Message)) {
    while let Ok(Some(Decoded::Frame { command, body })) = decoder.decode(buffer) {
        take(body.decode(command).unwrap());
    }
    assert!(buffer.is_empty());
}

/// Looks at everything that the `bitcoin` crate has in its tree by now.
fn read_items(message: &Message) {
    match message {
        Message::Inv(list) => list.iter().for_each(|item| {
            black_box(item);
        }),
        Message::Headers(list) => list.iter().for_each(|header| {
            black_box(header);
        }),
        Message::Tx(tx) => read_tx(tx),
        Message::Block(block) => block.txs().for_each(|tx| read_tx(&tx.unwrap())),
        other => {
            black_box(other);
        }
    }
}

fn read_tx(tx: &p2p_proto::Tx) {
    tx.inputs().for_each(|input| {
        black_box(input);
    });
    tx.outputs().for_each(|output| {
        black_box(output);
    });
}

fn encode(case: &Case, effort: Effort) -> Row {
    let (mut connection, now) = pair::connected();
    let mut out = BytesMut::with_capacity(case.frame.len() * case.in_a_row);
    let message = bitcoin_message(case);
    let mut bitcoin_out = Vec::with_capacity(case.frame.len() * case.in_a_row);
    Row::measure(
        effort,
        vec![
            Contender::new(case.in_a_row, || {
                time(|| {
                    for _ in 0..case.in_a_row {
                        connection.send(now, black_box(&case.message)).unwrap();
                    }
                    transmit(&mut connection, now);
                })
            }),
            Contender::new(case.in_a_row, || {
                out.clear();
                time(|| {
                    for _ in 0..case.in_a_row {
                        encode_frame(NETWORK, black_box(&case.message), &mut out);
                    }
                })
            }),
            Contender::new(case.in_a_row, || {
                time(|| {
                    for _ in 0..case.in_a_row {
                        black_box(sha256d(black_box(payload(case))));
                    }
                })
            }),
            Contender::new(case.in_a_row, || {
                bitcoin_out.clear();
                // Its frames own their messages: cloning and dropping them is not encoding.
                let messages = vec![message.clone(); case.in_a_row];
                let mut sent = Vec::with_capacity(case.in_a_row);
                time(|| {
                    for message in messages {
                        sent.push(bitcoin_encode(message, &mut bitcoin_out));
                    }
                })
            }),
        ],
    )
}

/// One at a time, as pings come: each is read, handed to the application and answered before
/// the next one.
fn ping_pong(case: &Case, effort: Effort) -> Row {
    let (mut connection, now) = pair::connected();
    let mut buffer = BytesMut::with_capacity(case.frame.len());
    let mut out = Vec::with_capacity(case.frame.len());
    Row::measure(
        effort,
        vec![
            Contender::new(case.in_a_row, || {
                time(|| {
                    for _ in 0..case.in_a_row {
                        buffer.extend_from_slice(&case.frame);
                        connection.receive(now, &mut buffer);
                        transmit(&mut connection, now);
                        while let Some(event) = connection.poll_event() {
                            assert!(matches!(event, Event::Message(Message::Ping(_))));
                        }
                    }
                })
            }),
            Contender::new(case.in_a_row, || {
                time(|| {
                    for _ in 0..case.in_a_row {
                        black_box(sha256d(black_box(payload(case))));
                        black_box(sha256d(black_box(payload(case))));
                    }
                })
            }),
            Contender::new(case.in_a_row, || {
                time(|| {
                    for _ in 0..case.in_a_row {
                        out.clear();
                        let message = bitcoin_decode(&mut black_box(&case.frame[..]));
                        let NetworkMessage::Ping(nonce) = message.into_payload() else {
                            panic!("no ping");
                        };
                        bitcoin_encode(NetworkMessage::Pong(nonce), &mut out);
                        black_box(&out);
                    }
                })
            }),
        ],
    )
}

/// Takes all that waits to be sent, as a driver does.
fn transmit(connection: &mut Connection, now: Instant) {
    while let Some(bytes) = connection.poll_transmit() {
        connection.handle_written(now, black_box(bytes).len());
    }
}

fn payload(case: &Case) -> &[u8] {
    &case.frame[HEADER_LEN..]
}

fn sha256d(bytes: &[u8]) -> Hash256 {
    Hash256::from_bytes(Sha256::digest(Sha256::digest(bytes)).into())
}

fn bitcoin_decode(bytes: &mut &[u8]) -> RawNetworkMessage {
    // The other entry point stops at 4 MB.
    RawNetworkMessage::consensus_decode_from_finite_reader(bytes).unwrap()
}

fn bitcoin_encode(message: NetworkMessage, out: &mut Vec<u8>) -> RawNetworkMessage {
    let message = RawNetworkMessage::new(Magic::from_bytes(NETWORK.magic_bytes()), message);
    message.consensus_encode(out).unwrap();
    message
}

fn bitcoin_message(case: &Case) -> NetworkMessage {
    bitcoin_decode(&mut &case.frame[..]).into_payload()
}
