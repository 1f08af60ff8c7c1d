//! Addresses: `addr`, and the two in `version`.
//!
//! Source: the node's `src/protocol.h` and `src/net/net_processing.cpp`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Payload;
use crate::codec::{Reader, WriteExt, compact_size_len};
use crate::error::DecodeError;

/// The most addresses in one `addr`; the node punishes more.
pub const MAX_ADDR: usize = 1000;

const TIMED_LEN: usize = 30;

/// What a node says it offers: a set of bits.
///
/// ```
/// use p2p_proto::Services;
///
/// let node = Services(0x21);
/// assert!(node.contains(Services::NETWORK));
/// assert!(!node.contains(Services::BLOOM));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Services(pub u64);

impl Services {
    /// Nothing: a light client.
    pub const NONE: Self = Self(0);
    /// Full blocks of the whole chain.
    pub const NETWORK: Self = Self(1);
    /// Bloom filters.
    pub const BLOOM: Self = Self(4);
    /// A node of the chain that split off in 2017, so of BSV too.
    pub const BITCOIN_CASH: Self = Self(0x20);
    /// Recent blocks only (Teranode).
    pub const NETWORK_LIMITED: Self = Self(0x400);

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Services, IP and port of a node: 26 bytes.
///
/// The IP is canonical: an IPv4-mapped IPv6 address on the wire is an IPv4 address here, and the
/// other way round.
///
/// ```
/// use p2p_proto::{NetworkAddress, Services};
///
/// let address = NetworkAddress::new(Services::NETWORK, "[::ffff:1.2.3.4]:8333".parse().unwrap());
/// assert_eq!(address.socket_addr(), "1.2.3.4:8333".parse().unwrap());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkAddress {
    /// What the node is said to offer.
    pub services: Services,
    /// Its IP.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
}

impl NetworkAddress {
    /// The address that says nothing: `::`, port 0.
    pub const UNSPECIFIED: Self = Self {
        services: Services::NONE,
        ip: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        port: 0,
    };

    pub(crate) const LEN: usize = 26;

    /// An address with services.
    pub fn new(services: Services, address: SocketAddr) -> Self {
        Self {
            services,
            ip: address.ip().to_canonical(),
            port: address.port(),
        }
    }

    /// IP and port.
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    pub(crate) fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        Ok(Self {
            services: Services(reader.u64(field)?),
            ip: IpAddr::V6(Ipv6Addr::from(reader.array::<16>(field)?)).to_canonical(),
            port: reader.u16_be(field)?,
        })
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        out.put_u64_le(self.services.0);
        let ip = match self.ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        out.put_slice(&ip.octets());
        out.put_u16(self.port);
    }
}

/// An entry of `addr`: an address, and when it was last seen.
///
/// ```
/// use p2p_proto::{Addr, NetworkAddress, Services, TimedAddress};
///
/// let address = NetworkAddress::new(Services::NETWORK, "1.2.3.4:8333".parse().unwrap());
/// let addr = Addr::new([TimedAddress { time: 1_700_000_000, address }])?;
/// assert_eq!(addr.iter().next().unwrap().time, 1_700_000_000);
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimedAddress {
    /// Unix time in seconds, as the sender says.
    pub time: u32,
    /// The address.
    pub address: NetworkAddress,
}

/// `addr`: up to [`MAX_ADDR`] addresses of other nodes.
///
/// ```
/// use p2p_proto::{Addr, NetworkAddress, Services, TimedAddress};
///
/// let entry = TimedAddress {
///     time: 1_700_000_000,
///     address: NetworkAddress::new(Services::NETWORK, "1.2.3.4:8333".parse().unwrap()),
/// };
/// let addr = Addr::new([entry])?;
/// assert_eq!(addr.iter().next(), Some(entry));
/// # Ok::<(), p2p_proto::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Addr {
    raw: Bytes,
    len: usize,
}

impl Addr {
    /// A message of these entries.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] above [`MAX_ADDR`] of them.
    pub fn new(entries: impl IntoIterator<Item = TimedAddress>) -> Result<Self, DecodeError> {
        let mut items = BytesMut::new();
        let mut len = 0;
        for entry in entries {
            items.put_u32_le(entry.time);
            entry.address.write(&mut items);
            len += 1;
            if len > MAX_ADDR {
                return Err(DecodeError::TooLarge {
                    field: "addr count",
                    value: len as u64,
                    max: MAX_ADDR as u64,
                });
            }
        }
        let mut raw = BytesMut::with_capacity(3 + items.len());
        raw.put_compact_size(len as u64);
        raw.put_slice(&items);
        Ok(Self {
            raw: raw.freeze(),
            len,
        })
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = TimedAddress> + '_ {
        self.raw[compact_size_len(self.len as u64)..]
            .chunks_exact(TIMED_LEN)
            .map(|mut item| TimedAddress {
                time: item.get_u32_le(),
                address: NetworkAddress {
                    services: Services(item.get_u64_le()),
                    ip: IpAddr::V6(Ipv6Addr::from_bits(item.get_u128())).to_canonical(),
                    port: item.get_u16(),
                },
            })
    }
}

impl Payload for Addr {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.position();
        let len = reader.count_up_to(MAX_ADDR, TIMED_LEN, "addr count")?;
        reader.take(len * TIMED_LEN, "addr entries")?;
        Ok(Self {
            raw: reader.since(start),
            len,
        })
    }

    kept_as_sent!();
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addr").field("len", &self.len).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_thousand_entries_are_refused_on_both_ways() {
        let entry = TimedAddress {
            time: 0,
            address: NetworkAddress::UNSPECIFIED,
        };
        assert!(Addr::new(vec![entry; MAX_ADDR]).is_ok());
        assert!(Addr::new(vec![entry; MAX_ADDR + 1]).is_err());

        let mut payload = BytesMut::new();
        payload.put_compact_size(1001);
        payload.put_bytes(0, 1001 * TIMED_LEN);
        assert!(matches!(
            Addr::decode(&mut Reader::new(&payload)),
            Err(DecodeError::TooLarge { max: 1000, .. })
        ));
    }
}
