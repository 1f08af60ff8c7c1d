//! What holds for every message, every stream of bytes, and every order of calls.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test file uses its part")]
mod support {
    pub(crate) mod driver;
    pub(crate) mod generate;
}

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use p2p_proto::{
    Body, Capacity, CloseReason, Command, Config, Decoded, Dropped, EncodedMessage, Event,
    FrameDecoder, Limits, Message, NetworkFailure, PayloadEvent, Side,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use support::driver::{
    Driver, NETWORK, config, frame, millis, ping, protoconf, unknown, version_message,
};
use support::generate;

/// So many quarters of the usual number: the whole file is part of every test run.
/// `PROPTEST_CASES` scales all of it.
fn cases(share: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    let regressions = FileFailurePersistence::Direct("tests/properties.regressions");
    ProptestConfig {
        cases: (config.cases / 4 * share).max(1),
        failure_persistence: Some(Box::new(regressions)),
        ..config
    }
}

// messages

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn every_message_comes_back_as_it_went(message in generate::message()) {
        let command = message.command();
        let payload = message.payload();
        prop_assert_eq!(message.payload_len(), payload.len());
        prop_assert_eq!(&Message::decode(command, &payload).unwrap(), &message);
        prop_assert_eq!(&Message::decode_shared(command, &payload).unwrap(), &message);

        let bytes = frame(NETWORK, &message);
        let mut encoded = BytesMut::new();
        let once = EncodedMessage::new(NETWORK, &message);
        once.encode(&mut encoded);
        prop_assert_eq!(&encoded, &bytes);
        prop_assert_eq!(once.len(), bytes.len());
        prop_assert_eq!(once.command(), command);

        let mut buffer = bytes;
        let mut decoder = FrameDecoder::new(NETWORK, Limits::DEFAULT);
        let Some(Decoded::Frame { command: found, body }) = decoder.decode(&mut buffer).unwrap()
        else {
            return Err(TestCaseError::fail("no frame"));
        };
        prop_assert_eq!(found, command);
        prop_assert_eq!(body.as_bytes(), &payload[..]);
        prop_assert_eq!(&body.decode(command).unwrap(), &message);
        prop_assert!(buffer.is_empty());
        look_at(&message);
    }
}

#[test]
fn every_command_has_a_message_of_its_own() {
    let mut runner = TestRunner::deterministic();
    for &command in Command::KNOWN {
        let tree = generate::message_of(command).new_tree(&mut runner).unwrap();
        let message = proptest::strategy::ValueTree::current(&tree);
        assert_eq!(message.command(), command);
        assert!(!matches!(message, Message::Unknown { .. }), "{command}");
    }
}

proptest! {
    #![proptest_config(cases(16))]

    /// Bytes that nobody meant to be a message, and messages with a few bytes wrong.
    #[test]
    fn what_can_be_read_at_all_can_be_written_and_read_again(
        command in select(Command::KNOWN),
        payload in prop_oneof![
            generate::bytes(200).prop_map(|bytes| bytes.to_vec()),
            mutated(generate::message().prop_map(|message| message.payload().to_vec())),
        ],
    ) {
        readable(command, &payload)?;
    }

    #[test]
    fn a_message_with_bytes_wrong_is_read_or_refused(
        (command, payload) in select(Command::KNOWN).prop_flat_map(|command| {
            let payload = generate::message_of(command).prop_map(|m| m.payload().to_vec());
            (Just(command), mutated(payload))
        }),
    ) {
        readable(command, &payload)?;
    }
}

fn readable(command: Command, payload: &[u8]) -> Result<(), TestCaseError> {
    let message = Message::decode(command, payload);
    let shared = Message::decode_shared(command, &Bytes::copy_from_slice(payload));
    prop_assert_eq!(&message, &shared, "copied or shared");
    if let Ok(message) = message {
        let again = Message::decode(command, &message.payload());
        prop_assert_eq!(message.payload_len(), message.payload().len());
        prop_assert!(message.payload_len() <= payload.len());
        prop_assert_eq!(&again.unwrap(), &message);
        look_at(&message);
    }
    Ok(())
}

/// Walks through all that a message shows, for panics.
fn look_at(message: &Message) {
    let _ = format!("{message:?}");
    match message {
        Message::Inv(list) | Message::GetData(list) | Message::NotFound(list) => {
            assert_eq!(list.iter().count(), list.len());
        }
        Message::Addr(addr) => assert_eq!(addr.iter().count(), addr.len()),
        Message::Headers(headers) => assert_eq!(headers.iter().count(), headers.len()),
        Message::GetHeaders(locator) => assert!(locator.hashes().count() < 1_000_000),
        Message::Tx(tx) => {
            assert_eq!(tx.inputs().count(), tx.input_count());
            assert_eq!(tx.outputs().count(), tx.output_count());
        }
        Message::Block(block) => {
            assert!(block.txs().count() as u64 <= block.tx_count());
            let _ = block.merkle_tree();
        }
        Message::BlockTxn(answer) => assert!(answer.txs().count() as u64 <= answer.tx_count()),
        Message::CmpctBlock(block) => {
            let known = block.short_ids().count() + block.prefilled().count();
            assert!(known as u64 <= block.tx_count());
        }
        Message::GetBlockTxn(request) => assert_eq!(request.indexes().count(), request.len()),
        Message::MerkleBlock(block) => {
            let known = block.hashes().len() * 32 + block.flags().len();
            assert!(known < message.payload_len());
        }
        Message::DsDetected(message) => assert_eq!(message.blocks().count(), message.len()),
        Message::HdrsEn(headers) => assert!(headers.iter().count() <= headers.len()),
        Message::DatarefTx(message) => {
            let _ = message.proof().unwrap().merkle_root();
        }
        _ => {}
    }
}

/// Some bytes changed, some cut off, some more put behind.
fn mutated(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..4);
    (bytes, changes, any::<Index>(), 0..4_u8, generate::bytes(20)).prop_map(
        |(mut bytes, changes, end, how, more)| {
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            match how {
                0 if !bytes.is_empty() => bytes.truncate(end.index(bytes.len())),
                1 => bytes.extend_from_slice(&more),
                _ => {}
            }
            bytes
        },
    )
}

// streams

/// Messages of a session after its handshake; few enough wrong ones that it goes on.
fn session() -> impl Strategy<Value = Vec<u8>> {
    vec(generate::message(), 0..12).prop_map(|messages| {
        let frames = messages
            .iter()
            .map(|message| frame(NETWORK, message).to_vec());
        frames.collect::<Vec<_>>().concat()
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![1..4_usize, 1..100_usize, 1..5000_usize];
    vec(size, 1..20)
}

/// Streams early, so that sessions of a few kilobytes have it all.
fn small() -> Config {
    Config {
        stream_above: 5000,
        ..config()
    }
}

/// What comes out when the stream is cut so.
struct Outcome {
    events: Vec<Event>,
    sent: Vec<u8>,
    unread: usize,
}

fn run(mut driver: Driver, stream: &[u8], cuts: &[usize]) -> Outcome {
    driver.outgoing();
    let mut rest = stream;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(*cut));
        driver.receive(piece);
        rest = after;
    }
    driver.closed();
    Outcome {
        events: joined(&driver.events),
        sent: driver.outgoing().to_vec(),
        unread: driver.unread(),
    }
}

/// How a streamed payload is cut follows from how the stream was.
fn joined(events: &[Event]) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        if let (
            Some(Event::Payload(PayloadEvent::Chunk(before))),
            Event::Payload(PayloadEvent::Chunk(chunk)),
        ) = (out.last_mut(), event)
        {
            *before = [&before[..], &chunk[..]].concat().into();
            continue;
        }
        out.push(event.clone());
    }
    out
}

fn connected() -> Driver {
    Driver::connected_with(small(), Side::Inbound, support::driver::version())
}

proptest! {
    #![proptest_config(cases(2))]

    #[test]
    fn a_session_is_the_same_however_it_is_cut(stream in session(), cuts in cuts()) {
        let whole = run(connected(), &stream, &[stream.len().max(1)]);
        let cut = run(connected(), &stream, &cuts);
        prop_assert_eq!(whole.events, cut.events);
        prop_assert_eq!(whole.sent, cut.sent);
        prop_assert_eq!((whole.unread, cut.unread), (0, 0));
    }

    #[test]
    fn a_session_with_bytes_wrong_is_the_same_however_it_is_cut(
        stream in mutated(session()),
        cuts in cuts(),
    ) {
        let whole = run(connected(), &stream, &[stream.len().max(1)]);
        let cut = run(connected(), &stream, &cuts);
        prop_assert_eq!(whole.events, cut.events);
        prop_assert_eq!(whole.sent, cut.sent);
    }

    /// From the first byte on. Admission takes time: a bad frame in the piece that completes the
    /// handshake may end it unannounced, but it ends for the same reason.
    #[test]
    fn a_handshake_with_bytes_wrong_ends_the_same_however_it_is_cut(
        stream in mutated(session().prop_map(|session| {
            let version = frame(NETWORK, &version_message()).to_vec();
            [version, frame(NETWORK, &Message::Verack).to_vec(), session].concat()
        })),
        cuts in cuts(),
        side in select(vec![Side::Inbound, Side::Outbound]),
    ) {
        let fresh = || Driver::with(small(), side, Capacity::Free);
        let whole = run(fresh(), &stream, &[stream.len().max(1)]);
        let cut = run(fresh(), &stream, &cuts);
        let ready = |events: &[Event]| matches!(events.first(), Some(Event::Ready(_)));
        if ready(&whole.events) == ready(&cut.events) {
            prop_assert_eq!(whole.events, cut.events);
        } else {
            prop_assert!(matches!(whole.events.last(), Some(Event::Closed(_))));
            prop_assert_eq!(whole.events.last(), cut.events.last());
        }
    }

    #[test]
    fn no_bytes_make_a_panic(
        stream in prop_oneof![
            generate::bytes(2000).prop_map(|bytes| bytes.to_vec()),
            // Past the magic, or there would be little to see.
            vec(generate::bytes(60), 0..20).prop_map(|frames| {
                let magic = NETWORK.magic_bytes();
                frames.iter().flat_map(|frame| [&magic[..], frame].concat()).collect()
            }),
        ],
        cuts in cuts(),
        handshaking in any::<bool>(),
    ) {
        let driver = match handshaking {
            true => Driver::with(small(), Side::Inbound, Capacity::Free),
            false => connected(),
        };
        run(driver, &stream, &cuts);
    }
}

// calls

/// Something that a driver, a manager, an application or a peer does.
#[derive(Debug, Clone)]
enum Step {
    Hear(Message),
    Bytes(Bytes),
    Wait(Duration),
    Timeout,
    Hold,
    Admit,
    Close(CloseReason),
    Send(Message),
    SendEncoded(Message),
    Begin(u64),
    Chunk(usize),
    End,
    /// Bytes that the socket takes from now on.
    Room(usize),
    Drains(bool),
    Configure(Settings),
}

#[derive(Debug, Clone)]
struct Settings {
    ping_interval: Duration,
    ping_timeout: Duration,
    stream_above: u64,
    send_queue_bytes: usize,
}

impl Settings {
    fn config(&self) -> Config {
        Config {
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            stream_above: self.stream_above,
            send_queue_bytes: self.send_queue_bytes,
            ..config()
        }
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    (
        1000..100_000_u64,
        1..200_000_u64,
        0..20_000_u64,
        0..MOST_QUEUED,
    )
        .prop_map(
            |(interval, timeout, stream_above, send_queue_bytes)| Settings {
                ping_interval: millis(interval),
                ping_timeout: millis(timeout),
                stream_above,
                send_queue_bytes,
            },
        )
}

const MOST_QUEUED: usize = 100_000;

fn step() -> impl Strategy<Value = Step> {
    let heard = prop_oneof![
        4 => generate::message(),
        2 => any::<u64>().prop_map(ping),
        1 => Just(Message::Verack),
        1 => Just(version_message()),
        1 => Just(protoconf(1 << 20)),
        // Malformed, unless it is empty by nature.
        1 => select(Command::KNOWN).prop_map(|command| unknown(command.as_str(), "")),
    ];
    let reasons = vec![
        CloseReason::Requested,
        CloseReason::Banned,
        CloseReason::Network(NetworkFailure::Eof),
        CloseReason::Shutdown,
    ];
    prop_oneof![
        12 => heard.prop_map(Step::Hear),
        1 => generate::bytes(40).prop_map(Step::Bytes),
        4 => (0..200_000_u64).prop_map(|time| Step::Wait(millis(time))),
        2 => Just(Step::Timeout),
        1 => Just(Step::Hold),
        1 => Just(Step::Admit),
        1 => select(reasons).prop_map(Step::Close),
        4 => generate::message().prop_map(Step::Send),
        2 => generate::message().prop_map(Step::SendEncoded),
        2 => prop_oneof![0..20_000_u64, Just(1 << 32)].prop_map(Step::Begin),
        4 => (0..20_000_usize).prop_map(Step::Chunk),
        2 => Just(Step::End),
        4 => prop_oneof![Just(0), 0..30_000_usize, Just(usize::MAX)].prop_map(Step::Room),
        4 => any::<bool>().prop_map(Step::Drains),
        1 => settings().prop_map(Step::Configure),
    ]
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn no_order_of_calls_breaks_a_connection(
        settings in settings(),
        side in select(vec![Side::Inbound, Side::Outbound]),
        shakes_hands in prop::bool::weighted(0.8),
        admits in prop::bool::weighted(0.9),
        steps in vec(step(), 0..60),
    ) {
        let mut driver = Driver::with(settings.config(), side, Capacity::Free);
        driver.admits = admits;
        if shakes_hands {
            driver.hear(&version_message());
            driver.hear(&Message::Verack);
        }
        let mut sent = Vec::new();
        for step in steps {
            apply(&mut driver, step);
            sent.extend_from_slice(&driver.outgoing());
            holds(&driver, &sent);
        }

        // However it stands, it ends within the second that a flush may take.
        driver.drains = true;
        driver.close(CloseReason::Requested);
        driver.wait(Duration::from_secs(1));
        sent.extend_from_slice(&driver.outgoing());
        holds(&driver, &sent);
        prop_assert!(driver.closed().is_some());
        prop_assert_eq!(driver.connection.poll_timeout(), None);
        prop_assert_eq!(driver.connection.poll_event(), None);
        prop_assert_eq!(driver.connection.poll_transmit(), None);
        prop_assert_eq!(driver.connection.unsent_bytes(), 0);
    }
}

fn apply(driver: &mut Driver, step: Step) {
    let now = driver.now;
    let connection = &mut driver.connection;
    match step {
        Step::Hear(message) => driver.hear(&message),
        Step::Bytes(bytes) => driver.receive(&bytes),
        Step::Wait(time) => driver.wait(time),
        Step::Timeout => connection.handle_timeout(now),
        Step::Hold => connection.hold(now),
        Step::Admit => connection.admit(now),
        Step::Close(reason) => connection.close(now, reason),
        // Refused or not: what is asked here is that nothing breaks.
        Step::Send(message) => {
            let _ = connection.send(now, &message);
        }
        Step::SendEncoded(message) => {
            let _ = connection.send_encoded(now, &EncodedMessage::new(NETWORK, &message));
        }
        Step::Begin(length) => {
            let checksum = u32::try_from(length).is_ok().then_some([0; 4]);
            let _ = connection.send_begin(now, Command::BLOCK, length, checksum);
        }
        Step::Chunk(n) => {
            let _ = connection.send_chunk(now, Bytes::from(vec![0; n]));
        }
        Step::End => {
            let _ = connection.send_end(now);
        }
        Step::Room(room) => driver.room = room,
        Step::Drains(drains) => driver.drains = drains,
        Step::Configure(settings) => connection.configure(now, Arc::new(settings.config())),
    }
    let (before, unread) = (driver.events.len(), driver.unread());
    driver.settle();
    if unread == 0 {
        // `Ready`, a piece and the end of its payload, `Closed`.
        let waited = driver.events.len() - before;
        assert!(waited <= 4, "{waited} events waited");
    }
}

/// What may be asked of a connection at any time. `sent`: all that its socket has taken.
fn holds(driver: &Driver, sent: &[u8]) {
    driver.closed();
    let is_ready = |event: &Event| matches!(event, Event::Ready(_));
    assert!(driver.events.iter().filter(|event| is_ready(event)).count() <= 1);
    if let Some(first) = driver.events.first() {
        assert!(
            is_ready(first) || matches!(first, Event::Closed(_)),
            "first {first:?}"
        );
    }
    // Data and control that wait, control with the socket's owner, and the one message of any
    // size that an empty queue takes.
    let most = (MOST_QUEUED + 2 * 70_000 + 50_000) as u64;
    let unsent = driver.connection.unsent_bytes();
    assert!(unsent <= most, "{unsent} bytes wait");
    assert_eq!(driver.connection.stats().bytes_sent, sent.len() as u64);
    are_whole_frames(sent);
}

/// Frames are never mixed: all that left is frames, the last one cut off perhaps.
fn are_whole_frames(sent: &[u8]) {
    let mut bytes = BytesMut::from(sent);
    let limits = Limits {
        message: u64::MAX,
        ..Limits::DEFAULT
    };
    let mut decoder = FrameDecoder::new(NETWORK, limits);
    while let Some(decoded) = decoder.decode(&mut bytes).unwrap() {
        match decoded {
            Decoded::Frame { body, .. } => drop::<Body<'_>>(body),
            // The streamed payloads of this test have a checksum that is made up.
            Decoded::Dropped { command, why, .. } => {
                assert_eq!((command, why), (Some(Command::BLOCK), Dropped::BadChecksum));
            }
            other => panic!("{other:?} in what we sent"),
        }
    }
}
