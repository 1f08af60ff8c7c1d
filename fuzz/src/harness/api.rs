//! An application and a driver that call whatever they like, in any order.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use p2p_proto::{
    Capacity, CloseReason, Command, Config, Connection, EncodedMessage, Event, Message, Network,
    SendError, Side,
};

use super::input::Input;
use super::traffic;

/// Calls in any order: none panics, and the connection ends once.
///
/// Input: side and capacity, settings, then calls.
pub fn api(data: &[u8]) {
    let mut input = Input::new(data);
    let bits = input.u8();
    let side = match bits & 1 {
        0 => Side::Inbound,
        _ => Side::Outbound,
    };
    let capacity = match bits & 2 {
        0 => Capacity::Free,
        _ => Capacity::Full,
    };
    let mut now = traffic::epoch();
    let config = settings(&mut input);
    let params = traffic::params(1, now, capacity);
    let mut connection = Connection::new(config, side, params, now);
    let mut buffer = BytesMut::new();
    let mut seen = Seen::default();
    while !input.is_empty() {
        let before = connection.is_closing();
        match input.u8() % 25 {
            0 => buffer.extend_from_slice(&traffic::frame(&mut input)),
            1 => buffer.extend_from_slice(&traffic::version(&mut input)),
            2 => buffer.extend_from_slice(&traffic::encoded(&Message::Verack)),
            3..=5 => connection.receive(now, &mut buffer),
            6 => connection.handle_written(now, written(&mut input)),
            7 => {
                now += traffic::duration(&mut input);
                connection.handle_timeout(now);
            }
            8 => {
                if let Some((at, _)) = connection.poll_timeout() {
                    now = now.max(at);
                    connection.handle_timeout(now);
                }
            }
            9 => {
                connection.admit(now);
                assert!(seen.ready || !connection.is_connected());
                seen.may_talk |= connection.is_connected();
            }
            10 => connection.configure(now, settings(&mut input)),
            11 => {
                let result = connection.send(now, &traffic::app_message(&mut input));
                check_send(&connection, result);
            }
            12 => {
                let network = input.pick(&[traffic::NETWORK, Network::Mainnet]);
                let frame = EncodedMessage::new(network, &traffic::app_message(&mut input));
                let result = connection.send_encoded(now, &frame);
                if network == traffic::NETWORK {
                    check_send(&connection, result);
                } else {
                    assert_eq!(result, Err(SendError::OtherNetwork));
                }
            }
            13 => {
                let sum = input.pick(&[None, Some([0; 4])]);
                let length = input.pick(&[0, 1, 100, 1 << 20, u32::MAX.into(), 1 << 32, u64::MAX]);
                let command = input.pick(&[Command::BLOCK, Command::TX, Command::VERSION]);
                let _ = connection.send_begin(now, command, length, sum);
            }
            14 | 15 => {
                let _ = connection.send_chunk(now, traffic::filler(&mut input));
            }
            16 => {
                let _ = connection.send_end(now);
            }
            17 => {
                let _ = connection.poll_transmit();
            }
            18 | 19 => seen.event(connection.poll_event()),
            20 => while_some(|| connection.poll_transmit()),
            21 => {
                while let Some(event) = connection.poll_event() {
                    seen.event(Some(event));
                }
            }
            22 => look(&connection),
            23 => connection.hold(now),
            _ => connection.close(now, CloseReason::Evicted),
        }
        assert!(!before || connection.is_closing(), "an end is final");
    }
    end(connection, seen, now);
}

/// Settings out of bounds, too: they may be foolish, and never a panic.
fn settings(input: &mut Input<'_>) -> Arc<Config> {
    let mut config = traffic::config(input.u8());
    let durations = [60, 0, 1, 3600, u64::MAX].map(Duration::from_secs);
    config.ping_interval = input.pick(&durations);
    config.ping_timeout = input.pick(&durations);
    config.handshake_timeout = input.pick(&durations);
    config.stream_above = input.pick(&[4 << 20, 0, 1, 4096, u64::MAX]);
    config.min_payload_rate = input.pick(&[1024, 0, u64::MAX]);
    config.send_queue_bytes = input.pick(&[8 << 20, 0, usize::MAX]);
    config.limits.message = input.pick(&[2_097_152, 0, u64::MAX]);
    config.limits.block = input.pick(&[u64::MAX, 0, 1 << 20]);
    Arc::new(config)
}

/// Bytes that the socket is said to have taken; the driver may be wrong.
fn written(input: &mut Input<'_>) -> usize {
    input.pick(&[0, 1, 24, 100, 10_000, usize::MAX])
}

fn while_some(mut next: impl FnMut() -> Option<Bytes>) {
    while next().is_some() {}
}

fn check_send(connection: &Connection, result: Result<(), SendError>) {
    assert_eq!(result == Err(SendError::Closed), connection.is_closing());
    assert!(result.is_err() || connection.is_connected());
}

fn look(connection: &Connection) {
    let wants = connection.wants_read();
    assert!(!wants || !connection.is_closing());
    assert!(connection.negotiated_version() <= p2p_proto::PROTOCOL_VERSION);
    let _ = (
        connection.peer_version(),
        connection.peer_protoconf(),
        connection.send_headers_mode(),
        connection.latency(),
        connection.unsent_bytes(),
        connection.stats(),
        connection.remote(),
        format!("{connection:?}"),
    );
}

/// What the connection has said so far.
#[derive(Default)]
struct Seen {
    may_talk: bool,
    ready: bool,
    closed: bool,
}

impl Seen {
    fn event(&mut self, event: Option<Event>) {
        let Some(event) = event else {
            return;
        };
        assert!(!self.closed, "{event:?} after the end");
        match event {
            Event::Ready(_) => assert!(!std::mem::replace(&mut self.ready, true)),
            Event::Closed(_) => self.closed = true,
            Event::Message(_) | Event::Payload(_) | Event::Discarded(_) => assert!(self.may_talk),
            _ => unreachable!("an event without a check: {event:?}"),
        }
    }
}

/// Closed, flushed or not, it says so once, and is then silent.
fn end(mut connection: Connection, mut seen: Seen, now: std::time::Instant) {
    connection.close(now, CloseReason::Shutdown);
    for now in [now, now + Duration::from_secs(1)] {
        connection.handle_timeout(now);
        while let Some(event) = connection.poll_event() {
            seen.event(Some(event));
        }
    }
    assert!(seen.closed);
    assert_eq!(connection.poll_event(), None);
    assert_eq!(connection.poll_transmit(), None);
    assert_eq!(connection.poll_timeout(), None);
    look(&connection);
}
