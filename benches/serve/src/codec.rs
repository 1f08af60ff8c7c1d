//! What a peer on the codec of the `bitcoin` crate says and answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::consensus::Encodable;
use bitcoin::p2p::address::Address;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Magic, ServiceFlags};

/// Bitcoin SV's regtest.
const MAGIC: [u8; 4] = [0xda, 0xb5, 0xbf, 0xfa];

/// Appends a frame.
pub(crate) fn encode(message: NetworkMessage, out: &mut Vec<u8>) {
    let frame = RawNetworkMessage::new(Magic::from_bytes(MAGIC), message);
    // A vector takes everything.
    let _ = frame.consensus_encode(out);
}

/// Appends what there is to answer; whether the message is one to count.
pub(crate) fn answer(message: &NetworkMessage, out: &mut Vec<u8>) {
    match message {
        NetworkMessage::Version(_) => {
            encode(NetworkMessage::Version(version()), out);
            encode(NetworkMessage::Verack, out);
        }
        NetworkMessage::Ping(nonce) => encode(NetworkMessage::Pong(*nonce), out),
        _ => {}
    }
}

fn version() -> VersionMessage {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let nobody = Address::new(&nobody, ServiceFlags::NONE);
    VersionMessage {
        version: 70016,
        services: ServiceFlags::NONE,
        timestamp: now.map_or(0, |now| now.as_secs() as i64),
        receiver: nobody.clone(),
        sender: nobody,
        nonce: 1,
        user_agent: "/codec-loop/".into(),
        start_height: 0,
        relay: true,
    }
}
