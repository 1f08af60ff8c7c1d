//! Which addresses are likely to be in one hand, and which lead anywhere at all.
//!
//! Source: the node's `src/net/netaddress.cpp`, `GetGroup` and `IsRoutable`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The part of an address that is dear to acquire: /16 of IPv4, /32 of IPv6.
///
/// Addresses cost an attacker little, netgroups cost something. What must not be won by the
/// number of addresses is counted by netgroup.
///
/// ```
/// use p2p_core::netgroup::NetGroup;
///
/// let of = |ip: &str| NetGroup::of(ip.parse().unwrap());
/// assert_eq!(of("1.2.3.4"), of("1.2.200.4"));
/// assert_ne!(of("1.2.3.4"), of("1.3.3.4"));
/// // A tunnel's address belongs to the IPv4 network at its end.
/// assert_eq!(of("1.2.3.4"), of("2002:102:304::1"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetGroup {
    /// Left-aligned, the rest zero. The class byte and the prefix tell the length, so one number
    /// is one group, and is compared as fast as one.
    bytes: u64,
}

impl NetGroup {
    /// Where all addresses are that lead nowhere: private ones, loopback, documentation.
    pub const UNROUTABLE: Self = Self { bytes: 0 };

    /// The netgroup of an IP.
    pub fn of(ip: IpAddr) -> Self {
        if !is_routable(ip) {
            return Self::UNROUTABLE;
        }
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    /// The bytes that the node has for it: the class, then the prefix.
    pub fn to_vec(self) -> Vec<u8> {
        let bytes = self.bytes.to_be_bytes();
        let len = match bytes {
            [IPV4, ..] => 3,
            [IPV6, 0x20, 0x01, 0x04, 0x70, ..] => 6,
            [IPV6, ..] => 5,
            _ => 1,
        };
        bytes[..len].to_vec()
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, _, _] = ip.octets();
        Self::from_bytes([IPV4, a, b, 0, 0, 0])
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let [.., e, f, g, h] = ip.octets();
        match ip.segments() {
            // Translated (RFC 6145), and the well-known prefix (RFC 6052).
            [0, 0, 0, 0, 0xffff, 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
                Self::of_v4(Ipv4Addr::new(e, f, g, h))
            }
            // 6to4 (RFC 3964).
            [0x2002, high, low, ..] => Self::of_v4(v4(high, low)),
            // Teredo (RFC 4380) carries the address inverted.
            [0x2001, 0, ..] => Self::of_v4(Ipv4Addr::new(!e, !f, !g, !h)),
            // Hurricane Electric gives whole /48 away for free.
            [0x2001, 0x0470, third, ..] => {
                let [a, _] = third.to_be_bytes();
                Self::from_bytes([IPV6, 0x20, 0x01, 0x04, 0x70, a | 0x0f])
            }
            _ => {
                let [a, b, c, d, ..] = ip.octets();
                Self::from_bytes([IPV6, a, b, c, d, 0])
            }
        }
    }

    const fn from_bytes(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self {
            bytes: u64::from_be_bytes([a, b, c, d, e, f, 0, 0]),
        }
    }

    /// As one number, for hashing.
    pub(crate) const fn to_u64(self) -> u64 {
        self.bytes
    }
}

impl fmt::Debug for NetGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetGroup(")?;
        for byte in self.to_vec() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// Whether an IP leads anywhere on the public Internet, by the node's rules.
///
/// ```
/// use p2p_core::netgroup::is_routable;
///
/// assert!(is_routable("1.2.3.4".parse().unwrap()));
/// assert!(!is_routable("192.168.1.1".parse().unwrap()));
/// ```
pub fn is_routable(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_routable_v4(ip),
        IpAddr::V6(ip) => is_routable_v6(ip),
    }
}

fn is_routable_v4(ip: Ipv4Addr) -> bool {
    // 0/8 and loopback, RFC 1918, 6598, 3927, 2544, 5737, and the one broadcast address.
    !matches!(
        ip.octets(),
        [0 | 10 | 127, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [198, 18 | 19, ..]
            | [192, 0, 2, _]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [255, 255, 255, 255]
    )
}

fn is_routable_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // Unspecified, loopback.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => false,
        // Mapped IPv4 three bytes early: what very old software made of a garbled `addr`.
        [0, 0, 0, 0x00ff, 0xff00..=0xffff, ..] => false,
        // Documentation (RFC 3849), ORCHID (RFC 4843), link-local (RFC 4862).
        [0x2001, 0x0db8, ..] | [0x2001, 0x0010..=0x001f, ..] | [0xfe80, 0, 0, 0, ..] => false,
        // Unique local (RFC 4193).
        [0xfc00..=0xfdff, ..] => false,
        _ => true,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

/// The node's class byte of IPv4; 0 is the unroutable class.
const IPV4: u8 = 1;
/// The node's class byte of IPv6.
const IPV6: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The node's netbase_tests/netbase_getgroup, and the edges of its ranges.
    #[test]
    fn groups_are_the_nodes() {
        for (text, group) in [
            ("127.0.0.1", &[0][..]),
            ("10.0.0.1", &[0]),
            ("169.254.1.1", &[0]),
            ("1.2.3.4", &[1, 1, 2]),
            ("::ffff:1.2.3.4", &[1, 1, 2]),
            ("::ffff:0:102:304", &[1, 1, 2]),
            ("64:ff9b::102:304", &[1, 1, 2]),
            ("2002:102:304:9999:9999:9999:9999:9999", &[1, 1, 2]),
            ("2001:0:9999:9999:9999:9999:fefd:fcfb", &[1, 1, 2]),
            (
                "2001:470:abcd:9999:9999:9999:9999:9999",
                &[2, 32, 1, 4, 112, 175],
            ),
            ("2001:470:f::1", &[2, 32, 1, 4, 112, 15]),
            (
                "2001:2001:9999:9999:9999:9999:9999:9999",
                &[2, 32, 1, 32, 1],
            ),
            ("2600::1", &[2, 38, 0, 0, 0]),
            ("fd87:d87e:eb43:edb1:8e4:3588:e546:35ca", &[0]),
        ] {
            assert_eq!(NetGroup::of(ip(text)).to_vec(), group, "{text}");
        }
    }

    #[test]
    fn what_leads_nowhere() {
        for (first, last) in [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("169.254.0.0", "169.254.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("255.255.255.255", "255.255.255.255"),
            ("::", "::1"),
            ("0:0:0:ff:ff00::", "0:0:0:ff:ffff:ffff:ffff:ffff"),
            ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fe80::", "fe80::ffff:ffff:ffff:ffff"),
            ("::ffff:10.0.0.0", "::ffff:10.255.255.255"),
        ] {
            assert!(!is_routable(ip(first)), "{first}");
            assert!(!is_routable(ip(last)), "{last}");
            for outside in neighbours(ip(first), ip(last)) {
                assert!(is_routable(outside), "{outside}, beside {first} to {last}");
            }
        }
    }

    /// The addresses before and after a range, where there are any.
    fn neighbours(first: IpAddr, last: IpAddr) -> Vec<IpAddr> {
        match (first.to_canonical(), last.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let before = first.to_bits().checked_sub(1);
                let after = last.to_bits().checked_add(1);
                let both = before.into_iter().chain(after);
                both.map(|bits| Ipv4Addr::from_bits(bits).into()).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let before = first.to_bits().checked_sub(1);
                let after = last.to_bits().checked_add(1);
                let both = before.into_iter().chain(after);
                both.map(|bits| Ipv6Addr::from_bits(bits).into()).collect()
            }
            _ => panic!("a range is of one family"),
        }
    }

    #[test]
    fn a_group_shows_its_bytes() {
        assert_eq!(
            format!("{:?}", NetGroup::of(ip("1.2.3.4"))),
            "NetGroup(010102)"
        );
        assert_eq!(format!("{:?}", NetGroup::UNROUTABLE), "NetGroup(00)");
    }
}
