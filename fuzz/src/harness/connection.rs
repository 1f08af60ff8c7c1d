//! One connection that meets anything: before its handshake, and after a real one.

use std::time::Instant;

use p2p_proto::{Capacity, CloseReason, Command, Event, Message, NetworkFailure, Side, Stats};

use super::input::{Input, pieces};
use super::probe::{Answer, Probe};
use super::traffic;

/// A stranger, its bytes, and the clock; of either side.
///
/// Input: side and capacity, settings, then steps.
pub fn connection_before(data: &[u8]) {
    let mut input = Input::new(data);
    let bits = input.u8();
    let capacity = match bits & 2 {
        0 => Capacity::Free,
        _ => Capacity::Full,
    };
    let mut now = traffic::epoch();
    let config = traffic::config(input.u8());
    let mut probe = Probe::new(config, side(bits), capacity, now);
    while !input.is_empty() {
        match input.u8() % 12 {
            0..=2 => probe.feed(now, &traffic::frame(&mut input)),
            3 => {
                let (seed, frame) = (input.u8(), traffic::frame(&mut input));
                pieces(&frame, seed).for_each(|piece| probe.feed(now, piece));
            }
            4 => {
                let n = usize::from(input.u8());
                probe.feed(now, input.take(n));
            }
            5 => probe.feed(now, &traffic::version(&mut input)),
            6 => probe.feed(now, &traffic::encoded(&Message::Verack)),
            7 => {
                now += traffic::duration(&mut input);
                probe.timeout(now);
            }
            8 => drop(probe.transmit(now, usize::from(input.u8()) * 8)),
            9 => probe.drain(now, Answer::Later),
            10 => probe.admit(now),
            _ => probe.close(now, reason(&mut input)),
        }
    }
    probe.finish(now, bits & 4 == 0);
}

/// A peer after its handshake: frames right and wrong, and bytes that are none. What comes out
/// does not depend on how the bytes were cut.
///
/// Input: side, settings, what seeds the cuts, then steps.
pub fn connection_after(data: &[u8]) {
    let start = traffic::epoch();
    let whole = after(data, start, Cut::Whole);
    // Bytes of a frame that does not come whole excuse a late pong: cuts shift deadlines.
    if !whole.time_passed {
        assert_eq!(after(data, start, Cut::Pieces), whole);
    }
}

#[derive(Clone, Copy)]
enum Cut {
    Whole,
    Pieces,
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    events: Vec<Event>,
    wire: Vec<u8>,
    stats: Stats,
    time_passed: bool,
}

fn after(data: &[u8], start: Instant, cut: Cut) -> Outcome {
    let mut input = Input::new(data);
    let bits = input.u8();
    let mut now = start;
    let config = traffic::config(input.u8());
    let seed = input.u8();
    let (mut probe, _) = connected(side(bits), config, now);
    let mut wire = Vec::new();
    let mut time_passed = false;
    let feed = |probe: &mut Probe, now, bytes: &[u8]| match cut {
        Cut::Whole => probe.feed(now, bytes),
        Cut::Pieces => {
            pieces(bytes, seed).for_each(|piece| {
                probe.feed(now, piece);
                probe.drain(now, Answer::Admit);
            });
            // No bytes have no pieces, and are yet a chance to take what was left.
            probe.feed(now, &[]);
        }
    };
    while !input.is_empty() {
        match input.u8() % 16 {
            0..=4 => feed(&mut probe, now, &traffic::frame(&mut input)),
            5 => feed(&mut probe, now, &traffic::flood(&mut input)),
            6 => {
                let n = usize::from(input.u8());
                feed(&mut probe, now, input.take(n));
            }
            7 => {
                time_passed = true;
                now += traffic::duration(&mut input);
                probe.timeout(now);
            }
            8 => drop(probe.send(now, &traffic::app_message(&mut input))),
            9 => drop(probe.send_encoded(now, &traffic::app_message(&mut input))),
            10 => probe.stream_begin(now, Command::BLOCK, traffic::filler(&mut input)),
            11 => probe.stream_on(now, usize::from(input.u16())),
            12 => probe.configure(now, traffic::config(input.u8())),
            13 => wire.extend_from_slice(&probe.transmit(now, usize::from(input.u16()))),
            14 => wire.extend_from_slice(&probe.transmit(now, usize::MAX)),
            _ => probe.close(now, reason(&mut input)),
        }
        probe.drain(now, Answer::Admit);
    }
    let outcome = Outcome {
        events: probe.transcript.events.clone(),
        wire,
        stats: probe.connection.stats(),
        time_passed,
    };
    probe.finish(now, bits & 4 == 0);
    outcome
}

fn side(bits: u8) -> Side {
    match bits & 1 {
        0 => Side::Inbound,
        _ => Side::Outbound,
    }
}

fn reason(input: &mut Input<'_>) -> CloseReason {
    match input.u8() % 7 {
        0 => CloseReason::Requested,
        1 => CloseReason::Shutdown,
        2 => CloseReason::Banned,
        3 => CloseReason::Duplicate,
        4 => CloseReason::Network(NetworkFailure::Eof),
        5 => CloseReason::Network(NetworkFailure::Reset),
        _ => CloseReason::PingTimeout,
    }
}

/// Two connections that have shaken hands; nothing is left on the wire.
pub(super) fn connected(side: Side, config: p2p_proto::Config, now: Instant) -> (Probe, Probe) {
    let other_side = match side {
        Side::Inbound => Side::Outbound,
        Side::Outbound => Side::Inbound,
    };
    let mut ours = Probe::new(config.clone(), side, Capacity::Free, now);
    let mut theirs = Probe::new(config, other_side, Capacity::Free, now);
    // Version, verack, and pings with their pongs.
    for _ in 0..4 {
        for (from, to) in [(0, 1), (1, 0)] {
            let ends = [&mut ours, &mut theirs];
            let [from, to] = match (from, to) {
                (0, 1) => ends,
                _ => {
                    let [a, b] = ends;
                    [b, a]
                }
            };
            let wire = from.transmit(now, usize::MAX);
            to.feed(now, &wire);
            to.drain(now, Answer::Admit);
        }
    }
    for end in [&ours, &theirs] {
        assert!(end.connection.is_connected(), "{:?}", end.transcript.events);
        assert_eq!(end.connection.unsent_bytes(), 0);
    }
    (ours, theirs)
}
