//! The outage breaker: when nothing can be reached, nobody is to blame.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Distinct addresses that must have failed in a row. Fewer could be bad luck; with more, a node
/// would write off its book before it noticed that its own line is down.
const FAILURES: usize = 8;
/// The first pause between probes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between probes: an hour's outage is noticed as over within it.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Notices that everything fails, and slows dialling down for all until something works.
///
/// While it is open, failures count neither as retries nor against a peer's status, and one probe
/// at a time is dialled, further and further apart. Dials that were under way when it opened tell
/// nothing about how long that lasts.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failed: VecDeque<SocketAddr>,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    next: Instant,
    pause: Duration,
    /// The one under way, or the last.
    probe: Option<SocketAddr>,
    /// Probes that came to nothing.
    probes: usize,
}

impl Breaker {
    /// A dial is made.
    pub(crate) fn dialled(&mut self, address: SocketAddr) {
        if let Some(open) = &mut self.open {
            open.probe = Some(address);
        }
    }

    /// A dial has failed, with this many connections left.
    pub(crate) fn failed(&mut self, now: Instant, address: SocketAddr, connections: usize) {
        if connections > 0 {
            self.worked();
            return;
        }
        if let Some(open) = &mut self.open {
            if open.probe.take_if(|probe| *probe == address).is_none() {
                return;
            }
            open.pause = (open.pause * 2).min(LONGEST_PAUSE);
            open.next = now + open.pause;
            open.probes = open.probes.wrapping_add(1);
            return;
        }
        if !self.failed.contains(&address) {
            self.failed.push_back(address);
        }
        if self.failed.len() >= FAILURES {
            self.failed.clear();
            self.open = Some(Open {
                next: now + FIRST_PAUSE,
                pause: FIRST_PAUSE,
                probe: None,
                probes: 0,
            });
        }
    }

    /// Somebody was reached.
    pub(crate) fn worked(&mut self) {
        *self = Self::default();
    }

    /// Whether there is an outage.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Probes of this outage that came to nothing.
    pub(crate) fn probes(&self) -> usize {
        self.open.map_or(0, |open| open.probes)
    }

    /// Whether a dial may be made now, with this many attempts under way.
    pub(crate) fn may_dial(&self, now: Instant, pending: usize) -> bool {
        self.open
            .is_none_or(|open| pending == 0 && now >= open.next)
    }

    /// When the next probe may be made.
    pub(crate) fn next_probe(&self) -> Option<Instant> {
        self.open.map(|open| open.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], n))
    }

    fn open_breaker(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for n in 0..FAILURES as u16 {
            assert!(!breaker.is_open());
            breaker.failed(now, address(n), 0);
        }
        assert!(breaker.is_open());
        breaker
    }

    #[test]
    fn eight_distinct_failures_without_a_connection_open_it() {
        let now = Instant::now();
        open_breaker(now);
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.failed(now, address(1), 0);
        }
        assert!(!breaker.is_open(), "one peer that is down is no outage");
        for n in 0..100 {
            breaker.failed(now, address(n), 1);
        }
        assert!(!breaker.is_open(), "there is a connection");
    }

    #[test]
    fn probes_go_one_at_a_time_and_no_further_apart_than_a_minute() {
        let mut now = Instant::now();
        let mut breaker = open_breaker(now);
        let mut pauses = Vec::new();
        for n in 0..10 {
            assert!(!breaker.may_dial(now, 0));
            let next = breaker.next_probe().unwrap();
            pauses.push((next - now).as_secs());
            now = next;
            assert!(!breaker.may_dial(now, 1), "one is under way");
            assert!(breaker.may_dial(now, 0));
            breaker.dialled(address(n));
            breaker.failed(now, address(n), 0);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    }

    #[test]
    fn dials_that_were_under_way_when_it_opened_are_no_probes() {
        let now = Instant::now();
        let mut breaker = open_breaker(now);
        for n in 100..120 {
            breaker.failed(now, address(n), 0);
        }
        assert_eq!(breaker.next_probe(), Some(now + FIRST_PAUSE));
        assert_eq!(breaker.probes(), 0);
        let now = now + FIRST_PAUSE;
        breaker.dialled(address(1));
        for _ in 0..2 {
            breaker.failed(now, address(1), 0);
            assert_eq!(breaker.next_probe(), Some(now + 2 * FIRST_PAUSE));
            assert_eq!(breaker.probes(), 1, "it fails once");
        }
    }

    #[test]
    fn the_first_success_lifts_it() {
        let now = Instant::now();
        let mut breaker = open_breaker(now);
        breaker.worked();
        assert!(breaker.may_dial(now, 5));
        assert_eq!(breaker.next_probe(), None);
    }
}
