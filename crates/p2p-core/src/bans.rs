//! Who is banned, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::peer::{Ban, BanReason};
use crate::timestamp::Timestamp;

/// Bans that are kept: a ban costs a peer one address, so the table must not grow with them.
pub const MAX_BANS: usize = 100_000;

/// Bans by IP, whatever the port.
///
/// # Security
/// Automatic bans are bounded by [`MAX_BANS`]. When it is reached the one of them that expires
/// soonest goes, one without an end last; a manual one never, and those an operator may set beyond
/// it. Who owns many addresses can so shorten the bans of others, but never lift one that an
/// operator set.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    by_ip: BTreeMap<IpAddr, Ban>,
    /// Bans that end by themselves.
    ends: BTreeSet<(Timestamp, IpAddr)>,
    /// Automatic bans, in the order in which they make room.
    automatic: BTreeSet<(End, IpAddr)>,
}

/// What became of a ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in force, and the ban of another IP is not any more, if there was no room.
    Banned { displaced: Option<IpAddr> },
    /// The IP is banned for as long already, or there is no room.
    Unchanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    At(Timestamp),
    Never { since: Timestamp },
}

impl Bans {
    /// Bans an IP. A manual ban replaces an automatic one and is replaced by none; of two of a
    /// kind the longer stays.
    pub(crate) fn ban(&mut self, ip: IpAddr, ban: Ban) -> Outcome {
        let mut displaced = None;
        if let Some(present) = self.by_ip.get(&ip) {
            if outlasts(present, &ban) {
                return Outcome::Unchanged;
            }
        } else if self.by_ip.len() >= MAX_BANS {
            displaced = self.make_room();
            if displaced.is_none() && !is_manual(&ban) {
                return Outcome::Unchanged;
            }
        }
        self.lift(ip);
        self.ends.extend(ban.until.map(|until| (until, ip)));
        if !is_manual(&ban) {
            self.automatic.insert((end_of(&ban), ip));
        }
        self.by_ip.insert(ip, ban);
        Outcome::Banned { displaced }
    }

    /// Lifts the ban of an IP; whether there was one.
    pub(crate) fn lift(&mut self, ip: IpAddr) -> bool {
        match self.by_ip.remove(&ip) {
            Some(ban) => {
                if let Some(until) = ban.until {
                    self.ends.remove(&(until, ip));
                }
                self.automatic.remove(&(end_of(&ban), ip));
                true
            }
            None => false,
        }
    }

    /// The ban of an IP.
    pub(crate) fn get(&self, ip: IpAddr) -> Option<&Ban> {
        self.by_ip.get(&ip)
    }

    /// Takes out what has ended by now.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<IpAddr> {
        let mut ended = Vec::new();
        while let Some(&(end, ip)) = self.ends.first() {
            if end > now {
                break;
            }
            self.lift(ip);
            ended.push(ip);
        }
        ended
    }

    /// When the next ban ends.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Banned IPs.
    pub(crate) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.by_ip.keys().copied()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_ip.len()
    }

    fn make_room(&mut self) -> Option<IpAddr> {
        let &(_, ip) = self.automatic.first()?;
        self.lift(ip).then_some(ip)
    }
}

/// Whether a ban stays when another of the same IP comes.
fn outlasts(present: &Ban, other: &Ban) -> bool {
    let is_longer = end_of(present) >= end_of(other);
    match (is_manual(present), is_manual(other)) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => present.until.is_none() || is_longer,
        (false, false) => is_longer,
    }
}

fn is_manual(ban: &Ban) -> bool {
    ban.reason == BanReason::Manual
}

fn end_of(ban: &Ban) -> End {
    match ban.until {
        Some(until) => End::At(until),
        None => End::Never { since: ban.at },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANNED: Outcome = Outcome::Banned { displaced: None };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn automatic(until: Option<u64>) -> Ban {
        Ban {
            reason: BanReason::ProtocolViolation {
                violation: "x".into(),
            },
            at: at(0),
            until: until.map(at),
        }
    }

    fn manual() -> Ban {
        Ban {
            reason: BanReason::Manual,
            at: at(0),
            until: None,
        }
    }

    #[test]
    fn bans_end_when_they_say_and_not_before() {
        let mut bans = Bans::default();
        bans.ban(ip(1), automatic(Some(100)));
        bans.ban(ip(2), automatic(Some(50)));
        bans.ban(ip(3), automatic(None));
        bans.ban(ip(4), manual());
        assert_eq!(bans.next_end(), Some(at(50)));
        assert!(bans.expire(at(49)).is_empty());
        assert_eq!(bans.expire(at(50)), [ip(2)]);
        assert_eq!(bans.expire(at(1_000_000)), [ip(1)]);
        assert_eq!(bans.next_end(), None);
        assert_eq!(bans.len(), 2);
    }

    #[test]
    fn the_longer_automatic_ban_stays_and_the_manual_one_always() {
        let mut bans = Bans::default();
        assert_eq!(bans.ban(ip(1), automatic(Some(100))), BANNED);
        assert_eq!(bans.ban(ip(1), automatic(Some(90))), Outcome::Unchanged);
        assert_eq!(bans.ban(ip(1), automatic(Some(110))), BANNED);
        assert_eq!(bans.ban(ip(1), manual()), BANNED);
        assert_eq!(bans.ban(ip(1), automatic(None)), Outcome::Unchanged);
        assert_eq!(bans.get(ip(1)), Some(&manual()));
        assert!(bans.expire(at(u64::MAX)).is_empty());
        assert!(bans.lift(ip(1)));
        assert!(!bans.lift(ip(1)));
    }

    #[test]
    fn a_manual_ban_with_an_end_ends_too_and_makes_room_for_none() {
        let mut bans = Bans::default();
        let until = |until| Ban {
            until: Some(at(until)),
            ..manual()
        };
        bans.ban(ip(1), until(50));
        assert_eq!(bans.next_end(), Some(at(50)));
        assert_eq!(bans.ban(ip(1), automatic(None)), Outcome::Unchanged);
        assert_eq!(bans.ban(ip(1), until(40)), Outcome::Unchanged);
        assert_eq!(bans.ban(ip(1), until(60)), BANNED, "the longer stays");
        assert!(bans.expire(at(59)).is_empty());
        assert_eq!(bans.expire(at(60)), [ip(1)]);
        bans.ban(ip(1), until(50));
        assert_eq!(
            bans.ban(ip(1), manual()),
            BANNED,
            "for good is longer still"
        );
        assert_eq!(bans.ban(ip(1), until(90)), Outcome::Unchanged);
        assert_eq!(bans.next_end(), None);
        bans.ban(ip(2), until(50));
        for n in 3..=MAX_BANS as u32 {
            bans.ban(ip(n), automatic(None));
        }
        let displaced = Some(ip(3));
        assert_eq!(
            bans.ban(ip(1 << 30), automatic(None)),
            Outcome::Banned { displaced }
        );
    }

    #[test]
    fn a_full_table_gives_up_the_soonest_to_end_and_never_a_manual_one() {
        let mut bans = Bans::default();
        bans.ban(ip(0), manual());
        for n in 1..MAX_BANS as u32 {
            bans.ban(ip(n), automatic(Some(u64::from(n))));
        }
        assert_eq!(bans.len(), MAX_BANS);
        let displaced = Some(ip(1));
        assert_eq!(
            bans.ban(ip(1 << 30), automatic(Some(1 << 40))),
            Outcome::Banned { displaced }
        );
        assert_eq!(bans.len(), MAX_BANS);
        assert!(bans.get(ip(0)).is_some());
        assert!(bans.get(ip(1)).is_none());
        assert!(bans.get(ip(2)).is_some());
    }

    #[test]
    fn a_table_full_of_manual_bans_takes_no_automatic_one() {
        let mut bans = Bans::default();
        for n in 0..MAX_BANS as u32 {
            bans.ban(ip(n), manual());
        }
        assert_eq!(bans.ban(ip(1 << 30), automatic(None)), Outcome::Unchanged);
        // An operator's word counts.
        assert_eq!(bans.ban(ip(1 << 30), manual()), BANNED);
    }
}
