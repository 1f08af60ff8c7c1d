//! Which records say whether an IP is banned.

use crate::peer::Peer;

/// Of records in order of address, those that say whether their IPs are banned: of an IP that has
/// a record, of port 0, that one alone; of others all of their ports. A ban that was lifted is so
/// not found in a copy.
///
/// ```
/// use p2p_core::{Network, Peer, PeerSource, PeerStatus, Timestamp, deciding_records};
///
/// let record = |port: u16, status| {
///     let address = ([203, 0, 113, 7], port).into();
///     let mut record = Peer::new(Network::Mainnet, address, PeerSource::Dns, Timestamp::default());
///     record.status = status;
///     record
/// };
/// let lifted = record(0, PeerStatus::Unknown);
/// let records = [lifted.clone(), record(8333, PeerStatus::Banned)];
/// assert!(deciding_records(&records).eq([&lifted]));
/// assert!(deciding_records(&records[1..]).eq(&records[1..]));
/// ```
pub fn deciding_records(sorted: &[Peer]) -> impl Iterator<Item = &Peer> {
    let by_ip = sorted.chunk_by(|one, other| one.ip_address == other.ip_address);
    by_ip.flat_map(|of_ip| match of_ip {
        [ip_record, ..] if ip_record.port == 0 => &of_ip[..1],
        of_ports => of_ports,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use p2p_proto::Network;

    use super::*;
    use crate::peer::PeerSource;
    use crate::timestamp::Timestamp;

    #[test]
    fn the_record_of_an_ip_decides_and_without_it_those_of_its_ports() {
        let addresses = [
            "10.0.0.1:0",
            "10.0.0.1:1",
            "10.0.0.2:1",
            "10.0.0.2:2",
            "[::1]:0",
            "[::2]:3",
        ];
        let records = addresses.map(|address| {
            let (network, source) = (Network::Regtest, PeerSource::Dns);
            Peer::new(
                network,
                address.parse().unwrap(),
                source,
                Timestamp::default(),
            )
        });
        let decide: Vec<SocketAddr> = deciding_records(&records).map(Peer::address).collect();
        let expected = [
            "10.0.0.1:0",
            "10.0.0.2:1",
            "10.0.0.2:2",
            "[::1]:0",
            "[::2]:3",
        ];
        assert_eq!(decide, expected.map(|address| address.parse().unwrap()));
        assert_eq!(deciding_records(&[]).count(), 0);
    }
}
