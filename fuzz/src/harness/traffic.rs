//! What goes over a wire: settings, frames right and wrong, messages of an application.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use p2p_proto::{
    Capacity, Clock, Command, Config, FrameHeader, HEADER_LEN, Hash256, Inventory, InventoryItem,
    InventoryKind, Message, Network, NetworkAddress, OutPoint, Params, Services, Tx, TxInput,
    UserAgent, Version, VersionFields, checksum, encode_frame,
};

use super::input::Input;
use super::message::choose_command;

pub(super) const NETWORK: Network = Network::Regtest;

/// A command that means nothing to a connection.
pub(super) const APP: Command = match Command::new("app") {
    Some(command) => command,
    None => panic!("not a command name"),
};

/// More than the answers that may wait.
const FLOOD: usize = 256 * 1024;

/// When it all begins. Nothing depends on its value.
#[allow(
    clippy::disallowed_methods,
    reason = "an Instant cannot be had in another way; only distances from it matter"
)]
pub(super) fn epoch() -> Instant {
    Instant::now()
}

pub(super) fn config(bits: u8) -> Config {
    let choice = |shift: u8| usize::from(bits >> shift & 3);
    let secs = Duration::from_secs;
    let mut config = Config::new(NETWORK);
    config.stream_above = [4 << 20, 4096, 20_000, 64][choice(0)];
    config.send_queue_bytes = [8 << 20, 0, 1000, 10_000][choice(4)];
    config.ping_interval = [secs(60), secs(1), secs(60), secs(7)][choice(6)];
    config.ping_timeout = [secs(120), secs(120), secs(3), secs(7)][choice(6)];
    config
}

pub(super) fn params(nonce: u64, now: Instant, capacity: Capacity) -> Params {
    Params {
        remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 18444)),
        nonce,
        seed: [7; 32],
        clock: Clock::new(
            now,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        ),
        capacity,
    }
}

/// Up to 65 seconds, or up to 18 hours.
pub(super) fn duration(input: &mut Input<'_>) -> Duration {
    let n = u64::from(input.u16());
    match n % 2 {
        0 => Duration::from_millis(n),
        _ => Duration::from_secs(n),
    }
}

/// A frame that the input describes: its command, what is wrong with it, and a payload that may
/// be filled up with zeros.
pub(super) fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let command = choose_command(input.u8());
    let (how, detail) = split_bits(input.u8());
    let length = input.u16();
    let mut payload = input.take(usize::from(length & 0x0FFF)).to_vec();
    // An announced 4096 bytes and more are too many for a fuzzer to write.
    payload.resize(payload.len() + usize::from(length & 0xF000), 0);

    let mut header = FrameHeader {
        command,
        length: payload.len() as u64,
        checksum: Some(checksum(&payload)),
    };
    match how {
        3 => header.checksum = Some([detail; 4]),
        4 => header.checksum = None,
        5 => header.length += u64::from(detail),
        6 => header.length = [1 << 22, u64::from(u32::MAX)][usize::from(detail & 1)],
        _ => {}
    }
    let mut wire = BytesMut::new();
    header.encode(NETWORK.magic_bytes(), &mut wire);
    if how == 7 {
        let at = usize::from(detail) % HEADER_LEN;
        wire[at] ^= 0x80;
    }
    wire.extend_from_slice(&payload);
    wire.to_vec()
}

/// A frame over and over: up to [`FLOOD`] bytes.
pub(super) fn flood(input: &mut Input<'_>) -> Vec<u8> {
    let frame = frame(input);
    frame.repeat((FLOOD / frame.len()).max(1))
}

/// Three bits and the other five.
fn split_bits(byte: u8) -> (u8, u8) {
    (byte & 7, byte >> 3)
}

/// A `version` that is well formed, and may be unwelcome.
pub(super) fn version(input: &mut Input<'_>) -> Vec<u8> {
    let bits = input.u8();
    let address = NetworkAddress::new(Services::NETWORK, SocketAddr::from(([10, 0, 0, 1], 8333)));
    let agents = ["/Bitcoin SV:1.2.2/", "", "/Satoshi:27.0.0/", "/bsvd:0.2.0/"];
    let version = Version {
        services: Services(0x21),
        nonce: input.u64(),
        user_agent: UserAgent::from_static(agents[usize::from(bits & 3)]),
        start_height: 100,
        relay: bits & 4 == 0,
        association_id: Bytes::copy_from_slice(input.take(usize::from(bits >> 6))),
        fields: [
            VersionFields::AssociationId,
            VersionFields::Receiver,
            VersionFields::Relay,
            VersionFields::UserAgent,
        ][usize::from(bits >> 4 & 3)],
        ..Version::minimal(
            input.pick(&[70016, 70015, 70011, 31800, 31799, 0, -1, i32::MAX]),
            1_700_000_000,
            address,
        )
    };
    encoded(&Message::Version(Box::new(version)))
}

pub(super) fn encoded(message: &Message) -> Vec<u8> {
    let mut wire = BytesMut::new();
    encode_frame(NETWORK, message, &mut wire);
    wire.to_vec()
}

/// A message that an application may want to send, small or large.
pub(super) fn app_message(input: &mut Input<'_>) -> Message {
    let kind = input.u8();
    match kind % 5 {
        0 => Message::GetAddr,
        1 => Message::Inv(Inventory::new((0..kind).map(|n| InventoryItem {
            kind: InventoryKind::Tx,
            hash: Hash256::of(&[n]),
        }))),
        2 => Message::Unknown {
            command: APP,
            payload: filler(input),
        },
        3 => {
            let script = filler(input);
            let previous = OutPoint {
                txid: Hash256::ZERO,
                index: 0,
            };
            let input = TxInput {
                previous,
                script: &script,
                sequence: 0,
            };
            Message::Tx(Tx::new(1, &[input], &[], 0).unwrap())
        }
        _ => {
            let command = choose_command(input.u8());
            let n = usize::from(input.u8());
            Message::decode(command, input.take(n)).unwrap_or(Message::GetAddr)
        }
    }
}

/// Up to 64 KiB that are not all the same.
pub(super) fn filler(input: &mut Input<'_>) -> Bytes {
    let length = input.u16();
    (0..length).map(|n| (n % 251) as u8).collect()
}
