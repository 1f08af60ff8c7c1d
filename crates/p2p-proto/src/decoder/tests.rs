use super::*;
use crate::{EncodedMessage, HEADER_LEN, Message, Nonce, encode_frame};

/// Everything that comes out, as text, when the bytes come in pieces of `step`.
fn decode_in_steps(decoder: FrameDecoder, bytes: &[u8], step: usize) -> Vec<String> {
    let mut decoder = decoder;
    let mut buffer = BytesMut::new();
    let mut out = Vec::new();
    let mut streamed = Vec::new();
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Decoded::Payload(PayloadEvent::Chunk(chunk)))) => {
                    streamed.extend_from_slice(&chunk)
                }
                Ok(Some(Decoded::Frame { command, body })) => {
                    out.push(format!("{command} {:?}", body.as_bytes()));
                }
                Ok(Some(other)) => out.push(format!("{other:?}")),
                Err(error) => {
                    out.push(error.to_string());
                    return out;
                }
            }
        }
    }
    out.push(format!("streamed {streamed:?}, left {}", buffer.len()));
    out
}

fn a_session() -> BytesMut {
    let mut bytes = BytesMut::new();
    let network = Network::Regtest;
    encode_frame(network, &Message::Ping(Nonce(1)), &mut bytes);
    encode_frame(network, &Message::Verack, &mut bytes);
    encode_frame(network, &unknown(100), &mut bytes);
    FrameHeader {
        command: Command::PONG,
        length: 8,
        checksum: None,
    }
    .encode(network.magic_bytes(), &mut bytes);
    bytes.extend_from_slice(&[9; 8]);
    let bad = bytes.len() + HEADER_LEN;
    encode_frame(network, &unknown(5), &mut bytes);
    bytes[bad] ^= 1;
    let bad = bytes.len() + 15;
    encode_frame(network, &unknown(7), &mut bytes);
    bytes[bad] = b'x';
    bytes
}

fn unknown(len: usize) -> Message {
    Message::Unknown {
        command: Command::new("whatever").unwrap(),
        payload: (0..len).map(|i| i as u8).collect(),
    }
}

#[test]
fn any_chunking_gives_the_same_frames() {
    let bytes = a_session();
    let decoder = || FrameDecoder::new(Network::Regtest, Limits::DEFAULT).stream_above(50);
    let whole = decode_in_steps(decoder(), &bytes, bytes.len());
    assert_eq!(whole.len(), 8);
    for step in 1..bytes.len() {
        assert_eq!(
            decode_in_steps(decoder(), &bytes, step),
            whole,
            "step {step}"
        );
    }
}

#[test]
fn a_bad_magic_is_seen_in_four_bytes_and_for_ever() {
    let mut decoder = FrameDecoder::new(Network::Mainnet, Limits::DEFAULT);
    let mut buffer = BytesMut::from(&b"GET"[..]);
    assert!(decoder.decode(&mut buffer).unwrap().is_none());
    buffer.extend_from_slice(b" ");
    let error = decoder.decode(&mut buffer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "magic 47455420 where e3e1f3e8 was expected"
    );
    let mut buffer = BytesMut::new();
    encode_frame(Network::Mainnet, &Message::Verack, &mut buffer);
    assert_eq!(decoder.decode(&mut buffer).unwrap_err(), error);
}

#[test]
fn limits_by_command_are_judged_on_the_header_alone() {
    let limits = Limits {
        message: 2_097_152,
        block: 4_000_000_000,
    };
    let low = Limits {
        block: 5000,
        ..limits
    };
    assert_eq!(low.of(Command::TX), 5000, "no longer than its block");
    let judge = |command, length: u64| {
        let mut buffer = BytesMut::new();
        let checksum = (length <= u64::from(u32::MAX)).then_some([0; 4]);
        FrameHeader {
            command,
            length,
            checksum,
        }
        .encode(Network::Stn.magic_bytes(), &mut buffer);
        let mut decoder = FrameDecoder::new(Network::Stn, limits).stream_above(1 << 22);
        decoder.decode(&mut buffer).map(|_| ())
    };
    for (command, limit) in [
        (Command::PING, 2_097_152),
        (Command::new("whatever").unwrap(), 2_097_152),
        (Command::PROTOCONF, 1_048_576),
        (Command::TX, 1_000_000_000),
        (Command::DATAREFTX, 1_000_000_000),
        (Command::BLOCK, 4_000_000_000),
        (Command::CMPCTBLOCK, 4_000_000_000),
        (Command::BLOCKTXN, 4_000_000_000),
        (Command::HDRSEN, 4_000_000_000),
        (Command::GETBLOCKTXN, 4_000_000_000 / 215 * 6 + 24),
    ] {
        assert_eq!(judge(command, limit), Ok(()), "{command}");
        let length = limit + 1;
        assert_eq!(
            judge(command, length),
            Err(FrameError::Oversize {
                command,
                length,
                limit
            })
        );
    }
}

#[test]
fn a_buffer_that_has_lost_bytes_is_a_bad_checksum() {
    let mut decoder = FrameDecoder::new(Network::Regtest, Limits::DEFAULT);
    let mut frame = BytesMut::new();
    encode_frame(Network::Regtest, &unknown(1000), &mut frame);
    let mut buffer = BytesMut::from(&frame[..800]);
    assert!(decoder.decode(&mut buffer).unwrap().is_none());
    let mut other = BytesMut::from(&frame[HEADER_LEN..300]);
    assert!(decoder.decode(&mut other).unwrap().is_none());
    other.extend_from_slice(&frame[300..]);
    let why = match decoder.decode(&mut other).unwrap() {
        Some(Decoded::Dropped { why, .. }) => Some(why),
        _ => None,
    };
    assert_eq!(why, Some(Dropped::BadChecksum));
    assert!(other.is_empty());
}

#[test]
fn a_stranger_may_send_little() {
    let mut decoder = FrameDecoder::new(Network::Regtest, Limits::DEFAULT);
    decoder.set_trust(Trust::Stranger);
    let mut bytes = BytesMut::new();
    encode_frame(Network::Regtest, &unknown(4097), &mut bytes);
    encode_frame(Network::Regtest, &unknown(4096), &mut bytes);
    let out = decode_in_steps(decoder, &bytes, 1000);
    assert!(out[0].contains("TooLargeYet"), "{out:?}");
    assert!(out[1].starts_with("whatever "), "{out:?}");
}

#[test]
fn a_frame_encoded_once_is_the_same_as_one_encoded_in_place() {
    for message in [Message::Verack, Message::Ping(Nonce(7)), unknown(5000)] {
        let mut one = BytesMut::new();
        encode_frame(Network::Testnet, &message, &mut one);
        let mut other = BytesMut::new();
        EncodedMessage::new(Network::Testnet, &message).encode(&mut other);
        assert_eq!(one, other);
    }
}
