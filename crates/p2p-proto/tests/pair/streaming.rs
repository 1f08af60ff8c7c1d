//! Payloads in pieces, out and in.

use bytes::{Bytes, BytesMut};
use p2p_proto::{
    Capacity, CloseReason, Command, Config, Event, FrameHeader, Message, Offence, PayloadEvent,
    SendError, Side, checksum,
};

use crate::support::driver::{
    Driver, NETWORK, config, frame, messages, ping, pong, unknown, version,
};
use crate::support::pair::Pair;
use crate::{begin, closes_with, header};

#[test]
fn a_payload_is_sent_in_pieces_under_a_basic_header() {
    let payload = Bytes::from((0..100_000_u32).map(|i| i as u8).collect::<Vec<_>>());
    let mut driver = Driver::connected(Side::Inbound);
    let now = driver.now;
    let sum = Some(checksum(&payload));
    let length = payload.len() as u64;
    let none = driver
        .connection
        .send_begin(now, Command::BLOCK, length, None);
    assert_eq!(none, Err(SendError::Checksum));
    driver
        .connection
        .send_begin(now, Command::BLOCK, length, sum)
        .unwrap();
    let again = driver
        .connection
        .send_begin(now, Command::BLOCK, length, sum);
    assert_eq!(again, Err(SendError::Streaming));
    driver.settle();
    driver.hear(&ping(1));
    driver.connection.send(now, &Message::GetAddr).unwrap();
    driver.settle();
    assert_eq!(driver.said(), [], "nothing cuts into the payload");
    for piece in payload.chunks(30_000) {
        let short = driver.connection.send_end(now);
        assert!(matches!(
            short,
            Err(SendError::WrongLength { over: false, .. })
        ));
        driver
            .connection
            .send_chunk(now, payload.slice_ref(piece))
            .unwrap();
        driver.settle();
    }
    let over = driver.connection.send_chunk(now, Bytes::from_static(b"x"));
    assert_eq!(over, Err(SendError::WrongLength { by: 1, over: true }));
    driver.connection.send_end(now).unwrap();
    assert_eq!(
        driver.connection.send_end(now),
        Err(SendError::NotStreaming)
    );
    driver.settle();
    // The block is no block, so look at the frames themselves.
    let mut sent = driver.outgoing();
    let start = sent.len() - (24 + payload.len() + 32 + 24);
    let _handshake = sent.split_to(start);
    let block = sent.split_to(24 + payload.len());
    assert_eq!(block, frame(NETWORK, &unknown("block", payload)));
    assert_eq!(messages(NETWORK, &mut sent), [pong(1), Message::GetAddr]);
}

#[test]
fn a_payload_waits_until_the_one_before_has_left() {
    let payload = Bytes::from_static(&[7; 100]);
    let sum = Some(checksum(&payload));
    let mut driver = Driver::connected(Side::Inbound);
    let now = driver.now;
    let begin = |driver: &mut Driver| {
        let connection = &mut driver.connection;
        connection.send_begin(now, Command::BLOCK, 100, sum)
    };
    begin(&mut driver).unwrap();
    driver.connection.send_chunk(now, payload.clone()).unwrap();
    assert_eq!(begin(&mut driver), Err(SendError::Streaming));
    driver.connection.send_end(now).unwrap();
    assert_eq!(begin(&mut driver), Err(SendError::Full));
    driver.settle();
    assert_eq!(begin(&mut driver), Ok(()));
    driver.close(CloseReason::Requested);
    assert_eq!(begin(&mut driver), Err(SendError::Closed));
}

#[test]
fn the_end_of_a_payload_does_not_wait_for_room() {
    let config = Config {
        stream_above: 5000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    let bytes = frame(NETWORK, &unknown("block", vec![7; 6000]));
    let (header, payload) = bytes.split_at(24);
    driver.receive(header);
    driver.drains = false;
    driver.receive(payload);
    assert!(!driver.connection.wants_read());
    assert_eq!(driver.unread(), 0, "there is nothing to come back with");
    // As a driver with an empty buffer does.
    let events: Vec<_> = std::iter::from_fn(|| driver.connection.poll_event()).collect();
    let end = PayloadEvent::End {
        checksum_ok: Some(true),
    };
    assert_eq!(events[1..], [Event::Payload(end)]);
}

#[test]
fn a_payload_of_4_gib_goes_under_an_extended_header() {
    let mut driver = Driver::connected(Side::Inbound);
    driver.outgoing();
    let now = driver.now;
    let length = 1 << 32;
    let summed = driver
        .connection
        .send_begin(now, Command::BLOCK, length, Some([0; 4]));
    assert_eq!(summed, Err(SendError::Checksum));
    driver
        .connection
        .send_begin(now, Command::BLOCK, length, None)
        .unwrap();
    driver.settle();
    assert_eq!(driver.outgoing(), header(Command::BLOCK, length));
    let chunk = Bytes::from(vec![0; 1 << 20]);
    driver.connection.send_chunk(now, chunk.clone()).unwrap();
    let by = length - chunk.len() as u64;
    let short = driver.connection.send_end(now);
    assert_eq!(short, Err(SendError::WrongLength { by, over: false }));
}

#[test]
fn pieces_wait_for_room_as_messages_do() {
    let config = Config {
        send_queue_bytes: 100_000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    begin(&mut driver, Command::BLOCK, 1 << 40).unwrap();
    driver.settle();
    driver.room = 0;
    let chunk = Bytes::from(vec![0; 60_000]);
    let now = driver.now;
    assert_eq!(driver.connection.send_chunk(now, chunk.clone()), Ok(()));
    assert_eq!(
        driver.connection.send_chunk(now, chunk.clone()),
        Err(SendError::Full)
    );
    driver.room = usize::MAX;
    driver.settle();
    assert_eq!(driver.connection.send_chunk(now, chunk), Ok(()));
}

#[test]
fn a_large_payload_travels_in_pieces_from_end_to_end() {
    let config = Config {
        stream_above: 10_000,
        ..config()
    };
    let mut pair = Pair::with(config.clone(), config, Capacity::Free, &[1000, 1, 7, 4096]);
    pair.drive();
    pair.listener.events.clear();
    let payload = Bytes::from(vec![9; 50_000]);
    let good = checksum(&payload);
    for (sum, ok) in [(good, true), ([0; 4], false)] {
        let connection = &mut pair.dialler.connection;
        let length = payload.len() as u64;
        connection
            .send_begin(pair.now, Command::BLOCK, length, Some(sum))
            .unwrap();
        connection.send_chunk(pair.now, payload.clone()).unwrap();
        connection.send_end(pair.now).unwrap();
        pair.dialler.settle();
        pair.drive();
        let events = std::mem::take(&mut pair.listener.events);
        let command = Command::BLOCK;
        let begin = PayloadEvent::Begin { command, length };
        assert_eq!(events.first(), Some(&Event::Payload(begin)));
        let end = PayloadEvent::End {
            checksum_ok: Some(ok),
        };
        assert_eq!(events.last(), Some(&Event::Payload(end)));
        let mut received = Vec::new();
        for event in &events[1..events.len() - 1] {
            let Event::Payload(PayloadEvent::Chunk(chunk)) = event else {
                panic!("{event:?}")
            };
            assert!(!chunk.is_empty());
            received.extend_from_slice(chunk);
        }
        assert_eq!(received, payload);
        assert!(
            pair.listener.connection.is_connected(),
            "the application judges it"
        );
    }
}

#[test]
fn bad_checksums_of_streamed_payloads_are_offences_too() {
    let config = Config {
        stream_above: 5000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    let mut stream = header(Command::BLOCK, 5001);
    stream.extend_from_slice(&[7; 5001]);
    for i in 0..100 {
        assert_eq!(driver.closed(), None, "{i}");
        driver.receive(&stream);
    }
    let offence = Offence::BadChecksum(Command::BLOCK);
    closes_with(&driver, &CloseReason::Misbehavior(offence));
    assert_eq!(driver.connection.stats().discarded, 100);
}

#[test]
fn a_streamed_extended_frame_has_no_checksum() {
    let config = Config {
        stream_above: 5000,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    let (command, length) = (Command::BLOCK, 5001);
    let mut bytes = BytesMut::new();
    FrameHeader {
        command,
        length,
        checksum: None,
    }
    .encode(NETWORK.magic_bytes(), &mut bytes);
    driver.receive(&bytes);
    let payload = Bytes::from(vec![7; 5001]);
    driver.receive(&payload);
    assert_eq!(
        driver.events,
        [
            Event::Payload(PayloadEvent::Begin { command, length }),
            Event::Payload(PayloadEvent::Chunk(payload)),
            Event::Payload(PayloadEvent::End { checksum_ok: None }),
        ]
    );
}

#[test]
fn what_the_connection_itself_reads_is_never_streamed() {
    let config = Config {
        stream_above: 0,
        ..config()
    };
    let mut driver = Driver::connected_with(config, Side::Inbound, version());
    driver.hear(&ping(1));
    assert_eq!(driver.said().last(), Some(&pong(1)));
}
