//! Two connections, and a wire between them that may lie.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use p2p_proto::Side;

use super::connection::connected;
use super::input::Input;
use super::outbox::is_control;
use super::probe::{Answer, Probe};
use super::traffic;

/// More rounds than it takes to carry all that an input can send.
const MANY_ROUNDS: usize = 1000;

/// What one application sends, the other gets: all of it, once, in order, for as long as nobody
/// touches the wire. When the bytes are flipped, lost, doubled or invented, both sides still
/// keep their contract, and end.
///
/// Input: settings, then steps of both applications, the wire and the clock.
pub fn pair_mutator(data: &[u8]) {
    let mut input = Input::new(data);
    let mut now = traffic::epoch();
    let (first, second) = connected(Side::Outbound, traffic::config(input.u8()), now);
    let mut ends = [first, second];
    // What leaves each end and has not reached the other.
    let mut wires = [BytesMut::new(), BytesMut::new()];
    let mut touched = false;
    while !input.is_empty() {
        let step = input.u8();
        let (at, step) = (usize::from(step & 1), step >> 1);
        let (probe, wire) = (&mut ends[at], &mut wires[at]);
        match step % 12 {
            0 | 1 => drop(probe.send(now, &traffic::app_message(&mut input))),
            2 => drop(probe.send_encoded(now, &traffic::app_message(&mut input))),
            3 => probe.stream_begin(now, traffic::APP, traffic::filler(&mut input)),
            4 => probe.stream_on(now, usize::from(input.u16())),
            5 => wire.extend_from_slice(&probe.transmit(now, usize::from(input.u16()))),
            6 | 7 => {
                let n = wire.len().min(input.u16().into());
                let bytes = wire.split_to(n);
                ends[1 - at].feed(now, &bytes);
            }
            8 => probe.drain(now, Answer::Admit),
            9 => {
                now += traffic::duration(&mut input) / 64;
                probe.timeout(now);
            }
            10 => touched |= mutate(&mut input, wire),
            _ => {
                for at in [0, 1] {
                    carry(&mut ends, &mut wires, at, now);
                }
            }
        }
    }
    if !touched {
        let open = settle(&mut ends, &mut wires, now);
        compare(&ends[0], &ends[1], open);
        compare(&ends[1], &ends[0], open);
    }
    for (at, end) in ends.into_iter().enumerate() {
        end.finish(now, at == 0);
    }
}

/// Carries all that was sent; false if an end closed meanwhile.
fn settle(ends: &mut [Probe; 2], wires: &mut [BytesMut; 2], now: Instant) -> bool {
    for _ in 0..MANY_ROUNDS {
        for at in [0, 1] {
            ends[at].stream_on(now, usize::MAX);
            carry(ends, wires, at, now);
        }
        if !ends.iter().all(|end| end.connection.is_connected()) {
            return false;
        }
        let quiet = |end: &Probe| end.is_flushed() && !end.is_streaming();
        if ends.iter().all(quiet) && wires.iter().all(|wire| wire.is_empty()) {
            return true;
        }
    }
    panic!("something sent never arrives");
}

/// All that can leave one end reaches the other.
fn carry(ends: &mut [Probe; 2], wires: &mut [BytesMut; 2], at: usize, now: Instant) {
    let wire = &mut wires[at];
    wire.extend_from_slice(&ends[at].transmit(now, usize::MAX));
    let other = &mut ends[1 - at];
    other.feed(now, &wire.split());
    other.drain(now, Answer::Admit);
}

/// Flips a byte, loses some, doubles some, or puts some in; false if there were none.
fn mutate(input: &mut Input<'_>, wire: &mut BytesMut) -> bool {
    if wire.is_empty() {
        return false;
    }
    let how = input.u8();
    let mut tail = wire.split_off(usize::from(input.u16()) % wire.len());
    match how % 4 {
        0 => tail[0] ^= input.u8().max(1),
        1 => tail.advance(usize::from(how).min(tail.len())),
        2 => {
            let n = usize::from(how).min(tail.len());
            wire.extend_from_slice(&tail[..n]);
        }
        _ => {
            let n = usize::from(input.u8());
            wire.extend_from_slice(input.take(n));
        }
    }
    wire.unsplit(tail);
    true
}

/// What was received is the beginning of what was sent, and all of it while both ends live;
/// control frames apart.
fn compare(from: &Probe, to: &Probe, all: bool) {
    let mut sent = from.outbox.sent.iter();
    let mut next = sent.next();
    for (command, payload) in to.transcript.received() {
        match next {
            Some(due) if due.0 == command && is_part(&payload, &due.1, all) => next = sent.next(),
            Some(_) | None => assert!(is_control(command), "{command} was not sent"),
        }
    }
    assert!(
        !all || next.is_none(),
        "{:?} was lost",
        next.map(|(command, _)| command)
    );
}

/// A streamed payload may end early with its connection.
fn is_part(received: &Bytes, sent: &Bytes, all: bool) -> bool {
    match all {
        true => received == sent,
        false => sent.starts_with(received),
    }
}
