//! Keepalive: pings out, pongs matched, and what excuses a late one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::message::Nonce;

/// Pings that may be unanswered at once. With a sane configuration it is two or three; this
/// bounds the memory of an odd one.
const MAX_OUTSTANDING: usize = 8;

/// No interval is shorter: without a pause, the next ping would be due as soon as one is queued.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// Tracks the pings of one connection.
///
/// The clock of a ping starts when its last byte was handed to the socket
/// ([`handed_over`](Self::handed_over)), so that a full send queue of ours is not the peer's
/// fault. A late pong is excused while an incoming frame keeps a least rate: every payload byte
/// of such a frame buys the time that it may take at that rate, up to one ping timeout ahead. A
/// drip below the rate runs out.
#[derive(Debug)]
pub(crate) struct Pinger {
    rng: ChaCha8Rng,
    /// `None`: never.
    next: Option<Instant>,
    outstanding: VecDeque<(Nonce, Instant)>,
    unsent: Option<Nonce>,
    excused_until: Instant,
    latency: Option<Duration>,
}

impl Pinger {
    pub(crate) fn new(seed: [u8; 32], now: Instant) -> Self {
        Self {
            rng: ChaCha8Rng::from_seed(seed),
            next: Some(now),
            outstanding: VecDeque::new(),
            unsent: None,
            excused_until: now,
            latency: None,
        }
    }

    /// When the next ping is due; `None` after an interval that no clock can count.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// A ping for now, unless the last one has not left us yet or too many are unanswered.
    pub(crate) fn ping(&mut self, now: Instant, interval: Duration) -> Option<Nonce> {
        self.next = now.checked_add(interval.max(LEAST_INTERVAL));
        if self.unsent.is_some() || self.outstanding.len() >= MAX_OUTSTANDING {
            return None;
        }
        let nonce = loop {
            // Zero would cancel an outstanding ping at the node.
            match self.rng.next_u64() {
                0 => {}
                nonce => break Nonce(nonce),
            }
        };
        self.unsent = Some(nonce);
        Some(nonce)
    }

    /// The interval has changed: the next ping is due no later than that from now.
    pub(crate) fn reschedule(&mut self, now: Instant, interval: Duration) {
        let after = now.checked_add(interval.max(LEAST_INTERVAL));
        self.next = [self.next, after].into_iter().flatten().min();
    }

    /// The last byte of the ping was handed to the socket: its clock starts.
    pub(crate) fn handed_over(&mut self, now: Instant) {
        if let Some(nonce) = self.unsent.take() {
            self.outstanding.push_back((nonce, now));
        }
    }

    /// Takes a pong; its round-trip time, or `None` for a nonce that is not outstanding.
    pub(crate) fn pong(&mut self, now: Instant, nonce: Nonce) -> Option<Duration> {
        let at = self
            .outstanding
            .iter()
            .position(|&(sent, _)| sent == nonce)?;
        let (_, sent) = self.outstanding[at];
        // Answers come in order: what was asked before and not answered never will be.
        self.outstanding.drain(..=at);
        let latency = now.saturating_duration_since(sent);
        self.latency = Some(latency);
        Some(latency)
    }

    /// Payload bytes of a frame that is taking its time have come.
    pub(crate) fn excuse(&mut self, now: Instant, bytes: u64, rate: u64, timeout: Duration) {
        // A pong that may take for ever needs no excuse.
        let Some(latest) = now.checked_add(timeout) else {
            return;
        };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
        let bought = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let from = self.excused_until.max(now);
        self.excused_until = from.checked_add(bought).map_or(latest, |t| t.min(latest));
    }

    /// When the peer must have answered, excuses included; `None` for no ping, or no end.
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        let &(_, sent) = self.outstanding.front()?;
        Some(sent.checked_add(timeout)?.max(self.excused_until))
    }

    /// We did not read between these moments: the peer's clock stood still.
    pub(crate) fn stood_still(&mut self, since: Instant, until: Instant) {
        for (_, sent) in &mut self.outstanding {
            // A ping that went out meanwhile missed only the rest of the pause.
            *sent += until.saturating_duration_since(since.max(*sent));
        }
        let pause = until.saturating_duration_since(since);
        self.excused_until = self.excused_until.checked_add(pause).unwrap_or(until);
    }

    /// The last round-trip time.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);
    const TIMEOUT: Duration = Duration::from_secs(120);

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn pinger(now: Instant) -> Pinger {
        Pinger::new([7; 32], now)
    }

    #[test]
    fn test_ping_nonce_generation() {
        let now = Instant::now();
        let mut pinger = pinger(now);
        let mut seen = Vec::new();
        for _ in 0..1000 {
            let nonce = pinger.ping(now, INTERVAL).unwrap();
            pinger.handed_over(now);
            pinger.pong(now, nonce).unwrap();
            assert_ne!(nonce, Nonce(0));
            seen.push(nonce);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn test_ping_nonce_tracking() {
        let start = Instant::now();
        let mut pinger = pinger(start);
        let first = pinger.ping(start, INTERVAL).unwrap();
        assert_eq!(pinger.ping(start, INTERVAL), None, "the first has not left");
        pinger.handed_over(start + secs(1));
        let second = pinger.ping(start + secs(60), INTERVAL).unwrap();
        pinger.handed_over(start + secs(60));
        assert_eq!(pinger.deadline(TIMEOUT), Some(start + secs(121)));
        assert_eq!(pinger.pong(start + secs(61), first), Some(secs(60)));
        assert_eq!(pinger.deadline(TIMEOUT), Some(start + secs(180)));
        assert_eq!(pinger.pong(start + secs(62), second), Some(secs(2)));
        assert_eq!(pinger.deadline(TIMEOUT), None);
        assert_eq!(pinger.latency(), Some(secs(2)));
    }

    #[test]
    fn test_pong_validation_matches_nonce() {
        let now = Instant::now();
        let mut pinger = pinger(now);
        let nonce = pinger.ping(now, INTERVAL).unwrap();
        assert_eq!(pinger.pong(now, nonce), None, "not yet sent");
        pinger.handed_over(now);
        assert_eq!(pinger.pong(now, Nonce(nonce.0 ^ 1)), None);
        assert!(pinger.pong(now, nonce).is_some());
        assert_eq!(pinger.pong(now, nonce), None, "answered once");
    }

    #[test]
    fn no_interval_makes_a_ping_due_at_once() {
        let now = Instant::now();
        let mut pinger = pinger(now);
        pinger.ping(now, Duration::ZERO).unwrap();
        assert_eq!(pinger.next(), Some(now + LEAST_INTERVAL));
        pinger.reschedule(now, Duration::ZERO);
        assert_eq!(pinger.next(), Some(now + LEAST_INTERVAL));
    }

    #[test]
    fn unanswered_pings_are_bounded() {
        let now = Instant::now();
        let mut pinger = pinger(now);
        for _ in 0..100 {
            pinger.ping(now, INTERVAL);
            pinger.handed_over(now);
        }
        assert_eq!(pinger.outstanding.len(), MAX_OUTSTANDING);
    }

    #[test]
    fn a_frame_at_the_least_rate_excuses_and_a_drip_does_not() {
        let start = Instant::now();
        for (bytes_a_second, excused) in [(2048, true), (1024, true), (512, false), (1, false)] {
            let mut pinger = pinger(start);
            pinger.ping(start, INTERVAL);
            pinger.handed_over(start);
            let mut alive = 0;
            for second in 1..=1000 {
                let now = start + secs(second);
                if now > pinger.deadline(TIMEOUT).unwrap() {
                    break;
                }
                pinger.excuse(now, bytes_a_second, 1024, TIMEOUT);
                alive = second;
            }
            assert_eq!(
                alive == 1000,
                excused,
                "{bytes_a_second} B/s lived {alive} s"
            );
        }
    }

    #[test]
    fn a_pause_costs_the_peer_nothing_and_buys_it_nothing() {
        let start = Instant::now();
        let mut pinger = pinger(start);
        for second in [0, 90] {
            pinger.ping(start + secs(second), INTERVAL);
            pinger.handed_over(start + secs(second));
        }
        pinger.stood_still(start + secs(60), start + secs(100));
        let sent = |at: usize| pinger.outstanding[at].1;
        assert_eq!(sent(0), start + secs(40));
        assert_eq!(sent(1), start + secs(100));
    }

    #[test]
    fn a_burst_buys_no_more_than_one_timeout() {
        let start = Instant::now();
        let mut pinger = pinger(start);
        pinger.ping(start, INTERVAL);
        pinger.handed_over(start);
        pinger.excuse(start + secs(60), u64::MAX, 1024, TIMEOUT);
        assert_eq!(pinger.deadline(TIMEOUT), Some(start + secs(180)));
    }
}
